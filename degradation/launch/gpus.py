"""Which GPU a run gets, where a machine has several: one that no other run of ours has.

The kernel lets go of a claim when its process ends, however it ends. It needs no torch.
"""

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from degradation.config.schema import Machine
from degradation.system import files

LOOK = 1.0  # seconds between two looks for a free one


def visible() -> int:
    """How many GPUs this process may use: those of CUDA_VISIBLE_DEVICES, else all there are."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return len([one for one in named.split(",") if one.strip() not in ("", "-1")])
    return len(list(Path("/dev").glob("nvidia[0-9]*")))


def shared_out(machine: Machine) -> int:
    """How many GPUs points are to be shared out to; 0 where each takes what it finds."""
    found = visible() if machine.device == "auto" else 0
    return found if found > 1 else 0


@contextmanager
def claimed(count: int, folder: Path | None = None) -> Iterator[int]:
    """The number of a GPU, of `count`, that is ours until the end; waits for one."""
    place = folder or Path(tempfile.gettempdir()) / f"degradation-gpus-{os.getuid()}"
    files.make_folder(place)
    with ExitStack() as stack:
        while True:
            for number in range(count):
                try:
                    stack.enter_context(files.lock(place / _name(number)))
                except files.LockedError:
                    continue
                yield number
                return
            time.sleep(LOOK)


def _name(number: int) -> str:
    """The lock's: by the GPU's own name, so that commands that see different ones agree."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    device = named.split(",")[number].strip() if named else str(number)
    return re.sub(r"[^\w-]", "-", f"gpu-{device}")
