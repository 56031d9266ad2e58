"""What all pictures share: style, colours, and how they are written."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

# Okabe-Ito colours, told apart by colour-blind readers; features also differ in line style.
CLASS, SUBCLASS, IRRELEVANT, PREDICTED = "#0072B2", "#D55E00", "#009E73", "#444444"
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.hashsalt": "cldyn",
}


def save(figure: Figure, path: Path) -> None:
    """Write a figure by the ending of its path, whole or not at all."""
    scratch = path.with_name(f".{path.name}")
    figure.savefig(scratch, format=path.suffix[1:], dpi=150)
    scratch.replace(path)
