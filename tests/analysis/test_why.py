"""Why it degrades: side studies are told apart, never mixed in, and each rule gives its words."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.frames import runs as frames
from analysis.page import verdict
from analysis.plots.style import STYLES
from analysis.stats.verdict_rules import Rule
from analysis.why import studies
from analysis.why.finding import Finding
from degradation.config import compose
from degradation.runs.run_dir import RunDir
from degradation.system import files
from tests.analysis.conftest import add
from tests.conftest import small

SEEDS = range(3)
JITTER = (0.0, 0.1, 0.2)
Run = Callable[..., RunDir]


def rows_to(config, train: float, start: float = 88.0) -> list[tuple[int, float, float]]:
    """Errors that fall from `start` to `train` at the last row."""
    whole = config.recipe.iterations
    every = min(config.recipe.eval_every, whole)
    moments = [*range(every, whole, every), whole]
    return [(i, start + (train - start) * i / whole, train + 1) for i in moments]


def runner(folder: Path) -> Run:
    """Adds a run that ends at a training error, to which its seed adds up to 0.2 points."""

    def make(arm, depth, seed, train, outcome="done", **changes) -> RunDir:
        shortcut = "none" if arm == "plain" else "identity"
        changes.setdefault("recipe__batch_size", 128)
        config = small(depth=depth, seed=seed, model__shortcut=shortcut, **changes)
        return add(folder, config, rows_to(config, train + JITTER[seed]), outcome)

    return make


@pytest.fixture(name="run")
def _run(tmp_path: Path) -> Run:
    return runner(tmp_path / "runs")


def log_layers(run: RunDir, moments: dict[int, list[float | None]]) -> None:
    """Layers whose gradient norms are given, at each moment; their responses are nearly equal."""
    for iteration, norms in moments.items():
        layers = [
            {"layer": i, "name": f"l{i}", "input_std": 1.0, "response_std": 1 + 1e-4 * i}
            | {"weight_norm": 1.0, "gradient_norm": norm}
            for i, norm in enumerate(norms, 1)
        ]
        files.append_line(run.layers, json.dumps({"iteration": iteration, "layers": layers}))


INTERVENTIONS = {
    "wide": ({"model__width": 32}, 4.9, 4.8),
    "ghost": ({"model__ghost_batch_size": 64}, 5.0, 20.0),
    "fan_out": ({"recipe__init": "fan_out"}, 40.0, 41.0),
    "no_norm": ({"model__norm": False}, 5.0, 70.0),
}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study, another recipe, and beside them every kind of side study."""
    folder = tmp_path_factory.mktemp("everything") / "runs"
    run = runner(folder)
    one = {"recipe__iterations": 1, "recipe__milestones": [], "recipe__eval_every": 1}
    networks = {("plain", 8): 5, ("plain", 14): 40, ("residual", 8): 4, ("residual", 14): 4}
    deepened = {("plain", 0): 4, ("plain", 1): 60, ("residual", 0): 4, ("residual", 1): 4}
    for seed in SEEDS:
        for (arm, depth), error in networks.items():
            own = run(arm, depth, seed, error)
            log_layers(own, {0: [50.0, 5.0, 1.0], 6: [1.0, 1.0, 1.0], 12: [2.0, 1.0, 1.0]})
            for norm, first in ((True, [50.0, 5.0, 1.0]), (False, [0.001, 0.1, 1.0])):
                labels = {"study": "gradients", "variant": f"norm={norm}"}
                own = run(arm, depth, seed, 90, model__norm=norm, **one, **labels)
                log_layers(own, {0: first, 1: [1.0, 1.0, 1.0]})
        for (arm, noise), error in deepened.items():
            start = {"recipe__identity_init_from": 8, "recipe__identity_init_noise": noise}
            run(arm, 14, seed, error, **start, study="identity_init", variant=f"noise={noise}")
        for alpha, error in ((0.0, 40.0), (0.3, 5.0)):
            labels = {"study": "shortcut_scale", "variant": f"alpha={alpha:g}"}
            run("residual", 8, seed, 4.0, model__alpha=alpha, **labels)
            run("residual", 14, seed, error, model__alpha=alpha, **labels)
        for name, (change, shallow, deep) in INTERVENTIONS.items():
            labels = {"study": "interventions", "variant": name}
            outcome = "diverged" if seed and name == "no_norm" else "done"
            run("plain", 8, seed, shallow, **change, **labels)
            run("plain", 14, seed, deep, outcome, **change, **labels)
        for depth, error in ((8, 5.0), (14, 50.0)):
            run("plain", depth, seed, error, recipe__lr=0.2)
    return folder


@pytest.fixture(scope="module")
def whole(everything: Path) -> dict[str, Finding]:
    return found(everything)


def found(folder: Path) -> dict[str, Finding]:
    return {f.name: f for f in studies.findings(frames.read(folder).runs, Rule())}


def words(finding: Finding, about: str) -> list[str]:
    return [line.word for line in finding.lines if about in line.text]


# ---- which runs belong to a study of the paper


def test_side_studies_enter_no_figure_and_no_verdict(everything: Path) -> None:
    first, second = frames.studies(everything)
    assert (first.rows["run"].nunique(), second.rows["run"].nunique()) == (12, 6)
    assert {RunDir(Path(f)).config().recipe.lr for f in second.rows["folder"]} == {0.2}
    judged = {j.arm: j.word for j in verdict.of(first, Rule()).steps if j.moment == "at the end"}
    assert judged == {"plain": "degradation", "residual": "no difference"}


def test_what_conf_composes_is_the_first_study(run: Run, tmp_path: Path) -> None:
    for seed in SEEDS:
        run("plain", 8, seed, 5)
    [usual] = compose.runs_of(["data=digits", "model=plain", "depth=20"])
    add(tmp_path / "runs", usual.config, rows_to(usual.config, 5))
    first, *_ = frames.studies(tmp_path / "runs")
    assert (first.name, first.depths("plain")) == ("digits", [20])


# ---- gradients


@pytest.mark.parametrize(
    ("first", "word", "healthy", "no_vanishing"),
    [
        (1.0, "healthy", "reproduced", "reproduced"),
        (500.0, "exploding", "contradicted", "reproduced"),
        (0.001, "vanishing", "contradicted", "contradicted"),
        (0.0, "vanishing", "contradicted", "contradicted"),
        (None, "undecided", "undecided", "undecided"),
    ],
)
def test_gradients_are_called_by_the_ratio_of_first_to_last(
    first, word, healthy, no_vanishing, run: Run, tmp_path: Path
) -> None:
    for seed in SEEDS:
        log_layers(run("plain", 8, seed, 5), {0: [first, 1.0]})
    finding = found(tmp_path / "runs")["gradients"]
    assert words(finding, "gradients of plain-8") == [word]
    assert words(finding, "healthy norms") == [healthy]
    assert words(finding, "unlikely") == [no_vanishing]


def test_layers_along_training_have_a_finding_of_their_own(everything: Path, whole) -> None:
    assert set(whole["layers"].rows["iteration"]) == {0, 6, 12}
    assert words(whole["layers"], "gradients of plain-14, at the end") == ["healthy"]
    findings = studies.findings(frames.read(everything).runs, Rule())
    of_study = {f.study: f for f in findings if f.name == "gradients"}
    assert words(of_study["digits"], "gradients of plain-14, at") == ["exploding"]
    assert words(of_study["digits"], "gradients of plain-14 without BN") == ["vanishing"]
    assert len(of_study) == 2  # the side study, and the study that trains


def test_two_moments_have_an_end_and_one_has_none(run: Run, tmp_path: Path) -> None:
    log_layers(run("plain", 8, 0, 5), {0: [1.0, 1.0], 12: [1.0, 1.0]})
    log_layers(run("residual", 8, 0, 5), {0: [1.0, 1.0]})
    layers = found(tmp_path / "runs")["layers"]
    assert set(layers.rows["arm"]) == {"plain"}


def test_the_noise_of_equal_layers_does_not_fill_an_axis(whole) -> None:
    low, high = whole["gradients"].draw(STYLES["paper"]).axes[-1].get_ylim()
    assert high >= 4 * low


# ---- identity initialization, shortcut scale, interventions


def test_the_constructed_solution_is_kept_or_lost(whole) -> None:
    finding = whole["identity_init"]
    assert words(finding, "plain, noise 0:") == ["kept"]
    assert words(finding, "plain, noise 1:") == ["lost"]
    texts = [line.text for line in finding.lines]
    assert "plain: SGD keeps it up to noise 0; lost at 1" in texts
    assert "residual: SGD keeps it from every distance tried, up to noise 1" in texts
    (nought,) = (text for text in texts if text.startswith("plain, noise 0:"))
    assert "beats the one from scratch" in nought
    row = finding.rows.iloc[0]
    errors = row[["train_error_shallow", "train_error", "train_error_scratch"]]
    assert list(errors) == [5.0, 4.0, 40.0]


def test_degradation_vanishes_at_an_alpha(whole) -> None:
    finding = whole["shortcut_scale"]
    assert words(finding, "vanishes between alpha 0.3 (degrades) and 1") == ["vanished"]
    assert words(finding, "alpha 0, 8→14") == ["degrades"]
    assert words(finding, "alpha 1, 8→14") == ["vanished"]
    (axis, _) = finding.draw(STYLES["paper"]).axes
    assert [t.get_text() for t in axis.texts].count("40.1 ± 0.1\nn=3") == 1


def test_interventions_close_the_gap_help_or_do_nothing(whole) -> None:
    finding = whole["interventions"]
    wanted = {"wide": "cures", "ghost": "helps", "fan_out": "no help", "none": "base"}
    wanted |= {"residual": "cures", "no_norm": "undecided"}
    for name, word in wanted.items():
        assert words(finding, f"{name}: gap") == [word], name
    texts = {line.text.split(":")[0]: line.text for line in finding.lines}
    assert "closed 57 %" in texts["ghost"]
    assert "diverged: 2 of 14 layers" in texts["no_norm"]


# ---- slow starts, onset


def test_a_resume_that_was_not_exact_and_a_copy_are_no_seeds(run: Run, tmp_path: Path) -> None:
    for seed in SEEDS:
        for depth, error in ((8, 5.0), (14, 20.0), (20, 30.0)):
            made = run("plain", depth, seed, error)
    made.resume_mismatches.write_text("{}\n")
    shutil.copytree(made.folder, made.folder.with_name(f"{made.name}-copy"))
    lines = found(tmp_path / "runs")["onset"].lines
    assert "n=3" in lines[1].text and "n=2" in lines[2].text


def test_stuck_slow_and_diverged(tmp_path: Path) -> None:
    for seed, train in enumerate((85, 60, 10, 70)):
        config = small(depth=14, seed=seed)
        outcome = "diverged" if train == 70 else "done"
        add(tmp_path, config, rows_to(config, train, start=95), outcome)
    finding = found(tmp_path)["slow_start"]
    assert list(finding.rows["word"]) == ["stuck", "slow start", "in time", "diverged"]
    assert list(finding.rows["below_80"].fillna(-1)) == [-1, 8, 4, 8]
    (line,) = finding.lines
    assert line.text.endswith("1 stuck, 1 slow start, 1 diverged, of 4")


def test_degradation_begins_between_two_depths(run: Run, tmp_path: Path) -> None:
    for seed in SEEDS:
        for depth, error in ((8, 5.0), (14, 5.1), (20, 9.0), (26, 30.0)):
            run("plain", depth, seed, error)
            run("residual", depth, seed, 5.0)
    finding = found(tmp_path / "runs")["onset"]
    texts = [f"{line.word}: {line.text}" for line in finding.lines]
    assert "begins: plain, 12 iterations: degradation begins between 14 and 20 layers" in texts
    (none,) = (text for text in texts if text.startswith("none: residual"))
    assert "up to 26 layers" in none
    finding.draw(STYLES["modern"]).canvas.draw()


# ---- figures and commands


@pytest.mark.parametrize("style", sorted(STYLES))
def test_every_figure_is_drawn(style: str, whole) -> None:
    names = {"gradients", "layers", "identity_init", "shortcut_scale", "interventions"}
    assert set(whole) == {*names, "slow_start"}
    for finding in whole.values():
        figure = finding.draw(STYLES[style])
        figure.canvas.draw()
        assert figure.axes
