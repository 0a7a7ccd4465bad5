"""The loop: rows, warm-up, resume to the bit, stops, and networks that diverge."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from degradation.config import schema
from degradation.runs.run_dir import RunDir, RunDirError, whole_lines
from degradation.system import files
from degradation.training import loop
from degradation.training.setup import MismatchError
from tests.conftest import After
from tests.training.train_here import bits, context_of, stop_here, train_here


def test_rows_come_when_due_and_hold_what_they_say(small, machine) -> None:
    rows = train_here(small(recipe__milestones=[5, 9]), machine).rows()
    assert [r["iteration"] for r in rows] == [4, 5, 8, 9, 12]
    assert [r["lr"] for r in rows] == [0.05, 0.05, 0.005, 0.005, 0.0005]
    assert [r["iteration"] for r in rows if "train_error_eval" in r] == [5, 9, 12]
    assert rows[0]["epoch"] == round(4 * 16 / 1438, 4)
    assert all(0 <= r[k] <= 100 for r in rows for k in ("train_error", "test_error"))


def test_a_plateau_is_gone_on_with(small, machine, tmp_path: Path) -> None:
    """Stopped at any moment, it drops where the uninterrupted run drops, to the byte."""
    plateau = {"recipe__plateau_patience": 1, "recipe__plateau_threshold": 30.0}
    config = small(**plateau, recipe__milestones=[], recipe__eval_every=2)
    whole = train_here(config, machine)
    assert [r["lr"] for r in whole.rows()] == [0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005]
    for looks in range(0, 40, 9):
        run = train_here(config, machine, tmp_path / f"stopped{looks}", After(looks))
        assert bits(run) == bits(whole)


def test_a_row_has_means_over_minibatches_and_the_last_gradients_norm(small, machine) -> None:
    """Counted here by hand, minibatch by minibatch."""
    config = small()
    context = context_of(config, machine)
    network, losses, wrong = context.state.network, [], 0
    for step in range(4):
        x, labels = context.loader.get_batch(step)
        logits = network(x)
        loss = functional.cross_entropy(logits, labels)
        losses.append(float(loss.detach()))
        wrong += int((logits.argmax(1) != labels).sum())
        gradients = torch.autograd.grad(loss, list(network.parameters()))
        loop.advance(context)
    row = train_here(config, machine).rows()[0]
    assert row["train_loss"] == pytest.approx(sum(losses) / 4, rel=1e-5)
    assert row["train_error"] == round(100 * wrong / (4 * 16), 4)
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
    assert row["gradient_norm"] == pytest.approx(norm, rel=1e-4)


@pytest.mark.parametrize("shortcut", ["none", "identity"])
def test_a_stop_at_any_look_goes_on_to_the_same_bytes(
    small, machine, tmp_path: Path, shortcut: str
) -> None:
    """Between iterations, in evaluation, before a row: 12 iterations with rows look 55 times."""
    config = small(model__shortcut=shortcut, recipe__warmup_min_depth=8)
    whole = train_here(config, machine)
    for looks in range(0, 60, 9):
        folder = tmp_path / f"stopped{looks}"
        stopped = stop_here(context_of(config, machine, folder, After(looks)))
        assert stopped == (looks < 55)
        assert bits(train_here(config, machine, folder)) == bits(whole)


@pytest.fixture
def whole(small, machine, tmp_path: Path) -> RunDir:
    """An uninterrupted run."""
    return train_here(small(), machine, tmp_path / "whole")


Crash = Callable[[Callable[[list[str]], list[str]]], RunDir]


@pytest.fixture
def crashed(small, machine, whole: RunDir, tmp_path: Path) -> Crash:
    """Makes a run that was killed: its checkpoint is from iteration 5, its rows are some of the
    uninterrupted run's."""

    def crash(rows: Callable[[list[str]], list[str]]) -> RunDir:
        context = context_of(small(), machine, tmp_path / "crashed", After(9))
        assert stop_here(context)
        assert len(whole_lines(context.run.curves)) == 1
        files.remove(context.run.curves)
        for line in rows(whole_lines(whole.curves)[:3]):
            files.append_line(context.run.curves, line)
        return context.run

    return crash


def go_on(run: RunDir, machine: schema.Machine) -> RunDir:
    return train_here(run.config(), machine, run.folder.parent)


@pytest.mark.parametrize(
    ("rows", "torn", "differs"),
    [
        (lambda lines: lines, b"", False),
        (lambda lines: lines[:2], b'{"iteration": 9, "ep', False),
        (lambda lines: [*lines[:2], lines[2].replace("8", "7")], b"", True),
    ],
)
def test_rows_behind_the_checkpoint_are_replayed_to_the_same_bytes(
    rows, torn: bytes, differs: bool, crashed: Crash, whole: RunDir, machine
) -> None:
    """Half a line is written again; a row that differs is reported, and marks the run."""
    run = crashed(rows)
    with run.curves.open("ab") as file:
        file.write(torn)
    assert go_on(run, machine).curves.read_bytes() == whole.curves.read_bytes()
    assert (run.result() or {})["exact"] is not differs
    mismatches = whole_lines(run.resume_mismatches) if differs else []
    assert [json.loads(line)["row"] for line in mismatches] == [3] * differs


def test_fewer_rows_than_the_checkpoint_had_are_refused(crashed: Crash, machine) -> None:
    with pytest.raises(RunDirError, match=r"0 rows, its checkpoint 1"):
        go_on(crashed(lambda lines: []), machine)


def test_other_numerics_are_refused_or_marked(crashed: Crash, machine, monkeypatch) -> None:
    run = crashed(lambda lines: lines[:1])
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    with pytest.raises(MismatchError, match=r"limits\.MKL_CBWR.*\n.*machine.resume=inexact"):
        go_on(run, machine)
    go_on(run, dataclasses.replace(machine, resume="inexact"))
    assert (run.result() or {})["exact"] is False


def test_other_data_than_at_the_start_is_refused(crashed: Crash, machine) -> None:
    run = crashed(lambda lines: lines[:1])
    launch = json.loads(run.launches_jsonl.read_text())
    launch["digests"]["images"] = "0" * 64
    run.launches_jsonl.write_text(json.dumps(launch) + "\n")
    with pytest.raises(MismatchError, match="images"):
        go_on(run, machine)


@pytest.mark.parametrize(
    ("error", "rates", "end"),
    [
        (100, [0.05, 0.05, 0.005, 0.005, 0.0005], 2),
        (0.001, [0.005, 0.005, 0.0005, 0.0005, 0.00005], None),
    ],
)
def test_the_warm_up_ends_by_the_training_error(
    error: float, rates: list[float], end: int | None, small, machine
) -> None:
    """It is a condition on the error, checked every `warmup_window` iterations."""
    config = small(recipe__warmup_min_depth=8, recipe__warmup_error=error)
    assert [row["lr"] for row in train_here(config, machine).rows()] == rates
    assert context_of(config, machine).state.warmup_end == end


def test_a_network_that_diverges_is_a_result_with_its_iteration(small, machine) -> None:
    config = small(recipe__lr=1e6, recipe__milestones=[], recipe__eval_every=6)
    context = context_of(config, machine)
    losses = []
    for _ in range(12):
        loop.advance(context)
        losses.append(float(context.state.row.loss))
    first = [math.isfinite(loss) for loss in losses].index(False)
    run = train_here(config, machine)
    result: dict[str, Any] = run.result() or {}
    assert (result["outcome"], result["iteration"]) == ("diverged", first)
    assert run.state() == "diverged"
    for line in whole_lines(run.curves):
        json.loads(line, parse_constant=lambda constant: pytest.fail(constant))
