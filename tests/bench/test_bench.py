"""The benchmark: its arithmetic, its fairness, and the borrowed hour from end to end."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from degradation.bench import __main__ as bench
from degradation.bench import (
    clock,
    collect,
    contest,
    costs,
    hour,
    practice,
    roof,
    table,
)
from degradation.config import validation
from degradation.models import cost, resnet
from degradation.models.resnet import count_parameters
from degradation.runs.run_dir import RunDir, runs_in
from degradation.system.paths import TOP
from degradation.training import synthetic_run

CPU = torch.device("cpu")
EPOCH = "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("depth", "forward", "outputs"),
    [(20, 81.1e6, 0.188e6), (56, 251.0e6, 0.532e6), (110, 505.8e6, 1.049e6)],
)
def test_work_of_a_image(depth: int, forward: float, outputs: float) -> None:
    found = cost.work(depth)
    assert found.operations == pytest.approx(forward, rel=1e-3)
    assert found.outputs == pytest.approx(outputs, rel=3e-3)
    assert found.training == 3 * found.operations


@pytest.mark.parametrize("depth", [20, 56, 1202])
def test_parameters_are_counted_as_torch_does(depth: int) -> None:
    config = costs.settings("model=plain", f"depth={depth}").config
    with torch.device("meta"):
        net = resnet.Network(config.model, depth, 3, 10)
    assert cost.work(depth).parameters == count_parameters(net)


def test_the_lower_roof_counts() -> None:
    one = cost.work(20)
    fast = roof.Machine(convolution=1e30, product=1e30, copy=1e9)
    assert fast.rate(one, "plain", False, 4) == pytest.approx(1e9 / (19 * 4 * one.outputs))
    assert fast.rate(one, "residual", True, 2) == pytest.approx(1e9 / (15.25 * 2 * one.outputs))
    slow = roof.Machine(convolution=1e9, product=1e9, copy=1e30)
    assert slow.rate(one, "plain", False, 4) == pytest.approx(1e9 / one.training)


def test_1202_layers_at_batch_128_fit_into_16_gb() -> None:
    """In float32; the tensors that forward keeps, counted. In bfloat16 they are half of that."""
    needed = synthetic_run.tensors_of(costs.settings("model=residual", "depth=1202").config)
    assert 11e9 < needed < 16e9


@pytest.mark.parametrize("engine", ["eager", "native"])
@pytest.mark.parametrize("arm", ["plain", "residual"])
def test_contestants_do_the_same_work(
    arm: str, engine: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if engine == "native":
        request.getfixturevalue("compiler")
    config = costs.settings(f"model={arm}", "depth=8", "recipe.batch_size=4").config
    config = dataclasses.replace(config, numerics=synthetic_run.ENGINES[engine])
    images = synthetic_run.synthetic(20)
    contest.check_same_work(config, images, CPU)
    other = practice.ResNet(8, residual=arm == "plain")
    monkeypatch.setattr(practice, "ResNet", lambda depth, residual: other)
    with pytest.raises(AssertionError, match="other losses"):
        contest.check_same_work(config, images, CPU)


def test_rounds_alternate_and_the_first_is_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    found = clock.rounds({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, CPU)
    assert order == list("ababab")
    assert [len(each) for each in found.values()] == [2, 2]
    assert clock.ratio([2.0, 6.0, 4.0], [1.0, 2.0, 4.0]) == (2.0, 1.0, 3.0)


def test_a_contest_on_the_cpu_and_its_pages(tmp_path: Path) -> None:
    config = costs.settings("model=residual", "depth=8", "recipe.batch_size=4").config
    plan = contest.Plan(CPU, ("eager",), (("eager", 2),), (0,), iterations=2, rounds=2)
    machine = roof.Machine(1e11, 1e11, 1e10)
    results = contest.contest(config, plan, machine, synthetic_run.synthetic(40))
    names = ["practice", "practice, batches ready", "eager", "eager ×2"]
    assert [r.contestant for r in results] == names
    assert results[0].ratio == (1, 1, 1)
    assert all(r.images_per_second > 0 and 0 < r.roof < 1 for r in results)
    assert table.throughput(results).count("residual-8") == 4
    table.roofline(results, machine, tmp_path / "roofline.png")
    assert (tmp_path / "roofline.png").read_bytes()[:4] == b"\x89PNG"


def test_the_studys_cost_lies_on_a_line() -> None:
    def result(arm: str, depth: int, seconds: float) -> contest.Result:
        return contest.Result(arm, depth, "x", 1 / seconds, (1, 1, 1), 0.5, 1, 1)

    results = [result(arm, d, d / 1e6) for arm in ("plain", "residual") for d in (20, 56)]
    hours = 64_000 * 128 * sum((20, 32, 44, 56, 110)) / 1e6 * 2 * 5 / 3600
    assert table.study_cost(results, 2) == [
        f"x: {hours:.1f} h on one device, {hours / 2:.1f} h on 2"
    ]


@pytest.mark.parametrize("wrong", [["--engines", "eagre"], ["--packs", "grap:4"]])
def test_engines_that_there_are_not(wrong: list[str]) -> None:
    with pytest.raises(validation.ConfigError, match="must be of eager, native, compiled, graph"):
        bench.plan(bench.parser().parse_args(wrong), CPU)


def test_without_a_compiler_the_kernels_are_left_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none() -> None:
        raise validation.ConfigError("needs a C compiler")

    asked = bench.parser().parse_args([])
    monkeypatch.setattr(bench.library, "load", lambda: None)
    assert bench.plan(asked, CPU).engines == ("eager", "native")
    monkeypatch.setattr(bench.library, "load", none)
    assert bench.plan(asked, CPU).engines == ("eager",)
    assert "needs a C compiler" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "wanted"), [("90", 90), ("9m", 540), ("1.5h", 5400), ("3s", 3)])
def test_budgets(text: str, wanted: float) -> None:
    assert hour.seconds(text) == wanted


def test_a_budget_that_is_none() -> None:
    with pytest.raises(validation.ConfigError, match="--budget soon: must be a number"):
        hour.seconds("soon")


def test_points_come_in_the_order_of_their_worth(tmp_path: Path) -> None:
    asked = hour.parser().parse_args(["--out", str(tmp_path)])
    labels = [s.config.label.removeprefix("cifar10-") for s in hour.study_points(asked)]
    assert labels[:4] == ["plain-20-s0", "plain-56-s0", "residual-20-s0", "residual-56-s0"]
    assert labels[8:10] == ["plain-110-s0", "residual-110-s0"]
    assert len(labels) == len(set(labels)) == 2 * (5 * 5 + 1)


def spend(tmp_path: Path, skip: list[str], *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "degradation.bench", "hour", "--out", str(tmp_path / "out"),
         "--runs", str(tmp_path / "runs"), "--skip", *skip, "--device", "cpu",
         "--bench=--no-costs --depths 8 --rounds 1 --iterations 1",
         "--waves", "depth=8 seed=0", "--set", "data=digits", "recipe=digits", "model.width=4",
         "recipe.batch_size=8", "recipe.milestones=[]", "machine.wandb=disabled", *more],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip


def test_an_hour_leaves_results_that_become_pages(tmp_path: Path) -> None:
    """Cut in the middle it goes on when called again; collected twice, nothing is there twice."""
    cut = spend(tmp_path, ["checks", "bench"], "recipe.iterations=100000",
                "recipe.eval_every=50", "--budget", "10s")  # fmt: skip
    assert cut.returncode == 0, cut.stderr
    assert "0 of 2 points are finished" in cut.stdout
    [state] = {run.state() for run in runs_in(tmp_path / "runs")}
    assert state == "partial"
    whole = spend(tmp_path, ["checks"], "recipe.iterations=20", "recipe.eval_every=10",
                  "--budget", "400s")  # fmt: skip
    assert "2 of 2 points are finished" in whole.stdout, whole.stderr
    assert "bench: status 0" in whole.stdout
    kept = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert not [path for path in kept if "checkpoint" in str(path)]
    assert {"bench.md", "bench.json", "roofline.png", "bench.txt"} <= {p.name for p in kept}
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "REPRODUCTION.md").write_text("# R\n\n" + collect.ROWS + "\nmore\n")
    (checkout / "BENCHMARKS.md").write_text("# B\n\n" + collect.DATED)
    pages = []
    for _ in range(2):
        assert collect.main([str(tmp_path / "out"), "--into", str(checkout)]) == 0
        pages.append([(checkout / p).read_text() for p in ("REPRODUCTION.md", "BENCHMARKS.md")])
    assert pages[0] == pages[1]
    assert "digits plain-8" in pages[0][0] and "images/s" in pages[0][1]
    results = runs_in(checkout / "analysis/results")
    assert [run.state() for run in results] == ["done", "done"]


def test_pages_have_the_lines_behind_which_results_go() -> None:
    assert collect.ROWS in (TOP / "REPRODUCTION.md").read_text()
    assert collect.DATED in (TOP / "BENCHMARKS.md").read_text()


def test_a_page_without_its_line_is_named(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match=r"page\.md: has no line"):
        collect.insert(page, collect.DATED, ["x"])


def test_rows_count_what_diverged(small, tmp_path: Path) -> None:
    runs = []
    for seed, outcome in enumerate(("done", "done", "diverged")):
        run = RunDir.of(small(seed=seed), tmp_path)
        run.create(run_point := small(seed=seed))
        assert run_point.seed == seed
        run.launches_jsonl.write_text(json.dumps({"at": EPOCH, "commit": "abc", "fingerprint": {
            "device": "cuda", "gpu": "H100", "torch": "2.11"}}) + "\n")  # fmt: skip
        last = {"train_error": 10.0 + seed, "test_error": 20.0}
        run.done_json.write_text(json.dumps({"outcome": outcome, "last": last}))
        runs.append(run)
    [line] = collect.rows(runs)
    assert line.startswith("| 2026-01-02 | abc | H100, torch 2.11 |")
    assert "| 3 | 10.50 ± 0.71 | 20.00 ± 0.00 | –, –; 1 of ours diverged |" in line


def test_growth_is_straight() -> None:
    assert costs.Growth((1, 2, 3), (2, 4, 6), (1, 1.5, 2)).straightness == pytest.approx((1, 1))
