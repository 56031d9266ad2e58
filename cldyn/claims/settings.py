"""Settings that claims share."""

from collections.abc import Sequence

import jax
import numpy as np
import xarray as xr

from cldyn import theory
from cldyn.data import FeatureModel, Views, sample, sample_test
from cldyn.encoders import Linear
from cldyn.experiment import Experiment, Training, numerics
from cldyn.losses import Unsupervised
from cldyn.optimizers import Gd
from cldyn.sources import Stored

# The class-collapse setting, whose numbers are the defaults of all nouns.
COLLAPSE = Experiment(Stored(FeatureModel()), Training(), "float64")

# The paper's start, sigma_0 = .001.
START = Linear(init_scale=1e-3, init_scale_unit="root_d")

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


def drawn(problem: Stored) -> Views:
    """The sample of a problem, in float64."""
    key, model = jax.random.key(problem.data_seed), problem.model
    with numerics("float64"):
        return sample(key, model, problem.n, problem.m, balanced=problem.balanced)


def distinct(problem: Stored) -> bool:
    """Whether every row has a noise direction of its own, none of them a feature's."""
    model = problem.model
    noise = np.asarray(drawn(problem).x).reshape(-1, model.d)[:, model.features :] != 0
    return bool(noise.any(axis=1).all() and noise.sum(axis=0).max() == 1)


def full_norms(problem: Stored) -> np.ndarray:
    """|W v_1|, |W v_2| of minimizers that keep both, where fresh noise is `distinct` [2]."""
    model = problem.model
    phi = np.array([model.class_strength, model.subclass_strength])
    given = model.noise.noise_length, 0.0, problem.n, problem.m
    with numerics("float64"):
        return np.asarray(theory.augmentation_norm(phi, *given)) / phi


def coded(embeddings: xr.Dataset, one: Experiment) -> xr.Dataset:
    """Embeddings of the test sample with the class and subclass of every row."""
    problem = one.problem
    test = sample_test(
        jax.random.key(problem.data_seed),
        problem.model,
        problem.test_size,
        balanced=problem.test_balanced,
    )
    label, subclass = (np.asarray(code) for code in (test.label, test.subclass))
    return embeddings.assign_coords(label=("test", label), subclass=("test", subclass))
