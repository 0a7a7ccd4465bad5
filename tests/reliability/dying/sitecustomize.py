"""Python imports this at its start, where this folder is on PYTHONPATH: the worker as it is, with
the deaths of `tests.reliability.deaths` in it."""

import sys
from pathlib import Path

if "degradation.training.worker" in sys.orig_argv:
    sys.path.append(str(Path(__file__).resolve().parents[3]))
    from tests.reliability import deaths

    deaths.await_death(Path(sys.orig_argv[-2]).name)
