"""What all tests share: one torch thread, small settings, and runs that train in moments."""

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from degradation.config import schema, validation
from degradation.config.overrides import content
from degradation.launch.stopping import stopping
from degradation.models.kernels import library
from degradation.system.signals import STOP_SIGNALS, Stop

torch.set_num_threads(1)

# What conf/ gives for `data=digits model=plain`, and what is changed of it to be quick.
USUAL = {"model": "plain", "data": "digits", "recipe": "digits", "numerics": "reference"}
RECIPE = {"iterations": 12, "batch_size": 16, "milestones": [6, 9], "eval_every": 4}
WARMUP = {"warmup_min_depth": None, "warmup_window": 2}


def small(**changes: Any) -> schema.RunConfig:
    """A run of a few iterations; `changes` by dotted key with `__` for the dot."""
    mapping: dict[str, Any] = {group: content(group, name) for group, name in USUAL.items()}
    mapping |= {"depth": 8, "seed": 0, "recipe": mapping["recipe"] | RECIPE | WARMUP}
    mapping["model"]["width"] = 4
    for key, value in changes.items():
        group, _, field = key.rpartition("__")
        (mapping[group] if group else mapping)[field] = value
    return validation.read(schema.RunConfig, mapping)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """A test that blocks signals would have every later test's processes do so, too."""
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a command that is called in the test's own process: it hears no signals."""
    monkeypatch.setattr(Stop, "listen", lambda stop: stop)
    monkeypatch.setattr(stopping, "listen", lambda: None)


def wait_until(condition: Callable[[], Any], seconds: float = 60) -> Any:
    """What the condition gives as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)
    return found


def is_running(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


class After:
    """Asks to stop at the n-th look."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def __call__(self) -> bool:
        self.looks -= 1
        return self.looks < 0


class Calls(TorchDispatchMode):
    """Counts the operations of torch's that are called, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.count = Counter[str]()

    def __torch_dispatch__(self, operation: Any, types: Any, args: Any = (), kwargs: Any = None):
        self.count[operation.overloadpacket.__name__] += 1
        return operation(*args, **(kwargs or {}))


@pytest.fixture
def compiler() -> None:
    """Skips a test of numerics.native where nothing compiles its kernels."""
    try:
        library.load()
    except validation.ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(name="small")
def _small() -> Callable[..., schema.RunConfig]:
    return small


@pytest.fixture
def machine(tmp_path: Path) -> schema.Machine:
    """A machine whose runs lie in the test's own folder, without W&B."""
    quiet = {"progress": "none", "wandb": "disabled", "wandb_project": "test", "wandb_entity": None}
    runs = str(tmp_path / "runs")
    return schema.Machine(device="cpu", threads=1, runs=runs, resume="exact", **quiet)


@pytest.fixture
def settings(machine: schema.Machine) -> schema.Settings:
    """What a command line would set for `small()` on `machine`."""
    return schema.Settings(small(), machine)
