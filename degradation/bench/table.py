"""Results as Markdown."""

from collections.abc import Iterable, Sequence

from degradation.bench.comparison import Result
from degradation.bench.roof import Roof
from degradation.system import provenance

RUN_IMAGES = 64_000 * 128  # of the paper's recipe for CIFAR-10
HEAD = (
    "| network | contestant | images/s | × baseline [rounds] | of its roof | first step | memory "
    f"| 64k iterations |\n|---|---|{'---:|' * 6}"
)
NOT_ON_A_CPU = """\
A CPU does not tell how fast a GPU is: CUDA graphs (graph, fast), bfloat16, several runs at once."""


def heading(device: str, roofs: Iterable[Roof]) -> str:
    """What was measured on, which versions and commit, and the peaks of the device."""
    versions = provenance.versions()
    peaks = "; ".join(map(str, roofs))
    return (
        f"{device}, torch {versions['torch']}, Python {versions['python']}, commit "
        f"{provenance.commit()}. Measured in this run: {peaks}."
    )


def rows(results: Sequence[Result]) -> str:
    """A line a contestant, for below HEAD."""
    return "\n".join(map(_row, results))


def _row(r: Result) -> str:
    middle, least, most = r.ratio
    cells = (
        f"{r.arm}-{r.depth}",
        r.contestant,
        f"{r.images_per_second:,.0f}",
        f"{middle:.2f} [{least:.2f}, {most:.2f}]",
        f"{r.roof:.0%}",
        f"{r.first_step:.1f} s",
        f"{r.memory / 1e6:,.0f} MB",
        duration(RUN_IMAGES / r.images_per_second / 3600),
    )
    return f"| {' | '.join(cells)} |"


def duration(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{hours * 60:.1f} min"
