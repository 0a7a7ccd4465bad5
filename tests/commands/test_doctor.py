"""The doctor: what is well is said to be, what isn't comes with its remedy, no secret is shown."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from degradation.commands import doctor
from degradation.commands.doctor import FAIL, OK, WARN
from degradation.launch import process
from degradation.models.kernels import library
from degradation.system import files


def test_all_checks_of_a_machine_that_is_ready(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    done = subprocess.run(
        [sys.executable, "-m", "degradation.commands.doctor", "data=digits", "machine.device=cpu"],
        capture_output=True, text=True, cwd=tmp_path,
        env=environment | {"WANDB_API_KEY": "secret" * 8, "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    states = {line.split()[1]: line.split()[0] for line in lines[:-1]}
    names = ["packages", "device", "threads", "data", "runs", "locks", "disk", "wandb",
             "cluster=joblib", "cluster=slurm", "cluster=ray"]  # fmt: skip
    assert list(states) == names
    assert FAIL not in states.values()
    assert "online, a key is configured" in done.stdout
    assert "secret" not in done.stdout + done.stderr
    assert lines[-1] == "ready"
    assert list(tmp_path.iterdir()) == [] or not any(tmp_path.glob(".doctor*"))


def changed(settings, **machine: object):
    return dataclasses.replace(settings, machine=dataclasses.replace(settings.machine, **machine))


def of_run(settings, **changes):
    return dataclasses.replace(settings, config=dataclasses.replace(settings.config, **changes))


def test_a_device_that_is_not_there(settings) -> None:
    found = doctor.device(changed(settings, device="cuda:9"))
    assert found.state == FAIL and "cuda:9" in found.found and "this machine has" in found.found


def test_more_threads_than_cores(settings) -> None:
    found = doctor.threads(changed(settings, threads=1000))
    assert found.state == WARN and "machine.threads=" in found.remedy


def test_data_that_is_not_there_is_only_a_warning_if_it_may_be_downloaded(settings, tmp_path):
    data = dataclasses.replace(settings.config.data, name="cifar10", root=str(tmp_path), download=True)
    found = doctor.images(of_run(settings, data=data))
    assert found.state == WARN and str(tmp_path) in found.found
    data = dataclasses.replace(data, download=False)
    found = doctor.images(of_run(settings, data=data))
    assert found.state == FAIL and "data.root=FOLDER" in found.remedy


def test_data_that_is_damaged(settings, tmp_path: Path) -> None:
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"no archive")
    data = dataclasses.replace(settings.config.data, name="cifar10", root=str(tmp_path), download=True)
    found = doctor.images(of_run(settings, data=data))
    assert found.state == FAIL and "damaged" in found.found


def test_a_folder_that_cannot_be_written_to() -> None:
    found = [f for f in doctor.folder(Path("/proc/runs")) if f.what == "runs"]
    assert found[0].state == FAIL and "machine.runs=OTHER" in found[0].remedy


def test_a_disk_that_is_nearly_full(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "free", lambda _: 10**9)
    states = {f.what: f.state for f in doctor.folder(tmp_path)}
    assert states == {"runs": OK, "locks": OK, "disk": WARN}


def test_locks_that_nobody_else_sees(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    states = {f.what: f.state for f in doctor.folder(tmp_path)}
    assert states["locks"] == FAIL


def test_wandb_without_a_key(settings, monkeypatch, tmp_path: Path) -> None:
    for name in [n for n in os.environ if n.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert doctor.wandb(changed(settings, wandb="auto")).state == OK
    found = doctor.wandb(changed(settings, wandb="online"))
    assert found.state == FAIL and "wandb login" in found.remedy


def test_a_package_that_is_too_old(monkeypatch) -> None:
    import importlib.metadata

    known = importlib.metadata.version
    monkeypatch.setattr(
        importlib.metadata, "version", lambda name: "0.1" if name == "wandb" else known(name)
    )
    found = doctor.packages()
    assert found.state == FAIL and "wandb 0.1, needs >=0.31" in found.found


def test_bad_settings_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main(["dept=20"]) == 2
    assert "did you mean 'depth'" in capsys.readouterr().err
    assert process.environment(1)["OMP_NUM_THREADS"] == "1"


def test_a_compiler_that_does_not_compile(settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked for where the kernels are asked for."""
    monkeypatch.setenv("CC", "false")
    numerics = dataclasses.replace(settings.config.numerics, native=True)
    findings = doctor.findings(of_run(settings, numerics=numerics))
    packages, found = next(findings), next(findings)
    assert packages.what == "packages"
    assert found.what == "compiler" and found.state == FAIL
    assert "numerics.native=true: false" in found.found


def test_the_compiler_is_named(compiler: None) -> None:
    assert doctor.compiler() == doctor.Finding(OK, "compiler", library.versions()["compiler"])
