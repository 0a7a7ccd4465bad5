"""Show what a study would train and what that costs; nothing is trained or written.

    degradation plan +sweeps=figure6
    degradation plan -m model=plain,residual depth=20,56 data=digits

Every run is composed and checked. Operations, memory and disk are counted from the settings. The
hours follow from the operations and from what this device reached in two seconds of training the
study's cheapest network on images of noise. Exit status: 0; 1 where this machine lacks what the
study needs; 2 where a setting is refused.
"""

import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from degradation.commands import estimate, probe
from degradation.commands.probe import Speed
from degradation.config import compose
from degradation.launch import gpus
from degradation.runs import progress
from degradation.runs.progress import RunProgress
from degradation.system import console, files

SECONDS = 7.5  # With the start of Python before and the output after them, they become ten.
Group = list[RunProgress]
"""The runs of one network and length, which cost the same."""


def main(arguments: list[str]) -> int:
    """Print the plan; the exit status. Raises ConfigError and RunDirError."""
    deadline = time.monotonic() + SECONDS
    usage = "degradation plan [--no-probe] [-m] [KEY=VALUE | +sweeps=NAME] …"
    parser = console.parser("plan", __doc__, usage)
    parser.add_argument("--no-probe", action="store_true", help="measure nothing; tell no hours")
    options, rest = parser.parse_known_args(arguments)
    settings = compose.runs_of(rest)
    machine = settings[0].machine
    runs = progress.of_configs([s.config for s in settings], machine.runs)
    remaining = [s for s, run in zip(settings, runs, strict=True) if not run.finished]
    groups, problems = grouped(runs), []
    speed = Speed(unknown="not measured")
    try:
        if remaining and not options.no_probe:
            speed = probe.speed(remaining, deadline - time.monotonic())
    except probe.ProbeError as error:
        problems.append(f"device: {error}")
    console.print_line("\n".join([table(groups, speed), *notes(groups, speed)]))
    problems += lacking(groups, speed, Path(machine.runs).expanduser())
    for problem in problems:
        console.print_error(problem)
    return 1 if problems else 0


def grouped(runs: Sequence[RunProgress]) -> list[Group]:
    """The runs by network and length, in the order of the study."""
    groups: dict[tuple[str, int], Group] = defaultdict(list)
    for run in runs:
        groups[run.network, run.config.recipe.iterations].append(run)
    return list(groups.values())


def table(groups: Sequence[Group], speed: Speed) -> str:
    """A line a group, and their sum."""
    total = _line([run for group in groups for run in group], speed)
    total |= {"network": "all", "iterations": "", "parameters": "", "memory": ""}
    lines = [*(_line(group, speed) for group in groups), total]
    rows = [list(total), *(list(line.values()) for line in lines)]
    first, *others = (max(map(len, column)) for column in zip(*rows, strict=True))
    return "\n".join(
        f"{name:{first}}" + "".join(f"  {c:>{w}}" for c, w in zip(cells, others, strict=True))
        for name, *cells in rows
    )


def _line(group: Group, speed: Speed) -> dict[str, str]:
    """What the table says of a group, by column."""
    config, rate = group[0].config, speed.flops_per_second
    unfinished = [run for run in group if not run.finished]
    done, partial = len(group) - len(unfinished), sum(r.state != "missing" for r in unfinished)
    flops = sum(estimate.remaining_flops(run.config, run.iteration) for run in unfinished)
    return {
        "network": group[0].network,
        "iterations": f"{config.recipe.iterations:,}",
        "runs": str(len(group)),
        "done": str(done or "–"),
        "partial": str(partial or "–"),
        "parameters": f"{estimate.work(config).parameters:,}",
        "memory": _size(estimate.memory(config)),
        "disk": _size(_disk(group)),
        "PFLOP left": _rounded(flops / 1e15),
        "hours left": _hours(flops / rate / 3600) if rate else "–",
    }


def _disk(runs: Sequence[RunProgress]) -> float:
    """Bytes of all folders once they are finished."""
    return sum(estimate.disk(run.config) for run in runs)


def _size(size: float) -> str:
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _hours(hours: float) -> str:
    return "<0.01" if 0 < hours < 0.01 else f"{hours:,.2f}"


def notes(groups: Sequence[Group], speed: Speed) -> list[str]:
    """What the numbers mean, and what is not known."""
    lines = ["memory: of one run, at least; disk: of finished runs, without W&B's files"]
    if speed.flops_per_second is None:
        return [*lines, f"hours: {speed.unknown or 'not measured'}"]
    rate = speed.flops_per_second / 1e9
    lines.append(
        f"hours: of {speed.name} at {rate:,.0f} GFLOP/s, as measured just now, one run after the "
        "other; other depths may differ by a quarter"
    )
    configs = [group[0].config for group in groups]
    if (count := len(gpus.names())) > 1:
        lines.append(f"hours: {count} GPUs are here; cluster=joblib divides the hours by {count}")
    if any(config.numerics.compiled for config in configs):
        lines.append("hours: measured without torch.compile, which makes them fewer")
    if any(config.data.name == "imagenet" for config in configs):
        lines.append("not measured: reading and decoding the images, which may take longer")
    return lines


def lacking(groups: Sequence[Group], speed: Speed, runs: Path) -> list[str]:
    """What the study needs and this machine does not have."""
    need = _disk([run for group in groups for run in group if run.state == "missing"])
    existing = next(folder for folder in [runs, *runs.absolute().parents] if folder.exists())
    faults = [_too_large(group, speed) for group in groups]
    if need > (have := files.free(existing)):
        faults.append(
            f"disk: {_size(need)} are still to be written to {runs}, {_size(have)} are free; "
            "remedy: machine.runs=OTHER"
        )
    return [fault for fault in faults if fault]


def _too_large(group: Group, speed: Speed) -> str:
    """Why the runs that share a GPU do not fit into its memory; "" where they do."""
    count = min(len(group), speed.runs_at_once.get(str(group[0].config.depth), 1))
    need = count * estimate.memory(group[0].config)
    if speed.memory is None or need <= speed.memory:
        return ""
    return (
        f"memory: {group[0].network}: {count} at once need at least {_size(need)}, "
        f"{speed.name} has {_size(speed.memory)}; remedy: "
        f"machine.runs_per_gpu={max(1, count // 2)}, or a smaller recipe.batch_size"
    )
