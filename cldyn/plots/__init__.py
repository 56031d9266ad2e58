"""Pictures: the only room that knows matplotlib."""

from matplotlib.figure import Figure

from cldyn.plots.diagrams import minimizers, suppression_width
from cldyn.plots.style import save
from cldyn.plots.trajectories import class_collapse

__all__ = ["Figure", "class_collapse", "minimizers", "save", "suppression_width"]
