"""Measure training on this machine, beside a plain PyTorch loop and beside what it could do.

    degradation bench                                    on two CPU cores, within five minutes
    degradation bench --engines fast "fast*4"            some engines; *4: four runs at once
    degradation bench --out DIR                          keep the table and its numbers there

Prints a table in Markdown, network after network, and keeps each as soon as it is measured.
BENCHMARKS.md explains the columns.
"""

import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from degradation.bench import comparison, roof, table
from degradation.bench.comparison import Plan, Result
from degradation.config import compose
from degradation.config.validation import ConfigError
from degradation.models.kernels import library
from degradation.system import console, files, provenance
from degradation.training.devices import device as devices
from degradation.training.devices.synthetic_run import ENGINES, noise

SHALLOW = 40  # layers: below, a round on a CPU has two iterations, which take some seconds
IMAGES = 10_000


def main(arguments: list[str]) -> int:
    """Print the table, and keep it, as far as it is there. Raises ConfigError."""
    console.show_messages()
    parser = console.parser("bench", __doc__)
    add = parser.add_argument
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--depths", type=int, nargs="+", default=[20, 56], metavar="DEPTH", help="20 and 56")
    add("--engines", nargs="+", metavar="ENGINE", help=f"of {'; '.join(ENGINES)}")
    add("--out", type=Path, metavar="DIR", help="keep bench.md and bench.json there")
    options = parser.parse_args(arguments)
    device = devices.resolve(options.device)
    engines = parse_engines(options.engines or usual_engines(device), device)
    lines, results = list[str](), list[Result]()
    for text, measured in measure(options.depths, device, engines):
        tqdm.write(text)
        lines.append(text)
        results += measured
        if options.out:
            keep(options.out, lines, results)
    return 0


def usual_engines(device: torch.device) -> list[str]:
    """The engines that are compared where nobody says which."""
    if device.type == "cuda":
        return ["graph", "graph, contiguous", "fast", "fused", "graph*4", "fast*4"]
    try:
        library.load()
    except ConfigError as error:
        print(f"without the engine native: {error}", file=sys.stderr)
        return ["eager"]
    return ["eager", "native"]


def parse_engines(words: Sequence[str], device: torch.device) -> tuple[tuple[str, int], ...]:
    """`fast*4` is ("fast", 4). Raises ConfigError for an engine that there is not."""
    other = "native" if device.type == "cuda" else "fused"
    known = [name for name in ENGINES if name != other]
    engines = []
    for word in words:
        name, _, count = word.partition("*")
        if name not in known or not (count or "1").isdecimal():
            hint = console.did_you_mean(name, known)
            raise ConfigError(f"--engines {word}: must be of {'; '.join(known)}, or ENGINE*N{hint}")
        engines.append((name, int(count or 1)))
    return tuple(engines)


def measure(
    depths: Sequence[int], device: torch.device, engines: tuple[tuple[str, int], ...]
) -> Iterator[tuple[str, list[Result]]]:
    """The parts of the page, one after the other, each with the results in it."""
    gpu = device.type == "cuda"
    swept = [f"depth={','.join(map(str, depths))}", "model=plain,residual"]
    networks = compose.runs_of(["-m", *swept, f"machine.device={device}"])
    devices.apply(networks[0].machine, networks[0].config.numerics)
    precisions: set[str] = {"fp32", *(ENGINES[name].precision for name, _ in engines)}
    roofs = {precision: roof.measure(device, precision) for precision in sorted(precisions)}
    name = torch.cuda.get_device_name(device) if gpu else provenance.processor()
    yield f"{table.heading(name, roofs.values())}\n\n{table.HEAD}", []
    images = noise(IMAGES)
    for settings in tqdm(networks, desc="bench", unit="network", disable=None):
        iterations = 100 if gpu else 2 if settings.config.depth < SHALLOW else 1
        plan = Plan(engines, (4, 12) if gpu else (0,), iterations)
        results = comparison.compare(settings, plan, roofs, images)
        yield table.rows(results), results
    if not gpu:
        yield f"\n{table.NOT_ON_A_CPU}", []


def keep(folder: Path, lines: Sequence[str], results: Sequence[Result]) -> None:
    """Write what there is so far."""
    files.make_folder(folder)
    files.write_atomically(folder / "bench.md", ("\n".join(lines) + "\n").encode())
    files.write_json(folder / "bench.json", [dataclasses.asdict(result) for result in results])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
