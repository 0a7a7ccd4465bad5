"""Launchers get what lacks its result, with options that fit."""

import dataclasses
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from degradation.config import errors, study
from degradation.launch import launchers, process
from degradation.runs.run_dir import RunDir
from degradation.system import files

AXES = ["-m", "data=digits", "depth=8", "recipe.iterations=4", "recipe.milestones=[]", "model.width=4",
        "recipe.eval_every=4", "machine.device=cpu", "machine.wandb=disabled"]  # fmt: skip


def asked(*words: str) -> tuple[study.Line, study.Asked]:
    line = study.Line.read([*AXES, *words])
    return line, study.asked(line)


def test_what_a_study_asks_for_has_its_words_and_its_launcher() -> None:
    _, found = asked("model=plain,residual", "seed=0,1")
    assert found.launcher == "basic"
    assert [found.overrides[s.config.name][-2:] for s in found.settings] == [
        ["model=plain", "seed=0"], ["model=plain", "seed=1"],
        ["model=residual", "seed=0"], ["model=residual", "seed=1"],
    ]  # fmt: skip
    assert study.asked(study.Line.read(["+sweeps=quickstart"])).launcher == "joblib"


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("cluster", ["serial", "joblib"])
def test_finished_points_are_not_launched_again(cluster: str, tmp_path: Path, monkeypatch) -> None:
    words = [f"cluster={cluster}", f"machine.runs={tmp_path}", "seed=range(300)"]
    _, found = asked(*words)
    for one in found.settings[1:]:
        run = RunDir.of(one.config, tmp_path)
        files.make_folder(run.folder)
        run.done_json.write_text('{"outcome": "done", "last": null}')
    launched: list[object] = []
    monkeypatch.setattr(process, "train_point", lambda s: launched.append(s.seed))
    monkeypatch.setattr(launchers, "train", lambda _line, _asked, left: launched.extend(
        s.seed for s in left))  # fmt: skip
    monkeypatch.setattr(sys, "argv", ["run", *AXES, *words])
    from degradation.commands import train as command

    with pytest.raises(SystemExit) as ended:
        command.cli()
    assert launched == [0]
    assert ended.value.code == 1  # nothing was trained: the run has no result


def test_a_launcher_that_breaks_is_named(monkeypatch, caplog, tmp_path: Path) -> None:
    class Broken:
        def launch(self, words, initial_job_idx):
            raise RuntimeError("no partition of that name")

    monkeypatch.setattr(
        "hydra.core.plugins.Plugins.instantiate_launcher", lambda *_, **__: Broken()
    )
    line, found = asked("cluster=joblib", f"machine.runs={tmp_path}")
    launchers.train(line, found, found.settings)
    assert "no partition of that name" in caplog.text


@pytest.mark.parametrize(
    ("named", "asked_for", "jobs"), [("", -1, -1), ("0,1,2", -1, 3), ("0,1,2", 2, 2), ("0,1", 8, 2)]
)
def test_joblib_has_as_many_processes_as_there_are_gpus(
    named: str, asked_for: int, jobs: int, machine, monkeypatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    config = configuration("joblib", n_jobs=asked_for)
    launchers.fit(config, dataclasses.replace(machine, device="auto"))
    assert config.hydra.launcher.n_jobs == jobs


def configuration(launcher: str, **options: object):
    return OmegaConf.create(
        {"hydra": {"launcher": options, "runtime": {"choices": {"hydra/launcher": launcher}}}}
    )


@pytest.mark.parametrize(
    ("address", "named", "gpus", "memory"),
    [(None, "", 0, "unset"), (None, "0", 1, "unset"), ("auto", "", 1, None)],
)
def test_ray_is_asked_for_gpus_that_there_are(
    address, named: str, gpus: int, memory, machine, monkeypatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    ray = {"init": {"address": address}, "remote": {"num_gpus": 1}}
    config = configuration("ray", ray=ray)
    launchers.fit(config, machine)
    assert config.hydra.launcher.ray.remote.num_gpus == gpus
    assert config.hydra.launcher.ray.init.get("object_store_memory", "unset") == memory


def test_hydras_own_words_are_left_to_it() -> None:
    words = ["depth=8", "+hydra.launcher.x=1", "hydra/launcher=joblib", "~hydra.y", "cluster=ray"]
    assert launchers._of_the_point(words) == ["depth=8", "cluster=ray"]


def test_other_machines_are_given_whole_paths(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    _, found = asked("machine.runs=here", "data.root='~/there'")
    assert launchers._whole_paths(found.settings[0]) == [
        f"machine.runs={tmp_path}/here", f"data.root={Path.home()}/there",
    ]  # fmt: skip


def test_a_launcher_that_is_not_installed_is_named_with_its_extra(monkeypatch) -> None:
    message = "Could not find 'hydra/launcher/ray'\n\nAvailable options"
    assert "pip install 'degradation[ray]'" in errors._without_advice(message)
    assert "cluster=serial" in errors._without_advice(message)
