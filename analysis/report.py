"""One HTML page of everything that run folders hold: no network, no server, no torch.

    python analysis/report.py [runs/] [--out figures/report.html]

The page has each study's verdict, charts and tables, what is missing with the command that trains
it, the side studies, and a list of all runs. It opens from a file and fetches nothing: Plotly's
script, 4.8 MB, is part of it (20 runs: 5.4 MB and 5 s to write; 1,000 runs: 11 MB and 10 s). Equal
run folders give equal bytes. A study that still trains is shown as far as it is.

Exit status: 0; 1 there is no run; 2 a run can't be read; 5 the disk refused.
"""

import argparse
import sys
from pathlib import Path

import jinja2
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from analysis.frames import runs as frames
from analysis.frames.runs import Folder
from analysis.page import command, sections
from analysis.plots import output
from analysis.stats.inference import format_effect
from analysis.stats.verdict_rules import Rule
from analysis.why import studies
from degradation.system.console import escape_control_chars

PAGE = Path(sections.__file__).parent  # of the template, the style and the script


def main() -> int:
    """The command; its exit status (see the module's head)."""
    parser = command.parser(__doc__)
    parser.add_argument("--out", type=Path, default=Path("figures/report.html"), help="the page")
    return command.exit_status(_written, parser.parse_args())


def _written(options: argparse.Namespace) -> int:
    folder = frames.read(options.runs)
    if folder.runs.empty:
        return command.no_runs(options.runs, "run", "quickstart")
    content = page(options.runs, folder, options.out).encode()
    output.write(options.out, content)
    print(f"{options.out}: {len(folder.runs)} runs, {len(content) / 1e6:.1f} MB")
    return 0


def page(runs: str, folder: Folder, out: Path) -> str:
    """The page at `out` of the runs below the folder `runs`."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(PAGE),
        autoescape=True,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html.j2").render(
        title=f"Degradation: {runs}",
        style=Markup((PAGE / "page.css").read_text()),
        script=Markup((PAGE / "page.js").read_text()),
        plotly=Markup(get_plotlyjs()),
        states=sections.states(folder.runs["state"]),
        studies=[sections.of_study(study, runs) for study in folder.studies],
        findings=[sections.of_finding(f) for f in studies.findings(folder.runs, Rule())],
        runs=sections.run_list(folder.runs, out),
        effect=format_effect,
    )


def _visible(value: object) -> object:
    """Text with its control characters escaped; markup stays what it is."""
    return escape_control_chars(value) if type(value) is str else value


if __name__ == "__main__":
    sys.exit(main())
