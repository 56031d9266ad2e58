"""Closed forms on samples: what the minimum norm and gradient descent keep of a feature."""

import jax
import jax.numpy as jnp
from jax import Array, lax

from cldyn.checks import require
from cldyn.data import Basis, DistinctBasis, FeatureModel, Gaussian, OneHot
from cldyn.theory.arguments import Number, allow, allow_model, allow_zero
from cldyn.theory.limits import shares


def collapsed_norm(model: FeatureModel, n: Number, m: Number) -> Array:
    """|W v_2| that a sample leaves in the minimum-norm minimizer of "scl", with a bias.

        |W v_2| = s |mu_2|/(phi_2^2 + s (1 + mu_2^2 + phi_2^2) + s^2)
        s = sigma^2 (1 + (m - 1) noise_keep) (1 - N/d)/(n m)

    Args:
        model: features that views keep and do not change, class_mean = 0, irrelevant means 0;
            noise gaussian or along directions of the basis.
        n: balanced examples, of equal counts of every class, subclass and irrelevant pattern.
        m: views of each; N = n m, or n if noise_keep = 1 (equal views), is below d for gaussian
            noise.

    Returns:
        Scalar. Of gaussian noise up to O(1/sqrt(n m)) of itself; along the basis exact where no two
        rows share a direction and none is a feature's (`distinct_probability`), the factor 1 - N/d
        being 1.

    Raises:
        ValueError: numbers that make no sense, or another kind of model, unless traced.

    Source: derived here. The minimizer fits the constant to every row at least norm. With w on
    features and bias and the Gram matrix G of the rows' noise, the noise directions cost
    (1 - F w)^T G^{-1} (1 - F w), and for sign patterns that all views share the Wishart matrix G
    acts as n m s: a ridge regression of the constant on (phi_2 s_2 + mu_2, 1) with ridge s. Noise
    along distinct directions has G = sigma^2 I (views that keep it: in blocks), which is that
    without the Wishart factor; irrelevant features are orthogonal to both.
    Theorem 4.7 of Xue et al. (2023) bounds it by O(sigma/sqrt(n m)); it is O(sigma^2/(n m)), and 0
    for mu_2 = 0, their theorem 4.4.

    Example:
        >>> import cldyn
        >>> round(float(cldyn.theory.collapsed_norm(cldyn.FeatureModel(d=1000), n=100, m=2)), 4)
        0.004
    """
    allow_model(model)
    allow("whole numbers >= 1", n=n, m=m)
    known = type(model.noise) in (Gaussian, Basis, DistinctBasis, OneHot)
    allowed = "Gaussian, Basis, DistinctBasis or OneHot"
    require(known, "noise", model.noise, allowed)
    require(model.own_count == 0, "own_count", model.own_count, "0: own features carry it too")
    allow_zero("0", class_mean=model.class_mean, irrelevant_mean=model.irrelevant_mean)
    allow_zero("0", class_change=model.class_change, subclass_change=model.subclass_change)
    allow("1", class_keep=model.class_keep, subclass_keep=model.subclass_keep)
    allow("1", irrelevant_keep=model.irrelevant_keep)
    dtype = jnp.result_type(float)
    strength, mean, noise, keep = (
        jnp.asarray(value, dtype)
        for value in (
            model.subclass_strength,
            model.subclass_mean,
            model.noise.noise_length,
            getattr(model.noise, "noise_keep", 0.0),
        )
    )
    if not isinstance(model.noise, Gaussian):
        allow("0 or 1", noise_keep=keep)
    s = noise**2 * (1 + (m - 1) * keep) / (n * m)
    if isinstance(model.noise, Gaussian):
        rows = jnp.where(keep < 1, n * m, n)
        if not isinstance(rows, jax.core.Tracer):
            require(jnp.all(rows < model.d), "n m", rows.tolist(), f"numbers below d = {model.d}")
        s = s * (1 - rows / model.d)
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

    Example:
        >>> from cldyn import theory
        >>> round(float(theory.augmentation_norm(1.0, 16.0, 1.0, n=64, m=8)), 2)
        0.2
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

    Example:
        >>> from cldyn import theory
        >>> round(float(theory.augmentation_accuracy(1.0, 32.0, 1.0, n=64, m=8, d=4000)), 2)
        0.69
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

    Example:
        >>> from cldyn import theory
        >>> round(float(theory.left_behind(1e-4, 1.0, 2.0)), 4)
        0.001
    """
    allow("numbers > 0", start=start, rival=rival)
    allow("numbers >= 0", strength=strength)
    share = jnp.asarray(strength) ** 2 / jnp.asarray(rival) ** 2
    return jnp.asarray(start) ** jnp.maximum(1 - share, 0)


def distinct_probability(rows: Number, d: Number, taken: Number = 0) -> Array:
    """Probability that rows draw distinct directions out of d, none of them one of those taken.

        prod_(i < N) (1 - (taken + i)/d) >= 1 - N (taken + (N - 1)/2)/d

    Args:
        rows: N = n m.
        d: directions.
        taken: directions of the features, or 0 where they may be drawn.

    Returns:
        Of the shape of the arguments; 0 for N > d - taken.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: the event in which theorems 4.3, 4.4 and 4.7 of Xue et al. (2023) hold, whose
    probability they bound by 1 - O(n^2 m^2/d).

    Example:
        >>> from cldyn import theory
        >>> round(float(theory.distinct_probability(23, 365)), 3)
        0.493
    """
    allow("whole numbers >= 1", rows=rows, d=d)
    allow("numbers >= 0", taken=taken)
    dtype = jnp.result_type(float)
    count, room = jnp.asarray(rows, dtype), jnp.asarray(d, dtype) - taken

    def another(i: Array, product: Array) -> Array:
        left = jnp.maximum((room - i) / jnp.asarray(d, dtype), 0)
        return jnp.where(i < count, product * left, product)

    one = jnp.ones(jnp.broadcast_shapes(count.shape, room.shape), dtype)
    return lax.fori_loop(0, jnp.max(count).astype(int), another, one)


def kept_share(model: FeatureModel, embed_dim: Number, *, bias: bool = True) -> Array:
    """What share of every feature the minimum norm keeps under ideal augmentation.

        1 for features whose variance is among the p largest of
        L = (1, phi_1^2, phi_2^2, phi_3^2/(K - 2), ..., phi_K^2/(K - 2)),   0 for the others
        (dense features: phi_j^2; the leading 1 is the constant's, of the bias)

    Args:
        model: without means, changes and own features; views keep its features and none of its
            noise.
        embed_dim: p >= 1, may be traced.
        bias: whether the encoder has one.

    Returns:
        [K] in [0, 1]. Between 0 and 1: the variance ties at the cut, and there are minimum-norm
        minimizers that keep the feature and others that do not.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: theorem 5.1 of Xue et al. (2023): under ideal augmentation all features agree fully
    between views, so that every choice of p of them is a minimizer, and that of largest variance
    has least norm. That ties are shared, and dense features, are derived here.

    Example:
        >>> import cldyn
        >>> model = cldyn.FeatureModel(d=100, subclass_strength=2.0, subclass_mean=0.0)
        >>> cldyn.theory.kept_share(model, 1, bias=False).tolist()
        [0.0, 1.0]
    """
    allow_model(model)
    allow("whole numbers >= 1", embed_dim=embed_dim)
    allow_zero("0", class_mean=model.class_mean, subclass_mean=model.subclass_mean)
    allow_zero("0", irrelevant_mean=model.irrelevant_mean)
    allow_zero("0", class_change=model.class_change, subclass_change=model.subclass_change)
    allow("1", class_keep=model.class_keep, subclass_keep=model.subclass_keep)
    allow("1", irrelevant_keep=model.irrelevant_keep)
    require(model.own_count == 0, "own_count", model.own_count, "0")
    variance = model.original_variances(jnp.result_type(float))
    every = jnp.append(variance, 1.0) if bias else variance
    one = jnp.ones_like(every)
    return shares(one, every, one, embed_dim)[: model.features]
