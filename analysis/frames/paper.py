"""The paper's own curves, measured on its figures, as the rows of runs: one seed, no digests.

CIFAR-10 is Figure 6: left and middle panel, and 1202 layers from the right one. A curve ends at its
last measured point (a value below the frame is not drawn, so some end before 64k). ImageNet is
Figure 4, center crop, whose points lie too close to read one: a run has two rows, the means before
the first drop at 15e4 and over the last, 50e4 to 55e4 iterations. The paper does not say that its
runs share images or starts; the rows claim it only so that they can be compared at all.
"""

import pandas as pd

from analysis.frames import runs
from analysis.frames.runs import ERRORS, Study

CIFAR_DROP, IMAGENET_DROP, IMAGENET_END = 32_000, 150_000, 550_000
LAST_MEAN = 500_000  # ImageNet's errors at the end are means from here on
NOTE = """\
The paper's curves, measured on its figures: one seed each, so nothing is decided. That two runs
saw the same images and started alike is assumed; the paper does not say."""


def studies() -> list[Study]:
    """CIFAR-10 and ImageNet, as `runs.studies` would give them."""
    found = {"cifar10": (_cifar(), CIFAR_DROP), "imagenet": (_imagenet(), IMAGENET_DROP)}
    return [
        Study(f"the paper's {data} curves", data, _as_runs(rows, data, drop))
        for data, (rows, drop) in found.items()
    ]


def _cifar() -> pd.DataFrame:
    """network, iteration, train_error, test_error: a line a measured iteration."""
    curves = runs.paper_curves()
    right = (curves["panel"] == "right") & (curves["network"] == "residual-1202")
    rows = _wide(curves[(curves["figure"] == "fig6") & ((curves["panel"] != "right") | right)])
    rows[ERRORS] = rows.groupby("network")[ERRORS].ffill()
    return rows


def _imagenet() -> pd.DataFrame:
    """Likewise: two lines a network."""
    curves = runs.paper_curves()
    own = curves[curves["figure"] == "fig4"].replace("val_error_center_crop", "test_error")
    windows = {
        IMAGENET_DROP: (runs.BEFORE_DROP * IMAGENET_DROP, IMAGENET_DROP),
        IMAGENET_END: (LAST_MEAN, own["x"].max()),
    }
    means = [
        own[(own["x"] > low) & (own["x"] <= high)].assign(x=iteration)
        for iteration, (low, high) in windows.items()
    ]
    return _wide(pd.concat(means))


def _wide(curves: pd.DataFrame) -> pd.DataFrame:
    """A line an iteration, a column a quantity; several values there become their mean."""
    wide = curves.pivot_table(index=["network", "x"], columns="quantity", values="value")
    return wide.reset_index().rename(columns={"x": "iteration"})


def _as_runs(rows: pd.DataFrame, data: str, drop: int) -> pd.DataFrame:
    """The rows with the columns of `degradation.runs.frames.load` that pairing needs."""
    arm, depth = rows["network"].str.split("-").str[0], rows["network"].str.split("-").str[1]
    return rows.assign(
        run="paper-" + rows["network"],
        data=data,
        arm=arm,
        depth=depth.astype(int),
        seed=0,
        shortcut=arm.map({"plain": "none", "residual": "identity"}),
        pair=depth,
        protocol="paper",
        iterations=rows.groupby("network")["iteration"].transform("max"),
        drop=drop,
        state="done",
        exact=True,
        initial="paper",
        stream="paper",
    )
