"""What the three commands share: how they are called, and how they end."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from degradation.runs.run_dir import RunDirError
from degradation.system.console import escape_control_chars
from degradation.system.files import StorageError


def parser(description: str) -> argparse.ArgumentParser:
    """The parser of a command that reads a folder of run folders."""
    own = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    own.add_argument("runs", nargs="?", default="runs", help="folder of the run folders")
    return own


def no_runs(runs: str, what: str, sweep: str) -> int:
    """Say that a folder holds nothing to show, and what would train it; the exit status."""
    example = f"for example\n  python -m degradation.run +sweeps={sweep}"
    print(f"{Path(runs).resolve()} holds no {what} yet; {example}", file=sys.stderr)
    return 1


def exit_status(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """What the command returns; 2 where a run can't be read, 5 where the disk refused."""
    try:
        return command(options)
    except RunDirError as error:
        print(escape_control_chars(str(error)), file=sys.stderr)
        return 2
    except StorageError as error:
        text = escape_control_chars(str(error)).replace("machine.runs=", "--out ")
        print(text, file=sys.stderr)
        return 5
