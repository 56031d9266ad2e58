"""Where every example has a feature of its own: how the class is learned first and unlearned."""

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.theory.arguments import Number, allow, allow_shapes


def own_unlearning_rate(between: Number, within: Number, own: Number, n: Number) -> Array:
    """Rate per flow time at which unsupervised training unlearns features that views change, where
    every example has a feature of its own that all its views keep.

        |W v_j| ~ exp(-4 lambda time)
        lambda the smallest eigenvalue, but for rotations, of
        d -> d S + (d G + (d G)^T) G^T,   d [k, 2k],   G = (B^(1/2), q^(1/2) I)^T,   q = own/n
        for one feature that of [[s + 2 b, 2 (b q)^(1/2)], [2 (b q)^(1/2), 2 q]]: s q/(b + q) for
        s << b + q

    Args:
        between: B [k, k], or a number for k = 1: second moment over examples of the means over
            views of the k features that views change; phi_j^2 + s_j^2/m on average.
        within: S, alike: their covariance within an example, s_j^2 (1 - 1/m) on average; positive.
        own: squared length of what is an example's own: its feature, and its noise if kept.
        n: examples.

    Returns:
        4 lambda, a scalar. All k features end at this rate unless B and S are diagonal: what
        samples correlate is unlearned together, by the slowest.

    Raises:
        ValueError: numbers or shapes that make no sense, unless traced.

    Source: derived here. At the minimum norm every function that is constant over views is carried
    by the own features alone, W v_j = 0 (theorem 5.4 of Xue et al. 2023). The rows of W that carry
    the k features' functions see P = G G^T on those features and on the k directions of own
    features that carry them too, and M = P + S; perturbed by d the gradient is linear, 4 times the
    map above, whose zero modes rotate rows. For one feature that is class collapse, with it for
    the subclass, b^(1/2) for its mean, s for its variance and the own features for the constant:
    learned first since P is largest along G, unlearned since the limit (0, q^(-1/2)) is not.

    Example:
        >>> from cldyn import theory
        >>> round(float(theory.own_unlearning_rate(1.0, 0.1, 4.0, n=16)), 3)
        0.078
    """
    between, within = jnp.atleast_2d(between), jnp.atleast_2d(within)
    allow("numbers", between=between, within=within)
    allow_shapes(between=(between, "kk"), within=(within, "kk"))
    allow("numbers > 0", own=own)
    allow("whole numbers >= 1", n=n)
    k, q = between.shape[0], jnp.asarray(own) / n
    values, vectors = jnp.linalg.eigh(between)
    root = vectors * jnp.sqrt(jnp.maximum(values, 0))
    slope = jnp.concatenate([root, jnp.sqrt(q) * jnp.eye(k)])
    spread = jnp.pad(within, (0, k))

    def curve(flat: Array) -> Array:
        d = flat.reshape(k, 2 * k)
        along = d @ slope
        return (d @ spread + (along + along.T) @ slope.T).ravel()

    curvature = jax.vmap(curve)(jnp.eye(2 * k * k))
    return 4 * jnp.linalg.eigvalsh(curvature)[k * (k - 1) // 2]


def own_peak(between: Number, within: Number, own: Number, n: Number) -> Array:
    """Upper bound of |W v_1| on its way there, where `own_unlearning_rate` tells its end.

        alpha b^(1/2),   alpha = |g|^2/(g^T M g) = (b + q)/((b + q)^2 + s b),   q = own/n

    Args:
        between, within: b and s of the class, numbers as there.
        own, n: as there.

    Returns:
        Of the shape of the arguments.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here: the bound of the peak of class collapse (`peak_bound`), in the plane of
    `own_unlearning_rate`; from a small start, for steps eta <= 1/(8 lambda_max(M)).

    Example:
        >>> from cldyn import theory
        >>> round(float(theory.own_peak(1.0, 0.1, 4.0, n=16)), 3)
        0.752
    """
    allow("numbers >= 0", between=between, within=within)
    allow("numbers > 0", own=own)
    allow("whole numbers >= 1", n=n)
    b, s = jnp.asarray(between), jnp.asarray(within)
    c = b + jnp.asarray(own) / n
    return jnp.sqrt(b) * c / (c**2 + s * b)
