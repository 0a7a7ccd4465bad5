"""Plans: what is counted is what a run really has; what is estimated follows its line."""

import json
from pathlib import Path

import pytest
import torch

from degradation.bench import costs
from degradation.commands import estimate, plan, trial
from degradation.commands.estimate import Lines, Trial
from degradation.config import study
from degradation.data import cifar10, digits, sources
from degradation.data.image_folder import imagenet
from degradation.models import cost, resnet
from degradation.runs.progress import of_configs
from degradation.runs.run_dir import RunDir
from degradation.training import synthetic_run
from degradation.training.devices import device
from degradation.training.state import fresh


@pytest.mark.parametrize("shortcut", ["none", "identity", "projection", "projection_all"])
@pytest.mark.parametrize("depth", [8, 20])
def test_parameters_are_counted_as_torch_does(small, shortcut: str, depth: int) -> None:
    config = small(depth=depth, model__shortcut=shortcut)
    with torch.device("meta"):
        net = resnet.Network(config.model, depth, 1, 10)
    assert estimate.work(config).parameters == resnet.count_parameters(net)


def test_shapes_are_those_of_the_data(small) -> None:
    found = sources.load(small().data)
    shape = estimate.SHAPES["digits"]
    assert (shape.train, shape.test) == (len(found.train), len(found.test))
    assert (shape.side, shape.classes) == (digits.SIDE, found.classes)
    other = estimate.SHAPES["cifar10"]
    assert (other.side, other.channels, other.classes) == (
        cifar10.SIDE, cifar10.CHANNELS, cifar10.CLASSES,
    )  # fmt: skip
    assert (other.train, other.test) == (5 * cifar10.RECORDS, cifar10.RECORDS)


@pytest.mark.parametrize("shortcut", ["identity", "projection_all"])
def test_disk_is_what_checkpoints_take(small, shortcut: str) -> None:
    config = small(depth=56, model__width=16, model__shortcut=shortcut)
    state = fresh(config, synthetic_run.synthetic(4, 8, 1), torch.device("cpu"))
    size = len(state.to_bytes(config, {}))
    assert estimate.disk(config) == pytest.approx(2 * size, rel=0.03)


def test_exams_are_counted_to_the_end(small) -> None:
    """Rows at 4, 6, 8, 9, 12 (see conftest); the clean error at 6, 9 and 12."""
    config = small(data__val_size=100)
    test, clean = 359 + 100, 1438 - 100
    assert estimate.examined(config, 0) == 5 * test + 3 * clean
    assert estimate.examined(config, 8) == 2 * test + 2 * clean
    assert estimate.examined(config, 12) == 0


def test_time_and_memory_lie_on_a_line_in_depth(small) -> None:
    config = small(depth=110)
    tried = [Trial(20, 2.0, 0.0, 1e6), Trial(56, 5.6, 0.0, 1.36e6)]
    lines = Lines({estimate.kind(config): tried}, start=3.0)
    cost = lines.cost(config, 2)
    assert cost is not None
    assert cost.seconds == pytest.approx(10 * 11.0 + 3.0)
    assert cost.memory == pytest.approx(1.9e6)
    assert lines.cost(config, 12).seconds == 0
    assert lines.cost(small(model__width=8), 0) is None


@pytest.mark.parametrize(
    ("depths", "tried"),
    [
        ([20], [20]), ([56, 20, 32], [20, 56]), ([20, 32, 1202], [20, 32]), ([1202], [20, 56]),
        ([110, 8], [8, 20, 56]), ([8, 14, 110], [8, 14]),
    ],
)  # fmt: skip
def test_deep_networks_are_not_tried(depths: list[int], tried: list[int]) -> None:
    assert estimate.tried_depths(depths) == tried


def test_what_costs_alike_is_tried_once(small) -> None:
    configs = [small(seed=s, recipe__lr=lr) for s in range(3) for lr in (0.1, 0.2)]
    other = small(recipe__batch_size=8)
    assert estimate.to_try([*configs, other]) != []
    assert [p.recipe.batch_size for p in estimate.to_try([*configs, other])] == [16, 8]


def test_a_trial_measures(small, settings, capsys, monkeypatch) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0.01)
    from degradation.config import schema

    words = [json.dumps([schema.plain(small()), schema.plain(small(depth=14))])]
    assert trial.main([*words, json.dumps(schema.plain(settings.machine))]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["device"] == "a CPU core" and told["memory"] is None and told["busy"] >= 1
    for one, depth in zip(told["trials"], (8, 14), strict=True):
        assert one["depth"] == depth and one["kind"] == estimate.kind(small())
        assert 0 < one["iteration"] < 5 and 0 < one["image"] < 1 and one["memory"] > 1e7


def test_of_photographs_a_sample_measures_the_clean_error(small) -> None:
    folder = {"data__name": "imagenet", "data__pad": 0, "data__crop_size": 224, "data__eval_resize": 256,
              "data__resize_range": [256, 480]}  # fmt: skip
    config = small(model__design="imagenet", depth=34, recipe__iterations=20, recipe__milestones=[10],
                  recipe__eval_every=10, **folder)  # fmt: skip
    assert estimate.SHAPES["imagenet"].clean == imagenet.TRAIN_EVAL_IMAGES
    assert estimate.examined(config, 0) == 2 * 50_000 + 2 * imagenet.TRAIN_EVAL_IMAGES


AXES = ["-m", "data=digits", "recipe.iterations=40", "recipe.milestones=[20]", "depth=8,14",
        "model=plain,residual", "seed=0,1"]  # fmt: skip


@pytest.fixture
def begun(tmp_path: Path) -> list[str]:
    """A study with a run done and one at a quarter."""
    line = [*AXES, f"machine.runs={tmp_path}"]
    asked = study.settings(study.Line.read(line))
    for settings, text in zip(asked, ('{"outcome": "done"}', ""), strict=False):
        run = RunDir.of(settings.config, tmp_path)
        run.create(settings.config)
        run.curves.write_text('{"iteration": 10, "train_error": 1, "test_error": 1}\n')
        if text:
            run.done_json.write_text(text)
    return line


def test_a_plan_has_what_is_done_partial_and_missing(begun, capsys, monkeypatch) -> None:
    monkeypatch.setattr(plan, "probe", pytest.fail)
    assert plan.main(["--no-probe", *begun]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 8 + 1 + 1
    assert lines[1].split()[1:5] == ["1", "1", "–", "–"]
    assert lines[2].split()[1:5] == ["1", "–", "1", "–"]
    assert lines[2].endswith("10 of 40 iterations")
    assert lines[9].split()[:5] == ["total", "8", "1", "1", "6"]
    assert "not tried" in lines[10]


def test_a_plan_for_programs_has_totals(begun, capsys, monkeypatch) -> None:
    def probe(asked, together: bool) -> plan.Device:
        kinds = {estimate.kind(s.config) for s in asked}
        tried = [Trial(8, 3600.0, 0.0, 1e9), Trial(14, 3600.0, 0.0, 1e9)]
        return plan.Device("a thing", 8e8, Lines(dict.fromkeys(kinds, tried), 0.0), 1.0)

    monkeypatch.setattr(plan, "probe", probe)
    assert plan.main(["--json", *begun]) == 1
    told = capsys.readouterr()
    total = json.loads(told.out)["total"]
    assert total["points"] == 8
    assert total["device_hours_left"] == 6 * 40 + 30
    work = cost.work(8, 8, 1).training + cost.work(14, 8, 1).training
    assert total["operations_left"] == pytest.approx(
        128 * (4 * 40 * work - 40 * cost.work(8, 8, 1).training - 10 * cost.work(8, 8, 1).training)
    )
    assert "memory: " in told.err and "a thing has" in told.err


def test_many_points_are_shown_by_network(begun, capsys, monkeypatch) -> None:
    monkeypatch.setattr(plan, "MOST_LINES", 3)
    assert plan.main(["--no-probe", *begun]) == 0
    names = [line.split()[:4] for line in capsys.readouterr().out.splitlines()[1:5]]
    wanted = [(arm, depth) for depth in ("8,", "14,") for arm in ("plain", "residual")]
    assert names == [["digits", arm, depth, "40"] for arm, depth in wanted]
    assert plan.main(["--no-probe", "--points", *begun]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 11


def test_a_bad_point_is_found(capsys) -> None:
    assert plan.main(["-m", "depth=20,21"]) == 2
    assert "6n+2" in capsys.readouterr().err


def test_a_disk_that_is_too_small_is_named(small, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("degradation.system.files.free", lambda _: 1000)
    lines = plan.lines_of(of_configs([small()], str(tmp_path)), None, by_point=True)
    [told] = plan.concerns(lines, None, tmp_path / "not" / "there")
    assert "disk" in told and "machine.runs=OTHER" in told


def test_a_device_that_cannot_be_tried_is_named(settings, monkeypatch) -> None:
    asked = costs.settings("data=digits", "depth=8", "machine.device=cuda:7")
    with pytest.raises(plan.Untried, match="cuda:7"):
        plan.probe([asked], together=False)
    assert device.device("cpu").type == "cpu"
