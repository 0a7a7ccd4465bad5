"""How iterations are carried out: launched kernel by kernel, or recorded once and replayed.

The step reads its batch from fixed tensors, its learning rate and its number from tables on the
device, in the row that a cursor there names, and moves the cursor. So it is the same work every
time, and a GPU can record it as one CUDA graph, whose replay costs the host next to nothing; a
deep, narrow network's kernels are so small that launching each one costs more than running it. The
kernels are the same, and so should be the bits (tests/test_gpu.py; no GPU has run it yet). How the
recording is made is handed in (`Record`): the logic around it also runs, and is tested, without a
GPU.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from degradation.config.schema import RunConfig
from degradation.config.validation import ConfigError
from degradation.data.device_loader import to_device
from degradation.data.loaders import EvalLoader, TrainLoader
from degradation.models.kernels import cpu as native
from degradation.training import optimizer
from degradation.training.devices.distributed import ALONE, Ranks
from degradation.training.state import State
from degradation.training.step import (
    Count,
    examine,
    gradients,
    training_step,
)

log = logging.getLogger("degradation")

Work = Callable[[], object]
Record = Callable[[Work, list[Tensor]], Work]
"""Takes work and the tensors it changes, and gives what does that work again."""

TRIALS = 3  # runs before a recording, in which libraries allocate and choose
TABLE = 4096  # iterations whose rates are on the device
LEAD = 2  # launches that the host may be ahead of the device


class Engine:
    """Carries out the iterations and the exams of one state."""

    def __init__(
        self,
        config: RunConfig,
        state: State,
        stream: TrainLoader,
        record: Record | None,
        parts: int = 1,
        group: Ranks = ALONE,
    ) -> None:
        """Without `record`, everything is launched each time. `parts`: see step.training_step."""
        self.config, self.state, self.stream, self.parts = config, state, stream, parts
        self.record, self.group = record, group
        self.device = device = state.gradient_norm.device
        self.batch: tuple[Tensor, Tensor] | None = None
        """What the step reads: always the same tensors where it is recorded."""
        self.cursor = torch.zeros(1, dtype=torch.int64, device=device)
        self.numbers = torch.zeros(TABLE, dtype=torch.int64, device=device)
        self.rates = torch.zeros(TABLE, dtype=torch.float32, device=device)
        self.loaded = range(0)
        self.loaded_for: tuple[int | None, ...] = ()
        """The end of the warm-up, and the drops by a plateau, that the loaded rates assume."""
        self.recorded: dict[tuple[object, ...], Work] = {}
        self.gradients: dict[tuple[object, ...], list[Tensor]] = {}
        """What each kind of launch leaves its last gradients in."""
        self.newest: list[Tensor] = []
        """Those of the last launch."""
        self.launched: deque[torch.cuda.Event] = deque()
        if config.numerics.compiled:
            compile_blocks(state)
        if config.numerics.native:
            native.use(state.network)

    def advance(self, limit: int) -> int:
        """Train for at most `limit` iterations; for how many it was.

        No row, no end and no look at the warm-up may be due before the last of them.
        """
        self._load()
        batch = self.stream.get_batch(self.state.iteration)
        if self.record is None or self.batch is None:
            self.batch = batch
        else:
            for tensor, value in zip(self.batch, batch, strict=True):
                tensor.copy_(value)
        kind = ("train", self.state.warmup_end is None)
        self._do(kind, lambda: self._iterate(kind))
        self.newest = self.gradients[kind]
        self.state.iteration += 1
        self._keep_pace()
        return 1

    def note_gradient(self) -> None:
        """Keep the norm of the last minibatch's gradient, where this process has trained on one."""
        if self.newest:
            self.state.gradient_norm.copy_(get_total_norm(self.newest))

    def ready(self) -> bool:
        """Whether `advance` would return without waiting for the device."""
        if len(self.launched) < LEAD:
            return True
        return bool(self.launched[0].query())  # type: ignore[no-untyped-call]

    def examine(self, name: str, exam: EvalLoader, look: Work) -> tuple[float, int]:
        """Sum of the losses and number of errors on an exam, always the same one under a `name`.

        Between two batches it calls `look`, which may raise.
        """
        network, precision = self.state.network, self.config.numerics.precision
        if self.group.size > 1:  # they stop together or not at all: between iterations
            look = nothing
        sums = examine(network, _looking(exam, look), precision)
        loss, errors = self.group.total(sums).tolist()
        return loss, int(errors)

    def _load(self) -> None:
        """Fill the tables from the state's iteration on, where they don't have it."""
        state, recipe = self.state, self.config.recipe
        known = (state.warmup_end, *state.plateau.dropped)
        if state.iteration in self.loaded and known == self.loaded_for:
            return
        first = state.iteration
        self.loaded = range(first, min(first + TABLE, recipe.iterations))
        self.loaded_for = known
        count = len(self.loaded)
        dropped = state.plateau.dropped
        rates = [optimizer.learning_rate(recipe, i, state.warmup_end, dropped) for i in self.loaded]
        self.rates[:count] = to_device(np.array(rates, dtype=np.float32), self.device)
        self.numbers[:count] = to_device(np.array(self.loaded, dtype=np.int64), self.device)
        self.cursor.zero_()

    def _iterate(self, kind: tuple[object, ...]) -> None:
        """One iteration, on the device alone."""
        state, ranks = self.state, self.group
        assert self.batch is not None
        x, labels = self.batch
        number = self.numbers.index_select(0, self.cursor)[0]
        rate = self.rates.index_select(0, self.cursor)[0]
        optimizer.set_learning_rate(state.optimizer, rate)
        loss, logits = training_step(
            state.network, state.optimizer, x, labels, self.config.numerics.precision, ranks,
            self.parts,
        )  # fmt: skip
        count = Count.of(loss, logits, labels, ranks)
        state.row.add(number, count)
        if state.warmup_end is None:
            state.window.add(number, count)
        self.cursor += 1
        self.gradients[kind] = gradients(state.network)

    def _do(self, key: tuple[object, ...], work: Work) -> None:
        if self.record is None:
            work()
            return
        if key not in self.recorded:
            began = time.monotonic()
            changed = [*self.state.tensors().values(), self.cursor]
            self.recorded[key] = self.record(work, changed)
            log.info("recorded %s in %.1f s", " ".join(map(str, key)), time.monotonic() - began)
        self.recorded[key]()

    def _keep_pace(self) -> None:
        """Wait until the device is at most LEAD launches behind: a stop must not come late."""
        if self.device.type != "cuda":
            return
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self.launched.append(event)
        if len(self.launched) > LEAD:
            self.launched.popleft().synchronize()


def nothing() -> None:
    """To be called where nothing is to be done."""


def _looking(
    batches: Iterable[tuple[Tensor, Tensor]], look: Work
) -> Iterable[tuple[Tensor, Tensor]]:
    for batch in batches:
        look()
        yield batch


def record_for(graph: str, device: torch.device) -> Record | None:
    """What `numerics.graph` asks for on a device. Raises ConfigError."""
    if device.type != "cuda":
        if graph == "on":
            raise ConfigError(f"numerics.graph=on: needs a CUDA device, and this run runs on {device}"
                          "; say auto or off, or machine.device=cuda")  # fmt: skip
        return None
    return None if graph == "off" else cuda_graph


def cuda_graph(work: Work, changed: list[Tensor]) -> Work:
    """`work` as a CUDA graph. Its trial runs leave no trace in `changed`."""
    before = [tensor.clone() for tensor in changed]
    current = torch.cuda.current_stream()
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    side.wait_stream(current)
    with torch.cuda.stream(side):
        for _ in range(TRIALS):
            work()
            for tensor, value in zip(changed, before, strict=True):
                tensor.copy_(value)
    current.wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):  # records, runs nothing
        work()
    return graph.replay


def compile_blocks(state: State) -> None:
    """Compile each block by itself: a few compilations serve any depth.

    Blocks of one shape share their code, so that 1,202 layers take no longer than 20.
    """
    import torch._dynamo.config as dynamo  # two seconds that nothing else pays for

    # At its usual limit it would fall back to the uncompiled block with no more than a warning.
    dynamo.recompile_limit = 64
    dynamo.fail_on_recompile_limit_hit = True
    for block in state.network.get_submodule("blocks").children():
        block.compile(fullgraph=True, dynamic=False)
