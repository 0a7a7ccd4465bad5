"""The verdict on whole studies, on the paper's curves and on the built-in study; the command."""

import json
from itertools import product
from pathlib import Path

import pandas as pd
import pytest

from analysis import verdict as command_line
from analysis.frames import paper, runs
from analysis.frames.pairs import BEFORE_DROP, END
from analysis.page import verdict
from analysis.page.verdict import Verdict
from analysis.stats import claims
from analysis.stats.verdict_rules import Rule
from tests.analysis.conftest import add

DIGITS = Path(__file__).parent / "studies" / "digits-seeds.csv"
AS_THE_PAPER = {
    "plain-20": (1.4, 9.7),
    "plain-56": (5.9, 13.3),
    "residual-20": (0.7, 8.8),
    "residual-56": (0.1, 7.0),
    "residual-110": (0.1, 6.4),
    "residual-1202": (0.1, 7.9),
}


def rows(networks: dict[str, tuple[float, float]], seeds: int = 5) -> pd.DataFrame:
    """A study's rows: networks with their train and test error, to which a seed adds up to 0.3
    points; before the drop they are 10 points higher."""
    found = []
    for network, seed, at in product(networks, range(seeds), (32_000, 64_000)):
        arm, depth = network.split("-")
        more = 10 * (at == 32_000) + 0.1 * ((seed + int(depth)) % 4)
        train, test = networks[network]
        row = {"run": f"{network}-s{seed}", "network": network, "seed": seed, "iteration": at}
        row |= {"arm": arm, "depth": int(depth), "pair": f"{depth}-{seed}", "stream": str(seed)}
        row |= {"shortcut": "none" if arm == "plain" else "identity", "initial": row["pair"]}
        found.append(row | {"train_error": train + more, "test_error": test + more})
    same = {"data": "cifar10", "protocol": "p", "iterations": 64_000, "drop": 32_000}
    return pd.DataFrame(found).assign(**same, state="done", exact=True)


def on(table: pd.DataFrame, data: str = "cifar10", rule: Rule | None = None) -> Verdict:
    return verdict.of(runs.Study(data, data, table), rule or Rule())


def words(found: Verdict, moment: str = END, field: str = "word") -> dict[str, str]:
    """The words, or what is shown, by step."""
    steps = [step for step in found.steps if step.moment == moment]
    return {f"{s.arm} {s.shallow}→{s.deep}": getattr(s, field) for s in steps}


def statuses(found: Verdict) -> list[str]:
    return [checked.status for checked in found.claims]


def test_a_study_as_the_papers_reproduces_it() -> None:
    found = on(rows(AS_THE_PAPER))
    benefits = [f"residual {step}" for step in ("20→56", "20→110", "56→110")]
    wanted = dict.fromkeys(benefits, "benefit") | {"plain 20→56": "degradation"}
    assert words(found) == wanted | {"residual 110→1202": "overfitting"}
    assert statuses(found) == ["reproduced"] * 5 + ["not tested"] * 2
    assert verdict.reproduced([found])
    gaps = {gap.deep: round(gap.train.mean, 1) for gap in found.gaps if gap.moment == END}
    assert gaps == {20: -0.7, 56: -5.8}


def test_one_contradiction_is_not_reproduced() -> None:
    good = on(rows(AS_THE_PAPER))
    otherwise = {name: (5 - train, 20 - test) for name, (train, test) in AS_THE_PAPER.items()}
    assert statuses(on(rows({**otherwise, "residual-110": (7, 7)})))[:4] == ["contradicted"] * 4
    bad = on(rows({**AS_THE_PAPER, "residual-1202": (0.1, 6)}))
    assert statuses(bad)[:5] == ["reproduced"] * 4 + ["contradicted"]
    untested = on(rows({"plain-8": (1, 9), "plain-14": (5, 13)}))
    assert {*statuses(untested)} == {"not tested"}
    for verdicts in ([good, bad], [], [untested]):
        assert not verdict.reproduced(verdicts)


def test_small_steps_must_add_up() -> None:
    """No residual step rises by the margin, and all together do: that is degradation."""
    creeping = {f"residual-{d}": (0.25 * i, 9.0) for i, d in enumerate(range(20, 57, 6))}
    found = on(rows(creeping, seeds=20))
    degrading = [step for step, word in words(found).items() if word == "degradation"]
    assert degrading == ["residual 20→56"]
    assert statuses(found)[2] == "contradicted"


def test_one_seed_is_seen_once() -> None:
    found = on(rows(AS_THE_PAPER, seeds=1))
    assert {*words(found).values()} == {"undecided"}
    assert statuses(found) == ["seen once"] * 5 + ["not tested"] * 2
    assert not verdict.reproduced([found])
    otherwise = on(rows({**AS_THE_PAPER, "plain-56": (0, 0)}, seeds=1))
    assert statuses(otherwise)[0] == "seen otherwise once"
    assert statuses(on(rows(AS_THE_PAPER, seeds=2)))[0] == "undecided"


def test_a_half_finished_study_is_judged_as_far_as_it_is() -> None:
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
    gone = table["run"].isin(["residual-56-s0", "plain-56-s1"])
    table.loc[gone, "state"] = "diverged"
    found = on(table[~gone | (table["iteration"] <= 32_000)])
    assert words(found)["plain 20→56"] == "degradation"
    assert words(found)["residual 20→56"] == "undecided"
    assert statuses(found)[:4] == ["reproduced", "reproduced", "undecided", "reproduced"]
    assert "seeds left out: 1; diverged: 1 of residual-56" in verdict.text(found)


# ---- the paper's own curves


def test_the_papers_curves_show_what_it_claims() -> None:
    papers = {study.data: verdict.of(study, Rule()) for study in paper.studies()}
    cifar, imagenet = (words(papers[data], field="shows") for data in ("cifar10", "imagenet"))
    assert {step: word for step, word in cifar.items() if step.startswith("plain")} == {
        "plain 20→32": "overfitting",  # −0.3 points of train error, +0.4 of test error
        "plain 20→56": "degradation",
        "plain 32→44": "degradation",
        "plain 44→56": "degradation",
    }
    assert cifar.pop("residual 110→1202") == "overfitting"
    assert {word for step, word in cifar.items() if step.startswith("residual")} == {"benefit"}
    assert imagenet == {"plain 18→34": "degradation", "residual 18→34": "benefit"}
    before = words(papers["cifar10"], BEFORE_DROP, "shows")
    assert all(step.startswith("plain") == (w == "degradation") for step, w in before.items())
    # There is one curve of each network: every claim is seen once, and nothing is decided.
    assert statuses(papers["cifar10"]) == ["seen once"] * 5 + ["not tested"] * 2
    assert statuses(papers["imagenet"]) == ["not tested"] * 5 + ["seen once"] * 2
    assert {word for found in papers.values() for word in words(found).values()} == {"undecided"}


def test_the_papers_rows_are_its_measured_errors() -> None:
    cifar, imagenet = paper.studies()
    ours = runs.last(cifar.rows).set_index("network")[["train_error", "test_error"]]
    assert tuple(ours.loc["plain-56"]) == (5.933, 13.256)
    assert tuple(ours.loc["residual-1202"]) == pytest.approx((0.09, 7.93), abs=0.1)
    theirs = runs.paper_errors().query("arm == 'plain' and quantity == 'test_error_before_drop'")
    before = runs.before_drop(cifar.rows).query("arm == 'plain'")["test_error"]
    assert before.tolist() == pytest.approx(theirs["value"].tolist(), abs=0.1)
    ends = runs.last(imagenet.rows).set_index("network")["train_error"].round(1)
    wanted = {"plain-18": 31.5, "plain-34": 32.7, "residual-18": 30.0, "residual-34": 25.0}
    assert ends.to_dict() == wanted


# ---- the built-in study


def test_the_built_in_study_is_pinned() -> None:
    """400 iterations leave residual-56 0.8 ± 0.4 points behind residual-20: by the paper's margin
    nothing is decided, by one of 2 points it does not degrade."""
    table = pd.read_csv(DIGITS, comment="#")
    found, wide = (on(table, "digits", Rule(margin=margin)) for margin in (0.5, 2))
    assert words(found) == {"plain 20→56": "degradation", "residual 20→56": "undecided"}
    assert words(wide) == {"plain 20→56": "degradation", "residual 20→56": "no difference"}
    assert words(found, BEFORE_DROP)["plain 20→56"] == "degradation"
    assert statuses(wide)[:3] == ["reproduced"] * 3
    (plain,) = [j for j in found.steps if (j.arm, j.moment) == ("plain", END)]
    assert (plain.n, round(plain.train.mean, 1)) == (5, 77.5)
    assert (plain.train.low, plain.train.high) == pytest.approx((70.28, 84.74), abs=0.01)
    gaps = {gap.deep: gap.train for gap in found.gaps if gap.moment == END}
    assert gaps[56].high < -70
    assert -1 < gaps[20].low < gaps[20].high < 0
    assert found.left_out.empty


# ---- the command


@pytest.fixture
def folder(tmp_path: Path, small) -> Path:
    """Three seeds of two plain depths that the paper doesn't name, one run that has no row yet, and
    one of option B."""
    moments = (4, 6, 8, 9, 12)
    for seed in range(3):
        for depth in (8, 14):
            rows = ((i, depth + 0.1 * seed, depth + 0.1 * seed) for i in moments)
            add(tmp_path, small(depth=depth, seed=seed), rows)
    add(tmp_path, small(depth=8, seed=9), [], None)
    option_b = small(depth=8, model__shortcut="projection", model__width=8)
    add(tmp_path, option_b, [(i, 3, 3) for i in moments])
    return tmp_path


def test_the_command_prints_steps_effects_and_what_was_left_out(call, folder: Path) -> None:
    status, text, _ = call(command_line, folder)
    assert status == 0
    assert "digits: 7 runs" in text
    assert "plain 8→14, at the end: degradation (train interval above +0.5)" in text
    assert "train +6.00 [+5.75, +6.25] n=3\n" in text
    assert "s9-" in text.partition("Left out")[2]
    assert "digits-residual-8-s0-" in text.partition("In no study")[2]
    assert max(map(len, text.splitlines())) <= 100
    assert not [line for line in text.splitlines() if line != line.rstrip()]
    content = json.loads(call(command_line, folder, "--json", "--margin", 7)[1])
    (study,) = content["studies"]
    assert study["rule"]["margin"] == 7
    assert [step["word"] for step in study["steps"]] == ["no difference"] * 2
    assert study["steps"][0]["train"]["mean"] == pytest.approx(6)
    reasons = {entry["reason"] for entry in study["left_out"]}
    assert reasons == {"partial, 0 of 12 iterations in its rows"}
    assert len(content["in_no_study"]) == 1


def test_one_depth_is_no_step(call, small, tmp_path: Path) -> None:
    add(tmp_path, small(depth=8), [(12, 3, 3)])
    assert "no arm has two depths" in call(command_line, tmp_path)[1]


def test_an_interval_of_one_seed_is_null_in_json(call) -> None:
    one_seed = json.loads(call(command_line, "--paper", "--json")[1])["studies"][0]["steps"][0]
    assert (one_seed["train"]["n"], one_seed["train"]["low"]) == (1, None)


def test_strict_wants_every_claim_reproduced(call, folder: Path, monkeypatch) -> None:
    def status(*arguments: object) -> int:
        return call(command_line, *arguments, "--strict")[0]

    assert status(folder) == 1  # the paper says nothing of 8 and 14 layers
    assert status("--paper") == 1  # seen once is not reproduced
    claim = claims.Claim("plain degrades", "", False, "plain", 8, 14, "degradation", END, False)
    monkeypatch.setattr(claims, "paper_claims", lambda: (claim,))
    assert status(folder) == 0
    assert status(folder, "--margin", 20) == 1
    assert status(folder, "--margin", -1) == 2
