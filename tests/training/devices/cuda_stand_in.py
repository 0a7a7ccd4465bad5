"""A stand-in for torch.cuda on a machine without a GPU, as strict as CUDA is about graphs.

What is captured into a graph is taped: the aten calls of the step, recorded under a
TorchDispatchMode. Whatever would wait for the device, or be made on the host, is an error while
capturing. A replay makes the same calls again without the Python around them, in the same storage,
so a number that Python computed in the step stays what it was. As in CUDA, capturing computes
nothing: what the recorded calls changed is undone.

Streams, events and graphs check the protocol that our code must keep (see each class). Nothing is
asynchronous here: an order that only a real GPU would punish is not found.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

CPU = torch.device("cpu")
WAITS = {
    *("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal"),
    *("aten::is_nonzero", "aten::_unique2", "aten::unique_consecutive", "aten::unique_dim"),
    *("aten::bincount", "aten::repeat_interleave.Tensor"),
}
"""Calls that wait for the device."""
FROM_HOST = {
    *("aten::lift_fresh", "aten::lift", "aten::scalar_tensor"),
    *("aten::pin_memory", "aten::_pin_memory"),
}
"""Calls that make a tensor of the host's numbers."""


class CaptureError(RuntimeError):
    """What can't be part of a CUDA graph."""


def _tensors(values: Any) -> list[Tensor]:
    return [value for value in tree_flatten(values)[0] if isinstance(value, Tensor)]


def storage_of(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata


def _call(func: Any, args: Any, kwargs: Any) -> tuple[Any, list[Tensor]]:
    """What a call gives, and of its tensors those whose storage is new."""
    given = {storage_of(tensor) for tensor in _tensors((args, kwargs))}
    out = func(*args, **kwargs)
    return out, [tensor for tensor in _tensors(out) if storage_of(tensor) not in given]


class Tape(TorchDispatchMode):
    """The aten calls of a step, and the storage that they found and made."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Any, Any, Any, list[Tensor]]] = []
        self.kernels = Counter[str]()
        """How often each call that is no view was made: each is about one kernel of a GPU's."""
        self.made: set[int] = set()
        self.found: dict[int, tuple[torch.UntypedStorage, torch.UntypedStorage]] = {}
        """Storage from outside, and what it held before the first call."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func._schema.name + f".{func._schema.overload_name}".rstrip(".")
        for reason, calls in (("waits for the device", WAITS), ("is made on the host", FROM_HOST)):
            if name in calls or func._schema.name in calls:
                raise CaptureError(f"{name} {reason}")
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs)):
            key, storage = storage_of(tensor), tensor.untyped_storage()
            if key not in self.made and key not in self.found:
                self.found[key] = storage, storage.clone()
        out, made = _call(func, args, kwargs)
        self.made |= {storage_of(tensor) for tensor in made}
        self.calls.append((func, args, kwargs, made))
        if made or func._schema.is_mutable:
            self.kernels[name] += 1
        return out

    def undo(self) -> None:
        """Give the storage from outside what it held before."""
        for storage, before in self.found.values():
            storage.copy_(before)

    @torch.no_grad()
    def play(self) -> None:
        """Make the calls again: what they make goes where it was the first time."""
        for func, args, kwargs, made in self.calls:
            for old, new in zip(made, _call(func, args, kwargs)[1], strict=True):
                old.detach().copy_(new.detach())


class Stream:
    """A stream, and a context in which it is the current one, to be entered again and again."""

    def __init__(self, cuda: "Cuda") -> None:
        self.cuda, self.used = cuda, False
        self.before: list[Stream] = []

    def wait_stream(self, other: "Stream") -> None: ...

    def __enter__(self) -> None:
        self.before.append(self.cuda.current)
        self.cuda.current, self.used = self, True

    def __exit__(self, *_: object) -> None:
        self.cuda.current = self.before.pop()


@dataclass
class Capture:
    """What became of a graph; it outlives the graph."""

    stream: Stream
    tape: Tape
    replays: int = 0


class Graph:
    """A CUDA graph: to be replayed after it was captured, and not while another one is."""

    def __init__(self, cuda: "Cuda") -> None:
        self.cuda = cuda
        self.capture: Capture | None = None

    def replay(self) -> None:
        assert self.capture is not None, "replayed before it was captured"
        assert not self.cuda.is_capturing, "replayed while another graph is captured"
        self.capture.replays += 1
        self.capture.tape.play()


class Event:
    """An event: to be asked after it was recorded, and not while a graph is captured.

    It says that the device is behind as long as the test's `behind` says so.
    """

    def __init__(self, cuda: "Cuda") -> None:
        self.cuda, self.stream = cuda, None

    def record(self) -> None:
        assert not self.cuda.is_capturing
        self.stream = self.cuda.current

    def query(self) -> bool:
        assert self.stream is not None, "asked before it was recorded"
        assert not self.cuda.is_capturing, "would invalidate the capture"
        self.cuda.queries += 1
        return self.cuda.queries > self.cuda.behind


class Cuda:
    """What our code calls of torch.cuda, in its stead.

    A capture must be on a stream that is not the default one, on which steps have run before it,
    and which no other living graph was captured on (cuBLAS has one workspace a stream); it must
    look at its own thread alone; and nothing else may be captured meanwhile. Each graph has a
    memory pool of its own.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.default = self.current = Stream(self)
        self.is_capturing = False
        self.streams: list[Stream] = []
        self.captures: list[Capture] = []
        self.living = WeakSet[Graph]()
        self.queries = 0
        self.behind = 0
        """How often an event says that the device has not got there yet."""

    def install(self, monkeypatch: pytest.MonkeyPatch) -> "Cuda":
        for name, stand_in in (
            ("current_stream", lambda device=None: self._on(device).current),
            ("default_stream", lambda device=None: self._on(device).default),
            ("Stream", self._stream),
            ("stream", lambda stream: stream),
            ("CUDAGraph", lambda: Graph(self)),
            ("graph", self._capture),
            ("Event", lambda: Event(self)),
            ("synchronize", self._never),
        ):
            monkeypatch.setattr(torch.cuda, name, stand_in)
        return self

    def _on(self, device: torch.device | None) -> "Cuda":
        """The tensors of a test are on the CPU, and what is asked for their device is right."""
        assert device in (None, CPU, self.device), f"{device} is not the run's {self.device}"
        return self

    def _stream(self, device: torch.device) -> Stream:
        self._on(device).streams.append(Stream(self))
        return self.streams[-1]

    @contextmanager
    def _capture(
        self, graph: Graph, *, stream: Stream, capture_error_mode: str, pool: object = None
    ) -> Iterator[None]:
        assert capture_error_mode == "thread_local"
        assert pool is None, "a graph shares another one's memory"
        assert not self.is_capturing, "two captures at a time"
        assert stream is not self.default, "CUDA can't capture on the default stream"
        assert stream.used, "the steps before the capture ran on another stream"
        others = {other.capture.stream for other in self.living if other.capture}
        assert stream not in others, "two graphs on one stream"
        tape = Tape()
        graph.capture = Capture(stream, tape)
        self.captures.append(graph.capture)
        self.living.add(graph)
        self.is_capturing = True
        try:
            with stream, tape:
                yield
        finally:
            self.is_capturing = False
            tape.undo()

    def _never(self, *_: object) -> None:
        raise AssertionError("the host waits in the driver, where it hears no signal")
