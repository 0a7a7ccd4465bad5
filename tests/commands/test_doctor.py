"""The doctor says what is ready, gives a remedy for what is not, and shows no secret."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from degradation.commands import doctor, probe
from degradation.commands.doctor import FAIL, OK, WARN
from degradation.config.schema import Settings
from degradation.training.devices import synthetic_run
from degradation.training.devices.cuda_graph import CudaGraph
from tests.training.devices.cuda_stand_in import Cuda

GPU = {
    "device": "cuda:0", "name": "H100", "memory": 80e9, "capability": "9.0", "cuda": "12.8",
    "torch": "2.13", "bf16": True, "triton": True, "difference": 0.0,
}  # fmt: skip


@pytest.mark.slow
def test_a_machine_that_is_ready(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-m", "degradation", "doctor", "data=digits", "machine.device=cpu"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment | {"WANDB_API_KEY": "secret" * 8, "HOME": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    *lines, last = done.stdout.splitlines()
    names = ["packages", "device", "step", "fast", "data", "runs", "wandb"]
    assert [line.split()[1] for line in lines] == names
    assert last == "ready"
    assert "online, a key is configured" in done.stdout
    assert "secret" not in done.stdout + done.stderr
    assert not any(tmp_path.glob(".doctor*"))


def changed(settings: Settings, group: str, **values: object) -> Settings:
    if group == "machine":
        return dataclasses.replace(
            settings, machine=dataclasses.replace(settings.machine, **values)
        )
    part = dataclasses.replace(getattr(settings.config, group), **values)
    return dataclasses.replace(
        settings, config=dataclasses.replace(settings.config, **{group: part})
    )


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


def test_a_gpu_that_torch_does_not_see(settings, monkeypatch) -> None:
    none = {"memory": None, "difference": None, "torch": "2.13+cpu"}
    monkeypatch.setattr(probe, "ask", lambda *_: none)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    found = next(doctor.device(changed(settings, "machine", device="auto")))
    assert found.state == WARN and "2 GPUs are here" in found.message


class LeavesTraces(CudaGraph):
    """One whose warm-up moves the state."""

    def _warm_up(self) -> None:
        self.step(self.x, self.y)


@pytest.mark.parametrize(("graph", "equal"), [(CudaGraph, True), (LeavesTraces, False)])
def test_captured_steps_are_compared_with_launched_ones(
    small, settings, monkeypatch, graph: type[CudaGraph], equal: bool
) -> None:
    """By the stand-in for CUDA, in whose streams all work is that of tensors on the CPU."""
    gpu, trained = torch.device("cuda", 1), synthetic_run._trained
    Cuda(gpu).install(monkeypatch)
    for name, stand_in in {
        "_trained": lambda config, images, _: trained(config, images, torch.device("cpu")),
        "capture_for": lambda asked, _: {"on": graph, "off": None}[asked],
        "describe": lambda _: {},
    }.items():
        monkeypatch.setattr(synthetic_run, name, stand_in)
    monkeypatch.setattr(synthetic_run.devices, "apply", lambda *_: gpu)
    answer = synthetic_run.check(
        {
            "config": dataclasses.asdict(small()),
            "machine": dataclasses.asdict(settings.machine),
            "image": [8, 1, 10],
        }
    )
    assert (answer["difference"] == 0) == equal


@pytest.mark.parametrize(("download", "state"), [(True, WARN), (False, FAIL)])
def test_data_that_is_not_there(settings, tmp_path: Path, download: bool, state: str) -> None:
    found = doctor.images(
        changed(settings, "data", name="cifar10", root=str(tmp_path), download=download)
    )
    assert found.state == state and "data.root=DIR" in found.remedy


def test_a_folder_that_cannot_be_written_to() -> None:
    found = doctor.folder(Path("/proc/runs"))
    assert found.state == FAIL and "machine.runs=OTHER" in found.remedy


def test_locks_that_keep_nobody_out(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    assert doctor.folder(tmp_path).state == FAIL


def test_wandb_without_a_key(settings, monkeypatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert doctor.wandb(changed(settings, "machine", wandb="auto")).state == OK
    found = doctor.wandb(changed(settings, "machine", wandb="online"))
    assert found.state == FAIL and found.remedy == "wandb login"
