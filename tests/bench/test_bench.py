"""The benchmark: its arithmetic, its fairness, and that it keeps what it has measured."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from degradation.bench import __main__ as bench
from degradation.bench import baseline, comparison, roof, table, timing
from degradation.bench.roof import Roof
from degradation.config import compose, validation
from degradation.config.schema import Model, Settings
from degradation.models import cost
from degradation.training.devices import synthetic_run
from degradation.training.devices.synthetic_run import ENGINES

CPU = torch.device("cpu")
MODEL = Model("identity", "back", 16)
ROOFS = {"fp32": Roof("fp32", 1e11, 1e10), "bf16": Roof("bf16", 2e11, 1e10)}


def settings(arm: str, depth: int = 8) -> Settings:
    words = [f"model={arm}", f"depth={depth}", "recipe.batch_size=4", "machine.device=cpu"]
    return compose.runs_of(words)[0]


@pytest.mark.parametrize(
    ("depth", "forward", "outputs"),
    [(20, 81.1e6, 0.188e6), (56, 251.0e6, 0.532e6), (110, 505.8e6, 1.049e6)],
)
def test_work_of_an_image(depth: int, forward: float, outputs: float) -> None:
    found = cost.work(MODEL, depth)
    assert found.operations == pytest.approx(forward, rel=1e-3)
    assert found.outputs == pytest.approx(outputs, rel=3e-3)
    assert found.training == 3 * found.operations


def test_the_lower_roof_counts() -> None:
    one = cost.work(MODEL, 20)
    copy = Roof("fp32", convolution=1e30, copy=1e9)
    assert copy.images_per_second(one, "plain", "torch") == pytest.approx(1e9 / (76 * one.outputs))
    half = Roof("bf16", convolution=1e30, copy=1e9)
    traffic = 15.25 * 2 * one.outputs
    assert half.images_per_second(one, "residual", "compiled") == pytest.approx(1e9 / traffic)
    arithmetic = Roof("fp32", convolution=1e9, copy=1e30)
    assert arithmetic.images_per_second(one, "plain", "torch") == pytest.approx(1e9 / one.training)


def test_a_roof_is_measured_in_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bf16 engine beside the peaks of fp32 would be faster than its roof."""
    seen = []

    def best(work: Callable[[], torch.Tensor], device: torch.device) -> float:
        seen.append(work().dtype)
        return 1.0

    monkeypatch.setattr(roof, "best", best)
    monkeypatch.setattr(roof, "CHANNELS", 4)
    assert roof.measure(CPU, "bf16").precision == "bf16"
    assert seen[0] == torch.bfloat16


def test_rounds_alternate_and_the_first_is_not_counted() -> None:
    order: list[str] = []
    works = {name: lambda name=name: order.append(name) for name in "ab"}
    found = timing.alternate(works, 2, CPU)
    assert order == list("ababab")
    assert [len(each) for each in found.values()] == [2, 2]
    assert timing.ratio([2.0, 6.0, 4.0], [1.0, 2.0, 4.0]) == (2.0, 1.0, 3.0)


@pytest.mark.parametrize("engine", ["eager", "native", "graph, contiguous"])
@pytest.mark.parametrize("arm", ["plain", "residual"])
def test_contestants_do_the_same_work(
    arm: str, engine: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if engine == "native":
        request.getfixturevalue("compiler")
    asked = settings(arm)
    config = dataclasses.replace(asked.config, numerics=ENGINES[engine])
    images = synthetic_run.noise(20)
    comparison.check_same_work(config, asked.machine, images)
    other = baseline.ResNet(8, residual=arm == "plain")
    monkeypatch.setattr(baseline, "ResNet", lambda depth, residual: other)
    with pytest.raises(AssertionError, match="another loss: ours"):
        comparison.check_same_work(config, asked.machine, images)


def test_rounding_is_checked_where_it_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 110 layers each side is further from float64 than the limit, and both are right."""
    built, network = [], baseline.ResNet
    monkeypatch.setattr(
        baseline, "ResNet", lambda depth, residual: built.append(depth) or network(depth, residual)
    )
    asked = settings("residual", depth=110)
    comparison.check_same_work(asked.config, asked.machine, synthetic_run.noise(20))
    assert built == [20]


def test_both_sides_are_held_to_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """A baseline that rounds coarsely is named, and not taken for the measure of the other side."""
    forward = baseline.ResNet.forward

    def coarse(self: baseline.ResNet, x: torch.Tensor) -> torch.Tensor:
        logits = forward(self, x)
        return logits if x.dtype == torch.float64 else logits.bfloat16().float()

    monkeypatch.setattr(baseline.ResNet, "forward", coarse)
    asked = settings("residual")
    with pytest.raises(AssertionError, match="the baseline's is"):
        comparison.check_same_work(asked.config, asked.machine, synthetic_run.noise(20))


def test_each_contestant_trains_under_its_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch's flags are the process's: whoever trains sets them, in every round anew."""
    seen = set()

    def note_flags(owner: type, method: str) -> None:
        train = getattr(owner, method)

        def noted(*words: object) -> object:
            flags = torch.backends.cudnn
            seen.add((owner.__name__, flags.allow_tf32, flags.deterministic))
            return train(*words)

        monkeypatch.setattr(owner, method, noted)

    note_flags(synthetic_run.SyntheticRun, "steps")
    note_flags(baseline.Loop, "train")
    plan = comparison.Plan((("eager", 1),), (0,), iterations=1, rounds=2)
    comparison.compare(settings("plain"), plan, ROOFS, synthetic_run.noise(20))
    assert seen == {("SyntheticRun", False, True), ("Loop", True, False)}


def test_a_comparison_on_the_cpu() -> None:
    plan = comparison.Plan((("eager", 1), ("eager", 2)), (0,), iterations=2, rounds=2)
    results = comparison.compare(settings("residual"), plan, ROOFS, synthetic_run.noise(40))
    names = ["baseline", "baseline, batches ready", "eager", "eager ×2"]
    assert [r.contestant for r in results] == names
    assert results[0].ratio == (1, 1, 1)
    assert all(r.images_per_second > 0 and 0 < r.roof < 1 for r in results)
    assert table.rows(results).count("residual-8") == 4


def test_results_are_kept_network_by_network(monkeypatch, tmp_path: Path, capsys) -> None:
    """What was measured before the benchmark was cut is on the disk, and each precision's peaks."""

    def compare(asked: Settings, *_: object) -> list[comparison.Result]:
        arm = "residual" if asked.config.model.shortcut == "identity" else "plain"
        if (arm, asked.config.depth) == ("plain", 56):
            raise KeyboardInterrupt
        return [comparison.Result(arm, asked.config.depth, "eager", 9.0, (1, 1, 1), 0.5, 1.0, 1e6)]

    monkeypatch.setattr(comparison, "compare", compare)
    monkeypatch.setattr(roof, "measure", lambda _, precision: ROOFS[precision])
    with pytest.raises(KeyboardInterrupt):
        bench.main(["--device", "cpu", "--engines", "eager", "fast", "--out", str(tmp_path)])
    kept = json.loads((tmp_path / "bench.json").read_text())
    assert [(r["arm"], r["depth"]) for r in kept] == [("plain", 20), ("residual", 20)]
    told = capsys.readouterr().out
    for text in (told, (tmp_path / "bench.md").read_text()):
        assert "| residual-20 | eager |" in text
        assert "bf16: convolution 200 GFLOP/s, copy 10.0 GB/s; fp32: convolution 100 GFLOP" in text


def test_engines_by_name() -> None:
    found = bench.parse_engines(["fast*4", "graph, contiguous"], torch.device("cuda"))
    assert found == (("fast", 4), ("graph, contiguous", 1))
    for word in ("eagre", "fast*many"):
        with pytest.raises(validation.ConfigError, match="must be of eager; native; compiled"):
            bench.parse_engines([word], CPU)


def test_without_a_compiler_the_kernels_are_left_out(monkeypatch, capsys) -> None:
    def none() -> None:
        raise validation.ConfigError("needs a C compiler")

    monkeypatch.setattr(bench.library, "load", lambda: None)
    assert bench.usual_engines(CPU) == ["eager", "native"]
    monkeypatch.setattr(bench.library, "load", none)
    assert bench.usual_engines(CPU) == ["eager"]
    assert "needs a C compiler" in capsys.readouterr().err
