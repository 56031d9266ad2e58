"""What is observed of a run, as functions of embeddings, and the phases read off a recorded curve."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from cldyn import linalg

MEASURES = {
    "feature_norms": "norm of the embedded feature direction |W v_j|",
    "class_gap": "distance between class means",
    "subclass_gap": "distance between subclass means",
    "subclass_to_class": "subclass gap over class gap",
    "loss": "training loss, with weight_decay |W|^2",
    "excess_loss": "loss above its global minimum",
    "distance": "relative distance of W^T W to the minimum-norm minimizer, on the range of the data",
    "train_class_gap": "distance between class means of the training rows",
    "train_subclass_gap": "distance between subclass means of the training rows",
    "train_class_variance": "variance of the training rows within classes",
    "train_subclass_variance": "variance of the training rows within subclasses of a class",
    "test_class_variance": "variance of the test sample within classes",
    "test_subclass_variance": "variance of the test sample within subclasses of a class",
    "class_accuracy": "test accuracy of a linear probe for the class",
    "subclass_accuracy": "test accuracy of a linear probe for the subclass",
    "first_layer_norms": "norm of the feature direction below the projection head |W_1 v_j|",
    "imbalance": "largest relative difference between W_(l+1)^T W_(l+1) and W_l W_l^T",
    "effective_rank": "effective rank of the centred embeddings of the training rows",
    "embeddings": "embeddings of the test sample",
}
# What needs training rows, a test sample, or more than one layer to be of interest; everything else is exact.
TEST = {"test_class_variance", "test_subclass_variance", "class_accuracy", "subclass_accuracy", "embeddings"}
TRAIN = {
    "train_class_gap", "train_subclass_gap", "train_class_variance", "train_subclass_variance", "class_accuracy", "subclass_accuracy",
    "effective_rank",
}
DEEP = {"first_layer_norms", "imbalance"}
EXACT = tuple(name for name in MEASURES if name not in TEST | TRAIN | DEEP)


def feature_norms(directions: Array) -> Array:
    """Norms of embedded directions.

        |W v_j|

    Args:
        directions: embeddings of the directions less that of the origin [..., K, p].

    Returns:
        [..., K]. Source: the alignment with a feature of Xue et al. (2023), per feature.
    """
    return jnp.linalg.norm(directions, axis=-1)


def gap(differences: Array) -> Array:
    """Root mean square distance between group means; the plain distance for two groups.

    Args:
        differences: `contrasts` of embeddings, or embeddings of the contrasts of inputs [..., pairs, p].

    Returns:
        [...]. NaN where there is one group alone. Source: derived here; 2 phi_j |W v_j| for a linear encoder.
    """
    return jnp.sqrt(jnp.mean(jnp.sum(differences**2, axis=-1), axis=-1))


def imbalance(gram: Array, head: Array) -> Array:
    """How far the layers of a deep linear encoder are from balance.

        max_l |W_(l+1)^T W_(l+1) - W_l W_l^T|_F/|W_1 W_1^T|_F

    Args:
        gram: W_1 W_1^T [p, p]. head: W_2 ... W_L [L - 1, p, p].

    Returns:
        Scalar; 0 for one layer, and for layers that are all zero.

    Source: the differences do not change in gradient flow (Arora, Cohen and Hazan 2018).
    """
    below = [gram, *(layer @ layer.T for layer in head[:-1])]
    apart = [jnp.linalg.norm(layer.T @ layer - under) for layer, under in zip(head, below, strict=False)]
    return jnp.max(jnp.stack(apart)) / jnp.maximum(jnp.linalg.norm(gram), jnp.finfo(gram.dtype).tiny) if apart else jnp.zeros((), gram.dtype)


def contrasts(embeddings: Array, member: Array) -> Array:
    """Differences between the means of every two groups.

    Args:
        embeddings: [N, p]. member: one-hot groups [groups, N].

    Returns:
        [pairs, p]; NaN where a group is empty.
    """
    centres = member @ embeddings / member.sum(axis=1, keepdims=True)
    first, second = np.triu_indices(member.shape[0], 1)
    return centres[first] - centres[second]


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
    o = linalg.polar(limit @ w.T, 40)
    turned = o.T @ limit
    rows = jnp.concatenate([w - turned, w + turned, limit])
    half, none = jnp.eye(p, dtype=w.dtype) / 2, jnp.zeros((p, p), w.dtype)
    kernel = jnp.block([[none, half, none], [half, none, none], [none, none, o @ o.T - 2 * half]])
    product = kernel @ (rows @ rows.T)
    return jnp.sqrt(jnp.maximum(jnp.sum(product * product.T), 0)) / jnp.linalg.norm(limit @ limit.T)


def within_variance(embeddings: Array, member: Array) -> Array:
    """Mean squared distance to the mean of one's group.

        sum_g sum_{i in g} |f_i - f_g|^2/N

    Args:
        embeddings: [N, p]. member: one-hot groups [groups, N]; a group may be empty.

    Returns:
        Scalar. Source: the within-class variability of neural collapse (Papyan, Han and Donoho 2020), not normalized.
    """
    count = member.sum(axis=1, keepdims=True)
    centres = member @ embeddings / jnp.maximum(count, 1)
    return jnp.mean(jnp.sum((embeddings - member.T @ centres) ** 2, axis=1))


def probe_accuracy(train: Array, train_sign: Array, test: Array, test_sign: Array) -> Array:
    """Share of test examples whose sign a linear probe tells.

        a, b = argmin mean (a.f + b - sign)^2 + 1e-6 v |a|^2,   v the mean variance of the coordinates that vary;   sign(a.f + b)

    Args:
        train: embeddings the probe is fitted on [N, p]. test: embeddings it is scored on [s, p]. Signs: -1 or +1.

    Returns:
        Scalar in [0, 1]; an embedding that is constant tells nothing, 1/2.

    Source: the linear evaluation of Xue et al. (2023), by least squares.
    """
    centre, level = train.mean(axis=0), train_sign.mean()
    apart = train - centre
    covariance = apart.T @ apart / train.shape[0]
    variance = jnp.diag(covariance)
    ridge = 1e-6 * jnp.sum(variance) / jnp.maximum(jnp.sum(variance > 0), 1)
    ridge = jnp.where(ridge > 0, ridge, 1)
    slope = linalg.solve(covariance + ridge * jnp.eye(variance.size, dtype=train.dtype), apart.T @ (train_sign - level) / train.shape[0])
    score = ((test - centre) @ slope + level) * test_sign
    return jnp.mean((score > 0) + 0.5 * (score == 0))


def effective_rank(embeddings: Array) -> Array:
    """Effective number of dimensions that embeddings fill.

        exp(-sum_k q_k ln q_k),   q_k = s_k^2/sum s^2, s the singular values of the centred embeddings

    Args:
        embeddings: [N, p].

    Returns:
        Scalar in [1, p]. Source: Roy and Vetterli (2007), of squared singular values.
    """
    apart = embeddings - embeddings.mean(axis=0)
    share = linalg.eigenvalues(apart.T @ apart)
    share = jnp.maximum(share, 0) / jnp.sum(share)
    return jnp.exp(-jnp.sum(jnp.where(share > 0, share * jnp.log(jnp.where(share > 0, share, 1)), 0)))


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
