"""Tables of ten crops and scales, from what `evaluate` left in the runs."""

import json
from pathlib import Path

import pytest

from analysis import plot_curves
from analysis.plots import tables
from degradation.runs.run_dir import RunDir, RunDirError


def evaluated(small, folder: Path, classes: int = 1000, **changes: object) -> None:
    config = small(model__design="imagenet", depth=34, **changes)
    run = RunDir.of(config, folder)
    run.create(config)
    errors = {"top1": 25.5 + config.seed, "top5": 8.0, "images": 50_000}
    content = {"classes": classes, "running": {"ten_crops": errors, "scales": errors}, "true": {}}
    run.evaluation.write_text(json.dumps(content))


def test_seeds_are_averaged_beside_the_papers_ten_crops(small, tmp_path: Path) -> None:
    for seed in range(2):
        evaluated(small, tmp_path, model__shortcut="identity", seed=seed)
    evaluated(small, tmp_path, model__shortcut="none")
    table = tables.evaluations(tmp_path).set_index(["network", "test"])
    ours = table.loc["residual-34 A", "ten_crops"]
    assert (ours["n"], ours["top1"], ours["paper_top1"], ours["paper_top5"]) == (2, 26, 25.03, 7.76)
    assert ours["top1_spread"] == pytest.approx(0.5**0.5)
    written = tables.formats(table.reset_index(), tables.CROP_TITLES, tables.crop_cells)
    text = written["md"]
    assert "| residual-34 A | 2 | ten crops | running | 26.00 ± 0.71 | 25.03 | 8.00" in text
    assert "| residual-34 A | 2 | scales | running | 26.00 ± 0.71 | – |" in text
    assert "| plain-34 | 1 | ten crops | running | 25.50 | 28.54 | 8.00 | – |" in text
    assert r"26.00 $\pm$ 0.71 & 25.03" in written["tex"]


def test_errors_of_another_set_stand_alone(small, tmp_path: Path, capsys) -> None:
    evaluated(small, tmp_path / "runs", classes=2)
    assert tables.evaluations(tmp_path / "runs")["paper_top1"].isna().all()
    plot_curves.write_evaluations(str(tmp_path / "runs"), tmp_path / "out")
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {f"imagenet-crops.{kind}" for kind in ("csv", "md", "tex")}
    assert "ten crops" in capsys.readouterr().out
    plot_curves.write_evaluations(str(tmp_path / "none"), tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_damaged_evaluation_is_named(small, tmp_path: Path) -> None:
    evaluated(small, tmp_path)
    (run,) = (RunDir(p.parent) for p in tmp_path.glob("*/evaluation.json"))
    run.evaluation.write_text("{}")
    with pytest.raises(RunDirError, match=r"evaluation\.json: no evaluation"):
        tables.evaluations(tmp_path)
