"""Why it degrades: variants are told apart, never mixed in, and each rule gives its words."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from analysis.frames import runs as frames
from analysis.frames import variants
from analysis.page import verdict
from analysis.plots.style import LOOKS
from analysis.stats.verdict_rules import Rule
from analysis.why import identity_init, interventions, shortcut_scale, slow_start
from analysis.why import studies as why
from analysis.why.finding import Finding
from degradation.config import overrides
from degradation.runs import frames as run_frames
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.system.paths import TOP
from tests.analysis.test_figures import add
from tests.conftest import small

SEEDS = range(3)
JITTER = (0.0, 0.1, 0.2)


def rows_to(config, train: float, start: float = 88.0) -> list[dict[str, float]]:
    """Errors that fall from `start` to `train` at the last row."""
    whole = config.recipe.iterations
    every = min(config.recipe.eval_every, whole)
    moments = [*range(every, whole, every), whole]
    return [
        {
            "iteration": i,
            "train_error": start + (train - start) * i / whole,
            "test_error": train + 1,
        }
        for i in moments
    ]


def runner(folder: Path) -> Callable[..., RunDir]:
    """What adds a run that ends at a training error, to which its seed adds up to 0.2 points."""

    def make(
        arm: str, depth: int, seed: int, train: float, outcome: str = "done", **changes
    ) -> RunDir:
        shortcut = "none" if arm == "plain" else "identity"
        changes.setdefault("recipe__batch_size", 128)
        config = small(depth=depth, seed=seed, model__shortcut=shortcut, **changes)
        return add(folder, config, rows_to(config, train + JITTER[seed]), outcome)

    return make


@pytest.fixture(name="run")
def _run(tmp_path: Path) -> Callable[..., RunDir]:
    return runner(tmp_path / "runs")


def look(run: RunDir, moments: dict[int, list[float]], response: float = 1.0) -> None:
    """Layers whose gradient norms are given, at each moment."""
    for iteration, norms in moments.items():
        layers = [
            {"layer": i, "name": f"l{i}", "input_std": 1.0, "response_std": response,
             "weight_norm": 1.0, "gradient_norm": norm}
            for i, norm in enumerate(norms, 1)
        ]  # fmt: skip
        files.append_line(run.layers, json.dumps({"iteration": iteration, "layers": layers}))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study, and beside it every kind of variant."""
    folder = tmp_path_factory.mktemp("everything") / "runs"
    run = runner(folder)
    networks = {("plain", 8): 5.0, ("plain", 14): 40.0, ("residual", 8): 4.0, ("residual", 14): 4.0}
    for seed in SEEDS:
        for (arm, depth), error in networks.items():
            r = run(arm, depth, seed, error)
            look(r, {0: [50.0, 5.0, 1.0], 6: [1.0, 1.0, 1.0], 12: [2.0, 1.0, 1.0]})
            for norm in (True, False):
                r = run(arm, depth, seed, 90, model__norm=norm, recipe__iterations=1,
                        recipe__milestones=[], recipe__eval_every=1)  # fmt: skip
                look(r, {0: [50.0, 5.0, 1.0] if norm else [0.001, 0.1, 1.0], 1: [1.0, 1.0, 1.0]})
        for arm in ("plain", "residual"):
            for noise, error in ((0.0, 4.0), (1.0, 60.0 if arm == "plain" else 4.0)):
                run(
                    arm,
                    14,
                    seed,
                    error,
                    recipe__identity_init_from=8,
                    recipe__identity_init_noise=noise,
                )
        for alpha, error in ((0.0, 40.0), (0.3, 5.0)):
            run("residual", 8, seed, 4.0, model__alpha=alpha)
            run("residual", 14, seed, error, model__alpha=alpha)
        run("residual", 14, seed, 4.0, model__alpha=0.0, model__alpha_learned=True)
        run("residual", 8, seed, 4.0, model__alpha=0.0, model__alpha_learned=True)
        for change, shallow, deep in (
            ({"model__width": 32}, 4.9, 4.8),
            ({"model__ghost_batch_size": 64}, 5.0, 20.0),
            ({"recipe__init": "fan_out"}, 40.0, 41.0),
            ({"recipe__lr": 0.2}, 5.0, 50.0),
        ):
            run("plain", 8, seed, shallow, **change)
            run("plain", 14, seed, deep, **change)
        run("plain", 8, seed, 5.0, model__norm=False)
        run("plain", 14, seed, 70.0, "diverged" if seed else "done", model__norm=False)
    return folder


@pytest.fixture(scope="module")
def whole(everything: Path) -> dict[str, Finding]:
    return found(everything)


def found(folder: Path) -> dict[str, Finding]:
    return {f.name: f for f in why.findings(frames.read(folder).runs, Rule())}


def words(finding: Finding, about: str) -> list[str]:
    return [line.word for line in finding.lines if about in line.text]


def test_variants_enter_no_study(everything: Path) -> None:
    """One study and one that is no intervention's by name; figures and verdict as without the variants."""
    studies = frames.studies(everything)
    assert [s.rows["run"].nunique() for s in studies] == [12, 6]
    assert studies[0].rows["protocol"].nunique() == 1
    assert {p.recipe.lr for p in (RunDir(Path(f)).config() for f in studies[1].rows["folder"])} == {
        0.2
    }
    judged = verdict.of(studies[0], Rule())
    assert {(j.arm, j.word) for j in judged.steps if j.moment == "at the end"} == {
        ("plain", "degradation"), ("residual", "no difference"),
    }  # fmt: skip


def test_what_conf_composes_is_the_first_study(run, tmp_path: Path) -> None:
    default = {
        **{f"recipe__{k}": v for k, v in overrides.content("recipe", "digits").items()},
        **{f"model__{k}": v for k, v in overrides.content("model", "plain").items()},
        **{f"model__{k}": v for k, v in overrides.content("network", "digits").items()},
        **{f"numerics__{k}": v for k, v in overrides.content("numerics", "reference").items()},
    }
    for seed in SEEDS:
        run("plain", 8, seed, 5)
        run("plain", 14, seed, 5, recipe__eval_every=1)
    data = {k: v for k, v in overrides.content("data", "digits").items() if k not in ("root",)}
    default |= {f"data__{k}": v for k, v in data.items()}
    default = {k: v for k, v in default.items() if k != "model__shortcut"}
    run("plain", 20, 0, 5, **default)
    first, *_ = frames.studies(tmp_path / "runs")
    assert (first.name, first.depths("plain")) == ("digits", [20])


def test_cures_are_known_by_their_files(everything: Path) -> None:
    runs, rows = run_frames.load(everything)
    known = variants.protocols(runs, rows)
    base = frames.studies(everything)[0].rows["protocol"].iloc[0]
    assert {p.intervention: p.named for p in known.values() if p.intervention_of == base} == {
        "wide": True, "ghost": True, "fan_out": True, "no_norm": True,
        "recipe.lr: 0.05 → 0.2": False,
    }  # fmt: skip


def test_a_cure_with_both_arms_is_a_study_too(run, tmp_path: Path) -> None:
    for changes in ({}, {"model__ghost_batch_size": 64}):
        for arm in ("plain", "residual"):
            run(arm, 8, 0, 5, **changes)
    assert len(frames.studies(tmp_path / "runs")) == 2


def test_a_lone_variant_is_drawn_and_no_study(run, tmp_path: Path) -> None:
    run("residual", 8, 0, 5, model__alpha=0.3)
    folder = frames.read(tmp_path / "runs")
    assert not folder.studies
    assert not folder.empty
    assert "alpha" in found(tmp_path / "runs")


@pytest.mark.parametrize(
    ("norms", "word"),
    [([1.0, 2.0], "healthy"), ([0.001, 1.0], "vanishing"), ([500.0, 1.0], "exploding"),
     ([0.0, 1.0], "vanishing"), ([None, 1.0], "undecided")],
)  # fmt: skip
def test_gradients_are_called_by_the_ratio_of_first_to_last(
    norms: list[float], word: str, run, tmp_path: Path
) -> None:
    for seed in SEEDS:
        look(run("plain", 8, seed, 5), {0: norms})
    finding = found(tmp_path / "runs")["gradients"]
    assert words(finding, "gradients of plain-8") == [word]
    claims = {"healthy": "reproduced", "undecided": "undecided"}
    assert words(finding, "healthy norms") == [claims.get(word, "contradicted")]
    vanishing = {"vanishing": "contradicted", "undecided": "undecided"}
    assert words(finding, "unlikely") == [vanishing.get(word, "reproduced")]


def test_two_seeds_decide_no_gradient(run, tmp_path: Path) -> None:
    for seed in (0, 1):
        look(run("plain", 8, seed, 5), {0: [1.0, 1.0]})
    assert words(found(tmp_path / "runs")["gradients"], "gradients of") == ["undecided"]


def test_looks_along_training_have_a_finding_of_their_own(whole) -> None:
    finding = whole["layers"]
    assert set(finding.rows["iteration"]) == {0, 6, 12}
    assert words(finding, "gradients of plain-14, at the end") == ["healthy"]
    start = whole["gradients"]
    assert words(start, "gradients of plain-14, at") == ["exploding"]
    assert words(start, "gradients of plain-14 without BN") == ["vanishing"]


def test_the_constructed_solution_is_kept_or_lost(whole) -> None:
    finding = whole["identity_init"]
    assert words(finding, "plain, noise 0:") == ["kept"]
    assert words(finding, "plain, noise 1:") == ["lost"]
    texts = [line.text for line in finding.lines]
    assert "plain: SGD keeps it up to noise 0; lost at 1" in texts
    assert "residual: SGD keeps it from every distance tried, up to noise 1" in texts
    (nought,) = (t for t in texts if t.startswith("plain, noise 0:"))
    assert "beats the one from scratch" in nought
    row = finding.rows.iloc[0]
    assert (row["shallow_train"], row["end_train"], row["scratch_train"]) == (5.0, 4.0, 40.0)


@pytest.mark.parametrize(
    ("found", "said"),
    [(["kept", "kept"], "every distance"), (["kept", "lost"], "up to noise 0; lost at 1"),
     (["lost", "lost"], "does not keep it from noise 0"),
     (["undecided", "kept"], "does not keep it from noise 0")],
)  # fmt: skip
def test_how_far_away_it_is_kept(found: list[str], said: str) -> None:
    word, text = identity_init._how_far("plain", [0.0, 1.0], found)
    assert said in text
    assert word == ("kept" if found[0] == "kept" else found[0])


def test_degradation_vanishes_at_an_alpha(whole) -> None:
    finding = whole["alpha"]
    assert "8→14 layers: degradation is not known to vanish at any alpha, up to 1" not in [
        line.text for line in finding.lines
    ]
    assert words(finding, "alpha 0, 8→14") == ["degrades"]
    assert words(finding, "alpha learned from 0, 8→14") == ["vanished"]
    assert sorted(finding.rows["alpha"].unique()) == [0, 0.3, 1]


@pytest.mark.parametrize(
    ("words", "said"),
    [({"0": "degrades", "1": "vanished"}, "between alpha 0 (degrades) and 1"),
     ({"0": "vanished", "1": "vanished"}, "at no alpha"),
     ({"0": "vanished", "1": "degrades"}, "not known to vanish"),
     ({"0": "undecided", "1": "vanished"}, "between alpha 0 (undecided) and 1")],
)  # fmt: skip
def test_the_threshold_is_where_all_that_follow_have_vanished(words, said: str) -> None:
    assert said in shortcut_scale.threshold(8, 14, [0.0, 1.0], words).text


def test_cures_close_the_gap_help_or_do_nothing(whole) -> None:
    finding = whole["interventions"]
    wanted = {"wide": "interventions", "ghost": "helps", "fan_out": "no help", "none": "base",
              "residual": "interventions", "recipe.lr: 0.05 → 0.2": "no help"}  # fmt: skip
    for name, word in wanted.items():
        assert words(finding, f"{name}: gap") == [word], name
    texts = {line.text.split(":")[0]: line.text for line in finding.lines}
    assert "closed 57 %" in texts["ghost"]
    assert "diverged: 2 of 14 layers" in texts["no_norm"]


def test_runs_that_diverged_cure_nothing() -> None:
    assert interventions._word("below", "not up", (0, 1)) == "undecided"
    assert interventions._word("below", "not up", (0, 0)) == "cures"
    assert interventions._word("below", "up", (1, 0)) == "helps"


def test_stuck_late_and_diverged(tmp_path: Path) -> None:
    for seed, (train, outcome) in enumerate([(85, "done"), (60, "done"), (10, "done"),
                                             (70, "diverged")]):  # fmt: skip
        config = small(depth=14, seed=seed)
        add(tmp_path, config, rows_to(config, train, start=95), outcome)
    own = slow_start.rows(frames.read(tmp_path).runs)
    assert list(own["word"]) == ["stuck", "late", "late", "diverged"]
    assert list(own["below_80"].fillna(-1)) == [-1, 8, 4, 8]
    (line,) = slow_start._lines(own)
    assert line.text.endswith("1 stuck, 2 late, 1 diverged, of 4")


@pytest.mark.parametrize("style", sorted(LOOKS))
def test_every_figure_is_drawn(style: str, whole) -> None:
    drawn = whole
    assert set(drawn) == {"gradients", "layers", "identity_init", "alpha", "interventions", "slow_start"}
    for finding in drawn.values():
        figure = finding.draw(LOOKS[style])
        figure.canvas.draw()
        assert figure.axes


def test_heat_map_says_n_in_each_cell(whole) -> None:
    figure = whole["alpha"].draw(LOOKS["paper"])
    assert [t.get_text() for t in figure.axes[0].texts].count("40.1\nn=3") == 1


def test_degradation_begins_between_two_depths(run, tmp_path: Path) -> None:
    for seed in SEEDS:
        for depth, error in ((8, 5.0), (14, 5.1), (20, 9.0), (26, 30.0)):
            run("plain", depth, seed, error)
            run("residual", depth, seed, 5.0)
    finding = found(tmp_path / "runs")["onset"]
    texts = [f"{line.word}: {line.text}" for line in finding.lines]
    assert "begins: plain, 12 iterations: degradation begins between 14 and 20 layers" in texts
    (none,) = (t for t in texts if t.startswith("none: residual"))
    assert "up to 26 layers" in none
    finding.draw(LOOKS["modern"]).canvas.draw()


def test_two_depths_have_no_onset(whole) -> None:
    assert "onset" not in whole


def command(name: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(TOP / "analysis" / name), *arguments],
                          capture_output=True, text=True)  # fmt: skip


def test_the_commands_draw_and_say_what_was_found(everything: Path, tmp_path: Path) -> None:
    done = command("plot_curves.py", str(everything), "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    for name in ("gradients", "layers", "identity_init", "alpha", "interventions", "slow_start"):
        for kind in ("png", "svg", "pdf", "csv"):
            assert (tmp_path / f"digits-{name}.{kind}").stat().st_size
    assert "kept          plain: SGD keeps it up to noise 0; lost at 1" in done.stdout
    said = command("verdict.py", str(everything), "--json")
    content = json.loads(said.stdout)
    assert {f["name"] for f in content["why"]} >= {"gradients", "alpha", "interventions"}
    assert content["in_no_study"] == []
    assert content["studies"][0]["study"] == "digits"


def test_the_page_has_a_section_a_finding(everything: Path, tmp_path: Path) -> None:
    done = command("report.py", str(everything), "--out", str(tmp_path / "page.html"))
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "page.html").read_text()
    for name in ("gradients", "layers", "identity_init", "alpha", "interventions", "slow_start"):
        assert f'id="why-digits-{name}"' in text
    findings = text[text.index('id="why-') :]
    assert findings.count('src="data:image/svg+xml;base64,') == 6
    command("report.py", str(everything), "--out", str(tmp_path / "again.html"))
    assert (tmp_path / "again.html").read_text() == text
