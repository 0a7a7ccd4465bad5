"""What the three commands share: how they are called, and how they end."""

import argparse
from collections.abc import Callable
from pathlib import Path

from degradation.config.validation import ConfigError
from degradation.runs.run_dir import RunDirError
from degradation.system.console import print_error
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
    print_error(f"{Path(runs).resolve()} holds no {what} yet; {example}")
    return 1


def exit_status(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """What the command returns; 2: an option or a run can't be used, 5: the disk refused."""
    try:
        return command(options)
    except (ConfigError, RunDirError) as error:
        print_error(str(error))
        return 2
    except StorageError as error:
        print_error(str(error).replace("machine.runs=", "--out "))
        return 5
