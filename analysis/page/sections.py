"""The parts of the page that are text: states, verdict, tables, what is missing."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from analysis.frames.runs import Study
from analysis.page.charts import Chart
from analysis.page.commands import Lack
from analysis.page.verdict import Verdict
from analysis.plots import markup, tables
from analysis.plots.markup import (
    Html,
    element,
    folded,
    joined,
    table,
)
from analysis.stats import claims, verdict_rules
from analysis.stats.claims import Checked
from analysis.stats.inference import Effect
from analysis.stats.verdict_rules import Gap, StepVerdict
from analysis.why.finding import Finding
from degradation.runs import run_dir

LISTED = 50  # lines of what was left out
EVIDENCE = 3  # steps that a claim shows at once
ANSWERS = 6  # of a study of why that are shown at once
ROWS = 12  # of a table that is shown at once
Runs = Sequence[Mapping[Hashable, Any]]


def states(runs: Runs) -> Html:
    """`18 done, 1 failed`, each word in its colour."""
    counts = Counter(str(run["state"]) for run in runs)
    ordered = [state for state in run_dir.STATES if counts[state]]
    return joined((joined([str(counts[s]), " ", state(s)]) for s in ordered), ", ")


def state(word: str) -> Html:
    return element("span", word, class_=f"state {word}")


def newest(finished: str | None) -> Html:
    """When the newest result is from: the page has no other date."""
    return markup.escaped(f"; newest result {finished}" if finished else "; no result yet")


def contents(studies: Sequence[Study], found: Sequence[Finding]) -> Html:
    """Links to the parts of the page."""
    links = [(f"#study-{study.name}", study.name) for study in studies]
    links += [(f"#why-{f.study}-{f.name}", f"{f.study}: {f.name}") for f in found]
    links.append(("#runs", "runs"))
    return markup.joined(element("a", name, href=target) for target, name in links)


def no_study() -> Html:
    return element("p", "No run has a row yet: there is nothing to draw. The list below says what "
                   "state they are in, and why.", class_="warning")  # fmt: skip


def study(study: Study, verdict: Verdict, drawn: Sequence[Chart], lacking: Sequence[Lack]) -> Html:
    """All that is said of one study; the script fills the charts in."""
    headline, *others = (figure(chart) for chart in drawn)
    return element(
        "section", element("h2", study.name), facts(study), claimed(verdict), headline,
        element("h3", "Errors beside the paper's" if study.as_the_paper else "Errors"),
        errors(tables.errors(study), study.as_the_paper),
        element("h3", "Depth, step by step"), steps(verdict.steps),
        element("h3", "Plain and residual, depth by depth"), gaps(verdict.gaps),
        folded("The rules of the verdict", element("pre", str(verdict.rule))),
        left_out(verdict.left_out), missing(lacking), *others,
        class_="study", id=f"study-{study.name}", data_study=study.name,
    )  # fmt: skip


def finding(finding: Finding, image: str) -> Html:
    """A study of why: its question, the answers at once, the figure, the numbers folded.

    `image`: the figure as a data address.
    """
    title = f"{finding.study}: {finding.question}"
    lines = [element("li", badge(line.word), element("div", line.text)) for line in finding.lines]
    first, others = lines[:ANSWERS], lines[ANSWERS:]
    listed = element("ul", *others, class_="claims")
    more = [folded(f"{len(others)} more answers", listed)] if others else []
    return element(
        "section", element("h2", title), element("ul", *first, class_="claims"), *more,
        element("img", src=image, alt=title, class_="image"),
        folded("The rule", element("pre", finding.rule)),
        class_="why", id=f"why-{finding.study}-{finding.name}",
    )  # fmt: skip


def badge(word: str) -> Html:
    return element("span", word, class_=f"badge {word.replace(' ', '-')}")


def facts(study: Study) -> Html:
    """What the study holds fixed, what it ran on, and whether the code changed meanwhile."""
    runs = pd.concat([study.rows.drop_duplicates("run"), study.idle])
    lines = [joined([f"{study.iterations:,} iterations a point; {len(runs)} runs: ",
                     states(runs.to_dict("records"))])]  # fmt: skip
    lines.append(joined(["on ", _counted(runs["device"])]))
    commits = runs["commit"].dropna().nunique()
    lines.append(joined(["code at ", _counted(runs["commit"])]))
    if commits > 1:
        note = "runs of this study were trained by different commits; + marks changed files"
        lines.append(element("span", note, class_="warning"))
    return element("ul", *(element("li", line) for line in lines), class_="facts")


def _counted(column: "pd.Series[Any]") -> Html:
    counts = column.fillna("unknown").value_counts().sort_index(kind="stable")
    shown = [joined([element("code", str(name)), f" ({count})"]) for name, count in counts.items()]
    more = [f"{len(shown) - 6} more"] if len(shown) > 6 else []
    return joined([*shown[:6], *more], ", ")


def figure(chart: Chart) -> Html:
    return element(
        "figure", element("figcaption", element("h3", chart.title), element("p", chart.caption)),
        element("div", class_="legend", role="group", aria_label=f"show and hide: {chart.title}"),
        element("div", class_="panels"), class_="chart", data_chart=chart.name,
    )  # fmt: skip


def long(rows: Sequence[Any], made: Html) -> Html:
    """A table, folded where it would push the figures off the page."""
    return folded(f"{len(rows)} rows", made) if len(rows) > ROWS else made


def claimed(verdict: Verdict) -> Html:
    """The verdict in short: the paper's claims that were tested, the others folded."""
    tested = [c for c in verdict.claims if c.status != claims.NOT_TESTED]
    others = [c for c in verdict.claims if c.status == claims.NOT_TESTED]
    if not tested:
        nothing = element("p", "None of the paper's claims can be tested yet: see what is missing.")
    shown = element("ul", *map(claim, tested), class_="claims") if tested else nothing
    untested = element("ul", *map(claim, others), class_="claims")
    rest = [folded(f"{len(others)} of the paper's claims not tested", untested)] if others else []
    return joined([shown, *rest])


def claim(checked: Checked) -> Html:
    evidence = [
        element("span", f"{step.shallow}→{step.deep}: {both(step)}", class_="evidence")
        for step in checked.steps
    ]
    more = [folded(f"{len(evidence) - EVIDENCE} more steps", *evidence[EVIDENCE:])]
    source = element("small", f" ({checked.claim.source})")
    shown = [*evidence[:EVIDENCE], *(more if evidence[EVIDENCE:] else [])]
    said = element("div", checked.claim.text, source, *shown)
    return element("li", badge(checked.status), said)


def both(step: StepVerdict | Gap) -> str:
    return f"train {effect(step.train)}, test {effect(step.test)}"


def unbroken(of: Effect) -> str:
    return element("span", effect(of), class_="unbroken") if of.n else effect(of)


def effect(of: Effect) -> str:
    """`+1.40 [+0.90, +1.90] n=5`, as `verdict.py` prints it."""
    if not of.n:
        return "–"
    if of.n == 1:
        return f"{of.mean:+.2f} n=1"
    return f"{of.mean:+.2f} [{of.low:+.2f}, {of.high:+.2f}] n={of.n}"


def steps(judged: Sequence[StepVerdict]) -> Html:
    """Each step in depth: the word, the effects, the rule."""
    if not judged:
        return element("p", "No arm has two depths yet.")
    head = ("step", "moment", "verdict", "train, points", "test, points", "why", "seeds left out")
    rows = [
        (f"{j.arm} {j.shallow}→{j.deep}", j.moment, word(j), unbroken(j.train), unbroken(j.test),
         j.why, absent(j))
        for j in judged
    ]  # fmt: skip
    return long(rows, table(head, rows))


def word(judged: StepVerdict) -> Html:
    name = element("span", judged.word, class_=f"word {judged.word.replace(' ', '-')}")
    shows = judged.word == verdict_rules.UNDECIDED and judged.shows
    return joined([name, element("small", f" shows {judged.shows}")]) if shows else name


def absent(step: StepVerdict | Gap) -> str:
    """How many seeds gave no pair, and how many runs of either network diverged."""
    first, second = step.diverged
    diverged = f", diverged: {first} and {second}" if first or second else ""
    return f"{step.left_out}{diverged}"


def gaps(found: Sequence[Gap]) -> Html:
    """The shortcut's effect at each depth."""
    if not found:
        return element("p", "No depth has both arms yet.")
    head = ("residual − plain", "moment", "train, points", "test, points", "p train (least)",
            "p test (least)", "seeds left out")  # fmt: skip
    rows = [
        (f"{g.depth} layers", g.moment, unbroken(g.train), unbroken(g.test), sign_flip(g.train),
         sign_flip(g.test), absent(g))
        for g in found
    ]  # fmt: skip
    return long(rows, table(head, rows))


def sign_flip(of: Effect) -> str:
    """p after Holm, and the least that n seeds can reach."""
    if math.isnan(of.p_holm):
        return "–"
    return f"{of.p_holm:.2g} ({of.smallest_p:.2g})"


def left_out(entries: pd.DataFrame) -> Html:
    """What was not compared, and why."""
    if entries.empty:
        return element("p", "Every run and pair was used.")
    lines = entries.groupby(["what", "reason"], sort=False)["moment"].agg(", ".join).reset_index()
    rows = [(str(e.what), str(e.reason), str(e.moment)) for e in lines.itertuples()]
    more = [element("p", f"and {len(rows) - LISTED} more: python analysis/verdict.py --json")]
    listed = table(("what", "why", "moment"), rows[:LISTED])
    title = f"Left out of the comparisons: {len(rows)}"
    return folded(title, listed, *(more if len(rows) > LISTED else []))


def errors(found: pd.DataFrame, beside: bool) -> Html:
    """The table of `tables.errors`: a line a network, ours ± spread, the paper's below."""
    if found.empty:
        return element("p", "No run is finished, and none has reached its first drop.")
    rows = [
        (str(network), str(int(own["n"].max())), *_cells(own))
        for network, own in found.groupby("network", sort=False)
    ]
    short = "n: runs that got so far. ± is the standard deviation between seeds."
    note = f"{short} * outside twice the spread of the paper's five runs, or of ours."
    titles = [title.replace(" error", "") for title in tables.TITLES]
    return joined([table(("network", "n", *titles), rows, class_="numbers"),
                   element("p", note if beside else short, class_="note")])  # fmt: skip


def _cells(own: pd.DataFrame) -> Iterator[str]:
    rows = {row["quantity"]: row for row in own.to_dict("records")}
    for quantity in tables.QUANTITIES:
        yield _cell(rows[quantity], int(own["n"].max())) if quantity in rows else "–"


def _cell(row: Mapping[Hashable, Any], most: int) -> str:
    """`6.61 ± 0.16`, the paper's below; n where it isn't the network's."""
    spread = f" ± {row['spread']:.2f}" if pd.notna(row["spread"]) else ""
    ours = f"{row['ours']:.2f}{spread}"
    known = pd.notna(row["paper"])
    small = [f"n={row['n']}"] if row["n"] != most else []
    small += [f"paper {row['paper']:.2f}"] if known else []
    mark = "*" if known and not row["in_band"] else ""
    below = joined([" ", element("small", ", ".join(small))]) if small else ""
    return joined([ours, mark, below])


def missing(lacking: Iterable[Lack]) -> Html:
    """What is not there, and what makes it."""
    lines = [
        element("li", *(element("span", line, class_="lack") for line in lack.what),
                element("pre", element("code", lack.command), tabindex="0", class_="command"))
        for lack in lacking
    ]  # fmt: skip
    if not lines:
        return joined([element("h3", "Missing"), element("p", "Nothing.")])
    return joined([element("h3", "Missing"), element("ul", *lines, class_="lacks")])
