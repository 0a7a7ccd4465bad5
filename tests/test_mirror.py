"""The mirror: each row once, whatever W&B does; nothing it does reaches training."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from degradation import mirror, storage
from degradation.mirror import Mirror, Reach
from degradation.spec import Settings
from degradation.store import Run


class Double:
    """A W&B run that remembers, and breaks when told to."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.summary: dict[str, Any] = {}
        self.breaks = False
        self.finished: list[int] = []

    def log(self, row: dict[str, Any], step: int) -> None:
        if self.breaks:
            raise ConnectionResetError("wandb-core is gone\nwith a second line")
        self.rows.append(step)

    def finish(self, exit_code: int) -> None:
        self.finished.append(exit_code)


@pytest.fixture
def double(monkeypatch) -> Double:
    made = Double()
    monkeypatch.setattr(mirror, "start", lambda run, how: made)
    return made


@pytest.fixture(name="settings")
def _settings(settings: Settings) -> Settings:
    return with_mode(settings, "auto")


def with_mode(settings: Settings, mode: str) -> Settings:
    machine = dataclasses.replace(settings.machine, wandb=mode)
    return dataclasses.replace(settings, machine=machine)


@pytest.fixture
def run(settings: Settings) -> Run:
    made = Run.of(settings.point, settings.machine.runs)
    made.create(settings.point)
    return made


def add(run: Run, *iterations: int) -> None:
    for iteration in iterations:
        row = {"iteration": iteration, "train_error": 2.0, "test_error": 10.0 - iteration}
        storage.append_line(run.curves, json.dumps(row))


def test_rows_are_sent_once_and_in_order_over_several_processes(run, settings, double) -> None:
    add(run, 1, 2)
    with Mirror(run, settings) as first:
        first.sync()
        add(run, 3)
    with Mirror(run, settings) as second:
        second.sync()
        add(run, 4)
    assert double.rows == [1, 2, 3, 4]
    assert double.finished == [1, 1]  # without a result, the run has not ended well


def test_the_result_closes_the_run(run, settings, double) -> None:
    with Mirror(run, settings):
        add(run, 1, 2)
        storage.write_json(run.done_json, {"outcome": "done", "exact": True})
    assert double.finished == [0]
    assert double.summary == {
        "outcome": "done", "exact": True, "last_train_error": 2.0, "last_test_error": 8.0,
        "min_test_error": 8.0,
    }  # fmt: skip


def test_a_failure_is_said_once_and_the_rest_is_sent_later(
    run, settings, double, caplog, capsys
) -> None:
    add(run, 1)
    with Mirror(run, settings) as broken:
        broken.sync()
        double.breaks = True
        add(run, 2, 3)
        broken.sync()
        add(run, 4)
        broken.sync()
    assert caplog.text.count("wandb-core is gone") == 1
    assert "second line" not in caplog.text
    double.breaks = False
    assert mirror.main([str(run.folder.parent)]) == 0
    assert double.rows == [1, 2, 3, 4]
    assert "1 runs sent, 0 left behind, 0 complete" in capsys.readouterr().out
    assert mirror.main([str(run.folder.parent)]) == 0
    assert double.rows == [1, 2, 3, 4]


def test_disabled_sends_nothing(run, settings, double) -> None:
    off = dataclasses.replace(
        settings, machine=dataclasses.replace(settings.machine, wandb="disabled")
    )
    add(run, 1)
    with Mirror(run, off) as silent:
        silent.sync()
    assert double.rows == []
    assert not run.mirror_json.exists()


@pytest.mark.parametrize(
    ("wanted", "variable", "key", "mode"),
    [
        ("auto", None, False, "offline"),
        ("auto", None, True, "online"),
        ("auto", "disabled", True, "disabled"),
        ("offline", "online", True, "offline"),
        ("online", None, False, "online"),
    ],
)
def test_the_mode_is_chosen_without_asking(
    monkeypatch, wanted: str, variable: str | None, key: bool, mode: str
) -> None:
    import wandb

    monkeypatch.delenv("WANDB_MODE", raising=False)
    if variable:
        monkeypatch.setenv("WANDB_MODE", variable)
    asked = []
    monkeypatch.setattr(wandb, "login", lambda **how: asked.append(how) or key)
    assert mirror.mode_of(wanted) == mode
    assert all(how == {"prompt": False, "verify": False} for how in asked)


def test_an_unreachable_server_costs_its_time_out_once(run, settings, monkeypatch, caplog) -> None:
    import wandb

    tried = []

    def init(run: Run, how: dict[str, Any], mode: str) -> Double:
        tried.append(mode)
        if mode == "online":
            raise wandb.errors.CommError("no route")
        return Double()

    monkeypatch.setattr(mirror, "_init", init)
    monkeypatch.setattr(wandb, "teardown", lambda: tried.append("teardown"))
    monkeypatch.setattr(Reach, "server", True)
    for _ in range(2):
        assert isinstance(mirror.start(run, {"mode": "online"}), Double)
    assert tried == ["online", "teardown", "offline", "offline"]
    assert caplog.text.count("out of reach") == 1


def test_the_config_has_flat_keys_that_a_sweep_does_not_overwrite(settings, tmp_path: Path) -> None:
    config = mirror.config(settings.point)
    assert config["arm"] == "plain"
    assert config["depth"] == 8
    assert config["point"]["recipe"]["lr"] == 0.05
    assert not {"model", "data", "recipe"} & set(config)
