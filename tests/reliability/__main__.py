"""`python -m tests.reliability`: run the sections, print the table, keep it in RELIABILITY.md."""

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from degradation.system import provenance

from . import cost, damage, disk, kill, resume, signals, sweeps, together
from .harness.figure import Figure

SECTIONS = {
    module.__name__.rpartition(".")[2]: module.figures
    for module in (kill, damage, signals, resume, disk, sweeps, together, cost)
}
BEGIN = "<!-- the table: written by `python -m tests.reliability --write` -->"
END = "<!-- its end -->"


def main() -> int:
    """1 where a figure isn't what was wanted."""
    options = arguments()
    torch.set_num_threads(1)
    found, seconds = dict[str, list[Figure]](), dict[str, float]()
    # Now: the page itself is about to be changed.
    circumstances = describe(options.quick, options.seed)
    for name in options.only:
        print(f"{name} …", end=" ", file=sys.stderr, flush=True)
        began = time.monotonic()
        found[name] = section(name, not options.quick, options.seed)
        seconds[name] = time.monotonic() - began
        wrong = [figure for figure in found[name] if not figure.ok]
        print(f"{len(wrong)} figures not as wanted, {seconds[name]:.0f} s", file=sys.stderr)
        for figure in wrong:
            print(f"  {figure.what}\n    {figure.found}", file=sys.stderr)
        page = table(found, seconds, circumstances)
        if options.write:  # each time: a table that was cut short is one, too
            write(options.write, page)
    print(page)
    return 0 if all(figure.ok for name in found for figure in found[name]) else 1


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability")
    parser.add_argument("--quick", action="store_true", help="the counts of the test suite")
    parser.add_argument("--only", default=",".join(SECTIONS), help="sections, with commas")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--write", type=Path, help="put the table into this page, between its marks"
    )
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := sorted({*options.only} - {*SECTIONS}):
        parser.error(f"--only={','.join(unknown)}: must be of {', '.join(SECTIONS)}")
    return options


def section(name: str, full: bool, seed: int) -> list[Figure]:
    """The figures of one section."""
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        return SECTIONS[name](full, Path(folder), seed)


def describe(quick: bool, seed: int) -> str:
    """When, where, on which commit and how."""
    versions = ", ".join(f"{k} {v}" for k, v in provenance.versions().items())
    return (
        f"{time.strftime('%Y-%m-%d')}, commit {provenance.commit()}, "
        f"{len(os.sched_getaffinity(0))} cores of {provenance.processor()}, "
        f"{platform.system()} {platform.release()}, {versions}; "
        f"seed {seed}, {'the quick form' if quick else 'in full'}"
    )


def table(
    found: Mapping[str, Sequence[Figure]], seconds: Mapping[str, float], circumstances: str
) -> str:
    """The page's part: the circumstances, a line a figure, how long it took."""
    rows = [
        [f"**{name.capitalize()}**" if number == 0 else "", f.what, f.wanted, f.found, verdict(f)]
        for name, figures in found.items()
        for number, f in enumerate(figures)
    ]
    lines = ["| " + " | ".join(_cell(text) for text in row) + " |" for row in rows]
    verdicts = Counter(row[-1] for row in rows)
    spent = ", ".join(f"{name} {s:.0f}" for name, s in seconds.items())
    return "\n".join(
        [
            f"{circumstances}, {sum(seconds.values()) / 60:.0f} minutes.",
            "",
            "| | what was done | wanted | found | |",
            "|---|---|---|---|---|",
            *lines,
            "",
            f"{verdicts['yes']} of {len(rows)} as wanted, {verdicts['skipped']} skipped. "
            f"Seconds: {spent}.",
        ]
    )


def verdict(figure: Figure) -> str:
    """What could not be tried is not as wanted, and no reason to fail."""
    if figure.ok and figure.found.startswith("skipped"):
        return "skipped"
    return "yes" if figure.ok else "**NO**"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())[:600]


def write(page: Path, part: str) -> None:
    """Replace what stands between the marks of `page`."""
    before, _, rest = page.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    page.write_text(f"{before}{BEGIN}\n{part}\n{END}{after}")


if __name__ == "__main__":
    raise SystemExit(main())
