"""The verdict on whole studies, on the paper's curves and on the built-in study; the command."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import verdict as command_line
from analysis.frames import paper, runs
from analysis.frames.pairs import BEFORE_DROP, END
from analysis.page import verdict
from analysis.stats import claims
from analysis.stats.verdict_rules import Rule
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.system.paths import TOP

DIGITS = Path(__file__).parent / "studies" / "digits-seeds.csv"


def rows(networks: dict[tuple[str, int], tuple[float, float]], seeds: int = 5) -> pd.DataFrame:
    """A study's rows: networks by arm and depth, with their train and test error, to which a seed
    adds up to 0.3 points; before the drop they are 10 points higher."""
    lines = [
        {
            "run": f"{arm}-{depth}-s{seed}", "data": "cifar10", "arm": arm, "depth": depth,
            "seed": seed, "shortcut": "none" if arm == "plain" else "identity",
            "pair": f"{depth}-{seed}", "protocol": "p", "iterations": 64_000, "drop": 32_000,
            "state": "done", "exact": True, "initial": f"{depth}-{seed}", "stream": f"{seed}",
            "iteration": iteration, "train_error": train + more + 0.1 * ((seed + depth) % 4),
            "test_error": test + more + 0.1 * ((seed + depth) % 4),
        }
        for (arm, depth), (train, test) in networks.items()
        for seed in range(seeds)
        for iteration, more in ((32_000, 10), (64_000, 0))
    ]  # fmt: skip
    return pd.DataFrame(lines)


def on(table: pd.DataFrame, data: str = "cifar10", rule: Rule | None = None) -> verdict.Verdict:
    return verdict.of(runs.Study(data, data, table), rule or Rule())


def words(found: verdict.Verdict, moment: str = END) -> dict[tuple[str, int, int], str]:
    return {(j.arm, j.shallow, j.deep): j.word for j in found.steps if j.moment == moment}


def shown(found: verdict.Verdict, moment: str = END) -> dict[tuple[str, int, int], str]:
    return {(j.arm, j.shallow, j.deep): j.shows for j in found.steps if j.moment == moment}


def statuses(found: verdict.Verdict) -> list[str]:
    return [checked.status for checked in found.claims]


AS_THE_PAPER = {
    ("plain", 20): (1.4, 9.7), ("plain", 56): (5.9, 13.3), ("residual", 20): (0.7, 8.8),
    ("residual", 56): (0.1, 7.0), ("residual", 110): (0.1, 6.4), ("residual", 1202): (0.1, 7.9),
}  # fmt: skip


def test_a_study_as_the_papers_reproduces_it() -> None:
    found = on(rows(AS_THE_PAPER))
    assert words(found) == {
        ("plain", 20, 56): "degradation", ("residual", 20, 56): "benefit",
        ("residual", 56, 110): "benefit", ("residual", 20, 110): "benefit",
        ("residual", 110, 1202): "overfitting",
    }  # fmt: skip
    assert statuses(found) == ["reproduced"] * 5 + ["not tested"] * 2
    assert verdict.reproduced([found])
    assert [(g.depth, round(g.train.mean, 1)) for g in found.gaps if g.moment == END] == [
        (20, -0.7), (56, -5.8),
    ]  # fmt: skip


def test_a_study_that_says_otherwise_contradicts() -> None:
    otherwise = {network: (5 - train, 20 - test) for network, (train, test) in AS_THE_PAPER.items()}
    otherwise["residual", 110] = (7, 7)
    found = on(rows(otherwise))
    assert statuses(found)[:4] == ["contradicted"] * 4
    assert not verdict.reproduced([found])


def test_one_contradiction_is_enough_for_strict() -> None:
    good, bad = on(rows(AS_THE_PAPER)), on(rows({**AS_THE_PAPER, ("residual", 1202): (0.1, 6)}))
    assert statuses(bad)[:5] == ["reproduced"] * 4 + ["contradicted"]
    assert not verdict.reproduced([good, bad])
    assert not verdict.reproduced([])
    nothing = on(rows({("plain", 8): (1, 9), ("plain", 14): (5, 13)}))
    assert {*statuses(nothing)} == {"not tested"}
    assert not verdict.reproduced([nothing])


def test_small_steps_must_add_up() -> None:
    """No residual step rises by the margin, and all together do: that is degradation."""
    creeping = {("residual", depth): (0.25 * i, 9.0) for i, depth in enumerate(range(20, 57, 6))}
    found = on(rows(creeping, seeds=20))
    steps = words(found)
    assert steps["residual", 20, 56] == "degradation"
    assert "degradation" not in {word for key, word in steps.items() if key[1:] != (20, 56)}
    assert statuses(found)[2] == "contradicted"


def test_one_seed_is_seen_once() -> None:
    found = on(rows(AS_THE_PAPER, seeds=1))
    assert {*words(found).values()} == {"undecided"}
    assert statuses(found) == ["seen once"] * 5 + ["not tested"] * 2
    assert not verdict.reproduced([found])
    otherwise = on(rows({**AS_THE_PAPER, ("plain", 56): (0, 0)}, seeds=1))
    assert statuses(otherwise)[0] == "seen otherwise once"
    assert statuses(on(rows(AS_THE_PAPER, seeds=2)))[0] == "undecided"


def test_a_half_finished_study_says_what_it_can() -> None:
    table = rows(AS_THE_PAPER)
    deep = (table["depth"] == 56) & (table["seed"] > 2)
    table.loc[deep, "state"] = "running"
    found = on(table[~deep | (table["iteration"] < 64_000)])
    plain = {j.moment: j for j in found.steps if j.arm == "plain"}
    assert (plain[END].n, plain[END].left_out, plain[BEFORE_DROP].n) == (3, 2, 5)
    assert plain[END].word == "degradation"
    assert len(found.left_out) == 4
    assert "seeds left out: 2" in verdict.text(found)
    assert "plain-56-s3: running, 32000 of 64000 iterations" in verdict.text(found)


def test_a_diverged_network_is_named_and_not_averaged() -> None:
    table = rows(AS_THE_PAPER)
    gone = table["run"].isin(["residual-56-s0", "plain-56-s1"]) & (table["iteration"] > 32_000)
    table.loc[table["run"].isin(table[gone]["run"]), "state"] = "diverged"
    found = on(table[~gone])
    assert words(found)["plain", 20, 56] == "degradation"
    assert words(found)["residual", 20, 56] == "undecided"
    assert words(found)["residual", 56, 110] == "benefit"
    assert statuses(found)[:4] == ["reproduced", "reproduced", "undecided", "reproduced"]
    assert "seeds left out: 1; diverged: 1 of residual-56" in verdict.text(found)


def test_a_claim_waits_for_the_steps_it_is_about() -> None:
    table = rows({**AS_THE_PAPER, ("residual", 32): (0.4, 7.8)})
    for depth, status in ((32, "undecided"), (1202, "not tested")):
        going = (table["depth"] == depth) & (table["iteration"] == 64_000)
        cut = table[~going].copy()
        cut.loc[cut["depth"] == depth, "state"] = "running"
        assert statuses(on(cut))[2 if depth == 32 else 4] == status


def test_the_claims_need_the_papers_data() -> None:
    imagenet = rows({("plain", 18): (31, 31), ("plain", 34): (33, 33)})
    assert statuses(on(imagenet, "imagenet"))[5] == "reproduced"
    assert statuses(on(imagenet))[5] == "not tested"
    assert {*statuses(on(rows(AS_THE_PAPER), "imagenet"))} == {"not tested"}


def test_every_claim_is_about_steps_that_are_judged() -> None:
    assert {(c.shallow, c.deep) for c in claims.paper_claims()} == {*claims.claimed_steps()}


# ---- the paper's own curves


@pytest.fixture(scope="module")
def papers() -> dict[str, verdict.Verdict]:
    return {study.data: verdict.of(study, Rule()) for study in paper.studies()}


def test_the_papers_plain_nets_show_degradation(papers: dict[str, verdict.Verdict]) -> None:
    cifar, imagenet = papers["cifar10"], papers["imagenet"]
    plain = {step: word for step, word in shown(cifar).items() if step[0] == "plain"}
    assert plain == {
        ("plain", 20, 32): "overfitting",  # −0.3 points of train error, +0.4 of test error
        ("plain", 32, 44): "degradation", ("plain", 44, 56): "degradation",
        ("plain", 20, 56): "degradation",
    }  # fmt: skip
    before = {w for step, w in shown(cifar, BEFORE_DROP).items() if step[0] == "plain"}
    assert before == {"degradation"}
    assert shown(imagenet)["plain", 18, 34] == "degradation"


def test_the_papers_residual_nets_show_none(papers: dict[str, verdict.Verdict]) -> None:
    cifar, imagenet = papers["cifar10"], papers["imagenet"]
    residual = {step: word for step, word in shown(cifar).items() if step[0] == "residual"}
    assert residual.pop(("residual", 110, 1202)) == "overfitting"
    assert {*residual.values()} == {"benefit"}
    assert "degradation" not in {
        word for step, word in shown(cifar, BEFORE_DROP).items() if step[0] == "residual"
    }
    assert shown(imagenet)["residual", 18, 34] == "benefit"


def test_the_papers_claims_are_seen_once_in_its_curves(papers: dict[str, verdict.Verdict]) -> None:
    assert statuses(papers["cifar10"]) == ["seen once"] * 5 + ["not tested"] * 2
    assert statuses(papers["imagenet"]) == ["not tested"] * 5 + ["seen once"] * 2
    assert {word for found in papers.values() for word in words(found).values()} == {"undecided"}


def test_the_papers_rows_are_its_measured_errors() -> None:
    cifar, imagenet = paper.studies()
    last = runs.last(cifar.rows)
    ours = dict(
        zip(last["network"], zip(last["train_error"], last["test_error"], strict=True), strict=True)
    )
    assert ours["plain-56"] == (5.933, 13.256)
    assert ours["residual-1202"] == pytest.approx((0.09, 7.93), abs=0.1)
    theirs = runs.paper_errors().query("arm == 'plain' and quantity == 'test_error_before_drop'")
    before = runs.before_drop(cifar.rows).query("arm == 'plain'")["test_error"]
    assert before.tolist() == pytest.approx(theirs["value"].tolist(), abs=0.1)
    ends = runs.last(imagenet.rows)
    assert dict(zip(ends["network"], ends["train_error"].round(1), strict=True)) == {
        "plain-18": 31.5, "plain-34": 32.7, "residual-18": 30.0, "residual-34": 25.0,
    }  # fmt: skip


# ---- the built-in study


def digits(**changes: Any) -> verdict.Verdict:
    return on(pd.read_csv(DIGITS, comment="#"), "digits", Rule(**changes))


def test_the_plain_arm_degrades_on_the_built_in_study() -> None:
    found = digits()
    for moment in (END, BEFORE_DROP):
        assert words(found, moment)["plain", 20, 56] == "degradation"
    assert statuses(found)[:2] == ["reproduced"] * 2
    (plain,) = [j for j in found.steps if (j.arm, j.moment) == ("plain", END)]
    assert (plain.n, round(plain.train.mean, 1)) == (5, 77.5)
    assert found.left_out.empty


def test_the_residual_arm_does_not_degrade_as_the_study_promised() -> None:
    """400 iterations leave residual-56 0.8 ± 0.4 points behind residual-20: by the paper's margin
    nothing is decided; by the 2 points that `sweeps/seeds.yaml` promises, it doesn't degrade."""
    assert words(digits())["residual", 20, 56] == "undecided"
    promised = digits(margin=2)
    assert words(promised) == {
        ("plain", 20, 56): "degradation", ("residual", 20, 56): "no difference",
    }  # fmt: skip
    assert statuses(promised)[:3] == ["reproduced"] * 3


def test_the_shortcut_closes_the_gap_on_the_built_in_study() -> None:
    gaps = {(g.depth, g.moment): g for g in digits().gaps}
    assert gaps[56, END].train.high < -70
    assert -1 < gaps[20, END].train.low < gaps[20, END].train.high < 0


# ---- the command


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run the command; its exit status, output and errors."""

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["verdict.py", *map(str, arguments)])
        status = command_line.main()
        return status, *capsys.readouterr()

    return command


@pytest.fixture
def folder(tmp_path: Path, small: Callable[..., Any]) -> Path:
    """Three seeds of two plain depths that the paper doesn't name, one run that has no row yet, and
    one of option B."""
    for seed in range(3):
        for depth in (8, 14):
            trained(tmp_path, small(depth=depth, seed=seed), depth + 0.1 * seed)
    trained(tmp_path, small(depth=8, seed=9), None)
    trained(tmp_path, small(depth=8, model__shortcut="projection", model__width=8), 3)
    return tmp_path


def trained(folder: Path, config: Any, error: float | None) -> None:
    """A finished run with one error at every row; None: a run that has only begun."""
    run = RunDir.of(config, folder)
    run.create(config)
    if error is None:
        return
    files.append_line(run.launches_jsonl, json.dumps({"digests": {"stream": "s", "initial": "i"}}))
    for iteration in (4, 6, 8, 9, 12):
        row = {"iteration": iteration, "train_error": error, "test_error": error}
        files.append_line(run.curves, json.dumps(row))
    files.write_json(run.done_json, {"outcome": "done"})


def test_the_command_says_all_of_it(run: Callable[..., Any], folder: Path) -> None:
    status, said, _ = run(folder)
    assert status == 0
    assert "digits: 7 runs" in said
    assert "plain 8→14, at the end: degradation (train interval above +0.5)" in said
    assert "train +6.00 [+5.75, +6.25] n=3\n" in said
    assert "s9-" in said.partition("Left out")[2]
    assert "digits-residual-8-s0-" in said.partition("In no study")[2]
    assert max(map(len, said.splitlines())) <= 100
    assert not [line for line in said.splitlines() if line != line.rstrip()]


def test_the_command_as_json(run: Callable[..., Any], folder: Path) -> None:
    status, said, _ = run(folder, "--json", "--margin", 7)
    content = json.loads(said)
    (study,) = content["studies"]
    assert status == 0
    assert study["rule"]["margin"] == 7
    assert [step["word"] for step in study["steps"]] == ["no difference"] * 2
    assert study["steps"][0]["train"]["mean"] == pytest.approx(6)
    assert {entry["reason"] for entry in study["left_out"]} == {
        "partial, 0 of 12 iterations in its rows"
    }
    assert len(content["in_no_study"]) == 1
    one_seed = json.loads(run("--paper", "--json")[1])["studies"][0]["steps"][0]
    assert (one_seed["train"]["n"], one_seed["train"]["low"]) == (1, None)


def test_strict_asks_for_every_claim(
    run: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(folder, "--strict")[0] == 1  # the paper says nothing of 8 and 14 layers
    assert run("--paper")[0] == 0
    assert run("--paper", "--strict")[0] == 1  # seen once is not reproduced
    claim = claims.Claim("plain degrades", "", False, "plain", 8, 14, "degradation", END, False)
    monkeypatch.setattr(claims, "paper_claims", lambda: (claim,))
    assert run(folder, "--strict")[0] == 0
    assert run(folder, "--strict", "--margin", 20)[0] == 1


def test_the_paper_is_said_with_its_caveat(run: Callable[..., Any]) -> None:
    said = run("--paper")[1]
    assert paper.NOTE in said
    assert "train +4.49, test +3.57 (n=1, no interval)" in said
    assert max(map(len, said.splitlines())) <= 100


def test_nothing_to_judge_and_nothing_to_read(run: Callable[..., Any], folder: Path) -> None:
    status, _, said = run(folder / "nowhere")
    assert status == 1
    assert "python -m degradation.run +sweeps=seeds" in said
    assert run(folder, "--margin", "-1")[0] == 2
    next(folder.glob("*/curves.jsonl")).write_text("{\n")
    status, _, said = run(folder)
    assert status == 2
    assert "curves.jsonl, line 1" in said


def test_it_needs_no_torch(folder: Path) -> None:
    code = (
        "import sys; from analysis import verdict; sys.argv[1:] = [sys.argv[1]]; verdict.main(); "
        "print({'torch', 'wandb', 'hydra'} & {*sys.modules} or 'none')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=TOP, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith("none\n")
