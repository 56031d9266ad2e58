"""What is observed of a run, as functions of embeddings, and the phases read off a recorded curve."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array, lax

MEASURES = {
    "feature_norms": "norm of the embedded feature direction |W v_j|",
    "class_gap": "distance between class means",
    "subclass_gap": "distance between subclass means",
    "subclass_to_class": "subclass gap over class gap",
    "loss": "training loss, with weight_decay |W|^2",
    "excess_loss": "loss above its global minimum",
    "distance": "relative distance of W^T W to the minimum-norm minimizer, on the range of the data",
    "embeddings": "embeddings of the test sample",
}


def feature_norms(directions: Array) -> Array:
    """Norms of embedded directions.

        |W v_j|

    Args:
        directions: embeddings of the directions less that of the origin [..., K, p].

    Returns:
        [..., K]. Source: the alignment with a feature of Xue et al. (2023), per feature.
    """
    return jnp.linalg.norm(directions, axis=-1)


def gap(contrasts: Array) -> Array:
    """Root mean square distance between group means; the plain distance for two groups.

    Args:
        contrasts: embeddings of the differences between group means, one for each pair of groups [..., pairs, p].

    Returns:
        [...]. NaN where there is one group alone. Source: derived here; 2 phi_j |W v_j| for a linear encoder.
    """
    return jnp.sqrt(jnp.mean(jnp.sum(contrasts**2, axis=-1), axis=-1))


def gram_distance(w: Array, limit: Array) -> Array:
    """Relative distance between two encoders up to rotations of the embedding.

        |w^T w - l^T l|_F / |l^T l|_F

    Args:
        w: [p, r]. limit: l [p, r], not zero.

    Returns:
        Scalar, with relative precision far below that of w^T w itself.

    Source: derived here. Let o be the rotation that carries l nearest to w: the polar factor of l w^T, by Newton-Schulz
    iteration (Higham 2008), D = w - o^T l and S = w + o^T l. Then for any o

        w^T w - l^T l = (D^T S + S^T D)/2 + l^T (o o^T - 1) l

    and near the limit every term is small by itself: no squares cancel. Its norm needs only the Gram matrix of the rows
    of D, S and l. Only matrix products occur, since LAPACK calls inside lanes can block each other's threads on CPU.
    """
    p = w.shape[0]
    overlap = limit @ w.T
    o = overlap / jnp.maximum(jnp.linalg.norm(overlap), jnp.finfo(w.dtype).tiny)
    o = lax.fori_loop(0, 40, lambda _, o: 1.5 * o - 0.5 * (o @ o.T) @ o, o)
    turned = o.T @ limit
    rows = jnp.concatenate([w - turned, w + turned, limit])
    half, none = jnp.eye(p, dtype=w.dtype) / 2, jnp.zeros((p, p), w.dtype)
    kernel = jnp.block([[none, half, none], [half, none, none], [none, none, o @ o.T - 2 * half]])
    product = kernel @ (rows @ rows.T)
    return jnp.sqrt(jnp.maximum(jnp.sum(product * product.T), 0)) / jnp.linalg.norm(limit @ limit.T)


class Phases(NamedTuple):
    """When a curve is learned, peaks and is unlearned, in the unit of its steps; NaN where it never does.

    learned: first crossing of the threshold, log-linear between records. peak, peak_step: the maximum and where it is.
    unlearned: first time after the peak below half of it, log-linear. decay_rate: minus the least-squares slope of the
    logarithm over the records after the peak between `fit_high` and `fit_low`; decay_from, decay_to: the values that the
    fit in fact spans.
    """

    learned: np.ndarray
    peak: np.ndarray
    peak_step: np.ndarray
    unlearned: np.ndarray
    decay_rate: np.ndarray
    decay_from: np.ndarray
    decay_to: np.ndarray


def phases(
    steps: Any, curve: Any, *, threshold: float = 0.1, fit_high: float = 1e-2, fit_low: float = 1e-7
) -> Phases:
    """Phases of recorded curves.

    Args:
        steps: increasing record steps or times [t]. curve: positive values [..., t]; NaN after divergence.
        threshold: what counts as learned. fit_high, fit_low: window of the decay fit.

    Returns:
        Phases of shape [...].

    Source: definitions of this project.
    """
    steps = np.asarray(steps, float)
    curve = np.asarray(curve, float)
    found = [_phases(steps, one, threshold, fit_high, fit_low) for one in curve.reshape(-1, steps.size)]
    return Phases(*(np.reshape(part, curve.shape[:-1]) for part in np.array(found).reshape(-1, 7).T))


def _phases(steps: np.ndarray, curve: np.ndarray, threshold: float, high: float, low: float) -> tuple[float, ...]:
    nan = float("nan")
    if not np.isfinite(curve).any():
        return (nan,) * 7
    top = int(np.nanargmax(curve))
    learned = _crossing(steps, curve, np.flatnonzero(curve >= threshold), threshold)
    after = np.flatnonzero(curve[top:] < curve[top] / 2) + top
    unlearned = _crossing(steps, curve, after, curve[top] / 2)
    below = np.flatnonzero(curve[top:] < low)
    end = top + int(below[0]) if below.size else curve.size
    inside = np.arange(top, end)
    inside = inside[(curve[inside] <= high) & (curve[inside] >= low)]
    if inside.size < 3:
        return learned, curve[top], steps[top], unlearned, nan, nan, nan
    slope = np.polyfit(steps[inside], np.log(curve[inside]), 1)[0]
    return learned, curve[top], steps[top], unlearned, -slope, curve[inside].max(), curve[inside].min()


def _crossing(steps: np.ndarray, curve: np.ndarray, beyond: np.ndarray, level: float) -> float:
    """Where the curve passes the level just before record beyond[0], log-linear between records."""
    if not beyond.size:
        return float("nan")
    i = int(beyond[0])
    if i == 0 or curve[i - 1] <= 0 or curve[i] <= 0:
        return float(steps[i])
    share = np.log(level / curve[i - 1]) / np.log(curve[i] / curve[i - 1])
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))
