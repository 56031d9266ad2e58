"""The one table of what is measured of trajectories, and its names."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from jax import Array

from cldyn.checks import one_of, require
from cldyn.data import contrasts
from cldyn.observables import (
    alignment,
    effective_rank,
    feature_norms,
    gap,
    gradient_balance,
    gram_distance,
    imbalance,
    participation_ratio,
    ratio,
    uniformity,
    variance_ratio,
    within_variance,
)
from cldyn.observed import Measure, Observed
from cldyn.probes import knn_accuracy, nearest_mean_accuracy, probe_accuracy


def _of_rows(function: Callable[..., Array], rows: str, *of: str) -> Callable[[Observed], Array]:
    """A function of embedded rows and of their groups."""
    return lambda seen: function(seen.embed(rows), *(seen.member(rows, one) for one in of))


def _probed(function: Callable[..., Array], of: str) -> Callable[[Observed], Array]:
    """A probe of training and of test rows."""

    def found(seen: Observed) -> Array:
        train, test = ((seen.embed(rows), seen.member(rows, of)) for rows in ("train", "test"))
        return function(*train, *test)

    return found


def _gap_of(embeddings: Array, member: Array) -> Array:
    return gap(contrasts(embeddings, member))


def _class_ratio(embeddings: Array, member: Array) -> Array:
    return variance_ratio(embeddings, member, jnp.ones_like(member[:1]))


def _aligned(seen: Observed) -> Array:
    rows = seen.embed("views")
    return alignment(rows.reshape(-1, seen.views, rows.shape[1]))


_ROWS = {"train": "the training rows", "test": "the test sample"}
_PROBES: dict[str, tuple[str, Callable[..., Array]]] = {
    "accuracy": ("a linear probe", probe_accuracy),
    "accuracy_ridge": (
        "a linear probe of ridge 1e-3 of the mean variance",
        partial(probe_accuracy, ridge=1e-3),
    ),
    "accuracy_knn": ("10 nearest training rows by cosine", knn_accuracy),
    "accuracy_nearest_mean": ("the nearest mean of training rows", nearest_mean_accuracy),
}


_GROUPED: dict[str, tuple[str, Callable[..., Array], tuple[str, ...]]] = {
    "class_gap": ("distance between class means", _gap_of, ("class",)),
    "subclass_gap": ("distance between subclass means", _gap_of, ("subclass",)),
    "class_variance": ("variance within classes", within_variance, ("class",)),
    "subclass_variance": ("variance within subclasses of a class", within_variance, ("cell",)),
    "class_ratio": ("variance between classes over that within", _class_ratio, ("class",)),
    "subclass_ratio": (
        "variance between subclasses of a class over that within",
        variance_ratio,
        ("cell", "class"),
    ),
}


def _of_groups(rows: str) -> list[Measure]:
    """Gaps, variances and their ratios of training or of test rows."""
    return [
        Measure(
            f"{rows}_{name}", f"{says} of {_ROWS[rows]}", _of_rows(function, rows, *of), (rows,)
        )
        for name, (says, function, of) in _GROUPED.items()
    ]


_ALL = (
    Measure(
        "feature_norms",
        "norm of the embedded feature direction |W v_j|",
        lambda seen: feature_norms(seen.embed("directions")),
        ("directions",),
        ("feature",),
        exact=True,
    ),
    Measure(
        "class_gap",
        "distance between class means",
        lambda seen: gap(seen.embed("class_gap")),
        ("gaps",),
        exact=True,
    ),
    Measure(
        "subclass_gap",
        "distance between subclass means",
        lambda seen: gap(seen.embed("subclass_gap")),
        ("gaps",),
        exact=True,
    ),
    Measure(
        "subclass_to_class",
        "subclass gap over class gap",
        lambda seen: ratio(gap(seen.embed("subclass_gap")), gap(seen.embed("class_gap"))),
        ("gaps",),
        exact=True,
    ),
    Measure(
        "loss",
        "training loss, with weight_decay |W|^2",
        lambda seen: seen.loss(),
        ("loss",),
        exact=True,
    ),
    Measure(
        "excess_loss",
        "loss above its global minimum",
        lambda seen: seen.loss() - seen.limit.loss,
        ("limit",),
        exact=True,
    ),
    Measure(
        "distance",
        "relative distance of W^T W to the minimum-norm minimizer, on the range of the data",
        lambda seen: gram_distance(seen.inside(), seen.limit.w),
        ("limit",),
        exact=True,
    ),
    Measure(
        "gradient_balance",
        "|W P| over |W M W^T W M|, the two parts of the gradient",
        lambda seen: gradient_balance(seen.inside(), *seen.moments()),
        ("moments",),
    ),
    *_of_groups("train"),
    *_of_groups("test"),
    *(
        Measure(
            f"{of}_{name}",
            f"test accuracy of {says} for the {of}",
            _probed(function, of),
            ("train", "test"),
        )
        for name, (says, function) in _PROBES.items()
        for of in ("class", "subclass")
    ),
    Measure(
        "imbalance",
        "largest relative difference between W_(l+1)^T W_(l+1) and W_l W_l^T",
        lambda seen: imbalance(*seen.layers()),
        ("layers",),
    ),
    Measure(
        "effective_rank",
        "effective rank of the centred embeddings of the training rows",
        _of_rows(effective_rank, "train"),
        ("train",),
    ),
    Measure(
        "participation_ratio",
        "participation ratio of the centred embeddings of the training rows",
        _of_rows(participation_ratio, "train"),
        ("train",),
    ),
    Measure(
        "uniformity",
        "log mean Gaussian potential of the directions of the test sample",
        _of_rows(uniformity, "test"),
        ("test",),
    ),
    Measure(
        "alignment",
        "mean squared distance between directions of two views of a training example",
        _aligned,
        ("views",),
    ),
    Measure(
        "embeddings",
        "embeddings of the test sample",
        lambda seen: seen.embed("test"),
        ("test",),
        ("test", "output"),
    ),
)
MEASURES = {measure.name: measure for measure in _ALL}
EXACT = tuple(name for name, measure in MEASURES.items() if measure.exact)
_OF_EMBEDDINGS = {"directions", "train", "views", "test", "gaps"}


def layered(name: Any, layers: Sequence[str]) -> Measure:
    """The measure of a name, alone or behind one of these layers.

    Raises:
        ValueError: no measure, one behind a layer that is not there, or one that layers have not.
    """
    known = isinstance(name, str) and name in MEASURES
    behind = [one for one in MEASURES if str(name).endswith(f"_{one}")]
    for layer in () if known else layers:
        for one in behind:
            if name == f"{layer}_{one}":
                good = {*MEASURES[one].needs} <= _OF_EMBEDDINGS
                require(good, "measure", name, f"{one} alone, which is of no layer")
                return MEASURES[one].at(layer)
    allowed = f"a cldyn.Measure or {one_of(name, MEASURES)}"
    if behind:
        nearest = max(behind, key=len)
        there = ", ".join(layers) or "which has none"
        allowed = f"{nearest}, alone or behind a layer of this encoder, {there}"
    require(known, "measure", name, allowed)
    return MEASURES[name]
