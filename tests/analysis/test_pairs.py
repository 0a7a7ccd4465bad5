"""Which runs are compared, which are left out, and why: run folders as a study leaves them."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from analysis.frames import pairs, runs
from analysis.plots import tables
from degradation.runs import frames
from degradation.runs.run_dir import RunDir
from degradation.system import files
from tests.analysis.conftest import add

END, BEFORE_DROP = pairs.MOMENTS
Network = Callable[..., RunDir]


@pytest.fixture
def network(tmp_path: Path, small) -> Network:
    """Adds a run of one arm, depth and seed: errors `train` and `test` at the end, 10 more before
    the drop at iteration 6. `until`: the last iteration that was trained; `changes`: settings."""

    def make(arm, depth, seed, train, test, until=12, outcome="done", digests=None, **changes):
        shortcut = {"plain": "none", "residual": "identity"}.get(arm, arm)
        config = small(depth=depth, seed=seed, model__shortcut=shortcut, **changes)
        early = {i: 10 * (i <= 6) for i in range(1, until + 1) if config.recipe.row_at(i)}
        rows = ((i, train + more, test + more) for i, more in early.items())
        return add(tmp_path, config, rows, outcome, digests)

    return make


def finals(folder: Path) -> pd.DataFrame:
    (study,) = runs.studies(folder)
    return pairs.finals(study.rows, study.idle)


def reasons(folder: Path) -> list[tuple[str, str, str]]:
    """What was left out: (what, moment, reason)."""
    found = finals(folder)
    table = pairs.left_out(found, pairs.by_depth(found), pairs.by_arm(found))
    return list(zip(table["what"], table["moment"], table["reason"], strict=True))


def used(matched: pd.DataFrame, moment: str = END) -> dict[tuple[str, str, int], tuple[float, ...]]:
    """(first, second, seed) of the pairs that can be used: differences of train and test."""
    kept = matched[(matched["reason"] == "") & (matched["moment"] == moment)]
    return {(p.first, p.second, p.seed): (p.train, p.test) for p in kept.itertuples()}


def test_two_depths_of_an_arm_pair_by_seed(tmp_path: Path, network: Network) -> None:
    for seed in (0, 1):
        network("plain", 8, seed, 5 + seed, 10)
        network("plain", 14, seed, 6 + 2 * seed, 12)
    matched = pairs.by_depth(finals(tmp_path))
    expected = {("plain-8", "plain-14", 0): (1, 2), ("plain-8", "plain-14", 1): (2, 2)}
    assert used(matched) == used(matched, BEFORE_DROP) == expected
    before = matched[matched["moment"] == BEFORE_DROP]
    assert before["train_error_first"].tolist() == [15, 16]
    assert reasons(tmp_path) == []


@pytest.mark.parametrize(
    ("until", "outcome"), [(9, None), (9, "diverged"), (12, None), (4, None), (4, "diverged")]
)
def test_a_run_counts_at_the_moments_it_has_reached(
    tmp_path: Path, network: Network, until: int, outcome: str | None
) -> None:
    network("plain", 8, 0, 5, 10)
    run = network("plain", 14, 0, 6, 12, until=until, outcome=outcome)
    matched = pairs.by_depth(finals(tmp_path))
    reached = {END: False, BEFORE_DROP: until >= 6}
    for moment, there in reached.items():
        assert used(matched, moment) == ({("plain-8", "plain-14", 0): (1, 2)} if there else {})
    absent = [moment for moment, there in reached.items() if not there]
    reason = f"{outcome or 'partial'}, {until} of 12 iterations in its rows"
    assert reasons(tmp_path) == [(run.name, moment, reason) for moment in absent]
    diverged = matched.set_index("moment")["diverged_second"].to_dict()
    assert diverged == {m: outcome == "diverged" and m in absent for m in reached}


def test_what_makes_no_pair_is_named_with_the_reason(tmp_path: Path, network: Network) -> None:
    """Each seed of plain-8 finds another obstacle, and seed 0 none."""
    for seed in range(5):
        network("plain", 8, seed, 5, 10)
    network("plain", 14, 0, 6, 12)
    files.append_line(network("plain", 14, 1, 6, 12).resume_mismatches, "{}")
    network("plain", 14, 2, 6, 12, digests={"initial": "i82", "stream": "other"})
    network("plain", 14, 3, 6, 12, digests={})
    assert set(used(pairs.by_depth(finals(tmp_path)))) == {("plain-8", "plain-14", 0)}
    found = {what: why for what, moment, why in reasons(tmp_path) if moment == END}
    (own,) = (why for what, why in found.items() if what.startswith("digits-plain-14-s1"))
    assert "its resume was not exact" in own
    assert "stream digests" in found["plain-8, plain-14, seed 2"]
    assert "stream digests" in found["plain-8, plain-14, seed 3"]
    assert found["plain-8, plain-14, seed 4"] == "no run of plain-14"


def test_arms_pair_where_they_start_from_the_same_weights(tmp_path: Path, network: Network) -> None:
    for seed, digests in ((0, None), (1, {"initial": "other", "stream": "s1"})):
        network("plain", 8, seed, 7, 10)
        network("residual", 8, seed, 5, 10, digests=digests)
    assert used(pairs.by_arm(finals(tmp_path))) == {("plain-8", "residual-8", 0): (-2, 0)}
    (end, _) = reasons(tmp_path)
    assert end[0] == "plain-8, residual-8, seed 1" and "initial digests" in end[2]


def test_projections_have_other_weights_and_are_paired(tmp_path: Path, network: Network) -> None:
    """Option B has more parameters. Studies hold option A alone; the rows of others pair, too."""
    network("plain", 8, 0, 5, 10, model__width=8)
    other = {"initial": "other", "stream": "s0"}
    network("projection", 8, 0, 4, 9, model__width=8, digests=other)
    matched = pairs.by_arm(pairs.finals(frames.load(tmp_path)[1]))
    assert used(matched) == {("plain-8", "residual-8 (projection)", 0): (-1, -1)}


def test_a_copied_folder_is_no_second_seed(tmp_path: Path, network: Network) -> None:
    for depth in (8, 14):
        run = network("plain", depth, 0, 5, 10)
    copy = shutil.copytree(run.folder, run.folder.with_name(f"{run.name}-copy"))
    matched = pairs.by_depth(finals(tmp_path))
    assert (len(used(matched)), len(matched)) == (1, 2)  # a seed, at two moments
    (study,) = runs.studies(tmp_path)
    assert set(tables.errors(study)["n"]) == {1}
    assert reasons(tmp_path) == [(copy.name, m, f"a copy of {run.name}") for m in pairs.MOMENTS]


def test_protocols_are_never_mixed(tmp_path: Path, network: Network) -> None:
    network("plain", 8, 0, 5, 10)
    network("plain", 14, 0, 6, 12, recipe__lr=0.1)
    assert len(runs.studies(tmp_path)) == 2
    assert used(pairs.by_depth(pairs.finals(frames.load(tmp_path)[1]))) == {}
