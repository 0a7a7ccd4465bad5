"""Say, from the data alone, what depth did to each arm, and what became of the paper's claims.

    python analysis/verdict.py [runs/] [--margin 0.5] [--json] [--strict]
    python analysis/verdict.py --paper      what the paper's own measured curves show, one seed each

For each study (runs that share data, recipe and numerics), each arm, each step in depth, at the end
and before the first learning-rate drop: degradation, overfitting, benefit, no difference, or
undecided, with effect, interval and rule (`verdict_rules.py` has the rules); the gap between the arms;
the paper's claims (`claims.py`); what was left out; what each study of why found (`why.py`). It
needs no GPU, no network and no torch, and reads a study that still trains.

Exit status: 0; 1 there is no run with a row, or, with --strict, not every claim that was tested is
reproduced in each study that tested it, or none was tested (`seen once` is not reproduced); 2 a run
can't be read, or a bad option.
"""

import argparse
import json
import sys
from pathlib import Path

from analysis.frames import paper
from analysis.frames import runs as frames
from analysis.frames.runs import Folder
from analysis.page import verdict as page
from analysis.plots.markup import shown
from analysis.stats.verdict_rules import Rule
from analysis.why import studies


def main() -> int:
    """The command; its exit status (see the module's head)."""
    asked = _parser().parse_args()
    try:
        rule = Rule(margin=asked.margin)
        folder = Folder(tuple(paper.studies())) if asked.paper else frames.read(asked.runs)
    except ValueError as error:  # a bad margin, or run_dir.RunDirError
        print(shown(str(error)), file=sys.stderr)
        return 2
    if folder.empty:
        print(f"{Path(asked.runs).resolve()} holds no run with a row yet; for example\n"
              "  python -m degradation.run +sweeps=seeds", file=sys.stderr)  # fmt: skip
        return 1
    verdicts = [page.of(study, rule) for study in folder.studies]
    found = studies.findings(folder.runs, rule)
    others = [] if asked.paper else page.in_no_study(asked.runs, folder)
    if asked.json:
        content = {"studies": [page.plain(v) for v in verdicts], "why": [*map(studies.plain, found)],
                   "in_no_study": others}  # fmt: skip
        print(json.dumps(content, indent=1, allow_nan=False))
    else:
        notes = [paper.NOTE] if asked.paper else []
        parts = [
            str(rule),
            *notes,
            *map(page.text, verdicts),
            *map(studies.text, found),
            *page.others(others),
        ]
        print(shown("\n\n".join(parts)))
    return 1 if asked.strict and not page.reproduced(verdicts) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{Rule()}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("runs", nargs="?", default="runs", help="folder of the run folders")
    add("--paper", action="store_true", help="judge the paper's measured curves instead")
    add("--margin", type=float, default=Rule.margin, metavar="POINTS",
        help="what is as good as equal (%(default)s)")  # fmt: skip
    add("--json", action="store_true", help="all of it as JSON")
    add("--strict", action="store_true", help="exit 1 unless each tested claim is reproduced")
    return parser


if __name__ == "__main__":
    sys.exit(main())
