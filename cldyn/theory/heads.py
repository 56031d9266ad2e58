"""Projection heads: what a linear head and a diagonal network do to features that views change."""

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.theory.arguments import Number, allow
from cldyn.theory.limits import shares

_NEWTON = 64


def linear_head(strength: Number, keep: Number, noise: Number, embed_dim: Number) -> Array:
    """Feature norms below and after a linear head, at the minimum norm of two layers.

        |f_2(e_j)| = keep_j phi_j/(phi_j^2 + sigma^2) for the p largest beta_j, else 0
        |f_1(e_j)| = |f_2(e_j)|^(1/2)
        beta_j = keep_j^2 phi_j^2/(phi_j^2 + sigma^2)

    Args:
        strength: phi > 0 [K], of all d = K inputs.
        keep: probability in [0, 1] that a view keeps the sign, else it redraws it uniformly: the
            paper's 1 - alpha; [K] or one number for all.
        noise: sigma >= 0, standard deviation of every view along every input.
        embed_dim: p >= 1.

    Returns:
        |f_1(e_j)| and |f_2(e_j)| [2, K]. Inputs that tie in beta and in variance share what is left
        of the p outputs: their mean squares.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: Xue et al. (2024), arXiv 2403.11391, theorem 3.5. M = diag(phi^2 + sigma^2) and
    P = diag(keep^2 phi^2) commute, so W^T W = diag(beta/(phi^2 + sigma^2)) on the p largest beta;
    balanced layers, which least norm and gradient flow from a small start have, make W_1^T W_1 its
    root. (The paper's appendix writes 1 - 2 alpha, where alpha is the probability of a flip.)

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> theory.linear_head(np.ones(3), np.array([1.0, 0.64, 0.25]), 0.0, 3).round(2).tolist()
        [[1.0, 0.8, 0.5], [1.0, 0.64, 0.25]]
    """
    allow("numbers > 0", strength=strength)
    allow("numbers in [0, 1]", keep=keep)
    allow("numbers >= 0", noise=noise)
    allow("whole numbers >= 1", embed_dim=embed_dim)
    strength, keep = jnp.broadcast_arrays(jnp.atleast_1d(strength), keep)
    variance = strength**2 + jnp.asarray(noise) ** 2
    beta = (keep * strength) ** 2 / variance
    left = jnp.sqrt(shares(beta, variance, jnp.ones(strength.shape), embed_dim))
    norms = keep * strength / variance
    return left * jnp.stack([jnp.sqrt(norms), norms])


def diagonal_end(first: Number, second: Number, threshold: Number) -> tuple[Array, Array]:
    """Where a diagonal network (`cldyn.Diagonal`) leaves a coordinate that no view keeps.

        h = h_0 cosh(r s) - r v_0 sinh(r s),   v = v_0 cosh(r s) - (h_0/r) sinh(r s),   r = 2^(1/2)
        s >= 0 the root of v h = b_0 + s,   h_0 = |w_1| - b_0,   v_0 = |w_2|

    h is f_1(e), what is left below the head; f_2(e) = max(v h - b_0 - s, 0) ends at 0.

    Args:
        first: w_1 at the start [...], of a coordinate of values +-1.
        second: w_2 at the start.
        threshold: b_0 >= 0, both thresholds at the start.

    Returns:
        f_1(e) and |w_2| at the end, each [...]; of a coordinate that f_2 does not see they are
        those of the start. By theorems 3.8 and 4.2 of the paper f_1(e) >= b_0^(1/2) where
        |w_2| <= b_0^(1/2) and |w_2| (|w_1| - b_0) >= b_0 at the start.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here. With z = f_2(e) = v h - b_2 the loss is a function of z^2 alone: z^4 of
    the spectral loss where e is no part of what positives share, by view (ucl) or by class (scl),
    z^2 of the squared error of other labels. Gradient flow in s = b_2 - b_0 is then dh/ds = -2 v,
    dv/ds = -h, whichever the loss, and conserves h^2 - 2 v^2: so h >= b_0/v >= b_0/v_0 at the end.
    v h - b_0 - s is convex and falls at h^2 + 2 v^2 + 1: Newton's method from 0 never overshoots.

    Example:
        >>> from cldyn import theory
        >>> below, weight = theory.diagonal_end(0.6, 0.3, 0.1)
        >>> round(float(below), 4), round(float(weight * below), 4)
        (0.4793, 0.1355)
    """
    allow("numbers", first=first, second=second)
    allow("numbers >= 0", threshold=threshold)
    w, v0, b = jnp.broadcast_arrays(*(jnp.abs(jnp.asarray(x)) for x in (first, second, threshold)))
    h0, r = jnp.maximum(w - b, 0), jnp.sqrt(2.0)

    def at(s: Array) -> tuple[Array, Array]:
        cosh, sinh = jnp.cosh(r * s), jnp.sinh(r * s)
        return h0 * cosh - r * v0 * sinh, v0 * cosh - h0 / r * sinh

    def newton(_: int, s: Array) -> Array:
        h, v = at(s)
        return s + jnp.maximum(v * h - b - s, 0) / (h**2 + 2 * v**2 + 1)

    return at(jax.lax.fori_loop(0, _NEWTON, newton, jnp.zeros_like(h0 * v0 * b)))


def diagonal_decay(first: Number, second: Number, threshold: Number, time: Number) -> Array:
    """How the spectral loss unlearns a coordinate after the head of a diagonal network.

        f_2(e) ~ (1/z_0^2 + 8 c t)^(-1/2),   z_0 = v_0 h_0 - b_0,   c = h^2 + 2 v^2 + 1

    Args:
        first, second, threshold: as `diagonal_end`, whose h and v these are.
        time: flow time >= 0.

    Returns:
        [...]: never below f_2(e), and its end; 0 of a coordinate that f_2 does not see.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here: z' = -4 (h^2 + 2 v^2 + 1) z^3, where h and v only fall.

    Example:
        >>> from cldyn import theory
        >>> round(float(theory.diagonal_decay(0.6, 0.3, 0.1, 400.0)), 4)
        0.0144
    """
    allow("numbers >= 0", time=time)
    rate = diagonal_rate(first, second, threshold)
    w, v, b = (jnp.abs(jnp.asarray(x)) for x in (first, second, threshold))
    start = jnp.maximum(v * jnp.maximum(w - b, 0) - b, 0)
    return start / jnp.sqrt(1 + 4 * rate * start**2 * jnp.asarray(time))


def diagonal_rate(first: Number, second: Number, threshold: Number) -> Array:
    """Rate per flow time at which squared error unlearns what `diagonal_decay` tells of.

        f_2(e) ~ exp(-2 c t),   c = h^2 + 2 v^2 + 1

    Args:
        first, second, threshold: as `diagonal_end`, whose h and v these are.

    Returns:
        2 c [...]. A weight decay lambda |w|^2 acts below the head too, but by its own rate alone:
        f_1(e) ~ exp(-2 lambda t).

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here: z' = -2 c z. Once f_2(e) = 0 the loss is flat in f_1(e).

    Example:
        >>> from cldyn import theory
        >>> round(float(theory.diagonal_rate(0.6, 0.3, 0.1)), 3)
        2.779
    """
    below, weight = diagonal_end(first, second, threshold)
    return 2 * (below**2 + 2 * weight**2 + 1)
