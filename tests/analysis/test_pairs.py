"""Which runs are compared, which are left out, and why: run folders as a study leaves them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis.frames import pairs, runs
from degradation.config import schema
from degradation.runs import frames
from degradation.runs.run_dir import RunDir
from degradation.system import files

Small = Callable[..., schema.RunConfig]
END, BEFORE_DROP = pairs.MOMENTS


def write(
    folder: Path, config: schema.RunConfig, train: float, test: float, *,
    until: int | None = None, outcome: str | None = "done", inexact: bool = False,
    digests: dict[str, str] | None = None,
) -> RunDir:  # fmt: skip
    """A run folder as the worker leaves it: errors `train` and `test` at the end, 10 more before
    the drop. `until`: the last iteration that was trained; `outcome` None: no `done.json`."""
    run = RunDir.of(config, folder)
    run.create(config)
    own = {"initial": f"{config.depth}, {config.seed}", "stream": f"{config.seed}"}
    files.append_line(
        run.launches_jsonl, json.dumps({"digests": own if digests is None else digests})
    )
    recipe = config.recipe
    for iteration in range(1, (recipe.iterations if until is None else until) + 1):
        if recipe.row_at(iteration):
            more = 10 * (iteration <= recipe.milestones[0]) if recipe.milestones else 0
            row = {"iteration": iteration, "train_error": train + more, "test_error": test + more}
            files.append_line(run.curves, json.dumps(row))
    if outcome:
        files.write_json(run.done_json, {"outcome": outcome})
    if inexact:
        files.append_line(run.resume_mismatches, "{}")
    return run


@pytest.fixture
def network(tmp_path: Path, small: Small) -> Callable[..., RunDir]:
    """Write a run of one arm, depth and seed; more keywords as for `write`, or a point's."""

    def make(arm: str, depth: int, seed: int, train: float, test: float, **more: Any) -> RunDir:
        shortcut = {"plain": "none", "residual": "identity"}.get(arm, arm)
        changes = {key: more.pop(key) for key in list(more) if "__" in key}
        config = small(depth=depth, seed=seed, model__shortcut=shortcut, **changes)
        return write(tmp_path, config, train, test, **more)

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
    keys = zip(kept["first"], kept["second"], kept["seed"], strict=True)
    return dict(zip(keys, zip(kept["train"], kept["test"], strict=True), strict=True))


def test_two_depths_of_an_arm_pair_by_seed(tmp_path: Path, network: Callable[..., RunDir]) -> None:
    for seed in (0, 1):
        network("plain", 8, seed, 5 + seed, 10)
        network("plain", 14, seed, 6 + 2 * seed, 12)
    matched = pairs.by_depth(finals(tmp_path))
    expected = {("plain-8", "plain-14", 0): (1, 2), ("plain-8", "plain-14", 1): (2, 2)}
    assert used(matched) == used(matched, BEFORE_DROP) == expected
    before = matched[matched["moment"] == BEFORE_DROP]
    assert before["train_error_first"].tolist() == [15, 16]
    assert reasons(tmp_path) == []


def test_the_arms_pair_at_each_depth(tmp_path: Path, network: Callable[..., RunDir]) -> None:
    for arm, error in (("plain", 7), ("residual", 5)):
        network(arm, 8, 0, error, 10)
    network("plain", 14, 0, 1, 1)  # no residual net of 14 layers at all: nothing to compare
    assert used(pairs.by_arm(finals(tmp_path))) == {("plain-8", "residual-8", 0): (-2, 0)}
    assert reasons(tmp_path) == []


def test_steps_lead_to_the_next_depth_and_where_they_are_wanted() -> None:
    assert pairs.steps([56, 20, 32, 20]) == [(20, 32), (32, 56)]
    assert pairs.steps([20, 32, 56], [(20, 56), (56, 110)]) == [(20, 32), (20, 56), (32, 56)]
    assert pairs.steps([20]) == []


@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ({"until": 9, "outcome": None}, "partial, 9 of 12 iterations in its rows"),
        ({"until": 9, "outcome": "diverged"}, "diverged, 9 of 12 iterations in its rows"),
        ({"outcome": None}, "partial, 12 of 12 iterations in its rows"),
        ({"until": 9}, "done, 9 of 12 iterations in its rows"),  # not what the worker leaves
    ],
)
def test_a_run_without_its_end_still_counts_before_the_drop(
    tmp_path: Path, network: Callable[..., RunDir], how: dict[str, Any], reason: str
) -> None:
    network("plain", 8, 0, 5, 10)
    run = network("plain", 14, 0, 6, 12, **how)
    matched = pairs.by_depth(finals(tmp_path))
    assert used(matched) == {}
    assert used(matched, BEFORE_DROP) == {("plain-8", "plain-14", 0): (1, 2)}
    assert reasons(tmp_path) == [(run.name, END, reason)]
    diverged = matched.set_index("moment")["diverged_second"]
    assert diverged.to_dict() == {END: "diverged" in reason, BEFORE_DROP: False}
    assert not matched["diverged_first"].any()


@pytest.mark.parametrize("until", [0, 4])
@pytest.mark.parametrize("outcome", ["diverged", None])
def test_a_run_that_ended_before_the_drop_is_left_out_of_both(
    tmp_path: Path, network: Callable[..., RunDir], until: int, outcome: str | None
) -> None:
    network("plain", 8, 0, 5, 10)
    run = network("plain", 14, 0, 6, 12, until=until, outcome=outcome)
    state = outcome or "partial"
    expected = f"{state}, {until} of 12 iterations in its rows"
    assert reasons(tmp_path) == [(run.name, END, expected), (run.name, BEFORE_DROP, expected)]
    matched = pairs.by_depth(finals(tmp_path))
    assert matched["diverged_second"].tolist() == [outcome == "diverged"] * 2
    assert not matched["diverged_first"].any()


def test_running_and_failed_are_named(tmp_path: Path, network: Callable[..., RunDir]) -> None:
    network("plain", 8, 0, 5, 10)
    failed = network("plain", 14, 0, 6, 12, until=0, outcome=None)
    files.write_json(failed.failed_json, {"kind": "OSError"})
    running = network("plain", 20, 0, 6, 12, until=4, outcome=None)
    with files.lock(running.lock):
        said = reasons(tmp_path)
    assert (failed.name, END, "failed, 0 of 12 iterations in its rows") in said
    assert (running.name, END, "running, 4 of 12 iterations in its rows") in said


def test_an_inexact_run_is_left_out(tmp_path: Path, network: Callable[..., RunDir]) -> None:
    network("plain", 8, 0, 5, 10)
    run = network("plain", 14, 0, 6, 12, inexact=True)
    assert used(pairs.by_depth(finals(tmp_path))) == {}
    why = "its resume was not exact (see its resume_mismatches.jsonl)"
    assert reasons(tmp_path) == [(run.name, END, why), (run.name, BEFORE_DROP, why)]


def test_a_seed_of_one_network_alone_is_named(
    tmp_path: Path, network: Callable[..., RunDir]
) -> None:
    network("plain", 8, 0, 5, 10)
    network("plain", 8, 3, 5, 10)
    network("plain", 14, 0, 6, 12)
    assert set(used(pairs.by_depth(finals(tmp_path)))) == {("plain-8", "plain-14", 0)}
    what, why = "plain-8, plain-14, seed 3", "no run of plain-14"
    assert reasons(tmp_path) == [(what, END, why), (what, BEFORE_DROP, why)]


@pytest.mark.parametrize("digests", [{"initial": "8, 0", "stream": "other"}, {}])
def test_other_images_make_no_pair(
    tmp_path: Path, network: Callable[..., RunDir], digests: dict[str, str]
) -> None:
    network("plain", 8, 0, 5, 10)
    network("plain", 14, 0, 6, 12, digests=digests)
    network("residual", 8, 0, 6, 12, digests=digests)
    assert used(pairs.by_depth(finals(tmp_path))) == used(pairs.by_arm(finals(tmp_path))) == {}
    whats = {what for what, _, why in reasons(tmp_path) if "stream digests" in why}
    assert whats == {"plain-8, plain-14, seed 0", "plain-8, residual-8, seed 0"}


def test_unknown_digests_do_not_agree(tmp_path: Path, network: Callable[..., RunDir]) -> None:
    for depth in (8, 14):
        network("plain", depth, 0, 5, 10, digests={})
    assert used(pairs.by_depth(finals(tmp_path))) == {}


def test_the_arms_start_from_the_same_weights(
    tmp_path: Path, network: Callable[..., RunDir]
) -> None:
    network("plain", 8, 0, 5, 10)
    network("plain", 14, 0, 5, 10)
    network("residual", 8, 0, 6, 12, digests={"initial": "other", "stream": "0"})
    assert used(pairs.by_arm(finals(tmp_path))) == {}
    assert len(used(pairs.by_depth(finals(tmp_path)))) == 1  # where they can't be the same
    (end, before) = reasons(tmp_path)
    assert end[0] == before[0] == "plain-8, residual-8, seed 0"
    assert "initial digests" in end[2]


def test_projections_have_other_weights_and_are_paired(
    tmp_path: Path, network: Callable[..., RunDir]
) -> None:
    """Option B has more parameters. Studies hold option A alone; the rows of others pair, too."""
    network("plain", 8, 0, 5, 10, model__width=8)
    other = {"initial": "other", "stream": "0"}
    network("projection", 8, 0, 4, 9, model__width=8, digests=other)
    rows = frames.curves(tmp_path)
    matched = pairs.by_arm(pairs.finals(rows))
    assert used(matched) == {("plain-8", "residual-8 (projection)", 0): (-1, -1)}


def test_a_copied_folder_is_no_second_seed(tmp_path: Path, network: Callable[..., RunDir]) -> None:
    for depth in (8, 14):
        run = network("plain", depth, 0, 5, 10)
    copy = run.folder.with_name(f"{run.name}-copy")
    copy.mkdir()
    for file in ("config.json", "curves.jsonl", "launches.jsonl", "done.json"):
        (copy / file).write_bytes((run.folder / file).read_bytes())
    matched = pairs.by_depth(finals(tmp_path))
    assert (len(used(matched)), len(matched)) == (1, 2)  # a seed, at two moments
    assert (copy.name, END, f"a copy of {run.name}") in reasons(tmp_path)
    assert len(reasons(tmp_path)) == 2


def test_protocols_are_never_mixed(tmp_path: Path, network: Callable[..., RunDir]) -> None:
    network("plain", 8, 0, 5, 10)
    network("plain", 14, 0, 6, 12, recipe__lr=0.1)
    assert len(runs.studies(tmp_path)) == 2
    together = pairs.finals(frames.curves(tmp_path))
    assert used(pairs.by_depth(together)) == {}


def test_without_a_drop_there_is_one_moment(tmp_path: Path, network: Callable[..., RunDir]) -> None:
    for depth in (8, 14):
        network("plain", depth, 0, 5, 10, recipe__milestones=[])
    assert runs.before_drop(runs.studies(tmp_path)[0].rows).empty
    assert set(pairs.by_depth(finals(tmp_path))["moment"]) == {END}
    assert reasons(tmp_path) == []


def test_one_network_makes_no_pair(tmp_path: Path, network: Callable[..., RunDir]) -> None:
    network("plain", 8, 0, 5, 10)
    found = finals(tmp_path)
    assert pairs.by_depth(found).empty
    assert pairs.by_arm(found).empty
    assert reasons(tmp_path) == []
