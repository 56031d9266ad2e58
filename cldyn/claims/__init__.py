"""The claims, in the paper's order, then this project's own."""

from cldyn.claims import (
    both_failures,
    class_collapse,
    collapse_figures,
    early_learning,
    hovering,
    joint_loss,
    minimizers,
    noise_directions,
    noise_limits,
    nonlinear,
    own_features,
    projection_head,
    step_size,
    stochastic_collapse,
    stochastic_gradients,
    suppression_augmentation,
    suppression_width,
    variance_order,
)
from cldyn.claims.table import Claim

CLAIMS: tuple[Claim, ...] = (
    minimizers.CLAIM,
    noise_directions.CLAIM,
    class_collapse.CLAIM,
    early_learning.CLAIM,
    collapse_figures.CLAIM,
    suppression_width.CLAIM,
    variance_order.CLAIM,
    suppression_augmentation.CLAIM,
    own_features.CLAIM,
    joint_loss.CLAIM,
    both_failures.CLAIM,
    step_size.CLAIM,
    projection_head.CLAIM,
    stochastic_collapse.CLAIM,
    stochastic_gradients.CLAIM,
    noise_limits.CLAIM,
    hovering.CLAIM,
    nonlinear.CLAIM,
)
