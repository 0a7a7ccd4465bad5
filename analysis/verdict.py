"""Print, from the data alone, what depth did to each arm, and what became of the paper's claims.

    python analysis/verdict.py [runs/] [--margin 0.5] [--json] [--strict]
    python analysis/verdict.py --paper      what the paper's own measured curves show, one seed each

For each study (runs that share data, recipe and numerics), each arm, each step in depth, at the end
and before the first learning-rate drop: degradation, overfitting, benefit, no difference, or
undecided, with effect, interval and rule (stats/verdict_rules.py); the gap between the arms; the
paper's claims (stats/claims.py); what was left out; what each side study found (why/). It needs no
GPU, no network and no torch, and reads a study that still trains.

Exit status: 0; 1 there is no run with a row, or, with --strict, not every claim that was tested is
reproduced in each study that tested it, or none was tested (`seen once` is not reproduced); 2 a run
can't be read, or a bad option; 5 the disk refused.
"""

import argparse
import json
import sys

from analysis.frames import paper
from analysis.frames import runs as frames
from analysis.frames.runs import Folder
from analysis.page import command
from analysis.page import verdict as page
from analysis.stats.verdict_rules import Rule
from analysis.why import studies
from degradation.system.console import escape_control_chars


def main() -> int:
    """The command; its exit status (see the module's docstring)."""
    return command.exit_status(_judged, _parser().parse_args())


def _judged(options: argparse.Namespace) -> int:
    rule = Rule(margin=options.margin)
    folder = Folder(tuple(paper.studies())) if options.paper else frames.read(options.runs)
    if folder.empty:
        return command.no_runs(options.runs, "run with a row", "seeds")
    verdicts = [page.of(study, rule) for study in folder.studies]
    found = studies.findings(folder.runs, rule)
    others = [] if options.paper else page.in_no_study(options.runs, folder)
    if options.json:
        content = {
            "studies": [page.plain(verdict) for verdict in verdicts],
            "why": [studies.plain(finding) for finding in found],
            "in_no_study": others,
        }
        print(json.dumps(content, indent=1, allow_nan=False))
    else:
        parts = [str(rule), *([paper.NOTE] if options.paper else [])]
        parts += [*map(page.text, verdicts), *map(studies.text, found), *page.others(others)]
        print(escape_control_chars("\n\n".join(parts)))
    return 1 if options.strict and not page.reproduced(verdicts) else 0


def _parser() -> argparse.ArgumentParser:
    parser = command.parser(f"{__doc__}\n{Rule()}")
    add = parser.add_argument
    add("--paper", action="store_true", help="judge the paper's measured curves instead")
    margin = "what is as good as equal (%(default)s)"
    add("--margin", type=float, default=Rule.margin, metavar="POINTS", help=margin)
    add("--json", action="store_true", help="everything as JSON")
    add("--strict", action="store_true", help="exit 1 unless each tested claim is reproduced")
    return parser


if __name__ == "__main__":
    sys.exit(main())
