"""Figure 6 of a folder of runs, as bytes: equal runs give equal ones."""

import io
import sys
from pathlib import Path

from degradation.places import TOP


def figure6(runs: Path) -> tuple[str, bytes]:
    """The rows it shows, less what names the folder; and the SVG."""
    if str(TOP / "analysis") not in sys.path:
        sys.path.append(str(TOP / "analysis"))
    import frames
    import matplotlib
    import plot_curves
    from looks import LOOKS

    (study,) = frames.studies(runs)
    drawing, file = plot_curves.FIGURES["figure6"], io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "soak"}):
        figure = drawing.draw(study, LOOKS["paper"])
        figure.savefig(file, format="svg", metadata={"Date": None})
    return drawing.rows(study).drop(columns="folder").to_csv(index=False), file.getvalue()
