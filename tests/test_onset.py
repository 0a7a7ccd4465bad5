"""The onset of degradation: bisection and stopping rule, over a trainer that only pretends."""

import csv
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

from degradation import launch, onset, storage
from degradation.onset import DEGRADES, DIVERGED, NOT, OPEN, Rule, answer, bisect
from degradation.schema import Invalid
from degradation.spec import Settings
from degradation.store import Foreign, Run

TINY = ["data=digits", "recipe.iterations=2", "recipe.drops=[1]", "model.width=2",
        "machine.wandb=disabled", "machine.progress=none", "machine.device=cpu",
        "machine.pack=4"]  # fmt: skip


@pytest.mark.parametrize(
    ("differences", "diverged", "word"),
    [
        ([5.0, 5.1, 4.9], 0, DEGRADES),
        ([0.0, 0.1, -0.1], 0, NOT),
        ([-9.0, -9.1, -8.9], 0, NOT),
        ([0.0, 5.0, 10.0], 0, OPEN),
        ([9.0, 9.0], 0, OPEN),  # too few
        ([0.0, 0.1, -0.1], 1, OPEN),  # a run that diverged had no part in it
        ([5.0, 5.1, 4.9], 1, DEGRADES),
        ([0.0], 2, DIVERGED),
    ],
)
def test_a_depth_is_judged(differences: list[float], diverged: int, word: str) -> None:
    assert answer(56, differences, diverged, Rule()).word == word


def test_every_look_at_the_seeds_has_its_share_of_the_level() -> None:
    """With three seeds of spread 1 and Rule(), three looks: a 98.33 % interval."""
    found = answer(56, [9.0, 10.0, 11.0], 0, Rule())
    assert found.high - found.mean == pytest.approx(7.6488 / math.sqrt(3), rel=1e-3)


def test_equal_differences_are_not_believed_to_have_no_spread() -> None:
    found = answer(56, [1.0, 1.0, 1.0], 0, Rule(most=3))
    assert found.high - found.low == pytest.approx(2 * 4.3027 * 0.1 / math.sqrt(3), rel=1e-3)


@pytest.mark.parametrize("true", [26, 32, 44, 56])
def test_bisection_finds_the_first_depth_that_degrades(true: int) -> None:
    asked = []

    def ask(depth: int) -> onset.Answer:
        asked.append(depth)
        return onset.Answer(depth, 3, 0, 0, 0, 0, DEGRADES if depth >= true else NOT)

    found = bisect(20, 56, ask)
    assert (found.shallow, found.deep) == (true - 6, true)
    assert len(asked) == len(set(asked)) <= 4
    assert len(found.asked) == len(asked)


@pytest.mark.parametrize("word", [NOT, OPEN])
def test_what_does_not_degrade_at_the_deepest_has_no_onset(word: str) -> None:
    found = bisect(20, 56, lambda depth: onset.Answer(depth, 3, 0, 0, 0, 0, word))
    assert (found.shallow, found.deep) == (56, None)
    assert found.text == "beyond 56" + (" (open: 56)" if word == OPEN else "")


class Pretender:
    """Leaves results without training: 5 % of error, more from a depth on, noise by seed."""

    def __init__(self, begins: int, noise: float = 0.0) -> None:
        self.begins, self.noise = begins, noise
        self.trained: list[tuple[int, int]] = []

    def __call__(self, points: Sequence[Settings]) -> None:
        for settings in points:
            run = Run.of(settings.point, settings.machine.runs)
            if run.result() is not None:
                continue
            run.create(settings.point)
            self.trained.append((settings.depth, settings.seed))
            error = 5 + (8 if settings.depth >= self.begins else 0)
            error += self.noise * (settings.seed % 3 - 1) * (settings.depth > 20)
            row = {"iteration": 200, "train_error": error, "test_error": error}
            storage.append_line(run.curves, json.dumps(row))
            storage.write_json(run.done_json, {"outcome": "done", "iteration": 200})


def test_a_search_trains_pairs_of_seeds_and_nothing_twice(settings) -> None:
    train = Pretender(begins=38)
    found = onset.search(settings, 20, 56, Rule(), train)
    assert found.text == "32 to 38"
    assert sorted(train.trained) == [(d, s) for d in (20, 26, 32, 38, 56) for s in range(3)]
    again = Pretender(begins=38)
    assert onset.search(settings, 20, 56, Rule(), again) == found
    assert again.trained == []


def test_seeds_are_added_until_it_is_decided_or_enough(settings) -> None:
    train = Pretender(begins=14, noise=4)
    found = onset.search(settings, 20, 26, Rule(), train)
    assert found.asked[0].n == 5
    assert found.asked[0].word == OPEN
    assert {seed for _, seed in train.trained} == set(range(5))


def test_a_failed_run_ends_the_search_with_its_reason(settings) -> None:
    def fail(points: Sequence[Settings]) -> None:
        run = Run.of(points[0].point, points[0].machine.runs)
        run.create(points[0].point)
        storage.write_json(run.failed_json, {"kind": "x", "message": "out of memory", "at": ""})

    with pytest.raises(Foreign, match="out of memory"):
        onset.search(settings, 20, 56, Rule(), fail)


def test_another_length_keeps_the_shares_of_the_drops(settings) -> None:
    half = onset.of_length(settings, 6)
    assert (half.recipe.drops, half.recipe.eval_every) == ((3, 4), 2)
    assert onset.of_length(settings, 120).recipe.eval_every == settings.recipe.eval_every


@pytest.mark.parametrize("word", ["depth=20", "model=plain", "seed=3", "+sweeps=seeds", "-m"])
def test_what_is_searched_cannot_be_set(word: str) -> None:
    with pytest.raises(Invalid, match="what is searched"):
        onset.settings_of("plain", ["data=digits", word])


@pytest.mark.usefixtures("deaf")
@pytest.mark.parametrize("bad", [["--seeds", "1"], ["--to", "20"], ["--margin", "-1"],
                                 ["--arms", "flat"], ["data=nothing"]])  # fmt: skip
def test_a_bad_option_is_refused(bad: list[str], capsys) -> None:
    assert onset.main(bad) == 2
    assert capsys.readouterr().err


def test_a_pool_trains_only_what_is_missing(settings, monkeypatch) -> None:
    seen: list[list[int]] = []
    monkeypatch.setattr(launch, "shares_a_gpu", lambda machine: True)
    monkeypatch.setattr(launch, "train_together", lambda p: seen.append([s.depth for s in p]))
    Pretender(begins=99)([settings])
    points = [settings, *(dataclasses.replace(settings, depth=d) for d in (14, 20))]
    onset.train(points, 2)
    assert seen == [[20, 14]]


@pytest.mark.usefixtures("deaf")
def test_the_command_trains_prints_and_leaves_its_numbers(
    tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole points of two iterations, each in one process, as `run` would train them."""
    runs = tmp_path / "runs"
    line = [*TINY, f"machine.runs={runs}", "--from", "8", "--to", "14", "--seeds", "2", "--most",
            "2", "--jobs", "1"]  # fmt: skip
    assert onset.main([*line, "--arms", "plain"]) == 0
    assert "plain, 2 iterations" in capsys.readouterr().out
    assert len([p for p in runs.iterdir() if (p / "done.json").exists()]) == 4
    monkeypatch.setattr(launch, "train_together", lambda points: pytest.fail("trained twice"))
    assert onset.main([*line, "--arms", "plain"]) == 0
    with (runs / "onset.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["arm"], row["depth"], row["n"]) == ("plain", "14", "2")


def test_searches_of_other_arms_are_kept(tmp_path: Path) -> None:
    def line(arm: str, n: int) -> dict[str, object]:
        return {"protocol": "p", "arm": arm, "n": n}

    for arm, n in (("plain", 1), ("residual", 2), ("plain", 3)):
        onset._write(tmp_path / "onset.csv", [line(arm, n)])
    with (tmp_path / "onset.csv").open(newline="") as file:
        assert {row["arm"]: row["n"] for row in csv.DictReader(file)} == {
            "residual": "2",
            "plain": "3",
        }
