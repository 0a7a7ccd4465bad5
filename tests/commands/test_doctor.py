"""The doctor says what is ready, gives a remedy for what is not, and shows no secret."""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from degradation.commands import doctor, probe
from degradation.commands.doctor import FAIL, OK, WARN
from degradation.config.schema import Settings
from degradation.training.devices import synthetic_run
from degradation.training.devices.cuda_graph import CudaGraph
from tests.commands.conftest import call, environment
from tests.training.devices.cuda_stand_in import Cuda

GPU = {"device": "cuda:0", "name": "H100", "memory": 80e9, "capability": "9.0", "cuda": "12.8"}
GPU |= {"torch": "2.13", "bf16": True, "triton": True, "difference": 0.0}


@pytest.mark.slow
def test_a_machine_that_is_ready(tmp_path: Path) -> None:
    words = ["doctor", "data=digits", "machine.device=cpu"]
    done = call(tmp_path, *words, module="degradation", WANDB_API_KEY="secret" * 8)
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, last = done.stdout.splitlines()
    names = ["packages", "device", "step", "fast", "data", "runs", "wandb"]
    assert [line.split()[1] for line in lines] == names
    assert last == "ready"
    assert "online, a key is configured" in done.stdout
    assert "secret" not in done.stdout + done.stderr
    assert not any(tmp_path.glob(".doctor*"))


@pytest.mark.parametrize(
    ("answer", "states", "said"),
    [
        ({}, [OK, OK, OK], "cuda:0: H100, CUDA 12.8, capability 9.0, 80.0 GB"),
        ({"difference": 1e-3}, [OK, FAIL, OK], "differs from the launched one by 1.0e-03"),
        ({"triton": False}, [OK, OK, WARN], "without triton"),
    ],
)
def test_a_gpu(settings, monkeypatch, answer: dict[str, Any], states: list[str], said: str) -> None:
    monkeypatch.setattr(probe, "ask", lambda *_: GPU | answer)
    found = list(doctor.device(settings))
    assert [finding.state for finding in found] == states
    assert said in "\n".join(map(str, found))


def test_a_gpu_that_torch_does_not_see(small, machine, monkeypatch) -> None:
    none = {"memory": None, "difference": None, "torch": "2.13+cpu"}
    monkeypatch.setattr(probe, "ask", lambda *_: none)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    found = next(doctor.device(Settings(small(), replace(machine, device="auto"))))
    assert found.state == WARN and "2 GPUs are here" in found.message


class LeavesTraces(CudaGraph):
    """One whose warm-up moves the state."""

    def _warm_up(self) -> None:
        self.step(self.x, self.y)


@pytest.mark.parametrize(("graph", "equal"), [(CudaGraph, True), (LeavesTraces, False)])
def test_captured_steps_are_compared_with_launched_ones(
    small, machine, monkeypatch, graph: type[CudaGraph], equal: bool
) -> None:
    """By the stand-in for CUDA, in whose streams all work is that of tensors on the CPU."""
    gpu, trained = torch.device("cuda", 1), synthetic_run._trained
    Cuda(gpu).install(monkeypatch)

    def on_cpu(config, images, _):
        return trained(config, images, torch.device("cpu"))

    monkeypatch.setattr(synthetic_run, "_trained", on_cpu)
    chosen = {"on": graph, "off": None}
    monkeypatch.setattr(synthetic_run, "capture_for", lambda asked, _: chosen[asked])
    monkeypatch.setattr(synthetic_run, "describe", lambda _: {})
    monkeypatch.setattr(synthetic_run.devices, "apply", lambda *_: gpu)
    request = {"config": asdict(small()), "machine": asdict(machine), "image": [8, 1, 10]}
    answer = synthetic_run.check(request)
    assert (answer["difference"] == 0) == equal


@pytest.mark.parametrize(("download", "state"), [(True, WARN), (False, FAIL)])
def test_data_that_is_not_there(small, machine, download: bool, state: str) -> None:
    config = small(data__name="cifar10", data__root=machine.runs, data__download=download)
    found = doctor.images(Settings(config, machine))
    assert found.state == state and "data.root=DIR" in found.remedy


def test_a_folder_that_cannot_be_written_to_or_locked(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    for folder in (Path("/proc/runs"), tmp_path):
        found = doctor.folder(folder)
        assert found.state == FAIL and "machine.runs=OTHER" in found.remedy


def test_wandb_without_a_key(small, machine, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "environ", environment(tmp_path))
    assert doctor.wandb(Settings(small(), replace(machine, wandb="auto"))).state == OK
    found = doctor.wandb(Settings(small(), replace(machine, wandb="online")))
    assert found.state == FAIL and found.remedy == "wandb login"
