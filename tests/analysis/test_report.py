"""The report: one page that fetches nothing, escapes all text, and shows what the runs say."""

import json
import shlex
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from plotly.offline import get_plotlyjs

from analysis import report
from analysis.frames import runs as frames
from analysis.page import charts, missing, sections, verdict
from analysis.plots import tables
from analysis.stats.inference import format_effect
from analysis.stats.verdict_rules import Rule
from analysis.why import studies
from degradation.config import compose
from degradation.runs.run_dir import RunDir
from tests.analysis.conftest import add

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
EVIL = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\" onmouseover='alert(1)' x=\"&amp;&lt;",
    "{{ 7 * 7 }} {% raw %} ${data}",
    "\x1b[31mred\x7f \u202egnp.exe\u2066",
)


class Page(HTMLParser):
    """A page's elements with their attributes, its text, and the cells of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements, self.tables, self.text = [], [], ""
        self.last, self.in_cell = "", False
        self.feed(text.replace(get_plotlyjs(), ""))

    def handle_starttag(self, tag, attributes) -> None:
        self.last = tag
        self.elements.append((tag, dict(attributes)))
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.last = ""
        self.in_cell = self.in_cell and tag not in ("th", "td")

    def handle_data(self, text: str) -> None:
        if self.last not in ("script", "style"):
            self.text += text
            if self.in_cell:
                self.tables[-1][-1][-1] += text.strip()

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


@pytest.fixture
def half(runs: Path, small) -> Path:
    """`runs`, with a run in every other state beside them."""
    failed = add(runs, small(depth=20), [(4, 60, 61)], None)
    failed.fail("RuntimeError", "out of memory\nthe traceback is in worker.log")
    add(runs, small(depth=20, seed=1), [(4, 70, 71), (6, 70, 71)], "diverged")
    RunDir.of(small(depth=8, seed=2), runs).create(small(depth=8, seed=2))
    return runs


@pytest.fixture(autouse=True)
def _quick(monkeypatch) -> None:
    """Without the figures of other rooms, but where the command runs as a process."""
    monkeypatch.setattr(sections, "FIGURES", {})
    monkeypatch.setattr(studies, "STUDIES", {})


def text_of(folder: Path) -> str:
    return report.page(str(folder), frames.read(folder), folder.parent / "page.html")


# ---- one page


def test_equal_run_folders_give_equal_bytes_that_refer_to_nothing_outside(
    half: Path, tmp_path: Path, call, monkeypatch
) -> None:
    shutil.copytree(half, tmp_path / "elsewhere" / "runs")
    for folder in (tmp_path, tmp_path / "elsewhere"):
        monkeypatch.chdir(folder)
        assert call(report, "runs", "--out", "out/page.html")[0] == 0
    first, second = (f / "out/page.html" for f in (tmp_path, tmp_path / "elsewhere"))
    assert first.read_bytes() == second.read_bytes()
    page = Page(first.read_text())
    assert page.count("title") == 1
    assert sum(own.get("type") == "application/json" for _, own in page.elements) == 4
    for _, attributes in page.elements:
        assert (attributes.get("src") or "data:").startswith("data:")
        link = attributes.get("href") or "#"
        assert link.startswith(("#", "data:,")) or (first.parent / link).is_dir()


def test_no_text_of_a_run_becomes_markup(half: Path, tmp_path: Path) -> None:
    clean = Page(text_of(half))
    for run, text in zip(sorted(half.glob("*-*")), EVIL, strict=False):
        (run / "done.json").unlink(missing_ok=True)
        RunDir(run).fail(text, text)
        start = {"commit": text, "digests": {text: text}, "fingerprint": {"device": text}}
        (run / "launches.jsonl").write_text(json.dumps(start) + "\n")
    shutil.move(half, tmp_path / EVIL[1])
    page = Page(text_of(tmp_path / EVIL[1]))
    assert page.count("script") == clean.count("script")
    assert page.count("img") <= clean.count("img")
    assert not [name for _, attributes in page.elements for name in attributes if name[:2] == "on"]
    listed = {row[0] for row in page.tables[-1]}
    assert all(any(text in name for name in listed) for text in EVIL[:4])
    assert page.text.count(EVIL[1]) >= 3  # the title, the heading, the run's reason
    assert not set("\x1b\x7f\u202e\u2066") & set(page.text)


# ---- what it says


def test_errors_and_verdict_are_those_of_the_other_commands(small, tmp_path: Path) -> None:
    for seed, off in enumerate((0.0, 0.1, 0.3)):
        for depth in (20, 56):
            rows = ((i, depth + off * depth, depth + off) for i in (4, 6, 12))
            add(tmp_path / "runs", small(depth=depth, seed=seed), rows)
    (study,) = frames.studies(tmp_path / "runs")
    page = Page(text_of(tmp_path / "runs"))
    assert page.tables[0][1:] == tables.error_cells(tables.errors(study))
    judged = verdict.of(study, Rule())
    effect = format_effect(judged.steps[0].train)
    assert page.tables[1][1][:4] == ["plain 20→56", "at the end", "degradation", effect]
    assert effect in verdict.text(judged)
    assert f"20→56: train {effect}" in page.text
    assert str(judged.rule) in page.text


def test_every_run_is_listed_with_its_state_and_reason(half: Path) -> None:
    page = Page(text_of(half))
    states = {row[0]: row[1] for row in page.tables[-1][1:]}
    assert sorted(states.values()) == ["diverged", *["done"] * 8, "failed", "partial"]
    (failed,) = (name for name, state in states.items() if state == "failed")
    assert failed.endswith("out of memory\nthe traceback is in worker.log")
    shown = [row[3:10] for row in page.tables[-1]]
    assert ["plain", "14", "1", "12/12", "29.00", "30.00", "cpu"] in shown
    assert "8 done, 1 diverged, 1 partial, 1 failed" in " ".join(page.text.split())


def test_a_folder_without_a_row_has_a_page(small, tmp_path: Path) -> None:
    run = add(tmp_path, small(), [], None)
    run.fail("DataError", "no data")
    page = Page(text_of(tmp_path))
    assert "No run has a row yet" in page.text
    assert page.tables[-1][1][0] == f"{run.name}no data"


def test_mixed_commits_are_pointed_out(runs: Path) -> None:
    assert "different commits" not in text_of(runs)
    for i, launches in enumerate(runs.glob("*-8-*/launches.jsonl")):
        launch = json.loads(launches.read_text()) | {"commit": f"abc{i % 2}"}
        launches.write_text(json.dumps(launch) + "\n")
    page = Page(text_of(runs))
    assert "abc0 (2), abc1 (2), unknown (4)" in " ".join(page.text.split())
    assert "different commits" in page.text
    assert {row[10] for row in page.tables[-1][1:]} == {"abc0", "abc1", "–"}


# ---- what is missing


def lacks(folder: Path) -> list[missing.Lack]:
    return [lack for own in frames.studies(folder) for lack in missing.lacks(own, str(folder))]


def asked_for(lack: missing.Lack, folder: Path) -> set[str]:
    """The names of the runs in `folder` that a command trains, as Hydra composes it."""
    words = shlex.split(lack.command)
    assert words[:3] == ["python", "-m", "degradation.run"]
    return {s.config.name for s in compose.runs_of(words[3:]) if s.machine.runs == str(folder)}


def test_the_commands_train_what_is_missing(half: Path, small) -> None:
    plain, residual, responses = lacks(half)
    failed, partial = small(depth=20).name, small(depth=8, seed=2).name
    lines = (f"failed: {failed}", f"partial: {partial}", "missing: plain 14,20, seed 2")
    assert plain.what == lines
    assert residual.what == ("missing: residual 8,14, seed 2", "missing: residual 20")
    absent = [(8, 2), (14, 2), (20, 0), (20, 1), (20, 2)]
    wanted = {small(depth=d, seed=s, model__shortcut="identity").name for d, s in absent}
    assert wanted <= asked_for(residual, half)
    assert {failed, partial} <= asked_for(plain, half)
    assert responses.command == f"degradation evaluate responses {half}"
    assert residual.command in Page(text_of(half)).text


def test_nothing_is_missing_from_a_whole_study(runs: Path) -> None:
    for folder in runs.iterdir():
        (folder / "responses.csv").write_text("layer,name,response_std\n1,norm,2.0\n")
    assert lacks(runs) == []


def test_many_seeds_are_a_range_and_any_folder_is_quoted(small, tmp_path: Path) -> None:
    folder = tmp_path / "my runs, 2"
    for seed in range(10):
        add(folder, small(seed=seed), [(4, 5, 5), (12, 5, 5)])
    lack = lacks(folder)[0]
    assert "'seed=range(0,10)'" in lack.command
    assert len(asked_for(lack, folder)) == 10


# ---- the charts


def test_a_chart_has_each_seed_and_a_mean_of_the_finished_runs(runs: Path, small) -> None:
    add(runs, small(seed=2), [(4, 99, 99)], None)
    (study,) = frames.studies(runs)
    plain, _ = charts.curves_over_training(study).values()
    drawn = [trace for trace in plain.data if "test" in (trace.hovertemplate or "")]
    test = {trace.hovertemplate.split("<")[0]: trace for trace in drawn}
    seeds, mean = test["plain-8, seed %{customdata}"], test["plain-8, mean of %{customdata}"]
    assert list(seeds.customdata) == [0] * 6 + [1] * 6 + [2] * 2
    errors = [25, 23, 21, 20, 17, 26, 24, 22, 21, 18, 99]
    assert [value for value in seeds.y if value == value] == errors
    assert list(mean.y) == [25.5, 23.5, 21.5, 20.5, 17.5]
    assert list(test["plain-8, seed %{customdata}, partial"].x) == [4]
    assert seeds.legendgroup == mean.legendgroup == "plain-8"


def test_the_papers_curves_are_beside_ours_in_its_frame(papers: frames.Study) -> None:
    (plain,) = charts.curves_over_training(papers).values()
    assert (plain.layout.xaxis.range, plain.layout.yaxis.range) == ((0, 64_000), (0, 20))
    names = [trace.name for trace in plain.data if trace.name]
    assert names == ["plain-20", "plain-110 ↑ 80.0 %", "the paper"]
    theirs = frames.paper_curves().query("panel == 'left' and network == 'plain-56'")
    drawn = [t for t in plain.data if (t.hovertemplate or "").startswith("plain-56, the paper's")]
    assert sum(len(trace.y) for trace in drawn) == len(theirs)
    training, _ = charts.errors_against_depth(papers).values()
    assert "plain, the paper" in [trace.name for trace in training.data]


# ---- in a browser

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
FLAGS += ["--enable-logging=stderr", "--virtual-time-budget=5000", "--dump-dom"]
# After a click on `test %`, the page's title says what is there.
SCRIPT = """<script>
document.querySelectorAll(".sortable button")[8].click();
document.title = JSON.stringify({
  drawn: document.querySelectorAll(".chart .trace.scatter").length,
  sorted: [...document.querySelectorAll(".sortable td:nth-child(9)")].map((td) => td.textContent),
  fetched: performance.getEntriesByType("resource").map((entry) => entry.name),
  wide: document.documentElement.scrollWidth - innerWidth,
});
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
@pytest.mark.parametrize(("scheme", "width"), [(0, 500), (1, 1280)])
def test_a_browser_draws_and_sorts_it_without_complaint_or_request(
    half: Path, tmp_path: Path, scheme: int, width: int
) -> None:
    page = tmp_path / "page.html"
    page.write_text(text_of(half).replace("</body>", SCRIPT))
    flags = [f"--blink-settings=preferredColorScheme={scheme}", f"--window-size={width},900"]
    command = [CHROMIUM, *FLAGS, *flags, f"--user-data-dir={tmp_path}/profile", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "CONSOLE" not in done.stderr
    found = json.loads(done.stdout.partition("<title>")[2].partition("</title>")[0])
    assert found["fetched"] == []
    assert found["drawn"] > 20
    errors = [float(error) for error in found["sorted"] if error != "–"]
    assert len(errors) == 10 and errors == sorted(errors)
    assert found["wide"] <= 0
