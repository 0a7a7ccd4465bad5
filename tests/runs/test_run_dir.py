"""Run folders: states and rows; frames of many runs."""

import errno
import json
from pathlib import Path

import pytest

from degradation.runs import frames
from degradation.runs.run_dir import RunDir, RunDirError, runs_in
from degradation.system import files

ROW = '{"iteration": %d, "train_error": 1.0, "test_error": 1.0}\n'


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
    for outcome in ("diverged", "done"):
        files.write_json(run.done_json, {"outcome": outcome})
        assert run.state() == outcome
    files.write_json(run.done_json, {"outcome": "great"})
    with pytest.raises(RunDirError, match="outcome=great: must be done or diverged; remove it"):
        run.state()


def test_a_torn_last_line_is_not_a_row(run: RunDir) -> None:
    run.curves.write_text(ROW % 1 + ROW % 2 + '{"iter')
    assert [row["iteration"] for row in run.rows()] == [1, 2]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('{"iterat', "Unterminated string"),
        ("5", "5: must be an object"),
        ("{}", "no iteration"),
        ((ROW % 5).replace("}", ', "tset_loss": 1}'), "no such column .did you mean 'test_loss'"),
        ((ROW % 4).replace("4", '"4"'), "iteration=4: must be a number"),
        ((ROW % 4).replace("4", "4.5"), "iteration=4.5: must be a whole number"),
        ((ROW % 5).replace("1.0", "NaN"), "NaN is no number in JSON"),
        (ROW % 4, "iteration=4 behind 4: must rise"),
    ],
)
def test_a_line_that_is_no_row_is_named(run: RunDir, line: str, fault: str) -> None:
    run.curves.write_text(f"{ROW % 4}{line.strip()}\n")
    with pytest.raises(RunDirError, match=rf"curves\.jsonl, line 2: .*{fault}.*restore the file"):
        run.rows()


def test_a_broken_config_is_named(run: RunDir) -> None:
    run.config_json.write_text('{"depth": 21}')
    with pytest.raises(RunDirError, match=r"config\.json: (?s:.*); restore it, or move"):
        run.config()


def test_another_run_in_the_folder_is_refused_with_the_difference(run: RunDir, small) -> None:
    run.create(small())
    with pytest.raises(RunDirError, match=r"recipe\.lr: 0\.05 → 0\.1"):
        run.create(small(recipe__lr=0.1))


def test_what_changes_no_result_may_change_and_the_study_stays(tmp_path: Path, small) -> None:
    run = RunDir.of(small(), tmp_path)
    run.create(small(study="first"))
    run.create(small(study="other", data__root="moved", numerics__graph="off"))
    assert run.config() == small(study="first", data__root="moved", numerics__graph="off")


def test_rows_that_were_not_trained_are_refused(run: RunDir) -> None:
    run.curves.write_text(ROW % 1 + ROW % 2)
    digest = files.sha256_of(run.curves)
    files.write_json(run.done_json, {"outcome": "done", "curves_sha256": digest})
    assert len(run.rows()) == 2
    run.curves.write_text(ROW % 1)
    with pytest.raises(RunDirError, match=r"curves\.jsonl: not the rows .*; restore the file"):
        run.rows()
    run.curves.unlink()
    with pytest.raises(RunDirError, match="not the rows"):
        run.rows()


def test_a_disk_that_cannot_be_read_is_no_reason_to_remove_a_file(run: RunDir, monkeypatch) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    for read in (run.result, run.config, run.rows):
        with pytest.raises(files.StorageError, match=r"can't read .*: Input/output error"):
            read()


def test_curves_are_one_frame_of_all_runs(run: RunDir, small) -> None:
    other = RunDir.of(small(model__shortcut="identity"), run.folder.parent)
    other.create(small(model__shortcut="identity"))
    (run.folder.parent / "wandb").mkdir()  # passed over, as every folder that is no run
    launch = {"digests": {"initial": "i", "stream": "s", "images": "p"}}
    for one in (run, other):
        files.append_line(one.launches_jsonl, json.dumps(launch))
        for iteration in (4, 8):
            files.append_line(one.curves, (ROW % iteration).strip())
    assert [r.name for r in runs_in(run.folder.parent)] == sorted([run.name, other.name])
    _, frame = frames.load(run.folder.parent)
    assert set(frame["arm"]) == {"plain", "residual"}
    assert frame["pair"].nunique() == frame["protocol"].nunique() == 1
    assert set(frame["initial"]) == {"i"}
    assert list(frame["iteration"]) == [4, 8, 4, 8]
    assert frames.load(run.folder / "nothing")[1].empty
