"""Pictures: the only room that knows matplotlib. A file a claim, and `parts` that they share."""

from matplotlib.figure import Figure

from cldyn.plots.arms import arms
from cldyn.plots.both_failures import both_failures
from cldyn.plots.class_collapse import class_collapse
from cldyn.plots.collapse_figures import collapse_figures
from cldyn.plots.compared import compared
from cldyn.plots.digits import digits
from cldyn.plots.early_learning import early_learning
from cldyn.plots.hovering import hovering
from cldyn.plots.joint_loss import joint_loss
from cldyn.plots.minimizers import minimizers
from cldyn.plots.noise_directions import noise_directions
from cldyn.plots.noise_limits import noise_limits
from cldyn.plots.nonlinear import nonlinear
from cldyn.plots.own import own
from cldyn.plots.own_features import own_features
from cldyn.plots.parts import save
from cldyn.plots.phase_diagram import phase_diagram
from cldyn.plots.projection_head import projection_head
from cldyn.plots.step_size import step_size
from cldyn.plots.stochastic_gradients import stochastic_gradients
from cldyn.plots.suppression_augmentation import suppression_augmentation
from cldyn.plots.suppression_width import suppression_width
from cldyn.plots.variance_order import variance_order

__all__ = [
    "Figure",
    "arms",
    "both_failures",
    "class_collapse",
    "collapse_figures",
    "compared",
    "digits",
    "early_learning",
    "hovering",
    "joint_loss",
    "minimizers",
    "noise_directions",
    "noise_limits",
    "nonlinear",
    "own",
    "own_features",
    "phase_diagram",
    "projection_head",
    "save",
    "step_size",
    "stochastic_gradients",
    "suppression_augmentation",
    "suppression_width",
    "variance_order",
]
