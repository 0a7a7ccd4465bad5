"""docs/what-is-logged.md lists exactly what is logged; rows survive W&B's arithmetic."""

import json
import re
from dataclasses import asdict

from degradation.system.paths import TOP
from degradation.tracking import keys
from tests.tracking.conftest import curve

PAGE = TOP / "docs" / "what-is-logged.md"


def listed(heading: str) -> list[str]:
    """The keys of one table of the page."""
    section = PAGE.read_text().split(f"## {heading}")[1].split("\n## ")[0]
    return re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)


def test_the_page_lists_exactly_the_keys_that_are_logged(small, monkeypatch) -> None:
    assert listed("History") == [*keys.CURVES, *keys.TIMING]
    assert listed("Configuration") == list(keys.config(small(), {}))
    every = {("digits", "plain", 8, name): 1.0 for name in keys.ERRORS}
    monkeypatch.setattr(keys.reference, "errors", lambda: every)
    monkeypatch.setitem(keys.reference.ITERATIONS, "digits", small().recipe.iterations)
    row = dict.fromkeys(keys.CURVES, 1.0)
    assert set(listed("Summary")) == set(keys.summary(small(), {"outcome": "done"}, [row]))
    for key in keys.LAUNCH:
        assert key in PAGE.read_text()


def test_the_summary_tells_last_least_and_the_papers_apart(small) -> None:
    network = {"data__name": "cifar10", "depth": 20, "model__shortcut": "identity"}
    config = small(**network, recipe__iterations=64_000)
    curves = [{"train_error": 5.0, "test_error": 8.0}, {"train_error": 3.0, "test_error": 9.0}]
    found = keys.summary(config, {"outcome": "done", "iteration": 8}, curves)
    assert (found["last_test_error"], found["min_test_error"]) == (9.0, 8.0)
    assert found["paper_test_error"] == 8.75
    assert found["test_error_minus_paper"] == 0.25
    assert "last_train_error_eval" not in found


def test_a_row_is_the_same_after_wandb_has_made_2_of_2_point_0() -> None:
    row = curve(16)
    theirs = {"_step": 16, "seconds": 1, **dict(reversed(row.items())), "train_error": 2}
    assert json.dumps(keys.row_of(theirs)) == json.dumps(row)
    assert keys.timing_of(theirs) == {"iteration": 16, "seconds": 1}


def test_no_path_of_this_machine_is_told(small) -> None:
    config = keys.config(small(data__root="/home/me/secret"), {"host": "mine", "commit": "c"})
    assert "/home/me" not in json.dumps(config)
    assert "mine" not in json.dumps(config)
    assert config["run"] == asdict(small())
