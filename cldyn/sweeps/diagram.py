"""Phase diagrams: closed forms of a population over a grid of any of its numbers, in one call."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array

from cldyn import theory
from cldyn.batches import Full
from cldyn.checks import require
from cldyn.data import FeatureModel
from cldyn.encoders import Linear
from cldyn.experiment import Experiment, by_moments, describe, numerics
from cldyn.linalg import eigenvalues
from cldyn.losses import mix
from cldyn.sweeps.dataset import coordinates
from cldyn.sweeps.grid import Group, grid_of
from cldyn.sweeps.tiles import Trajectories

_TOLD = {
    "feature_norms": ("|W v_j| of the minimum norm of the population", "1", ("feature",)),
    "growth_rate": ("rate at which |W v_j| grows early, per flow time", "1", ("feature",)),
    "joint_threshold": ("beta above which the joint loss learns the class", "1", ()),
    "class_kept": ("phi_1 |W v_1| of a class that views keep, noise orthogonal, p >= n", "1", ()),
}


def phase_diagram(experiment: Experiment, axes: Sequence[Group]) -> xr.Dataset:
    """What closed forms say of the population behind an experiment, over any of its numbers.

    Nothing is drawn or factorized: 100 x 100 points take a second.

    Args:
        experiment: a feature model, a linear encoder and the spectral loss.
        axes: as `cldyn.sweep`; seeds and numbers of the optimizer change nothing.

    Returns:
        Dataset over the axes, of feature_norms (minimum norm, `theory.population_norms`),
        growth_rate, joint_threshold (`theory.joint_threshold`) and, for n stored examples,
        class_kept (`theory.augmentation_norm`).

    Raises:
        ValueError: one line naming the field, the value and what is allowed.

    Source: the closed forms it calls. Growth: for small W gradient flow is dW/dt = 4 W P, so what
    lies along an eigenvector of P grows at 4 times its eigenvalue. Features without a mean are
    such, with eigenvalue their shared variance; the others and the bias mix, and each grows in the
    end like the fastest of them.

    Example:
        >>> import cldyn, numpy as np
        >>> axes = [{"class_strength": np.linspace(0.5, 2, 40)}, {"beta": np.linspace(0, 1, 50)}]
        >>> both = cldyn.Experiment().replace(positives=cldyn.Joint(), embed_dim=2)
        >>> cldyn.phase_diagram(both, axes).feature_norms.shape
        (40, 50, 2)
    """
    grid = grid_of(experiment, axes)
    model, encoder = getattr(experiment.problem, "model", None), experiment.training.encoder
    require(isinstance(model, FeatureModel), "problem", experiment.problem, "of a feature model")
    linear = isinstance(encoder, Linear) and by_moments(experiment.training)
    require(linear, "encoder, loss", encoder, "a linear encoder and the spectral loss")
    points = Trajectories(experiment.replace(precision="float64", batch=Full()), grid)
    if not encoder.bias:
        for name in ("class_mean", "subclass_mean", "irrelevant_mean"):
            given = getattr(points.problem.model, name)
            zero = all(np.all(np.asarray(one) == 0) for one in jax.tree.leaves(given))
            require(zero, name, getattr(model, name), "0 without a bias")
    with numerics("float64"):
        found = jax.device_get(_all(points.problem, points.training))
    sizes = [axis.size for axis in grid.axes]
    out = {}
    for name, values in found.items():
        long_name, units, dims = _TOLD[name]
        told = {"long_name": long_name, "units": units}
        out[name] = (*grid.names, *dims), grid.ordered(values, sizes), told
    dataset = xr.Dataset(out, attrs={"experiment": describe(experiment)})
    return dataset.assign_coords(coordinates(experiment, grid, dataset.sizes["feature"], None))


@jax.jit
def _all(problem: Any, training: Any) -> dict[str, Array]:
    """Problems [b, ...] and trainings [b, l, ...]: closed forms [b, l, ...]."""
    return jax.vmap(jax.vmap(_one, (None, 0)))(problem, training)


def _one(problem: Any, training: Any) -> dict[str, Array]:
    model, encoder, positives = problem.model, training.encoder, training.positives
    p, bias = encoder.embed_dim, encoder.bias
    found = {
        "feature_norms": theory.population_norms(model, positives, p, bias=bias),
        "growth_rate": 4 * _shared(model, positives, bias),
        "joint_threshold": theory.joint_threshold(model, p, bias=bias),
    }
    if problem.has_rows:
        noise, (n, m, _) = model.noise, problem.shape
        given = model.class_strength, noise.noise_length, noise.agreement(), n, m
        found["class_kept"] = theory.augmentation_norm(*given)
    return found


def _shared(model: FeatureModel, positives: Any, bias: bool) -> Array:
    """The largest eigenvalue of P in whose eigenvector a feature has a part [K]."""
    mean, by_view = model.means(float), model.shared_variances(float)
    shared = mix(positives, jnp.where(jnp.arange(mean.size) == 0, by_view, 0), by_view)
    moved = jnp.append(mean, float(bias)) != 0
    mean = jnp.append(mean, float(bias))
    block = jnp.outer(mean, mean) + jnp.diag(jnp.append(shared, 0.0) * moved)
    return jnp.where(moved[:-1], eigenvalues(block).max(), shared)
