"""Closed forms of the minimum-norm limit of populations: phase diagrams by vmap."""

from typing import Any

import jax.numpy as jnp
from jax import Array

from cldyn.checks import require
from cldyn.data import FeatureModel
from cldyn.linalg import over
from cldyn.losses import Unsupervised, mix
from cldyn.theory.arguments import Number, allow, allow_model, allow_positives, allow_zero

_TIE = 1e-8


def agreements(model: FeatureModel, positives: Any) -> tuple[Array, Array]:
    """Agreement and variance of every feature and, last, of every noise direction, in a population.

        ucl: a_j = keep_j^2 phi_j^2/(phi_j^2 + change_j^2) (over K - 2 both phi_j^2 if sparse)
        noise: its covariance between two views over its variance
        scl: that of the class, else 0;   joint: the mixture

    Args:
        model: without means, or with any means for an encoder with a bias.
        positives: kind of positive pairs, one of `losses.POSITIVES`.

    Returns:
        a, variance [K + 1].

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here: of its variance, a feature shares keep_j^2 between views of one example,
    of what views add nothing.

    Example:
        >>> import cldyn
        >>> model = cldyn.FeatureModel(d=100, class_keep=0.8, noise=cldyn.Gaussian(1.0))
        >>> agreement, _ = cldyn.theory.agreements(model, cldyn.Unsupervised())
        >>> print(agreement.round(2))  # class, subclass, noise
        [0.64 1.   0.  ]
    """
    allow_model(model)
    allow_positives(positives)
    known, allowed = hasattr(model.noise, "agreement"), "a kind with agreement() and moments(...)"
    require(known, "noise", model.noise, allowed)
    dtype = jnp.result_type(float)
    noise = jnp.asarray(model.noise.agreement(), dtype)
    variance, spread = model.variances(dtype), model.noise.moments(model.other, dtype).second[0]
    by_view = jnp.append(over(model.shared_variances(dtype), variance), noise)
    by_class = jnp.where(jnp.arange(by_view.size) == 0, by_view, 0)
    variance = jnp.append(variance, spread)
    return mix(positives, by_class, by_view), variance


def population_norms(
    model: FeatureModel, positives: Any, embed_dim: Number, *, bias: bool = True
) -> Array:
    """|W v_j| of the minimum-norm minimizer of the population.

        |W v_j|^2 = q_j a_j/var_j
        q_j = 1 for the embed_dim largest a, of equal a for those of largest variance, else 0

    Args:
        model: its means are zero unless there is a bias; every number may be traced.
        positives: kind of positive pairs.
        embed_dim: p >= 1, may be traced.
        bias: whether the encoder has one.

    Returns:
        [K]. Features that tie in both share the dimensions left to them: q_j is then their number
        over that of the tied.

    Raises:
        ValueError: numbers that make no sense, or means without a bias, unless traced.

    Source: derived here; M and P are diagonal in the features. With a bias the constant has a = 1
    and, without means, variance 1.

    Example:
        >>> import cldyn
        >>> model = cldyn.FeatureModel(d=100, class_strength=2.0, subclass_mean=0.0)
        >>> found = cldyn.theory.population_norms(model, cldyn.Unsupervised(), 1, bias=False)
        >>> print(found.round(2))  # one output: the stronger feature alone
        [0.5 0. ]
    """
    allow("whole numbers >= 1", embed_dim=embed_dim)
    _allow_means(model, bias)
    agreement, variance = agreements(model, positives)
    count = jnp.append(jnp.ones(model.features), model.d - model.features)
    if bias:
        agreement, variance, count = (jnp.append(x, 1.0) for x in (agreement, variance, count))
    left = shares(agreement, variance, count, embed_dim)
    norm = left * agreement / jnp.where(variance > 0, variance, 1)
    return jnp.sqrt(jnp.where(variance > 0, norm, 0))[: model.features]


def shares(agreement: Array, variance: Array, count: Array, embed_dim: Number) -> Array:
    """What share of every kind of direction the minimum norm keeps [k].

    Those of largest agreement come first, of equal agreement those of largest variance; what ties
    in both shares what is left. count: of directions of a kind [k].
    """
    same = jnp.abs(agreement[:, None] - agreement) <= _TIE
    alike = same & (jnp.abs(variance[:, None] - variance) <= _TIE * variance)
    before = (agreement > agreement[:, None]) & ~same
    before |= same & (variance > variance[:, None]) & ~alike
    return jnp.clip((embed_dim - before @ count) / (alike @ count), 0, 1)


def joint_threshold(model: FeatureModel, embed_dim: Number, *, bias: bool = True) -> Array:
    """The beta above which the joint loss learns the class in the population.

        beta > 1 - a_1/a_(q)
        a_(1) >= a_(2) >= ... the unsupervised agreements of all but class and constant, q = p - 1
        with a bias, else p

    Args:
        model: without means or for an encoder with a bias.
        embed_dim: p >= 1, may be traced.
        bias: whether the encoder has one.

    Returns:
        Scalar, below 1: not above 0 where the class is learned for every beta; -inf with
        q > d - 1. With q = 0 it is inf.

    Raises:
        ValueError: numbers that make no sense, or means without a bias, unless traced.

    Source: derived here: beta scales every agreement but those of class and constant by 1 - beta.

    Example:
        >>> import cldyn
        >>> model = cldyn.FeatureModel(d=100, class_keep=0.8, subclass_mean=0.0)
        >>> round(float(cldyn.theory.joint_threshold(model, 1, bias=False)), 2)
        0.36
    """
    allow("whole numbers >= 1", embed_dim=embed_dim)
    _allow_means(model, bias)
    agreement, _ = agreements(model, Unsupervised())
    noise = jnp.full(model.d - model.features, agreement[-1])
    others = jnp.sort(jnp.concatenate([agreement[1:-1], noise]))[::-1]
    q = jnp.asarray(embed_dim) - bias
    rival = jnp.where(q <= others.size, others[jnp.clip(q - 1, 0, others.size - 1)], 0)
    threshold = jnp.where(rival > 0, 1 - agreement[0] / jnp.where(rival > 0, rival, 1), -jnp.inf)
    return jnp.where(q > 0, threshold, jnp.inf)


def _allow_means(model: FeatureModel, bias: bool) -> None:
    """Refuse means without a bias: the features would not be eigenvectors."""
    if not bias:
        means = {f"{name}_mean": getattr(model, f"{name}_mean") for name in _OWNERS}
        allow_zero("0 without a bias", **means)


_OWNERS = ("class", "subclass", "irrelevant")
