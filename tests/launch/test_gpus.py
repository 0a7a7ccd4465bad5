"""Which GPU a run gets; no GPU is needed to tell."""

import dataclasses
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from degradation.launch import gpus


@pytest.mark.parametrize(
    ("named", "names"),
    [
        ("0,1,2", ["0", "1", "2"]),
        ("MIG-5af1, MIG-77", ["MIG-5af1", "MIG-77"]),
        ("", []),
        ("-1", []),
    ],
)
def test_gpus_are_those_named(named: str, names: list[str], monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert gpus.names() == names


@pytest.mark.parametrize(("device", "count"), [("auto", 3), ("cuda", 3), ("cuda:1", 1), ("cpu", 0)])
def test_runs_are_shared_out_where_no_device_is_named(
    device: str, count: int, machine, monkeypatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert len(gpus.usable(dataclasses.replace(machine, device=device))) == count


def test_two_studies_never_have_one_gpu(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(gpus, "WAIT", 0.01)
    third: list[list[str]] = []

    def wait() -> None:
        with gpus.claimed(["0", "1"], tmp_path) as ours:
            third.append(ours)

    with gpus.claimed(["0"], tmp_path) as first:
        with gpus.claimed(["0", "1"], tmp_path) as second:
            assert (first, second) == (["0"], ["1"])
            waiting = threading.Thread(target=wait)
            waiting.start()
            waiting.join(0.2)
            assert third == []
        waiting.join(10)
    assert third == [["1"]]


def test_a_gpu_whose_holder_was_killed_is_free(tmp_path: Path) -> None:
    code = (
        "import os, signal; from pathlib import Path; from degradation.launch import gpus\n"
        f"with gpus.claimed(['0'], Path({str(tmp_path)!r})): os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    with gpus.claimed(["0"], tmp_path) as ours:
        assert ours == ["0"]
