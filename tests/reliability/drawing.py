"""Figure 6 of a folder of runs, as bytes: equal runs give equal ones."""

import io
from pathlib import Path


def figure6(runs: Path) -> tuple[str, bytes]:
    """The rows it shows, less what names the folder; and the SVG."""
    import matplotlib

    from analysis import plot_curves
    from analysis.frames import runs as frames
    from analysis.plots.style import LOOKS

    (study,) = frames.studies(runs)
    drawing, file = plot_curves.FIGURES["figure6"], io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "soak"}):
        figure = drawing.draw(study, LOOKS["paper"])
        figure.savefig(file, format="svg", metadata={"Date": None})
    return drawing.rows(study).drop(columns="folder").to_csv(index=False), file.getvalue()
