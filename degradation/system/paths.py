"""Where the folders beside the code lie: at the top of a checkout, or in an installed package."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
TOP = _PACKAGE if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent
CONF = TOP / "conf"
PAPER = TOP / "paper_tables" if TOP == _PACKAGE else TOP / "analysis" / "paper"
