"""Canaries in the environment and a netrc: a whole study is trained, and none is found again.

Not in the run folders, not in W&B's, not on the screen, not in a child's command line; and nothing
that was written may be written by others, though the umask is 0.
"""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

from degradation.system.paths import TOP

from .place import SMALL

CANARY = "c0ffee0123456789c0ffee0123456789c0ffee01"
POINT = [word for word in SMALL if not word.startswith(("machine.wandb", "machine.progress"))]


def environment(folder: Path) -> dict[str, str]:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    netrc = home / ".netrc"
    netrc.write_text(f"machine api.wandb.ai login user password {CANARY}netrc\n")
    netrc.chmod(0o600)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    homes = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"), str(home))
    return (
        kept
        | homes
        | {
            "NETRC": str(netrc),
            "PYTHONPATH": str(TOP),
            "WANDB_API_KEY": CANARY,
            "AWS_SECRET_ACCESS_KEY": f"{CANARY}aws",
        }
    )


def leaks(folder: Path, *words: str, **variables: str) -> list[str]:
    """Train a study in `folder`, and list where a canary is, or what others may write."""
    found: list[str] = []
    with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "degradation.run", "-m", *POINT, "model=plain,residual", *words],
            cwd=folder,
            env=environment(folder) | variables,
            umask=0,
            stdout=out,
            stderr=err,
        )
    lines: set[bytes] = set()
    while process.poll() is None:
        lines |= _command_lines(process.pid)
        time.sleep(0.02)
    if process.returncode != 0:
        found.append(f"status {process.returncode}: {(folder / 'err.txt').read_text()[-500:]}")
    if not any(b"degradation.training.worker" in line for line in lines):
        found.append("no child was seen")
    found += [f"a command line: {line!r}" for line in lines if CANARY.encode() in line]
    for path in folder.rglob("*"):
        if path.is_symlink() or path.name == ".netrc":
            continue
        if path.is_file() and CANARY.encode() in path.read_bytes():
            found.append(f"in {path.relative_to(folder)}")
        if stat.S_IMODE(path.stat().st_mode) & 0o022 and path.is_relative_to(folder / "runs"):
            found.append(f"others may write {path.relative_to(folder)}")
    if not list(folder.glob("runs/wandb/*run*/*.wandb")):
        found.append("W&B wrote nothing")
    return found


def _command_lines(parent: int) -> set[bytes]:
    """Those of all processes that descend from `parent`."""
    found, waiting = set(), [parent]
    while waiting:
        pid = waiting.pop()
        try:
            if pid != parent:
                found.add(Path(f"/proc/{pid}/cmdline").read_bytes())
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # it has ended
            continue
    return found
