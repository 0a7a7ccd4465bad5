"""curves.jsonl -> W&B, by a cursor that is kept on the disk: the file is the truth, W&B its mirror.

    python -m degradation.mirror [runs/]    send every row that W&B lacks

It runs beside training, never inside it: no key, a dead network or a full disk costs nothing but
the rows' delay. Nothing here asks, and nothing raises: what W&B refuses is said once, in one line.
"""

import logging
import os
import sys
from pathlib import Path
from typing import Any, Literal, cast

from tqdm import tqdm

from degradation import schema, screen, spec, storage
from degradation.spec import Settings
from degradation.store import Foreign, Run, runs_in

log = logging.getLogger("degradation")

INIT_TIMEOUT = 20  # seconds an unreachable server may cost, once a process
FINISH_TIMEOUT = 30


Mode = Literal["online", "offline", "disabled", "shared"]
_MODES = ("online", "offline", "disabled")


class Reach:
    """What this process has learnt, so that an unreachable server costs its time-out once."""

    server = True


class Mirror:
    """Sends the rows of one run, each once. Use it as a context; call `sync` now and then."""

    def __init__(self, run: Run, settings: Settings | None = None) -> None:
        """`settings` say how; without them, what an earlier process noted in `mirror.json`."""
        self.run = run
        self.wandb: Any = None
        cursor = _cursor(run)
        if settings is not None:
            how = {
                "mode": settings.machine.wandb,
                "project": settings.machine.wandb_project,
                "entity": settings.machine.wandb_entity,
                "study": settings.study,
            }
            cursor = {"rows": 0, "finished": False} | (cursor or {}) | how
        self.cursor: dict[str, Any] | None = cursor
        self.broken = cursor is None or cursor["mode"] == "disabled"

    def __enter__(self) -> "Mirror":
        return self

    def __exit__(self, *exception: object) -> None:
        self.sync()
        self.finish()

    def sync(self) -> None:
        """Send the rows that are on the disk and not yet in W&B."""
        if self.broken:
            return
        try:
            if fresh := self.missing():
                self._send(fresh)
        except Exception as error:  # whatever W&B raises, training is not its business
            self.broken = True
            log.warning("%s: W&B refused (%s%s); the rows are in %s, and `python -m "
                        "degradation.mirror` sends them later", self.run.name, _said(error),
                        "; pip install wandb" if isinstance(error, ImportError) else "",
                        self.run.curves)  # fmt: skip

    def missing(self) -> list[dict[str, Any]]:
        """The rows behind the cursor."""
        assert self.cursor is not None
        return self.run.rows()[self.cursor["rows"] :]

    def finish(self) -> None:
        """Close the W&B run; with the result, where training has come to one."""
        if self.wandb is None:
            return
        assert self.cursor is not None
        try:
            if (result := self.run.result()) is not None:
                self.wandb.summary.update(summary(result, self.run.rows()))
                self.cursor["finished"] = True
            self.wandb.finish(exit_code=0 if result else 1)
            self._note()
        except Exception as error:
            log.warning("%s: W&B did not finish (%s)", self.run.name, _said(error))
        self.wandb = None

    def _send(self, rows: list[dict[str, Any]]) -> None:
        assert self.cursor is not None
        if self.wandb is None:
            self.wandb = start(self.run, self.cursor)
        for row in rows:
            self.wandb.log(row, step=row["iteration"])
            self.cursor["rows"] += 1
        self._note()

    def _note(self) -> None:
        storage.write_json(self.run.mirror_json, self.cursor)


_CURSOR = {"rows": int, "finished": bool, "mode": str, "project": str, "study": str}


def _cursor(run: Run) -> dict[str, Any] | None:
    """What an earlier process noted. Raises Foreign where that is no cursor."""
    try:
        found = storage.read_json(run.mirror_json)
    except ValueError as error:
        raise Foreign(f"{error}; remove it to send all rows again") from error
    if found is None:
        return None
    fits = isinstance(found, dict) and all(type(found.get(k)) is t for k, t in _CURSOR.items())
    if not fits or found["rows"] < 0 or found["mode"] not in ("auto", *_MODES):
        raise Foreign(f"{run.mirror_json}: must have {', '.join(_CURSOR)}; remove it to send all "
                      "rows again")  # fmt: skip
    return dict(found)


def start(run: Run, how: dict[str, Any]) -> Any:
    """A W&B run for `run`, online where that is possible, else offline."""
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")  # else it looks up a host, offline too
    os.environ.setdefault("WANDB_SILENT", "true")  # else it says where it logs in, and as whom
    if "@" in os.environ.get("WANDB_BASE_URL", ""):
        raise schema.Invalid("WANDB_BASE_URL=…: must hold no password, which W&B would print; "
                             "put the key into WANDB_API_KEY")  # fmt: skip
    import wandb  # a second that nothing else pays for

    mode = mode_of(how["mode"])
    try:
        return _init(run, how, mode)
    except wandb.errors.CommError as error:
        if mode == "offline":
            raise
        log.warning("W&B is out of reach (%s): offline from here; `wandb sync` sends the rows "
                    "later", _said(error))  # fmt: skip
        wandb.teardown()  # else the run's name counts as taken
        Reach.server = False
        return _init(run, how, "offline")


def _said(error: Exception) -> str:
    """What W&B says in one line, less the key, should it be there."""
    said = (str(error).splitlines() or [type(error).__name__])[0]
    key = os.environ.get("WANDB_API_KEY")
    return said.replace(key, "…") if key else said


def mode_of(wanted: str) -> Mode:
    """auto: WANDB_MODE where it is set, else online where a key is configured, else offline."""
    import wandb

    if not Reach.server:
        return "offline"
    if wanted == "auto":
        wanted = os.environ.get("WANDB_MODE", "auto")
        if wanted not in ("auto", *_MODES, "shared"):
            raise schema.Invalid(f"WANDB_MODE={schema.bare(wanted)}: must be {', '.join(_MODES)}"
                                 f"{schema.did_you_mean(wanted, _MODES)}")  # fmt: skip
    if wanted == "auto":
        wanted = "online" if wandb.login(prompt=False, verify=False) else "offline"
    return cast(Mode, wanted)


def _init(run: Run, how: dict[str, Any], mode: Mode) -> Any:
    import wandb

    point = run.point()
    started = wandb.init(
        mode=mode, dir=str(run.folder.parent), project=how["project"], entity=how["entity"],
        id=run.name, name=point.label, group=how["study"], job_type=point.arm,
        tags=[point.data.name, point.arm, f"depth-{point.depth}", f"seed-{point.seed}"],
        config=config(point), resume="allow", reinit="finish_previous",
        settings={  # made anew each time: a Settings object would carry one run's name to the next
            "console": "off", "silent": True, "x_disable_meta": True, "save_code": False,
            "disable_git": True, "init_timeout": INIT_TIMEOUT, "finish_timeout": FINISH_TIMEOUT,
        },
    )  # fmt: skip
    started.define_metric("iteration")
    started.define_metric("*", step_metric="iteration")
    return started


def config(point: spec.Point) -> dict[str, Any]:
    """Flat keys to group and filter by, and the whole point under one of its own.

    `arm`, not `model`: a W&B sweep replaces the config key that has the name of its parameter.
    """
    return {
        "arm": point.arm,
        "depth": point.depth,
        "seed": point.seed,
        "dataset": point.data.name,
        "shortcut": point.model.shortcut,
        "pair": point.pair,
        "hash": point.hash,
        "point": spec.plain(point),
    }


def summary(result: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The headline is the last row; the least test error has a name that says what it is."""
    found = {"outcome": result["outcome"], "exact": result["exact"]}
    if rows:
        found |= {f"last_{k}": v for k, v in rows[-1].items() if k.endswith("error")}
        found["min_test_error"] = min(row["test_error"] for row in rows)
    return found


def main(arguments: list[str]) -> int:
    """Send what is missing of every run in a folder; 1 where something stayed behind, 2 where the
    folder or a run in it can't be read."""
    screen.show_messages()
    folder = Path(arguments[0] if arguments else "runs").expanduser()
    if len(arguments) > 1 or not folder.is_dir():
        print(schema.shown(f"{' '.join(arguments) or folder}: must be one folder of runs; usage: "
                           "python -m degradation.mirror [runs/]"), file=sys.stderr)  # fmt: skip
        return 2
    try:
        mirrors = [Mirror(run) for run in runs_in(folder)]
        behind = [m for m in mirrors if not m.broken and m.missing()]
    except Foreign as error:
        print(schema.shown(str(error)), file=sys.stderr)
        return 2
    for mirror in tqdm(behind, desc="mirror", unit="run", disable=None):
        with mirror:
            pass
    left = sum(m.broken for m in behind)
    print(
        f"{len(behind) - left} runs sent, {left} left behind, {len(mirrors) - len(behind)} complete"
    )
    return 1 if left else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
