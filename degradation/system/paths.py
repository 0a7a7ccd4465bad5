"""Where the folders beside the code are: in a checkout, or inside an installed package."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parents[1]
TOP = _PACKAGE if (_PACKAGE / "conf").is_dir() else _PACKAGE.parent
CONF = TOP / "conf"
PAPER = TOP / "paper_tables" if TOP == _PACKAGE else TOP / "analysis" / "paper"
