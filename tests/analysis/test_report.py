"""The report: one page that fetches nothing, escapes all, and says what the run folders say."""

import base64
import hashlib
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from analysis import report
from analysis.frames import runs as frames
from analysis.page import charts, commands, contrast, run_list, verdict
from analysis.plots import markup, tables
from analysis.plots.style import MODERN
from analysis.stats.verdict_rules import Rule
from degradation.config import schema, study
from degradation.runs.run_dir import RunDir
from degradation.system import files
from degradation.system.paths import TOP
from tests.analysis.test_figures import add, rows_of

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
browser = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
EVIL = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\" onmouseover='alert(1)' x=\"&amp;&lt;",
    "<!-- ]]> <style>*{display:none}</style>",
    "line\u2028separator\u2029\x00\x1b[31mred\x7f\x85",
    "\u202egnp.exe\u2066",
    "${data} $$ %s {0}",
)


class Page(HTMLParser):
    """The elements of a page with their attributes, and the text of each script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.tables: list[list[list[str]]] = []
        self.inside, self.in_cell = "", False
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("th", "td"):
            self.tables[-1][-1].append("")
            self.in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self.inside = "" if tag in ("script", "style") else self.inside
        self.in_cell = self.in_cell and tag not in ("th", "td")

    def handle_data(self, text: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += text
            return
        self.text += text
        if self.in_cell:
            self.tables[-1][-1][-1] += text

    @property
    def data(self) -> dict[str, Any]:
        return dict(json.loads(self.scripts[0]))

    def column(self, name: str) -> list[Any]:
        """A column of the list of runs."""
        column = self.data["runs"]["columns"][name]
        return [column["of"][i] for i in column["at"]] if isinstance(column, dict) else column

    def run(self, start: str) -> dict[str, Any]:
        """The one run whose name starts so."""
        names = list(self.column("run"))
        (place,) = (i for i, name in enumerate(names) if name.startswith(start))
        return {key: self.column(key)[place] for key in self.data["runs"]["columns"]}


@pytest.fixture
def runs(small: Callable[..., schema.RunConfig], tmp_path: Path) -> Path:
    """plain and residual 8 and 14, two seeds, all done; in `runs`, as the commands expect."""
    for depth in (8, 14):
        for shortcut, factor in (("none", 2), ("identity", 1)):
            for seed in (0, 1):
                base = depth * factor + seed
                rows = rows_of((i, base + 12 - i, base + 13 - i) for i in (4, 6, 8, 9, 12))
                add(
                    tmp_path / "runs", small(depth=depth, seed=seed, model__shortcut=shortcut), rows
                )
    return tmp_path / "runs"


@pytest.fixture
def half(runs: Path, small: Callable[..., schema.RunConfig]) -> Path:
    """The same, with a run in every other state beside them."""
    failed = add(runs, small(depth=20), rows_of((i, 60.0, 61.0) for i in (4,)), None)
    message = "RuntimeError: out of memory\nthe traceback is in worker.log"
    files.write_json(failed.failed_json, {"kind": "RuntimeError", "message": message, "at": "now"})
    failed.log.write_text("".join(f"line {i}\n" for i in range(50)))
    add(runs, small(depth=20, seed=1), rows_of((i, 70.0, 71.0) for i in (4, 6)), "diverged")
    RunDir.of(small(depth=8, seed=2), runs).create(small(depth=8, seed=2))
    add(runs, small(model__shortcut="projection", model__width=8), rows_of((i, 5.0, 6.0) for i in (4, 12)))
    return runs


def written(folder: Path) -> Page:
    return Page(text_of(folder))


def text_of(folder: Path) -> str:
    content = frames.read(folder)
    return report.page(str(folder), content, run_list.last_rows(str(folder), content.studies))


def command(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, str(TOP / "analysis/report.py"), *arguments],
                          cwd=folder, capture_output=True, text=True)  # fmt: skip


# ---- one page


def test_the_page_refers_to_nothing_outside(half: Path) -> None:
    text = text_of(half)
    page = Page(text)
    assert not re.search(r"https?:|url\((?!#)|@import", text)
    for _, attributes in page.elements:
        assert "style" not in attributes
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("srcset", "action", "poster"):
            assert name not in attributes
        assert (attributes.get("src") or "data:").startswith("data:")
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))


def test_its_policy_allows_its_own_scripts_and_style_alone(half: Path) -> None:
    text = text_of(half)
    page = Page(text)
    policy = next(a["content"] or "" for t, a in page.elements
                  if t == "meta" and a.get("http-equiv") == "Content-Security-Policy")  # fmt: skip
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"].split() == [f"'sha256-{sha(s)}'" for s in page.scripts[1:]]
    style = text.split("<style>")[1].split("</style>")[0]
    assert rules["style-src"] == f"'sha256-{sha(style)}'"
    assert "unsafe" not in policy and "connect-src" not in policy


def sha(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def test_equal_run_folders_give_equal_bytes(half: Path, tmp_path: Path) -> None:
    shutil.copytree(half, tmp_path / "elsewhere" / "runs")
    for folder in (tmp_path, tmp_path / "elsewhere"):
        done = command(folder, "runs", "--out", "out/page.html")
        assert done.returncode == 0, done.stderr
        assert "out/page.html: 12 runs" in done.stdout
    first, second = ((f / "out/page.html") for f in (tmp_path, tmp_path / "elsewhere"))
    assert first.read_bytes() == second.read_bytes()
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["page.html"]


def test_neither_torch_nor_hydra_is_loaded(half: Path) -> None:
    code = (
        "import sys; sys.argv = ['report', 'runs', '--out', 'x.html']; import report; "
        "assert report.main() == 0; "
        "print([m for m in ('torch', 'hydra', 'wandb', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=half.parent, capture_output=True,
                          text=True, env={"PYTHONPATH": str(TOP / "analysis")})  # fmt: skip
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_without_runs_it_says_what_makes_some(tmp_path: Path) -> None:
    done = command(tmp_path, "nowhere")
    assert done.returncode == 1
    assert "python -m degradation.run" in done.stderr
    assert not (tmp_path / "figures").exists()


def test_a_damaged_file_is_named(runs: Path, tmp_path: Path) -> None:
    next(runs.glob("*/curves.jsonl")).write_text("{\n{}\n")
    done = command(tmp_path, "runs")
    assert done.returncode == 2
    assert "curves.jsonl, line 1" in done.stderr and "Traceback" not in done.stderr


# ---- text that nobody vouches for


@pytest.fixture
def evil(half: Path) -> Path:
    """The corpus as failure messages, log lines, hosts, devices, commits and a folder's name."""
    for run, text in zip(sorted(half.glob("*-*")), EVIL, strict=False):
        files.write_json(run / "failed.json", {"kind": text, "message": text, "at": text})
        (run / "done.json").unlink(missing_ok=True)
        (run / "worker.log").write_text(f"{text}\nfine\n")
        start = {"at": text, "host": text, "commit": text, "digests": {text: text},
                 "fingerprint": {"gpu": text}, "versions": {text: text}}  # fmt: skip
        (run / "launches.jsonl").write_text(json.dumps(start) + "\n")
    shutil.copytree(next(half.glob("digits-plain-14-s0-*")), half / EVIL[1])
    return half


def test_no_text_becomes_markup(evil: Path, half: Path) -> None:
    page = written(evil)
    assert [tag for tag, _ in page.elements].count("script") == 4
    assert [tag for tag, _ in page.elements].count("style") == 1
    assert "iframe" not in {tag for tag, _ in page.elements}
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert {a["class"] for a in images} == {"image"}  # our own
    assert not re.search("[<>&\u2028]", page.scripts[0])
    messages = {failure["message"] for failure in page.column("failure") if failure}
    assert messages >= {markup.shown(text) for text in EVIL}
    assert EVIL[1] in page.column("run")
    assert EVIL[0] in page.text  # a device, as text


def test_nothing_invisible_stays_invisible() -> None:
    assert markup.shown("a\x00\x1b[31m\tb\r\nc\rd") == "a␀␛[31m\tb\nc␍d"
    assert markup.shown("\u202e\u2066\x7f\x85\ud800") == "�" * 5


def test_attributes_and_children_are_escaped_once() -> None:
    made = markup.element("p", "<b>", markup.element("i", "&"), class_="x", title="\"&'", id=None)
    assert made == '<p class="x" title="&quot;&amp;&#x27;">&lt;b&gt;<i>&amp;</i></p>'


def test_json_ends_no_script_and_refuses_nan() -> None:
    value = {"</script>": "<!--\u2028&"}
    text = markup.script_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError):
        markup.script_json(float("nan"))


# ---- what it says


def test_the_errors_are_the_tables(runs: Path) -> None:
    (study,) = frames.studies(runs)
    found = next(t for t in written(runs).tables if t[0][0] == "network")
    theirs = [[cell.strip() for cell in line.strip("|").split("|")]
              for line in tables.markdown(tables.errors(study)).splitlines()]  # fmt: skip
    assert found[1:] == theirs[2:]
    assert "28.50 ± 0.71" in found[2]


def test_the_papers_errors_stand_beside(
    small: Callable[..., schema.RunConfig], tmp_path: Path
) -> None:
    page = written(papers_study(small, tmp_path))
    row = next(t for t in page.tables if t[0][0] == "network")[1]
    assert row[2:4] == ["8.00* paper 1.44", "9.00* paper 9.69"]


def papers_study(small: Callable[..., schema.RunConfig], folder: Path) -> Path:
    """plain 20 on CIFAR-10 with the paper's length, and a plain 110 above the frame."""
    for depth, error in ((20, 9.0), (110, 80.0)):
        config = small(data__name="cifar10", depth=depth, recipe__iterations=64_000,
                      recipe__milestones=[32_000, 48_000], recipe__eval_every=1_000)  # fmt: skip
        rows = rows_of((i, error - 1, error) for i in range(1_000, 65_000, 1_000))
        add(folder / "runs", config, rows)
    return folder / "runs"


def test_the_verdict_is_verdicts(small: Callable[..., schema.RunConfig], tmp_path: Path) -> None:
    for seed, off in enumerate((0.0, 0.1, 0.3)):
        for depth in (20, 56):
            rows = rows_of((i, depth + off * depth, depth + off) for i in (4, 6, 12))
            add(tmp_path / "runs", small(depth=depth, seed=seed), rows)
    (study,) = frames.studies(tmp_path / "runs")
    said = verdict.of(study, Rule())
    page = written(tmp_path / "runs")
    (steps,) = (t for t in page.tables if t and t[0][0] == "step")
    end = said.steps[0]
    effect = f"{end.train.mean:+.2f} [{end.train.low:+.2f}, {end.train.high:+.2f}] n=3"
    assert end.word == "degradation"
    assert steps[1][:4] == ["plain 20→56", "at the end", "degradation", effect]
    assert effect in verdict.text(said)
    assert (
        "reproducedthe plain arm degrades from 20 to 56 layers (Figures 1 and 6)"
        f"20→56: train {effect}" in page.text
    )
    assert str(said.rule) in page.text


def test_every_state_is_listed_with_its_numbers(half: Path) -> None:
    page = written(half)
    states = dict(zip(page.column("run"), page.column("state"), strict=True))
    assert sorted(states.values()) == ["diverged", *["done"] * 9, "failed", "partial"]
    done = page.run("digits-plain-14-s1")
    assert (done["train_error"], done["test_error"], done["iteration"]) == (29, 30, 12)
    assert (done["exact"], done["device"], done["iterations"]) == (True, "cpu", 12)
    assert "9 done, 1 diverged, 1 partial, 1 failed" in page.text


def test_a_failure_has_its_message_and_the_end_of_its_log(half: Path) -> None:
    run = written(half).run("digits-plain-20-s0")
    assert run["failure"]["message"].startswith("RuntimeError: out of memory\n")
    assert run["log"] == [f"line {i}" for i in range(30, 50)]


def test_a_config_is_the_protocols_and_what_the_run_has_beside_it(half: Path) -> None:
    page = written(half)
    run = page.run("digits-plain-20-s0")
    assert run["own"] == {"model.shortcut": "none", "depth": "20", "seed": "0"}
    full = page.data["runs"]["common"][run["protocol"]] | run["own"]
    assert full == run_list.flat(files.read_json(next(half.glob("*plain-20-s0*/config.json"))))


def test_a_run_without_a_row_and_a_folder_of_such(
    small: Callable[..., schema.RunConfig], tmp_path: Path
) -> None:
    run = RunDir.of(small(), tmp_path)
    run.create(small())
    files.write_json(run.failed_json, {"kind": "DataError", "message": "no data", "at": "now"})
    page = written(tmp_path)
    assert page.data["studies"] == []
    assert "No run has a row yet" in page.text
    assert page.run("digits-plain-8-s0")["failure"]["message"] == "no data"


def test_a_torn_row_is_not_there_yet(runs: Path) -> None:
    before = written(runs).column("test_error")
    with next(runs.glob("*plain-8-s0*/curves.jsonl")).open("a") as file:
        file.write('{"iteration": 16, "test_er')
    assert written(runs).column("test_error") == before


def test_mixed_commits_are_pointed_out(runs: Path) -> None:
    assert "different commits" not in written(runs).text
    for i, starts in enumerate(runs.glob("*-8-*/launches.jsonl")):
        start = json.loads(starts.read_text()) | {"commit": f"abc{i % 2}"}
        starts.write_text(json.dumps(start) + "\n")
    text = written(runs).text
    assert "abc0 (2), abc1 (2), unknown (4)" in text
    assert "different commits" in text


def test_logs_beyond_the_limit_are_those_of_finished_runs(half: Path, monkeypatch) -> None:
    for folder in half.glob("digits-*"):
        (folder / "worker.log").write_text("said\n")
    monkeypatch.setattr(run_list, "LOGS", 3)
    page = written(half)
    logs = zip(page.column("state"), page.column("log"), strict=True)
    assert sorted(state for state, log in logs if log == ["said"]) == [
        "diverged",
        "failed",
        "partial",
    ]


def test_the_end_of_a_long_log_is_read_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    log.write_bytes(b"\xff" * 100_000 + b"\n" + b"".join(b"%d\n" % i for i in range(100)) + b"torn")
    assert run_list.tail(log) == [*map(str, range(81, 100)), "torn"]
    assert run_list.tail(tmp_path / "none") == []


# ---- what is missing


def probed(study: frames.Study) -> bool:
    return not frames.responses(study).empty


def lacks(folder: Path) -> list[commands.Lack]:
    return [
        lack for s in frames.studies(folder) for lack in commands.lacks(s, str(folder), probed(s))
    ]


def asked_for(lack: commands.Lack) -> dict[str, str]:
    """The points that a command trains, as Hydra composes it, by name; and where."""
    words = shlex.split(lack.command)
    assert words[:3] == ["python", "-m", "degradation.run"]
    return {s.config.name: s.machine.runs for s in study.settings(study.Line.read(words[3:]))}


def test_the_commands_train_what_is_missing(
    half: Path, small: Callable[..., schema.RunConfig]
) -> None:
    plain, residual, probe = lacks(half)
    assert plain.what == (
        f"failed: {small(depth=20).name}", f"partial: {small(depth=8, seed=2).name}",
        "missing: plain 14,20, seed 2",
    )  # fmt: skip
    assert residual.what == ("missing: residual 8,14, seed 2", "missing: residual 20")
    wanted = {small(depth=d, seed=s, model__shortcut="identity").name
              for d, s in ((8, 2), (14, 2), (20, 0), (20, 1), (20, 2))}  # fmt: skip
    found = asked_for(residual)
    assert wanted <= set(found)
    assert set(found.values()) == {str(half)}
    assert {small(depth=20).name, small(depth=8, seed=2).name} <= set(asked_for(plain))
    assert probe.command == f"degradation evaluate responses {half}"
    page = written(half)
    for lack in (plain, residual, probe):
        assert lack.command in page.text


def test_nothing_is_missing_from_a_whole_study(runs: Path) -> None:
    for folder in runs.iterdir():
        (folder / "responses.csv").write_text("layer,name,response_std\n1,norm,2.0\n")
    assert lacks(runs) == []
    assert "MissingNothing." in written(runs).text


def test_a_default_study_in_runs_has_a_short_command(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    line = study.Line.read(["model=plain", "data=digits", "depth=20"])
    (settings,) = study.settings(line)
    add(Path("runs"), settings.config, rows_of((i, 5.0, 5.0) for i in (25, 400)))
    found = [lack for s in frames.studies("runs") for lack in commands.lacks(s, "runs", probed(s))]
    assert [lack.command for lack in found] == [
        "python -m degradation.run -m data=digits model=residual depth=20",
        "degradation evaluate responses",
    ]


def test_many_seeds_are_a_range_that_hydra_reads(
    small: Callable[..., schema.RunConfig], tmp_path: Path
) -> None:
    for seed in range(10):
        add(tmp_path / "runs", small(seed=seed), rows_of((i, 5.0, 5.0) for i in (4, 12)))
    (lack, _) = lacks(tmp_path / "runs")
    assert "'seed=range(0,10)'" in lack.command
    assert len(asked_for(lack)) == 10


# ---- the charts' data


def test_a_mean_ends_at_the_tables_number_though_runs_go_on(
    runs: Path, small: Callable[..., schema.RunConfig]
) -> None:
    add(runs, small(seed=2), rows_of((i, 99.0, 99.0) for i in (4,)), None)
    (study,) = frames.studies(runs)
    lines = written(runs).data["studies"][0]["lines"]
    (mean,) = (line for line in lines if line["name"] == "plain-8: mean of 2 finished")
    table = tables.errors(study).set_index(["network", "quantity"])["ours"]
    for quantity in ("train_error", "test_error"):
        assert mean["y"][quantity][-1] == table["plain-8", quantity]
    assert mean["x"] == [4, 6, 8, 9, 12]
    (young,) = (line for line in lines if line["name"] == small(seed=2).name)
    assert (young["note"], young["y"]["test_error"]) == ("partial", [99])


def test_ends_of_curves_say_what_became_of_them(half: Path) -> None:
    study = written(half).data["studies"][0]
    plain = study["charts"]["figure6"]["panels"][0]
    ends = {study["lines"][s["line"]]["name"][:18]: s.get("end") for s in plain["series"]}
    assert ends["digits-plain-20-s0"] == "dot"
    assert ends["digits-plain-20-s1"] == "cross"
    assert ends["digits-plain-14-s0"] is None


def test_above_the_limit_the_range_stands_for_the_seeds(runs: Path, monkeypatch) -> None:
    monkeypatch.setattr(charts, "SINGLE", 3)
    study = written(runs).data["studies"][0]
    figure = study["charts"]["figure6"]
    drawn = [study["lines"][s["line"]] for panel in figure["panels"] for s in panel["series"]]
    assert {line["name"].split(":")[1] for line in drawn} == {" mean of 2 finished"}
    assert drawn[0]["low"]["train_error"][-1] == drawn[0]["high"]["train_error"][-1] - 1
    assert "too many runs to show each seed" in figure["caption"]
    caption = study["charts"]["depth"]["caption"]
    assert "a dot a run" not in caption and "range of the runs" in caption
    depth = study["charts"]["depth"]["panels"][1]["series"]
    assert [s["kind"] for s in depth] == ["joined", "joined"]
    plain = study["lines"][depth[0]["line"]]
    assert (plain["low"]["test_error"], plain["high"]["test_error"]) == ([17, 29], [18, 30])


def test_the_papers_curves_are_beside_ours(
    small: Callable[..., schema.RunConfig], tmp_path: Path
) -> None:
    study = written(papers_study(small, tmp_path)).data["studies"][0]
    plain = study["charts"]["figure6"]["panels"][0]
    assert plain["notes"][0] == "↑ plain-110: 80.0 %"
    assert plain["notes"][1] == "not trained: plain-32, plain-44, plain-56"
    assert (plain["x"]["high"], plain["y"]["high"]) == (64_000, 20)
    ghosts = [study["lines"][s["line"]] for s in plain["series"] if s.get("kind") == "paper"]
    curves = frames.paper_curves()
    theirs = curves[(curves["panel"] == "left") & (curves["network"] == "plain-56")
                    & (curves["quantity"] == "test_error")]  # fmt: skip
    (deep,) = {line["name"]: line for line in ghosts if "plain-56" in line["name"]}.values()
    assert [v for v in deep["y"]["test_error"] if v is not None] == list(theirs["value"])


def test_a_probed_study_has_figure_7(runs: Path) -> None:
    for folder in runs.glob("digits-plain-8-*"):
        (folder / "responses.csv").write_text(
            "layer,name,response_std\n1,a,2.0\n2,b,1.0\n3,c,3.0\n"
        )
    study = written(runs).data["studies"][0]
    panels = study["charts"]["figure7"]["panels"]
    shown = [study["lines"][p["series"][0]["line"]]["y"]["std"] for p in panels]
    assert shown == [[2, 1, 3], [3, 2, 1]]


def test_an_error_that_no_run_got_below_has_no_panel(runs: Path) -> None:
    speed = written(runs).data["studies"][0]["charts"]["speed"]
    titles = [panel["title"] for panel in speed["panels"]]
    assert titles == [f"first row below {error} % training error" for error in (80, 50, 20, 10)]
    for curves in runs.glob("*/curves.jsonl"):
        curves.write_text('{"iteration": 4, "train_error": 60.0, "test_error": 60.0}\n')
    speed = written(runs).data["studies"][0]["charts"]["speed"]
    assert [panel["title"] for panel in speed["panels"]] == titles[:1]
    assert "no run got below 50 %; no run got below 20 %; no run got below 10 %" in speed["caption"]


def test_what_is_at_its_default_is_not_packed() -> None:
    series = charts.Series(0, "test_error", ("#000000", "#ffffff"), ("plain-8",))
    assert charts.packed(series) == {
        "line": 0, "column": "test_error", "colour": ["#000000", "#ffffff"], "tags": ["plain-8"],
    }  # fmt: skip
    assert charts.values([1.00004, float("nan"), 2]) == [1, None, 2]


@pytest.mark.parametrize(
    "colour", sorted({*MODERN.depths.values(), *MODERN.others, *MODERN.arms.values()})
)
def test_every_colour_stands_out_from_both_grounds(colour: str) -> None:
    light, dark = contrast.on_both(colour)
    assert contrast.ratio(light, contrast.LIGHT) >= contrast.ON_LIGHT
    assert contrast.ratio(dark, contrast.DARK) >= contrast.ON_DARK
    assert contrast.ratio("#000000", "#ffffff") == pytest.approx(21)
    css = (report.PARTS / "page.css").read_text()
    assert f"--ground: light-dark({contrast.LIGHT}, {contrast.DARK});" in css


def test_curves_are_drawn_once_however_many_figures_show_them(runs: Path) -> None:
    names = [line["name"] for line in written(runs).data["studies"][0]["lines"]]
    assert [n for n in names if n.startswith("digits-plain-8-s0")] == names[:1]


def test_plot_curves_names_the_command(runs: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(TOP / "analysis/plot_curves.py"), "runs"],
                          cwd=tmp_path, capture_output=True, text=True)  # fmt: skip
    assert "python analysis/report.py runs" in done.stdout


# ---- in a browser

FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--hide-scrollbars", "--enable-logging=stderr", "--virtual-time-budget=2000")  # fmt: skip
HANDS = """\
const say = {};
const $ = (selector, within = document) => within.querySelector(selector);
const all = (selector, within = document) => [...within.querySelectorAll(selector)];
const pointer = (target, type, x, y, pointerType = "mouse") =>
  target.dispatchEvent(new PointerEvent(
  type, {clientX: x, clientY: y, pointerType, pointerId: 1, button: 0, bubbles: true}));
const key = (target, key) =>
  target.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
const drag = (plot, from, to, kind) => {
  const box = plot.getBoundingClientRect();
  pointer(plot, "pointerdown", box.left + from[0], box.top + from[1], kind);
  pointer(window, "pointermove", box.left + to[0], box.top + to[1], kind);
  pointer(window, "pointerup", box.left + to[0], box.top + to[1], kind);
};
"""


def dumped(page: Path, *flags: str) -> tuple[str, list[str]]:
    """The page's document once it is drawn, and what its console said."""
    assert CHROMIUM is not None
    url = page.resolve().as_uri()
    fragment, sizes = [f for f in flags if f.startswith("#")], [f for f in flags if f[0] == "-"]
    done = subprocess.run(
        [CHROMIUM, *FLAGS, *sizes, f"--user-data-dir={page.parent / 'profile'}", "--dump-dom",
         url + "".join(fragment)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def tried(text: str, script: str, folder: Path, width: int = 1280) -> dict[str, Any]:
    """What `script` says of the page; the policy would forbid it, so it is left out here alone."""
    open_text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert open_text != text
    said = "parent.document.body.dataset.said = JSON.stringify(say);"
    hands = f"<script>{HANDS}{script}\n{said}</script>"
    framed = html.escape(open_text.replace("</body>", f"{hands}</body>"))
    page = folder / "tried.html"  # a window is at least 500 pixels wide, a frame isn't
    page.write_text(f'<body><iframe width="{width}" height="844" srcdoc="{framed}"></iframe>')
    document, console = dumped(page, "--window-size=1400,900")
    assert console == []
    body = next(attributes for tag, attributes in Page(document).elements if tag == "body")
    return dict(json.loads(body["data-said"] or ""))


@browser
def test_a_complaint_of_the_browser_is_heard(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<script>nothing.there</script>")
    assert "nothing is not defined" in dumped(page)[1][0]


@browser
@pytest.mark.slow
@pytest.mark.parametrize("theme", ["#light", "#dark"])
@pytest.mark.parametrize("size", ["500,844", "1280,900"])
def test_a_browser_draws_it_all_without_complaint(
    half: Path, tmp_path: Path, size: str, theme: str
) -> None:
    page = tmp_path / "page.html"
    page.write_text(text_of(half))
    document, console = dumped(page, f"--window-size={size}", theme)
    assert console == []
    drawn = Page(document)
    shown = sum(len(p["series"]) for c in drawn.data["studies"][0]["charts"].values()
                for p in c["panels"] if "series" in p)  # fmt: skip
    classes = [(tag, (attributes.get("class") or "").split()) for tag, attributes in drawn.elements]
    plots = sum(len(c["panels"]) for c in drawn.data["studies"][0]["charts"].values())
    assert sum(tag == "svg" and "plot" in names for tag, names in classes) == plots > 10
    groups = sum(tag == "g" and bool({"seed", "mean", "paper", "dots", "joined"} & set(names))
                 for tag, names in classes)  # fmt: skip
    assert groups == shown > 40
    assert len(drawn.tables[-1]) == 1 + 12


@browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page(
    half: Path, small: Callable[..., schema.RunConfig], tmp_path: Path, width: int
) -> None:
    for depth in (26, 32):  # a wide interval
        add(half, small(depth=depth, seed=1), rows_of((i, 2 * depth, 99.0) for i in (4, 12)))
    for depth in (26, 32, 38, 44, 50, 56, 62, 68, 110, 1202):
        add(half, small(depth=depth), rows_of((i, depth % 50, depth % 60) for i in (4, 6, 9, 12)))
    script = """
    all("details").forEach((d) => { d.open = true; });
    all(".runs tbody th button")[0].click();
    say.page = [document.documentElement.scrollWidth, innerWidth];
    say.tables = all(".scroll:has(.cards)").map((t) => t.scrollWidth - t.clientWidth);
    say.commands = all(".command").map((c) => c.scrollWidth - c.clientWidth);
    say.cut = all(".plot text").filter((t) => {
      const own = t.getBoundingClientRect(), plot = t.closest("svg").getBoundingClientRect();
      return own.left < plot.left - 1 || own.right > plot.right + 1 || own.bottom > plot.bottom + 1;
    }).map((t) => t.textContent);
    const boxes = (plot) =>
      all("text", plot).map((t) => [t.textContent, t.getBoundingClientRect()]);
    const across = (p, q) => p.left < q.right - 1 && q.left < p.right - 1;
    const along = (p, q) => p.top < q.bottom - 3 && q.top < p.bottom - 3;
    say.over = all(".plot").flatMap((plot) =>
      boxes(plot).flatMap(([a, p], i) => boxes(plot).slice(i + 1)
      .filter(([, q]) => across(p, q) && along(p, q))
      .map(([b]) => [a, b])));
    """
    said = tried(text_of(half), script, tmp_path, width)
    assert said["page"][0] <= said["page"][1] == width
    assert said["commands"] == [0, 0, 0]
    assert width > 390 or {*said["tables"]} == {0}
    assert said["cut"] == []
    assert said["over"] == []


@browser
@pytest.mark.slow
def test_charts_answer_hands_and_keys(half: Path, tmp_path: Path) -> None:
    script = """
    const figure = $("figure.chart"), plot = $(".plot", figure), readout = $(".readout", figure);
    const curve = $(".seed .curve", plot), box = plot.getBoundingClientRect();
    const points = curve.getAttribute("d").match(/[\\d.]+ [\\d.]+/g)
      .map((p) => p.split(" ").map(Number));
    const [x, y] = points.at(-1);
    const words = () =>
      readout.hidden ? null : all("*", readout).map((e) => e.textContent);
    const d = () => all(".curve", plot).map((c) => c.getAttribute("d"));
    const first = d();
    pointer(plot, "pointermove", box.left + x, box.top + y);
    say.hover = words();
    const own = readout.getBoundingClientRect();
    say.beside = [own.left - box.left - x, own.right - box.left - x,
                  own.top - box.top, own.bottom - box.top - y];
    pointer(plot, "pointerleave", 0, 0);
    say.away = words();
    drag(plot, [x, y], [x, y], "touch");
    say.tap = words();
    plot.dispatchEvent(new Event("blur"));
    key(plot, "ArrowDown"); say.last = words();
    key(plot, "ArrowUp"); key(plot, "ArrowUp"); say.up = words();
    key(plot, "ArrowRight"); say.right = words();
    key(plot, "ArrowRight"); say.end = words();
    drag(plot, [100, 40], [200, 120]);
    say.zoomed = d().join() !== first.join();
    say.linked = !all(".view", figure)[1].hidden;
    plot.dispatchEvent(new MouseEvent("dblclick"));
    say.reset = d().join() === first.join();
    drag(plot, [100, 40], [200, 42], "touch");
    say.sideways = d().join() !== first.join();
    key(plot, "0");
    say.zero = d().join() === first.join();
    drag(plot, [100, 40], [104, 42]);
    say.still = d().join() === first.join();
    const seeds = all(".legend button", figure).find((b) => b.textContent === "seeds");
    const count = () => all(".seed", plot).length;
    say.before = count(); seeds.click();
    say.off = count(); say.pressed = seeds.getAttribute("aria-pressed");
    seeds.click(); say.on = count();
    """
    said = tried(text_of(half), script, tmp_path)
    run = next(half.glob("digits-plain-8-s0-*")).name
    assert said["hover"] == [run, "iteration 12", "training error 16.00 %", "test error 17.00 %"]
    left, right, top, bottom = said["beside"]  # of the readout, from the point and the plot's top
    assert (0 < left < 30 or -30 < right < 0) and top >= -1 and bottom < 80
    assert said["away"] is None
    assert said["tap"] == said["hover"]
    assert said["last"][:2] == ["plain-20: mean of 2 unfinished", "iteration 4"]
    assert said["up"][:2] == ["plain-14: mean of 2 finished", "iteration 4"]
    assert said["right"][1:] == ["iteration 6", "training error 34.50 %", "test error 35.50 %"]
    assert said["end"][1] == "iteration 8"
    assert said["zoomed"] and said["linked"] and said["reset"] and said["sideways"]
    assert said["zero"] and said["still"]
    assert (said["before"], said["off"], said["on"]) == (said["on"], 0, said["before"])
    assert said["pressed"] == "false"


@browser
@pytest.mark.slow
def test_the_list_is_filtered_sorted_and_unfolded(evil: Path, tmp_path: Path) -> None:
    script = """
    const names = () => all(".runs tbody th button").map((b) => b.textContent);
    const type = (text) => {
      $("#filter").value = text; $("#filter").dispatchEvent(new Event("input"));
    };
    say.all = names().length;
    const title = (text) => all(".runs thead button").find((b) => b.textContent.startsWith(text));
    title("test %").click(); say.up = all(".runs tbody tr").map((r) => r.children[7].textContent);
    title("test %").click(); say.down = all(".runs tbody tr").map((r) => r.children[7].textContent);
    type("residual depth=14"); say.found = names();
    type("onerror=alert"); say.evil = names();
    all(".runs tbody th button")[0].click();
    say.detail = all(".detail pre").map((p) => p.textContent);
    say.markup = all("img:not(.image), .detail img, .detail script").length;
    type(""); all("#chips button").forEach((b) => b.textContent.includes("done") && b.click());
    say.undone = names().length;
    say.chips = all("#chips button").map((b) => b.textContent);
    const ground = () => getComputedStyle(document.body).backgroundColor;
    say.grounds = [ground()]; $("#theme").click(); say.grounds.push(ground());
    $("#theme").click(); say.grounds.push(ground());
    """
    said = tried(text_of(evil), script, tmp_path)
    assert said["all"] == 13
    up = [float(v) for v in said["up"] if v != "–"]
    assert up == sorted(up) and said["up"][-1] == "–" == said["down"][-1]
    assert [float(v) for v in said["down"] if v != "–"] == up[::-1]
    found = sorted(name[:21] for name in said["found"])
    assert found == ["digits-residual-14-s0", "digits-residual-14-s1"]
    assert EVIL[1] in said["evil"]
    assert said["detail"][0] == EVIL[1]
    assert said["detail"][1] == f"{EVIL[1]}\nfine"
    assert said["markup"] == 0
    assert said["undone"] == 13 - int(next(c for c in said["chips"] if "done" in c).split()[0])
    assert said["grounds"] == ["rgb(255, 255, 255)", "rgb(20, 23, 28)", "rgb(255, 255, 255)"]


@browser
@pytest.mark.slow
def test_a_link_unfolds_a_run(half: Path, tmp_path: Path) -> None:
    name = next(half.glob("digits-plain-20-s0-*")).name
    page = tmp_path / "page.html"
    page.write_text(text_of(half))
    document, _ = dumped(page, f"#run={name}")
    (row, detail) = Page(document).tables[-1][1:]
    assert row[0] == f"{name}RuntimeError: out of memory"
    assert "the traceback is in worker.log" in detail[0]
    assert f"{half}/{name}, 4 of 12 iterations" in detail[0]
    assert "line 30\nline 31\n" in detail[0] and "line 29" not in detail[0]
