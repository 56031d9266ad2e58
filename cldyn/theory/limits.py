"""Closed forms of the minimum-norm limit in the numbers of the model: phase diagrams by vmap."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.checks import require
from cldyn.data import FeatureModel, Gaussian
from cldyn.losses import Unsupervised, mix
from cldyn.theory.arguments import Number, allow, allow_model, allow_positives, allow_zero

_TIE = 1e-8


def agreements(model: FeatureModel, positives: Any) -> tuple[Array, Array]:
    """Agreement and variance of every feature and, last, of every noise direction, in a population.

        ucl: a_j = keep_j^2, noise: its covariance between two views over its variance
        scl: keep_1^2 for the class, else 0;   joint: the mixture

    Args:
        model: without means, or with any means for an encoder with a bias.
        positives: kind of positive pairs, one of `losses.POSITIVES`.

    Returns:
        a, variance [K + 1].

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here: of its variance, a feature shares keep_j^2 between views of one example.
    """
    allow_model(model)
    allow_positives(positives)
    known, allowed = hasattr(model.noise, "agreement"), "a kind with agreement() and moments(...)"
    require(known, "noise", model.noise, allowed)
    dtype = jnp.result_type(float)
    noise = jnp.asarray(model.noise.agreement(), dtype)
    by_view = jnp.append(model.keeps(dtype) ** 2, noise)
    by_class = jnp.where(jnp.arange(by_view.size) == 0, by_view, 0)
    variance = jnp.append(model.variances(dtype), model.noise.moments(model.other, dtype)[0][0])
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
    """
    allow("whole numbers >= 1", embed_dim=embed_dim)
    _allow_means(model, bias)
    agreement, variance = agreements(model, positives)
    count = jnp.append(jnp.ones(model.features), model.d - model.features)
    if bias:
        agreement, variance, count = (jnp.append(x, 1.0) for x in (agreement, variance, count))
    same = jnp.abs(agreement[:, None] - agreement) <= _TIE
    alike = same & (jnp.abs(variance[:, None] - variance) <= _TIE * variance)
    before = (agreement > agreement[:, None]) & ~same
    before |= same & (variance > variance[:, None]) & ~alike
    left = jnp.clip((embed_dim - before @ count) / (alike @ count), 0, 1)
    norm = left * agreement / jnp.where(variance > 0, variance, 1)
    return jnp.sqrt(jnp.where(variance > 0, norm, 0))[: model.features]


def joint_threshold(model: FeatureModel, embed_dim: int, *, bias: bool = True) -> Array:
    """The beta above which the joint loss learns the class in the population.

        beta > 1 - a_1/a_(q)
        a_(1) >= a_(2) >= ... the unsupervised agreements of all but class and constant, q = p - 1
        with a bias, else p

    Args:
        model: without means or for an encoder with a bias.
        embed_dim: p >= 1.
        bias: whether the encoder has one.

    Returns:
        Scalar, below 1: not above 0 where the class is learned for every beta; -inf with
        q > d - 1. With q = 0 it is inf.

    Raises:
        ValueError: numbers that make no sense, or means without a bias, unless traced.

    Source: derived here: beta scales every agreement but those of class and constant by 1 - beta.
    """
    allow("whole numbers >= 1", embed_dim=embed_dim)
    _allow_means(model, bias)
    agreement, _ = agreements(model, Unsupervised())
    noise = jnp.full(model.d - model.features, agreement[-1])
    others = jnp.sort(jnp.concatenate([agreement[1:-1], noise]))[::-1]
    q = embed_dim - bias
    if q == 0:
        return jnp.array(jnp.inf)
    rival = others[q - 1] if q <= others.size else jnp.zeros(())
    return jnp.where(rival > 0, 1 - agreement[0] / jnp.where(rival > 0, rival, 1), -jnp.inf)


def _allow_means(model: FeatureModel, bias: bool) -> None:
    """Refuse means without a bias: the features would not be eigenvectors."""
    if not bias:
        means = {f"{name}_mean": getattr(model, f"{name}_mean") for name in _OWNERS}
        allow_zero("0 without a bias", **means)


_OWNERS = ("class", "subclass", "irrelevant")


def collapsed_norm(model: FeatureModel, n: Number, m: Number) -> Array:
    """|W v_2| that a sample leaves in the minimum-norm minimizer of "scl", with a bias.

        |W v_2| = s |mu_2|/(phi_2^2 + s (1 + mu_2^2 + phi_2^2) + s^2)
        s = sigma^2 (1 + (m - 1) noise_keep) (1 - N/d)/(n m)

    Args:
        model: two features that views keep, class_mean = 0, gaussian noise.
        n: balanced examples.
        m: views of each; N = n m, or n if noise_keep = 1 (equal views), is below d.

    Returns:
        Scalar, up to O(1/sqrt(n m)) of itself.

    Raises:
        ValueError: numbers that make no sense, or another kind of model, unless traced.

    Source: derived here. The minimizer fits the constant to every row at least norm. With w on
    features and bias and the Gram matrix G of the rows' noise, the noise directions cost
    (1 - F w)^T G^{-1} (1 - F w), and for sign patterns that all views share the Wishart matrix G
    acts as n m s: a ridge regression of the constant on (phi_2 s_2 + mu_2, 1) with ridge s.
    """
    allow_model(model)
    allow("whole numbers >= 1", n=n, m=m)
    require(model.features == 2, "irrelevant_strength", model.irrelevant_strength, "empty")
    require(isinstance(model.noise, Gaussian), "noise", model.noise, "Gaussian noise")
    allow_zero("0", class_mean=model.class_mean)
    allow("1", class_keep=model.class_keep, subclass_keep=model.subclass_keep)
    dtype = jnp.result_type(float)
    strength, mean, noise, keep = (
        jnp.asarray(value, dtype)
        for value in (
            model.subclass_strength,
            model.subclass_mean,
            model.noise.noise_length,
            model.noise.noise_keep,
        )
    )
    rows = jnp.where(keep < 1, n * m, n)
    if not isinstance(rows, jax.core.Tracer):
        require(jnp.all(rows < model.d), "n m", rows.tolist(), f"numbers below d = {model.d}")
    s = noise**2 * (1 + (m - 1) * keep) * (1 - rows / model.d) / (n * m)
    return s * jnp.abs(mean) / (strength**2 + s * (1 + mean**2 + strength**2) + s**2)


def augmentation_norm(
    strength: Number,
    noise: Number,
    noise_keep: Number,
    n: Number,
    m: Number,
) -> Array:
    """phi |W v| of a feature that all views keep, on a sample of orthogonal noise vectors, p >= n.

        phi |W v| = n m phi^2/(sigma^2 (1 + (m - 1) noise_keep) + n m phi^2)

    Args:
        strength: phi >= 0.
        noise: sigma >= 0.
        noise_keep: what part of the noise views share, in [0, 1].
        n: examples.
        m: views of each.

    Returns:
        Of the shape of the arguments.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: Xue et al. (2023) show suppression by preserved noise; this form is derived here. No
    agreement is cut, so W^T W = M^+ P M^+. On the span of the examples' means, orthogonal with
    squared noise s = sigma^2 (1 + (m - 1) noise_keep)/m, the feature is one direction of signal
    n phi^2 beside s: a ridge regression of the feature's sign; n phi^2/(n phi^2 + s) of it is kept.
    """
    allow("numbers >= 0", strength=strength, noise=noise)
    allow("numbers in [0, 1]", noise_keep=noise_keep)
    allow("whole numbers >= 1", n=n, m=m)
    signal = jnp.asarray(n * m) * jnp.asarray(strength) ** 2
    return signal / (jnp.asarray(noise) ** 2 * (1 + (m - 1) * jnp.asarray(noise_keep)) + signal)


def augmentation_accuracy(
    strength: Number,
    noise: Number,
    noise_keep: Number,
    n: Number,
    m: Number,
    d: Number,
) -> Array:
    """Accuracy of a linear probe for that feature on fresh data.

        Phi(phi^2 sqrt(n m d/(1 + (m - 1) noise_keep))/sigma^2)

    Args:
        strength: phi >= 0, as in `augmentation_norm`.
        noise: sigma >= 0.
        noise_keep: in [0, 1].
        n: examples.
        m: views of each.
        d: input dimension, d >> n m.

    Returns:
        Of the shape of the arguments, in [1/2, 1].

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here: the probe's direction carries phi of signal beside fresh noise of variance
    sigma^2/d along the n m noise vectors of the training set, which together weigh
    sigma^2 (1 + (m - 1) noise_keep)/(n m phi^2).
    """
    allow("numbers >= 0", strength=strength, noise=noise)
    allow("numbers in [0, 1]", noise_keep=noise_keep)
    allow("whole numbers >= 1", n=n, m=m, d=d)
    weight = n * m * d / (1 + (m - 1) * jnp.asarray(noise_keep))
    distance = jnp.asarray(strength) ** 2 * jnp.sqrt(weight) / jnp.asarray(noise) ** 2
    return jax.scipy.stats.norm.cdf(distance)


def left_behind(start: Number, strength: Number, rival: Number) -> Array:
    """Order of |W v| of a feature that rivals crowd out of a full embedding, from a small start.

        |W_1 v| ~ start^(1 - phi^2/phi_k^2)

    Args:
        start: |W_0 v| > 0, in a deep linear encoder that of its first layer.
        strength: phi >= 0 of the feature.
        rival: phi_k > phi of what is learned first.

    Returns:
        Order of magnitude, up to a factor of a few; 1 where the feature is not weaker.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here: rivals grow like exp(4 phi_k^2 t) and fill the embedding at
    4 phi_k^2 t = ln(1/start); the feature, of the same agreement, grows as exp(4 phi^2 t) until
    then and stays there, since equal agreements drive no takeover. In a deep encoder the layers
    above the first, B, drive every feature alike: (W_1 v_j)' = 4 phi_j^2 B^T B W_1 v_j, so the
    class gains the same power of what rivals gain. At one end-to-end scale w_0 the first layer
    starts from w_0^(1/L): depth leaves more of the feature.
    """
    allow("numbers > 0", start=start, rival=rival)
    allow("numbers >= 0", strength=strength)
    share = jnp.asarray(strength) ** 2 / jnp.asarray(rival) ** 2
    return jnp.asarray(start) ** jnp.maximum(1 - share, 0)
