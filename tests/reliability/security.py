"""Security: attacks of every kind, checkpoints mutated by the thousand, canaries for secrets."""

import tempfile
from collections import defaultdict
from pathlib import Path

from . import (
    attacks_by_config,
    attacks_by_files,
    attacks_on_archives,
    attacks_on_checkpoints,
    fuzz,
    secrets,
)
from .attack import Attack, harm
from .figure import Figure


def attacks(full: bool) -> list[Attack]:
    """All attacks; the quick form leaves out combinations, and nothing of a kind of its own."""
    return [
        *attacks_on_checkpoints.attacks(full),
        *attacks_on_archives.ATTACKS,
        *attacks_by_config.attacks(full),
        *attacks_by_files.attacks(full),
    ]


def figures(full: bool, folder: Path, seed: int) -> list[Figure]:
    """A line a kind of attack, one for the mutations, one for the secrets."""
    kinds: dict[str, list[Attack]] = defaultdict(list)
    for attack in attacks(full):
        kinds[attack.kind].append(attack)
    tables = [_figure(kind, kinds[kind], folder) for kind in sorted(kinds)]
    return [*tables, _fuzzed(10_000 if full else 500, seed, folder), _secrets(folder)]


def _figure(kind: str, tried: list[Attack], folder: Path) -> Figure:
    bad = []
    for attack in tried:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            if harm(attack, Path(place)):
                bad.append(attack.what)
    got = f"{len(bad)} of {len(tried)}" + (f": {bad[0]}" if bad else "")
    return Figure("security", f"hostile: {kind}", f"0 of {len(tried)} do harm", got, not bad)


def _fuzzed(count: int, seed: int, folder: Path) -> Figure:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        outcome = fuzz.read_all(count, seed, Path(place))
    wanted = f"{count:,} read or refused, 256 MiB"
    return Figure(
        "security", "mutated checkpoints", wanted, outcome.text.strip(), not outcome.status
    )


def _secrets(folder: Path) -> Figure:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        found = secrets.leaks(Path(place), "machine.wandb=offline")
    got = f"{len(found)}" + (f": {found[0]}" if found else "")
    return Figure("security", "secrets in written bytes, command lines, modes", "0", got, not found)
