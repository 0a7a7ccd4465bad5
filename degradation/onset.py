"""The depth at which degradation begins, by arm and length: bisection over depths and seeds.

    python -m degradation.onset data=digits recipe=digits_short
    python -m degradation.onset data=digits recipe=digits --lengths 100,200,400 --to 110

Settings are those of `degradation.run`; model, depth and seed are what is searched. A depth
degrades where its final training error lies above that of `--from` layers, paired by seed, by more
than the margin. Seeds come one by one until a t interval says so or says not, `--seeds` at least
and `--most` at most; as each new seed is another look at the data, the level is divided by the
number of looks.
What stays open counts as not degrading, and is marked.

The search takes for granted that a net degrades more, the deeper it is. It trains as
`degradation.run` does, and nothing twice: the same command goes on where it was. It prints a table,
leaves the numbers in `onset.csv` beside the runs, and `analysis/plot_curves.py` draws them.
"""

import argparse
import csv
import dataclasses
import io
import math
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from scipy.special import stdtrit

from degradation import launch, schema, screen, storage, study
from degradation.design import blocks_per_stage
from degradation.schema import Invalid
from degradation.spec import ARMS, Settings
from degradation.store import DISK, Foreign, Run, runs_in

DEGRADES, NOT, OPEN, DIVERGED = "degrades", "does not", "open", "diverged"
CSV = "onset.csv"

Train = Callable[[Sequence[Settings]], None]


@dataclass(frozen=True)
class Rule:
    """When a depth's question is answered."""

    margin: float = 0.5
    """Points of training error that are as good as none (half of what the paper calls a rise)."""
    seeds: int = 3
    """The fewest that decide."""
    most: int = 5
    """After which an open question stays open."""
    level: float = 0.05
    least_spread: float = 0.1
    """The smallest standard deviation between seeds that is believed."""

    def __post_init__(self) -> None:
        if not 2 <= self.seeds <= self.most:
            raise Invalid(f"--seeds {self.seeds}, --most {self.most}: must be at least 2, and not "
                          "more than --most")  # fmt: skip
        if not 0 <= self.margin < 100:
            raise Invalid(f"--margin {self.margin}: must be in [0, 100), in percent points")

    @property
    def looks(self) -> int:
        return self.most - self.seeds + 1


@dataclass(frozen=True)
class Answer:
    """What is known of one depth: deep − shallow training error, in points, over `n` seeds."""

    depth: int
    n: int
    diverged: int
    mean: float
    low: float
    high: float
    word: str


@dataclass(frozen=True)
class Onset:
    """Between which depths degradation begins; None: beyond the deepest that was asked."""

    shallow: int
    """The deepest that does not degrade."""
    deep: int | None
    """The shallowest that does."""
    asked: tuple[Answer, ...] = field(default=())

    @property
    def text(self) -> str:
        between = f"{self.shallow} to {self.deep}" if self.deep else f"beyond {self.shallow}"
        unsure = [str(a.depth) for a in self.asked if a.word == OPEN]
        return between + (f" (open: {', '.join(sorted(unsure, key=int))})" if unsure else "")


def answer(depth: int, differences: Sequence[float], diverged: int, rule: Rule) -> Answer:
    """Judge one depth; runs that diverged have no error, and withhold `does not`."""
    n, nan = len(differences), math.nan
    if diverged > n and n + diverged >= rule.seeds:
        return Answer(depth, n, diverged, nan, nan, nan, DIVERGED)
    if n < rule.seeds:
        return Answer(depth, n, diverged, nan, nan, nan, OPEN)
    mean = sum(differences) / n
    spread = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1))
    quantile = float(stdtrit(n - 1, 1 - rule.level / rule.looks / 2))
    half = quantile * max(spread, rule.least_spread) / math.sqrt(n)
    low, high = mean - half, mean + half
    below = NOT if not diverged else OPEN
    word = DEGRADES if low > rule.margin else below if high < rule.margin else OPEN
    return Answer(depth, n, diverged, mean, low, high, word)


def bisect(shallow: int, deep: int, ask: Callable[[int], Answer]) -> Onset:
    """The neighbouring depths between which degradation begins, if `deep` degrades at all."""
    asked = [ask(deep)]
    if asked[0].word not in (DEGRADES, DIVERGED):
        return Onset(deep, None, tuple(asked))
    low, high = blocks_per_stage(shallow), blocks_per_stage(deep)
    while high - low > 1:
        middle = (low + high) // 2
        asked.append(ask(6 * middle + 2))
        if asked[-1].word in (DEGRADES, DIVERGED):
            high = middle
        else:
            low = middle
    return Onset(6 * low + 2, 6 * high + 2, tuple(asked))


def search(base: Settings, reference: int, deepest: int, rule: Rule, train: Train) -> Onset:
    """The onset of one arm and length; trains what it needs. Raises Foreign where a run failed."""

    def ask(depth: int) -> Answer:
        for count in range(rule.seeds, rule.most + 1):
            pairs = [(_at(base, reference, s), _at(base, depth, s)) for s in range(count)]
            train([point for pair in pairs for point in pair])
            errors = [(final_error(a), final_error(b)) for a, b in pairs]
            differences = [b - a for a, b in errors if a is not None and b is not None]
            found = answer(depth, differences, count - len(differences), rule)
            if found.word != OPEN:
                break
        return found

    return bisect(reference, deepest, ask)


def _at(base: Settings, depth: int, seed: int) -> Settings:
    return dataclasses.replace(base, depth=depth, seed=seed)


def final_error(settings: Settings) -> float | None:
    """The training error of a finished run's last row; None where it diverged."""
    run = Run.of(settings.point, settings.machine.runs)
    result = run.result()
    if result is None:
        reason = (run.failure() or {}).get("message", run.state())
        raise Foreign(f"{run.folder} has no result ({reason}); the same command goes on")
    rows = run.rows()
    return float(rows[-1]["train_error"]) if result["outcome"] == "done" else None


def of_length(base: Settings, iterations: int) -> Settings:
    """The settings with so many iterations, and the drops at the same shares of them."""
    recipe = base.recipe
    share = iterations / recipe.iterations
    drops = tuple(max(1, round(drop * share)) for drop in recipe.drops)
    every = max(1, round(recipe.eval_every * min(1.0, share)))
    changed = dataclasses.replace(recipe, iterations=iterations, drops=drops, eval_every=every)
    return dataclasses.replace(base, recipe=changed)


def train(points: Sequence[Settings], jobs: int) -> None:
    """Train what has no result yet: together on a GPU, else `jobs` at a time."""
    todo = [s for s in points if Run.of(s.point, s.machine.runs).result() is None]
    todo.sort(key=lambda s: -s.depth)
    if not todo:
        return
    if len(todo) > 1 and launch.shares_a_gpu(todo[0].machine):
        launch.train_together(todo)
    elif jobs == 1 or len(todo) == 1:
        for settings in todo:
            launch.train_point(settings)
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(min(jobs, len(todo)), mp_context=context) as pool:
            list(pool.map(launch.train_point, todo))
        launch.stopping.check()


def settings_of(arm: str, overrides: Sequence[str]) -> Settings:
    """What a command line sets for one arm. Raises Invalid where it names more than one point."""
    for word in overrides:
        key = word.lstrip("+").partition("=")[0]
        if key in ("model", "depth", "seed", "sweeps", "-m", "--multirun"):
            raise Invalid(f"{word}: model, depth and seed are what is searched; see --help")
    found = study.settings(study.Line.read([*overrides, f"model={arm}"]))
    if len(found) != 1:
        raise Invalid(f"{' '.join(overrides)}: names {len(found)} points; sweep lengths by "
                      "--lengths, and nothing else")  # fmt: skip
    return found[0]


def main(arguments: Sequence[str]) -> int:
    """The command: 0, 2 refused or a run failed, 5 the disk refused, 128 + n by signal n."""
    asked, overrides = _parser().parse_known_args(list(arguments))
    screen.show_messages()
    launch.stopping.listen()
    try:
        rule = Rule(asked.margin, asked.seeds, asked.most)
        if blocks_per_stage(asked.shallow) >= blocks_per_stage(asked.to):
            raise Invalid(f"--to {asked.to}: must be above --from {asked.shallow}")
        bases = {arm: settings_of(arm, overrides) for arm in asked.arms.split(",")}
        machine = next(iter(bases.values())).machine
        jobs = asked.jobs or max(1, (os.cpu_count() or 1) // machine.threads)
        lines = []
        for arm, base in bases.items():
            lengths = [int(n) for n in asked.lengths.split(",")] if asked.lengths else None
            for iterations in lengths or [base.recipe.iterations]:
                of = of_length(base, iterations) if lengths else base
                onset = search(of, asked.shallow, asked.to, rule, lambda p: train(p, jobs))
                lines += list(_lines(of, asked.shallow, onset))
                print("\n".join(_table(arm, iterations, asked.shallow, onset)), flush=True)
        _write(Path(machine.runs).expanduser() / CSV, lines)
        launch.leave_mirror(runs_in(machine.runs))
    except (schema.Invalid, Foreign, storage.Failed) as error:
        print(screen.shown(str(error)), file=sys.stderr)
        return 5 if isinstance(error, DISK) else 2
    except launch.Interrupted as stopped:
        print("stopped; the same command goes on where it was", file=sys.stderr)
        return 128 + stopped.number
    print(f"{Path(machine.runs).expanduser() / CSV}; figures: "
          f"python analysis/plot_curves.py {machine.runs}")  # fmt: skip
    return 0


def _table(arm: str, iterations: int, reference: int, onset: Onset) -> Iterator[str]:
    name = f"{arm}, {iterations} iterations"
    yield f"{name}: degradation beside {reference} layers begins {onset.text}"
    for a in sorted(onset.asked, key=lambda a: a.depth):
        interval = f"{a.mean:+8.2f} [{a.low:+.2f}, {a.high:+.2f}]" if a.n > 1 else "       –"
        diverged = f", {a.diverged} without an error" if a.diverged else ""
        yield f"  {a.depth:>5} layers {interval} points, n={a.n}{diverged}: {a.word}"


def _lines(base: Settings, reference: int, onset: Onset) -> Iterator[dict[str, object]]:
    fixed = {"data": base.data.name, "protocol": base.point.protocol, "arm": base.point.arm,
             "iterations": base.recipe.iterations, "reference": reference}  # fmt: skip
    for one in sorted(onset.asked, key=lambda a: a.depth):
        yield fixed | dataclasses.asdict(one) | {"onset": onset.text}


def _write(path: Path, lines: Sequence[dict[str, object]]) -> None:
    """The lines, and those that an earlier search left of other protocols and arms."""
    earlier = []
    if path.exists():
        searched = {(str(line["protocol"]), str(line["arm"])) for line in lines}
        with path.open(newline="") as file:
            earlier = [line for line in csv.DictReader(file)
                       if (line["protocol"], line["arm"]) not in searched]  # fmt: skip
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows([*earlier, *lines])
    storage.write_atomically(path, text.getvalue().encode())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m degradation.onset", description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--from", type=int, default=20, dest="shallow", metavar="DEPTH", help="the net beside it")
    add("--to", type=int, default=56, metavar="DEPTH", help="the deepest that is asked")
    add("--arms", default=",".join(ARMS), help="of plain,residual")
    add("--lengths", help="iterations, with commas; the recipe's without it")
    add("--seeds", type=int, default=Rule.seeds, help="the fewest that decide")
    add("--most", type=int, default=Rule.most, help="the most that are trained")
    add("--margin", type=float, default=Rule.margin, metavar="POINTS", help="as good as equal")
    add("--jobs", type=int, default=0, help="points at a time on a CPU; 0: one a core")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
