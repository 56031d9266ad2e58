"""Pictures: the only room that knows matplotlib."""

from matplotlib.figure import Figure

from cldyn.plots.arms import arms
from cldyn.plots.diagrams import joint_loss, minimizers, suppression_augmentation, suppression_width
from cldyn.plots.style import save
from cldyn.plots.trajectories import class_collapse, projection_head, step_size

__all__ = [
    "Figure",
    "arms",
    "class_collapse",
    "joint_loss",
    "minimizers",
    "projection_head",
    "save",
    "step_size",
    "suppression_augmentation",
    "suppression_width",
]
