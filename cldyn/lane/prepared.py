"""A problem made ready for lanes: data, frame, and the inputs on which encoders are observed."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cldyn import data, measures, moments
from cldyn.data import FeatureModel, Views
from cldyn.experiment import Problem, Training
from cldyn.lane.batches import Source, source
from cldyn.lane.structure import Structure


class Prepared(NamedTuple):
    """frame: coordinates of gradient descent. coords: probe inputs in the frame {name: [s, r]}. rest: what is left of them {name: [s, D]}.
    groups: classes and subclasses of the "train" and "test" probes, one-hot ([classes, s], [subclasses, s]). source: of batches."""

    frame: moments.Frame
    coords: dict[str, Array]
    rest: dict[str, Array]
    groups: dict[str, tuple[Array, Array]]
    source: Source | None


def prepare(problem: Problem, training: Training, structure: Structure) -> Prepared:
    """Data, frame, probes and batches of a problem: once for all lanes that share it.

    Args:
        problem: numbers may be traced. training: of one of the lanes; they share loss, kind of batch and, with batches, the seed.
        structure: training rows and a test sample are probes only if what it measures needs them.
    """
    dtype, measure = jnp.dtype(problem.precision), {*structure.measures}
    key = jax.random.key(problem.data_seed)
    model, sampled, given = problem.data, None, None
    if isinstance(model, Views):
        sampled, probes = model, {"feature_norms": model.directions, **_group_contrasts(model)}
    else:
        directions = jnp.eye(model.features, model.d, dtype=dtype)
        if problem.fresh_views:
            given = data.originals(key, model, problem.n, balanced=problem.balanced, dtype=dtype)
            directions = given.directions
        elif not problem.population:
            sampled = data.sample(key, model, problem.n, problem.m, balanced=problem.balanced, dtype=dtype)
            directions = sampled.directions
        gaps = 2 * model.strengths(dtype)[:2, None] * directions[:2]
        probes = {"feature_norms": directions, "class_gap": gaps[:1], "subclass_gap": gaps[1:]}
    if sampled:
        frame = moments.frame(sampled, problem.bias)
    elif given:
        frame = moments.views_frame(model, given, problem.bias, dtype)  # type: ignore[arg-type]
    else:
        frame = moments.population_frame(model, problem.bias, dtype)  # type: ignore[arg-type]
    wide = frame.basis.shape[0]
    probes = {name: jnp.pad(probe, ((0, 0), (0, wide - probe.shape[1]))) for name, probe in probes.items()}
    groups = {}
    if sampled and measures.TRAIN & measure:
        probes["train"], groups["train"] = _rows(sampled, problem.bias), _groups(sampled)
    if isinstance(model, FeatureModel) and measures.TEST & measure:
        test = data.sample_test(key, model, problem.test_size, dtype=dtype)
        probes["test"], groups["test"] = _rows(test, problem.bias), _groups(test)
    coords = {name: probe @ frame.basis for name, probe in probes.items()}
    rest = {name: probe - coords[name] @ frame.basis.T for name, probe in probes.items()}
    batches = source(problem, training, sampled, given, frame.basis if structure.frame else None) if structure.batches else None
    return Prepared(frame, coords, rest, groups, batches)


def _rows(views: Views, bias: bool) -> Array:
    return moments.append_one(jnp.asarray(views.x).reshape(-1, views.x.shape[-1]), bias)


def _groups(views: Views) -> tuple[Array, Array]:
    """One-hot classes and subclasses of all rows."""
    x = jnp.asarray(views.x)
    classes = data.membership(views.label, views.classes, x.dtype)
    subclasses = data.membership(views.subclass, views.subclasses, x.dtype)
    return jnp.repeat(classes, x.shape[1], axis=1), jnp.repeat(subclasses, x.shape[1], axis=1)


def _group_contrasts(views: Views) -> dict[str, Array]:
    """Differences between the means of every two classes and every two subclasses."""
    rows = _rows(views, False)
    return {name: measures.contrasts(rows, member) for name, member in zip(("class_gap", "subclass_gap"), _groups(views), strict=True)}
