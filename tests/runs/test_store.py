"""Run folders: states, rows, frames."""

import errno
import json
from pathlib import Path

import pytest

from degradation.runs import run_dir
from degradation.runs.run_dir import RunDir, RunDirError, Unread
from degradation.system import files


@pytest.fixture
def run(small, tmp_path: Path) -> RunDir:
    made = RunDir.of(small(), tmp_path)
    made.create(small())
    return made


def test_states_are_read_from_the_disk(run: RunDir, small) -> None:
    assert RunDir.of(small(seed=1), run.folder.parent).state() == "missing"
    assert run.state() == "partial"
    files.write_json(run.failed_json, {"message": "x"})
    assert run.state() == "failed"
    with files.lock(run.lock):
        assert run.state() == "running"
    files.write_json(run.done_json, {"outcome": "diverged"})
    assert run.state() == "diverged"
    files.write_json(run.done_json, {"outcome": "done"})
    assert run.state() == "done"


def test_a_torn_last_line_is_not_a_row_and_a_broken_one_is_named(run: RunDir) -> None:
    one, two = (json.dumps({"iteration": i, "train_error": 5.0, "test_error": 6.0}) for i in (1, 2))
    run.curves.write_text(f'{one}\n{two}\n{{"iter')
    assert [r["iteration"] for r in run.rows()] == [1, 2]
    run.curves.write_text(f'{one}\n{{"iterat\n{two}\n')
    with pytest.raises(RunDirError, match=r"curves\.jsonl, line 2"):
        run.rows()


ROW = '{"iteration": %d, "train_error": 1.0, "test_error": 1.0}\n'


@pytest.mark.parametrize("iterations", [(4, 4), (4, 8, 6), (8, 4, 8)])
def test_rows_that_do_not_rise_are_named(run: RunDir, iterations: tuple[int, ...]) -> None:
    run.curves.write_text("".join(ROW % i for i in iterations))
    with pytest.raises(
        RunDirError, match=r"curves\.jsonl, line [23]: iteration=\d behind \d: must rise"
    ):
        run.rows()
    with pytest.raises(RunDirError, match=r"line [23]"):
        run_dir.curves(run.folder.parent)


@pytest.mark.parametrize("line", ["5", "[]", "{}", '{"iteration": "4"}', "null"])
def test_a_line_that_is_no_row_is_named(run: RunDir, line: str) -> None:
    run.curves.write_text(f"{ROW % 4}{line}\n")
    with pytest.raises(RunDirError, match=r"curves\.jsonl, line 2"):
        run.rows()


def test_a_file_that_cannot_be_read_is_named(run: RunDir) -> None:
    run.curves.symlink_to(run.curves)
    with pytest.raises(RunDirError, match=r"curves\.jsonl: Too many levels of symbolic links"):
        run.rows()


def test_a_broken_point_is_named(run: RunDir) -> None:
    run.config_json.write_text('{"depth": 21}')
    with pytest.raises(RunDirError, match=r"run\.json"):
        run.config()


def test_another_point_in_the_folder_is_refused_with_the_difference(run: RunDir, small) -> None:
    run.create(small())
    with pytest.raises(RunDirError, match=r"recipe\.lr: 0\.05 → 0\.1"):
        run.create(small(recipe__lr=0.1))


def test_a_fields_of_no_identity_may_differ(run: RunDir, small) -> None:
    run.create(small(data__root="elsewhere"))


def test_curves_are_one_frame_of_all_runs(run: RunDir, small) -> None:
    other = RunDir.of(small(model__shortcut="identity"), run.folder.parent)
    other.create(small(model__shortcut="identity"))
    start = {"digests": {"initial": "i", "stream": "s", "images": "p"}}
    for one in (run, other):
        files.append_line(one.launches_jsonl, json.dumps(start))
        for iteration in (4, 8):
            row = {"iteration": iteration, "train_error": 4.0, "test_error": 5.0}
            files.append_line(one.curves, json.dumps(row))
    frame = run_dir.curves(run.folder.parent)
    assert len(frame) == 4
    assert set(frame["arm"]) == {"plain", "residual"}
    assert frame["pair"].nunique() == frame["protocol"].nunique() == 1
    assert set(frame["initial"]) == {"i"}
    assert list(frame["iteration"]) == [4, 8, 4, 8]
    assert run_dir.curves(run.folder / "nothing").empty


def test_folders_of_others_are_passed_over(run: RunDir) -> None:
    (run.folder.parent / "wandb").mkdir()
    (run.folder.parent / "notes.txt").touch()
    assert [r.name for r in run_dir.runs_in(run.folder.parent)] == [run.name]


def test_a_disk_that_cannot_be_read_is_no_reason_to_remove_a_file(run: RunDir, monkeypatch) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files, "read", refuse)
    for look in (run.result, run.config, run.rows):
        with pytest.raises(Unread, match=r"can't read .*: Input/output error; mend the disk"):
            look()
