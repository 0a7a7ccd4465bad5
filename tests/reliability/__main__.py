"""The command: run the sections, print the table, keep it (see the package's head)."""

import argparse
import importlib
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch

from degradation.system import provenance

from .figure import Figure

SECTIONS = ("kill", "damage", "signals", "resume", "disk", "sweeps", "together", "cost")
BEGIN, END = (
    "<!-- the table: written by `python -m tests.reliability --write` -->",
    "<!-- its end -->",
)


def main() -> int:
    """1 where a figure isn't what was wanted."""
    parser = argparse.ArgumentParser(prog="python -m tests.reliability")
    parser.add_argument("--quick", action="store_true", help="the counts of the test suite")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--write", type=Path, help="put the table into this page, between its marks"
    )
    asked = parser.parse_args()
    names = asked.only.split(",")
    if unknown := sorted({*names} - {*SECTIONS}):
        parser.error(f"--only={','.join(unknown)}: must be of {', '.join(SECTIONS)}")
    torch.set_num_threads(1)
    found, seconds = list[Figure](), dict[str, float]()
    what = circumstances(asked.quick, asked.seed)  # now: the page itself is about to be changed
    for number, name in enumerate(names, 1):
        print(f"{number}/{len(names)} {name} …", end=" ", file=sys.stderr, flush=True)
        began = time.monotonic()
        got = section(name, not asked.quick, asked.seed)
        seconds[name] = time.monotonic() - began
        fine = sum(f.ok for f in got)
        print(f"{fine} of {len(got)} figures as wanted, {seconds[name]:.0f} s", file=sys.stderr)
        for figure in got:
            if not figure.ok:
                print(f"  {figure.what}\n    {figure.got}", file=sys.stderr)
        found += got
        page = table(found, seconds, what)
        if asked.write:  # each time: a table that was cut short is one, too
            written(asked.write, page)
    print(page)
    return 0 if all(f.ok for f in found) else 1


def section(name: str, full: bool, seed: int) -> list[Figure]:
    """The figures of one section; one that says so where there is no such section here."""
    try:
        module = importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        if error.name != f"{__package__}.{name}":
            raise
        return [Figure(name, "the whole section", "figures", "not run: it isn't there", False)]
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        found: list[Figure] = module.figures(full, Path(folder), seed)
        return found


def circumstances(quick: bool, seed: int) -> str:
    """When, where, on which commit and how."""
    versions = ", ".join(f"{k} {v}" for k, v in provenance.versions().items())
    return (
        f"{time.strftime('%Y-%m-%d')}, commit {provenance.commit()}, {cpu()}, "
        f"{platform.system()} {platform.release()}, {versions}; "
        f"seed {seed}, {'the quick form' if quick else 'in full'}"
    )


def table(found: Sequence[Figure], seconds: dict[str, float], what: str) -> str:
    """The page's part: the circumstances, a line a figure, how long it took."""
    minutes = sum(seconds.values()) / 60
    lines = [
        f"{what}, {minutes:.0f} minutes.",
        "",
        "| | what was done | wanted | found | |",
        "|---|---|---|---|---|",
    ]
    before = ""
    for f in found:
        first = f"**{f.section}**" if f.section != before else ""
        cells = [first, f.what, f.wanted, f.got, verdict(f)]
        lines.append("| " + " | ".join(_cell(c) for c in cells) + " |")
        before = f.section
    spent = ", ".join(f"{name} {s:.0f}" for name, s in seconds.items())
    verdicts = Counter(verdict(f) for f in found)
    count = f"{verdicts['yes']} of {len(found)} as wanted, {verdicts['skipped']} skipped."
    return "\n".join([*lines, "", f"{count} Seconds: {spent}."])


def verdict(figure: Figure) -> str:
    """What could not be tried is not as wanted, and no reason to fail."""
    if figure.ok and figure.got.startswith("skipped"):
        return "skipped"
    return "yes" if figure.ok else "**NO**"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())[:600]


def cpu() -> str:
    """The processor, and how many of it this process may use."""
    names = [
        line.partition(":")[2].strip()
        for line in _lines("/proc/cpuinfo")
        if line.startswith("model name")
    ]
    return f"{len(os.sched_getaffinity(0))} cores of {names[0] if names else platform.machine()}"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def written(page: Path, part: str) -> None:
    """Replace what stands between the marks of `page`."""
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{part}\n{END}{after}")


if __name__ == "__main__":
    raise SystemExit(main())
