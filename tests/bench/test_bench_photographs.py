"""Reading beside training: equal work, and what is said of it."""

from pathlib import Path

import pytest
import torch

from degradation.bench import photographs as bench
from degradation.data.image_folder import imagenet
from degradation.data.image_folder.loader import FolderStream
from tests.data import photographs


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return photographs.make(tmp_path / "set")


def test_common_practice_makes_the_same_images(root: Path) -> None:
    """Of 40 views of each, the mean and the spread of all pixels, and every label."""
    source = imagenet.load(photographs.data(root))
    stream = FolderStream(source, 0, 240, torch.device("cpu"), 0)
    mine, mine_labels = (torch.cat(x) for x in zip(*(stream.batch(i) for i in (0, 1)), strict=True))
    loading = bench.practice(source, 12, 0)
    theirs, their_labels = (
        torch.cat(x) for x in zip(*(next(loading) for _ in range(40)), strict=True)
    )
    assert mine.shape == theirs.shape and mine.dtype == theirs.dtype
    assert mine_labels.bincount().tolist() == their_labels.bincount().tolist()
    assert abs(mine.mean() - theirs.mean()) < 0.02
    assert float(mine.std()) == pytest.approx(float(theirs.std()), rel=0.03)


def test_the_report_has_both_rates_and_the_limit(root: Path, monkeypatch, capsys) -> None:
    for name, value in {"ROUNDS": 1, "PICTURES": 5, "SECONDS": 0.01}.items():
        monkeypatch.setattr(bench, name, value)
    words = ["data=imagenet", "recipe=cifar10", "recipe.batch_size=5", f"data.root={root}",
             "network=cifar10", "depth=8", "data.crop_size=32", "data.resize_range=[36,60]",
             "data.eval_resize=36", "machine.device=cpu", "machine.workers=2"]  # fmt: skip
    assert bench.main(words) == 0
    core, together, training, said = capsys.readouterr().out.splitlines()
    assert core.startswith("reading, one core: ") and "common practice" in core
    assert together.startswith("reading, 2 processes: ")
    assert training.startswith("training, imagenet-plain-8-s0, batch 5, one core: ")
    assert said.startswith("64,000 iterations of 5: ") and "is the limit" in said


def test_other_data_and_no_data_are_refused(tmp_path: Path, capsys) -> None:
    assert bench.main(["data=digits", "network=cifar10", "depth=8"]) == 2
    assert "say data=imagenet" in capsys.readouterr().err
    assert (
        bench.main(
            [
                "data=imagenet",
                "recipe=cifar10",
                f"data.root={tmp_path}",
                "network=cifar10",
                "depth=8",
            ]
        )
        == 3
    )
    assert "ImageNet is not there" in capsys.readouterr().err


def test_the_slower_of_the_two_is_the_limit(root: Path) -> None:
    config = photographs.config(root, recipe__iterations=3600, recipe__batch_size=1000)
    assert "1.0 h and exams; the device is the limit; reading would take 0.5 h" in bench.limit(
        config, 2000, 1000
    )
    assert "2.0 h and exams; reading is the limit: 0.5 h without it" in bench.limit(
        config, 500, 2000
    )
