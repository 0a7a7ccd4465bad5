"""Results as Markdown, and as a roofline image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from degradation.bench import costs as costs_of
from degradation.bench import roof
from degradation.bench.contest import Result
from degradation.models import cost
from degradation.system import provenance

POINT = 64_000  # iterations of the paper's recipe
STUDY = (20, 32, 44, 56, 110)
SEEDS = 5
BATCH = 128


def throughput(results: Sequence[Result]) -> str:
    """A line a contestant."""
    lines = [
        "| network | contestant | images/s | × practice [rounds] | of its roof | first step | "
        "memory | 64k iterations |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for r in results:
        middle, low, high = r.ratio
        hours = POINT * BATCH / r.images_per_second / 3600
        lines.append(
            f"| {r.arm}-{r.depth} | {r.contestant} | {r.images_per_second:,.0f} "
            f"| {middle:.2f} [{low:.2f}, {high:.2f}] | {r.roof:.0%} | {r.first_step:.1f} s "
            f"| {r.memory / 1e6:,.0f} MB | {duration(hours)} |"
        )
    return "\n".join(lines)


def study_cost(results: Sequence[Result], cores: int) -> list[str]:
    """A sentence a contestant: what 2 arms × 5 depths × 5 seeds × 64k iterations take.

    Depths that weren't measured lie on the straight line through those that were.
    """
    found = []
    for name in dict.fromkeys(r.contestant for r in results):
        mine = [r for r in results if r.contestant == name]
        depths = sorted({r.depth for r in mine})
        if len(depths) < 2:
            continue
        seconds = 0.0
        for arm in {r.arm for r in mine}:
            line = [(r.depth, 1 / r.images_per_second) for r in mine if r.arm == arm]
            slope, start = np.polyfit([d for d, _ in line], [each for _, each in line], 1)
            seconds += sum(POINT * BATCH * (slope * d + start) for d in STUDY)
        seconds *= SEEDS * 2 / len({r.arm for r in mine})
        found.append(f"{name}: {duration(seconds / 3600)} on one device, "
                     f"{duration(seconds / 3600 / cores)} on {cores}")  # fmt: skip
    return found


def duration(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"


def machine(device: str, found: roof.Machine) -> str:
    """The machine, the versions, the commit, and what was probed."""
    versions = provenance.versions()
    return (
        f"{device}, torch {versions['torch']}, Python {versions['python']}, commit "
        f"{provenance.commit()}. Probed in this run: convolution "
        f"{found.convolution / 1e9:,.0f}, matrix product {found.product / 1e9:,.0f} GFLOP/s, copy "
        f"{found.copy / 1e9:,.1f} GB/s."
    )


def costs() -> list[str]:
    """The harness's own costs, measured now, and how they grow."""
    ours, pil = costs_of.augmentation().values()
    spent, growth = costs_of.overhead(), costs_of.growth()
    starts, first = costs_of.start_up(), costs_of.first_step()
    share = (spent["rows"] + spent["checkpoints"]) / spent["all"]
    time, memory = growth.straightness
    counts = sorted(starts)
    each = (starts[counts[-1]] - starts[counts[0]]) / (counts[-1] - counts[0])
    per_depth = zip(growth.depths, growth.milliseconds, growth.megabytes, strict=True)
    return [
        f"- Crop and flip: {ours:.1f} µs a image, one by one with PIL {pil:.0f} µs: "
        f"{pil / ours:.0f} times.",
        f"- Of a digits run of 20 layers ({spent['all']:.1f} s), rows took {spent['rows']:.3f} s "
        f"and checkpoints {spent['checkpoints']:.3f} s: {share:.2%}.",
        f"- From the command to the end of the first iteration, digits: {first:.1f} s.",
        "- A study whose points are all finished: "
        + ", ".join(f"{n:,} run{'s' * (n > 1)} {starts[n]:.2f} s" for n in counts)
        + f"; {1e3 * each:.1f} ms a point.",
        "- Growth with depth, an iteration on 8 images of 8×8 and the tensors of one on 128 of "
        f"32×32: straight lines through both have R² {time:.4f} and {memory:.4f}.",
        "",
        "| depth | ms | MB |",
        "|---:|---:|---:|",
        *(f"| {depth:,} | {ms:,.1f} | {mb:,.0f} |" for depth, ms, mb in per_depth),
    ]


def roofline(results: Sequence[Result], found: roof.Machine, path: Path) -> None:
    """Operations a second against operations a byte, under the machine's two roofs."""
    import matplotlib

    matplotlib.use("agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 4.5), layout="constrained")
    knee = found.convolution / found.copy
    intensity = np.geomspace(knee / 30, knee * 30, 100)
    axes.loglog(intensity, np.minimum(found.convolution, intensity * found.copy) / 1e9, color="k")
    for number, name in enumerate(dict.fromkeys(r.contestant for r in results)):
        mine = [r for r in results if r.contestant == name]
        works = [cost.work(r.depth) for r in mine]
        compiled, each = "compiled" in name or "fast" in name, 2 if name.startswith("fast") else 4
        x = [
            w.training / w.traffic(r.arm, compiled, each) for w, r in zip(works, mine, strict=True)
        ]
        y = [w.training * r.images_per_second / 1e9 for w, r in zip(works, mine, strict=True)]
        axes.scatter(x, y, label=name, color=f"C{number}", marker="osD^vP*X<>"[number % 10], s=28)
    axes.set(xlabel="operations a byte of the kernels' traffic", ylabel="GFLOP/s",
             title="Training throughput under the measured roofs")  # fmt: skip
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
    plt.close(figure)
