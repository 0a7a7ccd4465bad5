"""One HTML page of everything that run folders say: no network, no server, no torch to read it.

    python analysis/report.py [runs/] [--out figures/report.html]

The page holds each study's verdict, tables and figures (drag to zoom, point to read a value), what
is missing with its command, and every run with its config, commit, device, fingerprint, failure and
log. Scripts, styles and data lie in it; its policy forbids the browser to fetch anything. Equal run
folders give equal bytes. It shows a study that still trains as far as it is.

Exit status: 0; 1 there is no run; 2 a run can't be read; 5 the disk refused.
"""

import argparse
import base64
import hashlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

import matplotlib

from analysis.frames import runs as frames
from analysis.frames.runs import Folder, Study
from analysis.page import commands, curve_charts, depth_charts, response_chart, run_list, verdict
from analysis.page import sections as sections
from analysis.page.charts import Sheet, packed
from analysis.plots import markup, output
from analysis.plots.markup import Html
from analysis.plots.style import MODERN
from analysis.stats.verdict_rules import Rule
from analysis.why import studies as why
from analysis.why.finding import Finding
from degradation.runs import run_dir

PARTS = Path(__file__).resolve().parent / "report"
SCRIPTS = ("charts.js", "runs.js", "page.js")


def main() -> int:
    """The command; its exit status (see the module's head)."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="?", default="runs", help="folder of the run folders")
    parser.add_argument("--out", type=Path, default=Path("figures/report.html"), help="the page")
    asked = parser.parse_args()
    try:
        folder = frames.read(asked.runs)
        runs = run_list.last_rows(asked.runs, folder.studies)
        if not runs:
            print(f"{Path(asked.runs).resolve()} holds no run yet; for example\n"
                  "  python -m degradation.run +sweeps=quickstart", file=sys.stderr)  # fmt: skip
            return 1
        output.write(asked.out, content := page(asked.runs, folder, runs).encode())
    except run_dir.RunDirError as error:
        print(markup.shown(str(error)), file=sys.stderr)
        return 2
    except output.StorageError as error:
        print(output.refusal(error), file=sys.stderr)
        return 5
    print(f"{asked.out}: {len(runs)} runs, {len(content) / 1e6:.1f} MB")
    return 0


def page(folder: str, content: Folder, runs: sections.Runs) -> str:
    """The page of the runs in `folder`."""
    listed, studies = run_list.plain(runs), content.studies
    written = [written_study(study, folder) for study in studies]
    found = why.findings(content.runs, Rule())
    data = {"runs": listed, "folder": folder, "studies": [charts for _, charts in written]}
    style = (PARTS / "page.css").read_text()
    scripts = [(PARTS / name).read_text() for name in SCRIPTS]
    return Template((PARTS / "template.html").read_text()).substitute(
        policy=policy(style, scripts),
        title=markup.escaped(f"Degradation: {folder}"),
        style=style,
        states=sections.states(runs),
        newest=sections.newest(listed["newest"]),
        contents=sections.contents(studies, found),
        studies=markup.joined([*(section for section, _ in written), *map(why_section, found)])
        or sections.no_study(),
        data=markup.script_json(data),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def why_section(finding: Finding) -> Html:
    """A study of why: its figure as a image, as `plot_curves.py` draws it."""
    drawing = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": f"{finding.study}-{finding.name}"}):
        finding.draw(MODERN).savefig(drawing, format="svg", metadata={"Date": None})
    encoded = base64.b64encode(drawing.getvalue()).decode()
    return sections.finding(finding, f"data:image/svg+xml;base64,{encoded}")


def written_study(study: Study, folder: str) -> tuple[Html, dict[str, Any]]:
    """A study's section, and the data of its charts."""
    sheet = Sheet()
    drawn = [*curve_charts.charts(study, sheet), *depth_charts.charts(study, sheet)]
    if responses := response_chart.figure7(study, sheet):
        drawn.append(responses)
    judged = verdict.of(study, Rule())
    lacking = commands.lacks(study, folder, probed=responses is not None)
    section = sections.study(study, judged, drawn, lacking)
    charts = {chart.name: packed(chart) for chart in drawn}
    return section, {"name": study.name, "lines": packed(sheet.lines), "charts": charts}


def policy(style: str, scripts: Sequence[str]) -> str:
    """What the browser may do: run these scripts, use this style, and fetch nothing."""
    allowed = " ".join(f"'sha256-{digest(script)}'" for script in scripts)
    return (f"default-src 'none'; script-src {allowed}; style-src 'sha256-{digest(style)}'; "
            "img-src data:; base-uri 'none'; form-action 'none'")  # fmt: skip


def digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


if __name__ == "__main__":
    sys.exit(main())
