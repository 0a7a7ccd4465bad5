"""Which GPUs a study may use: those of this machine that no other study of this user holds.

It needs no torch. A GPU's lock is let go by the kernel when its holder ends, however it ends.
"""

import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from degradation.config.schema import Machine
from degradation.launch.stopping import stopping
from degradation.system import files

WAIT = 1.0  # seconds between two attempts to claim a GPU


def names() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them: 0, 1 or MIG-….

    A GPU cut into several instances (MIG) is one device to a process that isn't given one of them
    by name, so its instances count where CUDA_VISIBLE_DEVICES names them.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]


def usable(machine: Machine) -> list[str]:
    """The GPUs that runs may be shared out to: all, or the one that the settings name."""
    if machine.device == "cpu":
        return []
    return names() if machine.device in ("auto", "cuda") else names()[:1]


@contextmanager
def claimed(wanted: list[str], folder: Path | None = None) -> Iterator[list[str]]:
    """Those of the GPUs `wanted` that are free, and ours until the end; waits for a first one.

    Raises Interrupted where it is asked to stop meanwhile.
    """
    place = folder or Path(tempfile.gettempdir()) / f"degradation-gpus-{os.getuid()}"
    files.make_folder(place)
    with ExitStack() as stack:
        ours: list[str] = []
        while True:
            for name in wanted:
                with suppress(files.LockedError):
                    stack.enter_context(files.lock(place / re.sub(r"[^\w-]", "-", f"gpu-{name}")))
                    ours.append(name)
            if ours:
                break
            stopping.check()
            time.sleep(WAIT)
        yield ours
