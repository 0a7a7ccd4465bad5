"""Which runs go where: to this process, to a process for each free GPU, or to a launcher's jobs."""

import dataclasses
import signal
import threading
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from degradation.config.compose import Study
from degradation.config.overrides import content
from degradation.config.schema import Settings
from degradation.launch import gpus, launchers, process
from degradation.launch.stopping import Interrupted, stopping
from tests.conftest import small


def study(machine, launcher: str, depths=(8, 14, 20, 26), **changes: Any) -> Study:
    machine = dataclasses.replace(machine, **changes)
    runs = [Settings(small(depth=depth), machine) for depth in depths]
    words = {s.config.name: [f"depth={s.config.depth}", "hydra/launcher=x"] for s in runs}
    return Study(runs, words, launcher)


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[list[process.Group]]:
    """What is given to the processes of this machine, in a world of stubs."""
    found: list[list[process.Group]] = []
    monkeypatch.setattr(process, "train_groups", lambda groups: found.append(list(groups)))
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    return found


def depths(groups: list[process.Group]) -> dict[str | None, list[int]]:
    return {group.gpu: [s.config.depth for s in group.runs] for group in groups}


def train(found: Study) -> None:
    launchers.train(found, found.settings, None, OmegaConf.create())  # type: ignore[arg-type]


def test_without_a_gpu_one_run_follows_the_other(machine, trained) -> None:
    train(study(machine, "basic"))
    assert [depths(groups) for groups in trained] == [{None: [d]} for d in (8, 14, 20, 26)]


@pytest.mark.parametrize(
    ("device", "visible", "usable"),
    [
        ("auto", "0,1,2", ["0", "1", "2"]),
        ("cuda", "MIG-5af1, MIG-77", ["MIG-5af1", "MIG-77"]),
        *(("cuda:1", "0,1,2", ["0"]), ("cpu", "0", []), ("auto", "", []), ("auto", "-1", [])),
    ],
)
def test_which_gpus_runs_are_shared_out_to(
    device: str, visible: str, usable: list[str], machine, monkeypatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus.usable(dataclasses.replace(machine, device=device)) == usable


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


def test_a_study_that_waits_for_a_gpu_can_be_stopped(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(stopping, "signal", signal.SIGINT)
    with gpus.claimed(["0"], tmp_path), pytest.raises(Interrupted), gpus.claimed(["0"], tmp_path):
        pass


def test_another_machine_finds_the_paths(machine, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    data = content("data", "imagenet") | {"root": "photos", "skip": "bad files.txt"}
    config = small(data=data, model__design="imagenet", depth=18)
    settings = Settings(config, dataclasses.replace(machine, runs="runs"))
    there = launchers.with_whole_paths(settings)
    words = launchers._words(Study([there], {config.name: ["depth=8"]}, "ray"), there)
    assert words == [
        "depth=8",
        f"machine.runs={tmp_path}/runs",
        f"data.root={tmp_path}/photos",
        f"data.skip='{tmp_path}/bad files.txt'",
    ]


@pytest.mark.parametrize(
    ("launcher", "visible", "held", "groups"),
    [
        ("basic", "0", [], {None: [26, 20, 14, 8]}),
        ("joblib", "0", [], {None: [26, 20, 14, 8]}),
        ("joblib", "MIG-a,MIG-b", [], {"MIG-a": [26, 8], "MIG-b": [20, 14]}),
        ("joblib", "0,1", ["0"], {"1": [26, 20, 14, 8]}),
    ],
)
def test_each_free_gpu_gets_a_group_of_about_the_same_length(
    machine, trained, monkeypatch, launcher: str, visible: str, held: list[str], groups: object
) -> None:
    """Those that another study holds are left to it."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with gpus.claimed(held) if held else nullcontext():
        train(study(machine, launcher, device="auto"))
    assert [depths(found) for found in trained] == [groups]


@pytest.mark.parametrize(
    ("launcher", "asked", "jobs"),
    [
        ("submitit_slurm", "auto", [[8], [14], [20], [26]]),
        ("submitit_slurm", 3, [[26, 20, 14], [8]]),
        ("ray", 2, [[26, 20], [14, 8]]),
        ("joblib", "auto", [[8], [14], [20], [26]]),
    ],
)
def test_a_job_elsewhere_is_a_run_or_as_many_as_a_gpu_takes(
    machine, launcher: str, asked: Any, jobs: list[list[int]]
) -> None:
    found = launchers.jobs_of(study(machine, launcher, runs_per_gpu=asked).settings, launcher)
    assert [[s.config.depth for s in job] for job in found] == jobs


class Broken:
    def launch(self, words: list[list[str]], initial_job_idx: int) -> None:
        raise RuntimeError(f"no partition for {words[0]}")


def test_a_launcher_that_breaks_is_named(machine, monkeypatch, caplog) -> None:
    monkeypatch.setattr("hydra.core.plugins.Plugins.instantiate_launcher", lambda *_: Broken())
    monkeypatch.setattr("degradation.launch.launchers.log.propagate", True)
    train(study(machine, "joblib"))
    assert "RuntimeError: no partition for ['depth=8']" in caplog.text
