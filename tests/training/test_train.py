"""The loop: rows, warm-up, resume to the bit, stops, and networks that diverge."""

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from degradation.config import schema, validation
from degradation.runs.run_dir import RunDir, RunDirError, whole_lines
from degradation.system import files, signals
from degradation.system.signals import Stop
from degradation.training import checkpoint, loop
from degradation.training.devices.interleave import finish
from degradation.training.setup import Mismatch, prepare
from degradation.training.worker import work
from tests.conftest import After


def trained(config: schema.RunConfig, machine: schema.Machine) -> RunDir:
    run = RunDir.of(config, machine.runs)
    run.create(config)
    finish(work(run, machine, Stop()))
    return run


def test_rows_come_when_due_and_hold_what_they_say(small, machine) -> None:
    rows = trained(small(recipe__milestones=[5, 9]), machine).rows()
    assert [r["iteration"] for r in rows] == [4, 5, 8, 9, 12]
    assert [r["lr"] for r in rows] == [0.05, 0.05, 0.005, 0.005, 0.0005]
    assert [r["iteration"] for r in rows if "train_error_eval" in r] == [5, 9, 12]
    assert rows[0]["epoch"] == round(4 * 16 / 1438, 4)
    assert all(0 <= r[k] <= 100 for r in rows for k in ("train_error", "test_error"))
    seen = rows[1]["train_error"] / 100 * 16  # one minibatch: a whole number of errors
    assert seen == pytest.approx(round(seen), abs=1e-3)


@pytest.mark.parametrize("values", [[math.nan], [math.inf], [-math.inf], [math.inf, -math.inf]])
def test_one_parameter_that_is_no_number_is_seen(small, machine, values: list[float]) -> None:
    run = RunDir.of(small(), machine.runs)
    run.create(small())
    state = prepare(run, machine, Stop()).state
    for parameter in state.network.parameters():
        before = parameter.detach().clone()
        parameter.detach()[: len(values)].fill_(values[0])[:1] = values[-1]
        assert not state.finite
        parameter.detach().copy_(before)
        assert state.finite


def test_a_plateau_is_gone_on_with(small, machine, tmp_path: Path) -> None:
    """Stopped at any moment, it drops where the uninterrupted run drops, to the byte."""
    config = small(recipe__plateau_patience=1, recipe__plateau_threshold=30.0, recipe__milestones=[],
                  recipe__eval_every=2)  # fmt: skip
    whole = trained(config, machine)
    assert [r["lr"] for r in whole.rows()] == [0.05, 0.05, 0.005, 0.005, 0.0005, 0.0005]
    for looks in range(0, 40, 5):
        run = RunDir(tmp_path / f"stopped{looks}" / config.name)
        run.create(config)
        session = prepare(run, machine, After(looks))  # type: ignore[arg-type]
        with contextlib.suppress(signals.Stopped):
            finish(loop.train(session))
        finish(work(run, machine, Stop()))
        assert run.curves.read_bytes() == whole.curves.read_bytes()
        assert checkpoint.newest(run.checkpoints) == checkpoint.newest(whole.checkpoints)


def test_a_row_has_the_norm_of_the_last_minibatchs_gradient(small, machine) -> None:
    """Counted here by hand: four iterations, then the fifth one's gradient."""
    run = RunDir.of(small(recipe__milestones=[5]), machine.runs)
    run.create(small(recipe__milestones=[5]))
    session = prepare(run, machine, Stop())
    state, stream = session.state, session.stream
    session.engine.advance(4)
    for _ in range(3):
        session.engine.advance(1)
    x, labels = stream.get_batch(4)
    loss = functional.cross_entropy(state.network(x), labels)
    parameters = list(state.network.parameters())
    squares = [float(g.double().pow(2).sum()) for g in torch.autograd.grad(loss, parameters)]
    rows = trained(small(recipe__milestones=[5]), machine).rows()
    assert rows[1]["gradient_norm"] == pytest.approx(math.sqrt(sum(squares)), rel=1e-4)


def test_held_out_images_are_tested_apart(small, machine) -> None:
    run = trained(small(data__val_size=38), machine)
    assert {"validation_error", "validation_loss"} <= set(run.rows()[0])


def test_two_runs_of_a_point_are_equal_to_the_byte(small, machine, tmp_path: Path) -> None:
    runs = [
        trained(
            small(),
            validation.read(schema.Machine, {**schema.plain(machine), "runs": str(tmp_path / x)}),
        )
        for x in "ab"
    ]
    assert runs[0].curves.read_bytes() == runs[1].curves.read_bytes()
    assert checkpoint.newest(runs[0].checkpoints) == checkpoint.newest(runs[1].checkpoints)


@pytest.mark.parametrize("shortcut", ["none", "identity"])
def test_a_stop_at_any_look_goes_on_to_the_same_bytes(
    small, machine, tmp_path: Path, shortcut: str
) -> None:
    """Between iterations, in evaluation, before a row: 12 iterations with rows look 55 times."""
    config = small(model__shortcut=shortcut, recipe__warmup_min_depth=8)
    whole = trained(config, machine)
    curves, state = whole.curves.read_bytes(), checkpoint.newest(whole.checkpoints)
    stopped = 0
    for looks in range(0, 55, 4):
        run = RunDir(tmp_path / f"stopped{looks}" / config.name)
        run.create(config)
        session = prepare(run, machine, After(looks))  # type: ignore[arg-type]
        try:
            finish(loop.train(session))
        except signals.Stopped:
            stopped += 1
        finish(work(run, machine, Stop()))
        assert run.curves.read_bytes() == curves
        assert checkpoint.newest(run.checkpoints) == state
    assert stopped >= 12


def test_killed_after_rows_the_replayed_ones_are_compared(small, machine, tmp_path: Path) -> None:
    """Rows behind the checkpoint stay; equal replays leave the file as it is."""
    whole = trained(small(), machine)
    run = crashed(small(), whole, tmp_path, after=lambda lines: lines)
    finish(work(run, machine, Stop()))
    assert run.curves.read_bytes() == whole.curves.read_bytes()
    assert not run.resume_mismatches.exists()


def test_a_replayed_row_that_differs_is_reported_and_marks_the_run(
    small, machine, tmp_path: Path
) -> None:
    whole = trained(small(), machine)
    run = crashed(small(), whole, tmp_path, lambda lines: [*lines[:2], lines[2].replace("8", "7")])
    finish(work(run, machine, Stop()))
    assert run.curves.read_bytes() == whole.curves.read_bytes()
    assert json.loads(run.resume_mismatches.read_text())["row"] == 3
    assert run.result()["exact"] is False


def test_a_torn_last_line_is_written_again(small, machine, tmp_path: Path) -> None:
    whole = trained(small(), machine)
    run = crashed(small(), whole, tmp_path, lambda lines: lines[:2])
    with files.appending(run.curves) as descriptor:
        files.write_all(descriptor, b'{"iteration": 9, "ep')
    finish(work(run, machine, Stop()))
    assert run.curves.read_bytes() == whole.curves.read_bytes()


def test_fewer_rows_than_the_checkpoint_had_are_refused(small, machine, tmp_path: Path) -> None:
    run = crashed(small(), trained(small(), machine), tmp_path, lambda lines: [])
    with pytest.raises(RunDirError, match=r"0 rows, its checkpoint 1"):
        finish(work(run, machine, Stop()))


def crashed(
    config: schema.RunConfig, whole: RunDir, tmp_path: Path, after: Callable[[list[str]], list[str]]
) -> RunDir:
    """A run that was killed: its checkpoint is from iteration 5, its rows as `after` makes them."""
    run = RunDir(tmp_path / "crashed" / config.name)
    run.create(config)
    settings = schema.Machine("cpu", 1, str(tmp_path), "none", "exact", "disabled", "test", None)
    with pytest.raises(signals.Stopped):
        finish(loop.train(prepare(run, settings, After(9))))  # type: ignore[arg-type]
    assert len(whole_lines(run.curves)) == 1
    files.remove(run.curves)
    for line in after(whole_lines(whole.curves)[:3]):
        files.append_line(run.curves, line)
    return run


def test_other_numerics_are_refused_or_marked(small, machine, tmp_path: Path, monkeypatch) -> None:
    run = crashed(small(), trained(small(), machine), tmp_path, lambda lines: lines[:1])
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    with pytest.raises(Mismatch, match=r"limits\.MKL_CBWR.*\n.*machine.resume=inexact"):
        finish(work(run, machine, Stop()))
    inexact = validation.read(schema.Machine, {**schema.plain(machine), "resume": "inexact"})
    finish(work(run, inexact, Stop()))
    assert run.result()["exact"] is False


def test_the_warm_up_ends_by_the_training_error(small, machine) -> None:
    """It is a condition on the error, looked at every `warmup_window` iterations."""
    config = small(recipe__warmup_min_depth=8, recipe__warmup_error=100)
    rates = [r["lr"] for r in trained(config, machine).rows()]
    assert rates == [0.05, 0.05, 0.005, 0.005, 0.0005]
    session = prepare(RunDir.of(config, machine.runs), machine, Stop())
    assert session.state.warmup_end == 2


def test_a_warm_up_whose_condition_never_holds_goes_on(small, machine) -> None:
    config = small(recipe__warmup_min_depth=8, recipe__warmup_error=0.001)
    rates = [r["lr"] for r in trained(config, machine).rows()]
    assert rates == [0.005, 0.005, 0.0005, 0.0005, 0.00005]
    assert prepare(RunDir.of(config, machine.runs), machine, Stop()).state.warmup_end is None


def test_a_network_that_diverges_is_a_result_with_its_iteration(small, machine) -> None:
    run = trained(small(recipe__lr=1e6, recipe__milestones=[], recipe__eval_every=6), machine)
    result: dict[str, Any] = run.result() or {}
    assert result["outcome"] == "diverged"
    assert 0 < result["iteration"] < 12
    assert run.state() == "diverged"
    for line in whole_lines(run.curves):
        json.loads(line, parse_constant=lambda constant: pytest.fail(constant))


def test_other_data_than_at_the_start_is_refused(
    small, machine, tmp_path: Path, monkeypatch
) -> None:
    run = crashed(small(), trained(small(), machine), tmp_path, lambda lines: lines[:1])
    start = json.loads(run.launches_jsonl.read_text())
    start["digests"]["images"] = "0" * 64
    run.launches_jsonl.write_text(json.dumps(start) + "\n")
    with pytest.raises(Mismatch, match="images"):
        finish(work(run, machine, Stop()))
