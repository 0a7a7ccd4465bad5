"""Measure this machine: throughput of every engine beside common practice, under probed roofs.

    degradation bench                     on a CPU, about five minutes
    degradation bench --all               every engine and packing; for a GPU
    degradation bench hour --budget 9m --out DIR      checks, benchmark, real points
    degradation bench collect DIR         what `hour` left, as pages and reference curves

Prints Markdown; --out FOLDER keeps it there with the roofline image and the numbers as JSON.
"""

import argparse
import dataclasses
import os
import sys
from pathlib import Path

import torch
from tqdm import tqdm

from degradation.bench import (
    collect,
    contest,
    costs,
    hour,
    probes,
    table,
)
from degradation.bench.contest import Plan
from degradation.config import validation
from degradation.models.kernels import library
from degradation.system import console, files, provenance
from degradation.training import synthetic_run
from degradation.training.devices import device as machine
from degradation.training.synthetic_run import ENGINES


def main(arguments: list[str]) -> int:
    console.show_messages()
    if arguments[:1] == ["hour"]:
        return hour.main(arguments[1:])
    if arguments[:1] == ["collect"]:
        return collect.main(arguments[1:])
    try:
        return measure(parser().parse_args(arguments))
    except validation.ConfigError as error:
        print(error, file=sys.stderr)
        return 2


def parser() -> argparse.ArgumentParser:
    head, _, tail = (__doc__ or "").partition("\n")
    found = argparse.ArgumentParser(
        prog="degradation bench", description=head, epilog=tail,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    found.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    found.add_argument("--all", action="store_true", help="every engine and packing")
    found.add_argument("--arms", default="plain,residual")
    found.add_argument("--depths", default="20,56")
    found.add_argument("--engines", help=f"some of {', '.join(ENGINES)}")
    found.add_argument("--packs", default="", help="ENGINE:K,…: K points at once")
    found.add_argument("--workers", help="processes of common practice's loader: 0 (CPU), 4,12")
    found.add_argument(
        "--iterations", type=int, help="of a measurement: 100 (GPU); on a CPU 2, and 1 of deep nets"
    )
    found.add_argument("--rounds", type=int, default=5)
    found.add_argument("--no-costs", action="store_true", help="throughput alone")
    found.add_argument("--out", type=Path, help="folder to keep the results in")
    return found


def plan(asked: argparse.Namespace, device: torch.device) -> Plan:
    """What to compare. Raises ConfigError for an engine that there isn't."""
    gpu = device.type == "cuda"
    there = [name for name in ENGINES if not (gpu and name == "native")]
    names = asked.engines or ",".join(there if asked.all else usual(device))
    packs = asked.packs or ("graph:4,fast:2,fast:4,fast:8" if asked.all and gpu else "")
    pairs = [pack.rpartition(":") for pack in packs.split(",") if pack]
    for name in [*names.split(","), *(name for name, _, _ in pairs)]:
        if name not in there:
            hint = console.did_you_mean(name, there)
            raise validation.ConfigError(f"--engines {name}: must be of {', '.join(there)}{hint}")
    workers = asked.workers or ("4,12" if gpu else "0")
    return Plan(
        device, tuple(names.split(",")), tuple((name, int(count)) for name, _, count in pairs),
        tuple(map(int, workers.split(","))), asked.iterations or (100 if gpu else 0), asked.rounds,
    )  # fmt: skip


def usual(device: torch.device) -> list[str]:
    """The engines that are compared where nobody says which."""
    if device.type == "cuda":
        return ["graph", "fast"]
    try:
        library.load()
    except validation.ConfigError as error:
        print(f"without the engine native: {error}", file=sys.stderr)
        return ["eager"]
    return ["eager", "native"]


def measure(asked: argparse.Namespace) -> int:
    """Contests of all networks asked for, then the harness's own costs; printed, and kept."""
    device = machine.device(asked.device)
    torch.set_num_threads(1)
    chosen, found, images = plan(asked, device), probes.probe(device), synthetic_run.synthetic()
    networks = [(a, int(d)) for d in asked.depths.split(",") for a in asked.arms.split(",")]
    results = []
    for arm, depth in tqdm(networks, desc="bench", unit="network", disable=None):
        config = costs.settings(f"model={arm}", f"depth={depth}").config
        length = chosen.iterations or (2 if depth < 40 else 1)  # seconds each, on a CPU
        results += contest.contest(config, dataclasses.replace(chosen, iterations=length), found,
                                   images)  # fmt: skip
    gpu = device.type == "cuda"
    name = torch.cuda.get_device_name(device) if gpu else provenance.processor()
    text = [table.machine(name, found), "", table.throughput(results), ""]
    cores = 1 if gpu else os.cpu_count() or 1
    text += [f"- Study of 2 arms × 5 depths × 5 seeds × 64k iterations, {line}"
             for line in table.study_cost(results, cores)]  # fmt: skip
    if not asked.no_costs:
        text += ["", *table.costs()]
    print("\n".join(text))
    if asked.out:
        files.make_folder(asked.out)
        files.write_atomically(asked.out / "bench.md", ("\n".join(text) + "\n").encode())
        files.write_json(asked.out / "bench.json", [dataclasses.asdict(r) for r in results])
        table.roofline(results, found, asked.out / "roofline.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
