"""Settings that claims share."""

from collections.abc import Sequence

import numpy as np

from cldyn import nouns, trajectory
from cldyn.data import FeatureModel
from cldyn.encoders import Linear
from cldyn.experiment import Experiment, Training, numerics
from cldyn.losses import Unsupervised
from cldyn.optimizers import Gd
from cldyn.sources import Stored

# The class-collapse setting, whose numbers are the defaults of all nouns.
COLLAPSE = Experiment(Stored(FeatureModel()), Training(), "float64")

# Suppression by width: four easy irrelevant features beside a hard class. n = 64 with six features:
# balanced codes are the full factorial.
WIDTH_MODEL = FeatureModel(d=1500, irrelevant_strength=(2.0,) * 4, subclass_mean=0.0)
WIDTH = Experiment(
    Stored(WIDTH_MODEL, n=64, m=4, test_size=4000),
    Training(Linear(bias=False), positives=Unsupervised(), optimizer=Gd(0.02)),
    "float64",
)


def seeds(count: int) -> dict[str, Sequence[int]]:
    """An axis of seeds, of data, initialization and batches alike."""
    return {"seed": range(count), "data_seed": range(count)}


def distinct(one: Experiment) -> bool:
    """Whether every row has a noise direction of its own, none of them a feature's."""
    problem = nouns.cast(one.problem, one.precision)
    with numerics(one.precision):
        drawn = trajectory.draw(problem, one.training, trajectory.plan_of(one, ()))
    rows = np.asarray(drawn.x).reshape(-1, one.problem.model.d)
    noise = rows[:, one.problem.model.features :] != 0
    return bool(noise.any(axis=1).all() and noise.sum(axis=0).max() == 1)
