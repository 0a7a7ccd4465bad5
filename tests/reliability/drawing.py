"""Figure 6 of a folder of runs, as bytes: equal runs give equal ones."""

from pathlib import Path


def figure6(runs: Path) -> tuple[str, bytes]:
    """The rows it shows, less what names the folder; and the SVG."""
    from analysis import plot_curves
    from analysis.frames import runs as frames
    from analysis.plots import output
    from analysis.plots.style import PAPER

    (study,) = frames.studies(runs)
    drawing = plot_curves.FIGURES["figure6"]
    content = output.figure_bytes(drawing.draw(study, PAPER), "svg", salt="reliability")
    return drawing.rows(study).drop(columns="folder").to_csv(index=False), content
