"""Measure finished runs: their layer responses, or their ImageNet errors by ten crops and scales.

    degradation evaluate responses [runs/ | runs/NAME …]      Figure 7: responses.csv in each run
    degradation evaluate crops [runs/ | runs/NAME …]          Tables 2 to 4: evaluation.json

Given a folder of runs, it measures all finished ones. `python analysis/plot_curves.py` draws and
tabulates the results. Exit status: 0, 2 where a run can't be read, 3 no data, 5 the disk refused.
"""

import os
from dataclasses import replace
from pathlib import Path

import torch
from tqdm import tqdm

from degradation.config import overrides, schema
from degradation.config.validation import read
from degradation.evaluation import imagenet, layer_responses
from degradation.runs.run_dir import RunDir, RunDirError, runs_in
from degradation.system import console, files
from degradation.training.devices import device as devices


def main(arguments: list[str]) -> int:
    """The command; its exit status. Raises what `exit_status` turns into a message."""
    parser = console.parser("evaluate", __doc__)
    add = parser.add_argument
    add("measurement", choices=("responses", "crops"))
    add("runs", nargs="*", type=Path, default=[Path("runs")], help="runs, or folders of runs")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args(arguments)
    console.show_messages()
    for run in tqdm(_named(options.runs), desc=options.measurement, unit="run", disable=None):
        device = _device(run, options.device)
        if options.measurement == "responses":
            table = layer_responses.csv(layer_responses.of_run(run, device))
            files.write_atomically(run.responses, table.encode())
            tqdm.write(str(run.responses))
        else:
            result = imagenet.evaluate(run, device)
            files.write_json(run.evaluation, result)
            tqdm.write(f"{run.name}: {imagenet.summary(result)}")
    print(f"figures and tables: python analysis/plot_curves.py {run.folder.parent}")
    return 0


def _device(run: RunDir, asked: str) -> torch.device:
    """The device to use, with torch set to the run's own numerics."""
    # Deterministic products of matrices need it, from before CUDA starts.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    machine = overrides.content("machine", "local") | {"device": asked}
    # It is measured with torch's own layers, whatever kernels it was trained with.
    numerics = replace(run.config().numerics, native=False, fused=False)
    return devices.apply(read(schema.Machine, machine, "machine"), numerics)


def _named(folders: list[Path]) -> list[RunDir]:
    """The runs that a command line names. Raises RunDirError where one has none."""
    runs: list[RunDir] = []
    for folder in folders:
        if (folder / "config.json").exists():
            found = [RunDir(folder)]
        else:
            found = [run for run in runs_in(folder) if run.state() == "done"]
        if not found:
            raise RunDirError(f"{folder}: must be a run, or a folder with a finished one")
        runs += found
    return runs
