"""A row of metrics -> curves.jsonl, timing.jsonl and the console.

A resumed process trains again what came after its checkpoint. The rows that the dead process wrote
for that stretch stay; each replayed row is compared with its line, so every resume proves itself:
equal lines are no news, a difference is reported, and marks the run.
"""

import json
import logging
import resource
import sys
import time
from typing import Any

import torch
from tqdm import tqdm

from degradation.runs.run_dir import RunDir, RunDirError, whole_lines
from degradation.system import files, provenance
from degradation.system.console import IgnoreBrokenPipe

log = logging.getLogger("degradation")


class RunLogger:
    """Writes the rows of one run from row number `rows` on, as training goes on at `iteration`.

    Raises RunDirError where curves.jsonl holds fewer, or what are no rows in order: then it is not
    the file of that checkpoint.
    """

    def __init__(
        self, run: RunDir, rows: int, iteration: int, iterations: int, progress: str
    ) -> None:
        self.run, self.rows, self.iterations, self.progress = run, rows, iterations, progress
        self.label = run.name.rpartition("-")[0]
        self.replayed = self._lines()[rows:]
        self.last = time.monotonic(), iteration
        self.bar: tqdm[Any] | None = None
        if progress == "bar":  # a disabled one, too, would start a thread
            self.bar = tqdm(
                total=iterations,
                initial=iteration,
                desc=self.label,
                unit="it",
                dynamic_ncols=True,
                leave=False,
                mininterval=0.2,
                file=IgnoreBrokenPipe(sys.stderr),
            )

    def _lines(self) -> list[str]:
        """The whole lines on the disk; a torn one is cut off."""
        self.run.rows()  # raises where a line isn't a row
        lines = whole_lines(self.run.curves)
        if len(lines) < self.rows:
            raise RunDirError(
                f"{self.run.curves} has {len(lines)} rows, its checkpoint {self.rows}: "
                "restore the file, or remove the run's folder to train anew"
            )
        if self.run.curves.exists() and self.run.curves.stat().st_size > _size(lines):
            files.truncate(self.run.curves, _size(lines))
        return lines

    def tick(self) -> None:
        """One more iteration is done, or at least launched."""
        if self.bar is not None:
            self.bar.update()

    def row(self, row: dict[str, Any], images: int, evaluation: float) -> None:
        """Write `row`. `images`: trained on since the last one; `evaluation`: seconds of it."""
        line = json.dumps(row, allow_nan=False)
        if self.replayed:
            self._compare(line, self.replayed.pop(0))
        else:
            files.append_line(self.run.curves, line)
        self.rows += 1
        self._time(row, images, evaluation)

    def layers(self, iteration: int, layers: list[dict[str, Any]]) -> None:
        """Append the layers' statistics to layers.jsonl, a line a measurement."""
        line = json.dumps({"iteration": iteration, "layers": layers}, allow_nan=False)
        files.append_line(self.run.layers, line)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()

    def _compare(self, line: str, before: str) -> None:
        if line == before:
            return
        note_resume_mismatch(self.run, {"row": self.rows + 1, "before": before, "now": line})
        rows = f"row {self.rows + 1} was\n  {before}\nand is now\n  {line}"
        log.warning("%s: this resume was not exact: %s", self.run.name, rows)
        # What was trained now is what goes on, so its rows replace the others.
        files.truncate(self.run.curves, _size(whole_lines(self.run.curves)[: self.rows]))
        files.append_line(self.run.curves, line)
        self.replayed = []

    def _time(self, row: dict[str, Any], images: int, evaluation: float) -> None:
        now, (then, before) = time.monotonic(), self.last
        seconds, iterations = now - then - evaluation, row["iteration"] - before
        self.last = now, row["iteration"]
        timing = {
            "iteration": row["iteration"],
            "seconds": round(seconds, 4),
            "evaluation_seconds": round(evaluation, 4),
            "images_per_second": round(images / seconds, 1) if seconds > 0 and iterations else None,
            "peak_memory_bytes": peak_memory(),
            "at": provenance.now(),
        }
        files.append_line(self.run.timing_jsonl, json.dumps(timing))
        self._show(row, iterations / seconds if seconds > 0 else 0.0)

    def _show(self, row: dict[str, Any], rate: float) -> None:
        errors = f"train {row['train_error']:.2f} %  test {row['test_error']:.2f} %"
        if self.bar is not None:
            self.bar.set_postfix_str(errors)
        elif self.progress == "lines" and rate:
            remaining = tqdm.format_interval((self.iterations - row["iteration"]) / rate)
            done = f"{row['iteration']:{len(str(self.iterations))}}/{self.iterations}"
            speed = f"{rate:.3g} it/s  {remaining} left"
            log.info("%s  %s  lr %g  %s  %s", self.label, done, row["lr"], errors, speed)


def peak_memory() -> int:
    """The most bytes held so far: on the GPU where one is in use, else by this process."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def note_resume_mismatch(run: RunDir, why: dict[str, Any]) -> None:
    """Note that the run's rows are not those of one uninterrupted process."""
    files.append_line(run.resume_mismatches, json.dumps(why))


def _size(lines: list[str]) -> int:
    """Bytes of whole lines in a file."""
    return sum(len(line.encode()) + 1 for line in lines)
