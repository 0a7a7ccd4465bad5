"""Train one run, or a study: `python -m degradation.run -m model=plain,residual depth=20,56`."""

import sys

from degradation.commands import exit_status, train

if __name__ == "__main__":
    sys.exit(exit_status.run(train.main, sys.argv[1:]))
