"""Which GPU a run gets; no GPU is needed to tell."""

import dataclasses
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from degradation.launch import gpus


@pytest.mark.parametrize(
    ("named", "count"), [("0,1,2", 3), ("GPU-5af1,GPU-77", 2), ("3", 1), ("", 0), ("-1", 0)]
)
def test_visible_gpus_are_those_named(named: str, count: int, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus.visible() == count


def test_points_are_shared_out_where_there_are_several(machine, monkeypatch) -> None:
    auto = dataclasses.replace(machine, device="auto")
    for named, auto_gets in (("0,1,2", 3), ("5", 0), ("", 0)):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
        assert gpus.shared_out(auto) == auto_gets
        assert gpus.shared_out(machine) == 0


def test_two_points_never_have_one_gpu(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "LOOK", 0.01)
    with gpus.claimed(2, tmp_path) as first, gpus.claimed(2, tmp_path) as second:
        assert {first, second} == {0, 1}
        third: list[int] = []

        def wait() -> None:
            with gpus.claimed(2, tmp_path) as number:
                third.append(number)

        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.2)
        assert third == []
    waiting.join(10)
    assert third == [0] or third == [1]


def test_a_gpu_whose_point_was_killed_is_free(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from degradation import gpus\n"
        f"with gpus.claimed(1, Path({str(tmp_path)!r})): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    with gpus.claimed(1, tmp_path) as number:
        assert number == 0


def test_commands_that_see_different_gpus_agree_on_names(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    with gpus.claimed(2, tmp_path) as number:
        assert number == 0
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,2")
        with gpus.claimed(2, tmp_path) as other:
            assert other == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["gpu-2", "gpu-3"]
