"""What theory predicts, from the moments of the data and the numbers of the training."""

from cldyn.theory.growth import early_growth, learning_step
from cldyn.theory.heads import diagonal_decay, diagonal_end, diagonal_rate, linear_head
from cldyn.theory.limits import agreements, joint_threshold, population_norms
from cldyn.theory.minimizers import balanced_layers, frame_minimizer, minimizer, unseen
from cldyn.theory.own_features import own_peak, own_unlearning_rate
from cldyn.theory.phases import (
    escape_time,
    one_mode,
    peak_balance,
    peak_bound,
    unlearning_rate,
)
from cldyn.theory.regrowth import halfway_time, regrowth
from cldyn.theory.samples import (
    augmentation_accuracy,
    augmentation_norm,
    collapsed_norm,
    distinct_probability,
    kept_share,
    left_behind,
)
from cldyn.theory.step_size import (
    commuting_critical_learning_rate,
    critical_learning_rate,
    frame_critical_learning_rate,
    stationary_excess,
)
from cldyn.theory.ties import slow_diffusion, slow_drift, two_features, two_features_density

__all__ = [
    "agreements",
    "augmentation_accuracy",
    "augmentation_norm",
    "balanced_layers",
    "collapsed_norm",
    "commuting_critical_learning_rate",
    "critical_learning_rate",
    "diagonal_decay",
    "diagonal_end",
    "diagonal_rate",
    "distinct_probability",
    "early_growth",
    "escape_time",
    "frame_critical_learning_rate",
    "frame_minimizer",
    "halfway_time",
    "joint_threshold",
    "kept_share",
    "learning_step",
    "left_behind",
    "linear_head",
    "minimizer",
    "one_mode",
    "own_peak",
    "own_unlearning_rate",
    "peak_balance",
    "peak_bound",
    "population_norms",
    "regrowth",
    "slow_diffusion",
    "slow_drift",
    "stationary_excess",
    "two_features",
    "two_features_density",
    "unlearning_rate",
    "unseen",
]
