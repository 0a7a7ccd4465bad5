"""The command: run the sections, print the table, keep it (see the package's head)."""

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

import torch

from .figure import Figure

SECTIONS = (
    "kill", "damage", "signals", "resume", "disk", "sweeps", "together", "bad_input", "security",
    "cost",
)  # fmt: skip


def main() -> int:
    """1 where a figure isn't what was wanted."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--quick", action="store_true", help="the counts of the test suite")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found: list[Figure] = []
    for name in asked.only.split(","):
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"soak-{name}-") as folder:
            section = importlib.import_module(f".{name}", __package__)
            got = section.figures(not asked.quick, Path(folder), asked.seed)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr)
        for f in got:
            print(f"  {'ok' if f.ok else 'NOT'}  {f.what}: {f.got}", file=sys.stderr)
        found += got
    return 0 if all(f.ok for f in found) else 1


if __name__ == "__main__":
    raise SystemExit(main())
