"""One trajectory: a problem made ready, a training run on it, and what theory says of both.

`system` is the seam: `train` knows neither of its two makers, `frame` and `inputs`.
"""

from cldyn.trajectory.limit import Limit, Setting, settle, with_step
from cldyn.trajectory.moving import within
from cldyn.trajectory.plan import Measures, Plan, plan_of
from cldyn.trajectory.predict import (
    Prediction,
    bounds_peak,
    forecast,
    forecast_plan,
    gradient_noise,
    predict,
    without_batches,
)
from cldyn.trajectory.prepared import Prepared, draw, needs_test, prepare
from cldyn.trajectory.train import Run, first_state, run, setting_of, step_size, train

__all__ = [
    "Limit",
    "Measures",
    "Plan",
    "Prediction",
    "Prepared",
    "Run",
    "Setting",
    "bounds_peak",
    "draw",
    "first_state",
    "forecast",
    "forecast_plan",
    "gradient_noise",
    "needs_test",
    "plan_of",
    "predict",
    "prepare",
    "run",
    "setting_of",
    "settle",
    "step_size",
    "train",
    "with_step",
    "within",
    "without_batches",
]
