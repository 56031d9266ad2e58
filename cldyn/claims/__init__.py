"""The claims, in the paper's order, then this project's own."""

from cldyn.claims import (
    class_collapse,
    joint_loss,
    minimizers,
    projection_head,
    step_size,
    stochastic_gradients,
    suppression_augmentation,
    suppression_width,
)
from cldyn.claims.table import Claim

CLAIMS: tuple[Claim, ...] = (
    minimizers.CLAIM,
    class_collapse.CLAIM,
    suppression_width.CLAIM,
    suppression_augmentation.CLAIM,
    joint_loss.CLAIM,
    step_size.CLAIM,
    projection_head.CLAIM,
    stochastic_gradients.CLAIM,
)
