"""Settings that claims share."""

from collections.abc import Sequence

import jax
import numpy as np
import xarray as xr

from cldyn.data import FeatureModel, sample, sample_test
from cldyn.encoders import Linear
from cldyn.experiment import Experiment, Training
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
    problem = one.problem
    model, key = problem.model, jax.random.key(problem.data_seed)
    drawn = sample(key, model, problem.n, problem.m, balanced=problem.balanced)
    noise = np.asarray(drawn.x).reshape(-1, model.d)[:, model.features :] != 0
    return bool(noise.any(axis=1).all() and noise.sum(axis=0).max() == 1)


def coded(embeddings: xr.Dataset, one: Experiment) -> xr.Dataset:
    """Embeddings of the test sample with the class and subclass of every row."""
    problem = one.problem
    test = sample_test(jax.random.key(problem.data_seed), problem.model, problem.test_size)
    label, subclass = (np.asarray(code) for code in (test.label, test.subclass))
    return embeddings.assign_coords(label=("test", label), subclass=("test", subclass))
