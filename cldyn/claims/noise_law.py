"""The law of SGD's noise and its setting, which two claims share."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
import xarray as xr

from cldyn import theory
from cldyn.batches import Iid
from cldyn.claims.arms import at_times
from cldyn.claims.table import Row, Subject, close, spread
from cldyn.data import FeatureModel, Gaussian
from cldyn.encoders import Linear
from cldyn.experiment import Experiment, Training
from cldyn.losses import Unsupervised
from cldyn.optimizers import Gd, duration
from cldyn.sources import Population, Stored

LEVELS = [0.5, 0.1, 0.9]  # of the law's quantiles

# Four strong features fill four outputs, and the class is left out. Nobody looks at noise.
STRONG = 2.0
MODEL = FeatureModel(
    d=6, subclass_strength=STRONG, subclass_mean=0.0, irrelevant_strength=(STRONG,) * 3,
    noise=Gaussian(0.0),
)  # fmt: skip
SETTING = Experiment(
    Population(MODEL),
    Training(Linear(4, bias=False), positives=Unsupervised(), optimizer=Gd(0.0025), batch=Iid(16)),
)


def law(experiment: Experiment, time: float) -> np.ndarray:
    """Median, 10 and 90 % of phi_1 |W v_1| that theory predicts [3]."""
    problem, training = experiment.problem, experiment.training
    weak, *strong = np.asarray(problem.model.strengths()) ** 2
    stored = isinstance(problem, Stored)
    found = theory.regrowth(
        weak, jnp.array(strong), training.batch.batch_size, duration(training.optimizer), time,
        init_scale=training.encoder.init_scale, batches=type(training.batch).__name__.lower(),
        n=problem.n if stored else np.inf,
    )  # fmt: skip
    return np.asarray(found)


def trained(experiment: Experiment, times: Any, seeds: int) -> xr.DataArray:
    """Feature norms at flow times [seed, time, feature]."""
    lanes, measure = {"seed": range(seeds)}, ("feature_norms",)
    return at_times(experiment, lanes, np.atleast_1d(times), measure).feature_norms


def point_rows(
    points: Mapping[str, tuple[Experiment, float]], seeds: int
) -> tuple[list[Row], xr.Dataset]:
    """Training against the law at points (experiment, flow time) by name.

    Also returns quantiles of both [point, level].
    """
    rows, ends, laws = [], [], []
    for name, (experiment, time) in points.items():
        end = trained(experiment, time, seeds).sel(feature="class")
        known = law(experiment, time)
        ends.append(np.quantile(end, LEVELS))
        laws.append(known)
        bands = f"10-90 %: {spread(end).split(' ', 1)[1]}, law ({known[1]:.3g} .. {known[2]:.3g})"
        setting = f"width, SGD, {name}, flow time {time:g}"
        subject = Subject(setting, "|W v_1|", f"median of {seeds} seeds; {bands}")
        rows.append(close(subject, float(known[0]), float(end.median()), 0.12))
    both = {"trained": (("point", "level"), np.array(ends)),
            "predicted": (("point", "level"), np.array(laws))}  # fmt: skip
    return rows, xr.Dataset(both, {"point": [*points], "level": LEVELS})
