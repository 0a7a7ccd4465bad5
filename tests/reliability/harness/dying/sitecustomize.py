"""Python imports this at its start where this folder is on PYTHONPATH: the worker as it is, with
the deaths of `tests.reliability.harness.deaths` in it."""

import sys
from pathlib import Path

if "degradation.training.worker" in sys.orig_argv:
    sys.path.append(str(Path(__file__).resolve().parents[4]))
    from tests.reliability.harness import deaths

    deaths.prepare_death(Path(sys.orig_argv[-2]).name)
