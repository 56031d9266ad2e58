"""Probes: what can be told of test rows from training rows, in embeddings or in inputs."""

import jax.numpy as jnp
from jax import Array, lax

from cldyn import linalg


def probe_accuracy(
    train: Array, train_member: Array, test: Array, test_member: Array, ridge: float = 1e-6
) -> Array:
    """Share of test rows whose group a linear probe tells.

        A, b = argmin mean |A f + b - group|^2 + ridge v |A|^2,   argmax (A f + b)

    v is the mean variance of the coordinates that vary.

    Args:
        train: embeddings the probe is fitted on [N, p].
        train_member: their groups, one-hot [groups, N].
        test: embeddings it is scored on [s, p].
        test_member: their groups [groups, s].
        ridge: in units of v, so that the scale of embeddings plays no part; at least what rounding
            leaves of C/v, 4 eps |C/v|_F of their covariance C.

    Returns:
        Scalar in [0, 1]; groups that tie share a row, so that a constant tells nothing.

    Source: the linear evaluation of Xue et al. (2023), by least squares (Hoerl and Kennard 1970).
    """
    level = train_member.mean(axis=1)
    centre, apart = _centred(train)
    covariance = apart.T @ apart / train.shape[0]
    variance = jnp.diag(covariance)
    unit = jnp.sum(variance) / jnp.maximum(jnp.sum(variance > 0), 1)
    unit = jnp.where(unit > 0, unit, 1)
    covariance, right = covariance / unit, apart.T @ (train_member.T - level) / train.shape[0]
    size = jnp.maximum(ridge, 4 * jnp.finfo(train.dtype).eps * jnp.linalg.norm(covariance))
    slope = linalg.solve(covariance + size * jnp.eye(variance.size, dtype=train.dtype), right)
    return _share((test - centre) @ (slope / unit) + level, test_member)


def knn_accuracy(
    train: Array, train_member: Array, test: Array, test_member: Array, k: int = 10
) -> Array:
    """Share of test rows whose group most of their k nearest training rows belong to.

        nearest: largest f . g/(|f| |g|)

    Args:
        train: embeddings [N, p]. One that is zero is as far from all others as a right angle.
        train_member: their groups, one-hot [groups, N].
        test: embeddings [s, p].
        test_member: their groups [groups, s].
        k: neighbours, all where there are no more.

    Returns:
        Scalar in [0, 1]. Rows as near as the last neighbour share the places that are left, groups
        with as many votes share the row: a constant tells nothing. Cosines within 4 eps are equal.

    Source: Wu et al. (2018), with votes of equal weight.
    """
    unit, k = linalg.unit(train), min(k, train.shape[0])
    rounding = 4 * jnp.finfo(train.dtype).eps

    def hits(rows: Array, member: Array) -> Array:
        near = rows @ unit.T
        last = _at_place(near, k)
        closer = (near > last + rounding).astype(near.dtype)
        tied = (jnp.abs(near - last) <= rounding).astype(near.dtype)
        places = (k - closer.sum(axis=1)) / tied.sum(axis=1)
        return _hits(closer @ train_member.T + places[:, None] * (tied @ train_member.T), member)

    found = linalg.by_blocks(hits, train.shape[0], linalg.unit(test), test_member.T)
    return jnp.mean(found)


def _at_place(values: Array, k: int) -> Array:
    """The k-th largest of every row [s, 1], ten times as fast as sorting for it (`lax.top_k`)."""

    def down(_: Array, last: Array) -> Array:
        enough = jnp.sum(values >= last, axis=1, keepdims=True) >= k
        beneath = jnp.max(jnp.where(values < last, values, -jnp.inf), axis=1, keepdims=True)
        return jnp.where(enough, last, beneath)

    return lax.fori_loop(0, k, down, jnp.full((len(values), 1), jnp.inf, values.dtype))


def nearest_mean_accuracy(
    train: Array, train_member: Array, test: Array, test_member: Array
) -> Array:
    """Share of test rows whose group has the nearest mean of training rows.

        argmin_g |f - f_g|

    Args:
        train: embeddings [N, p].
        train_member: their groups, one-hot [groups, N]; one without rows is never the nearest.
        test: embeddings [s, p].
        test_member: their groups [groups, s].

    Returns:
        Scalar in [0, 1]; groups that tie share a row.

    Source: the nearest class centre of neural collapse (Papyan, Han and Donoho 2020).
    """
    centre, apart = _centred(train)
    count = train_member.sum(axis=1)
    means = train_member @ apart / jnp.maximum(count, 1)[:, None]
    score = (test - centre) @ means.T - jnp.sum(means**2, axis=1) / 2
    return _share(jnp.where(count > 0, score, -jnp.inf), test_member)


def _centred(rows: Array) -> tuple[Array, Array]:
    """The mean of rows, and rows less that: zero where all they differ by is rounding."""
    centre = rows.mean(axis=0)
    apart = rows - centre
    rounding = (8 * jnp.finfo(rows.dtype).eps) ** 2
    return centre, jnp.where(jnp.sum(apart**2) > rounding * jnp.sum(rows**2), apart, 0)


def _share(score: Array, member: Array) -> Array:
    """Share of rows with scores [s, groups] whose best group is theirs; ties share a row."""
    return jnp.mean(_hits(score, member.T))


def _hits(score: Array, member: Array) -> Array:
    """What part of every row [s] its best group tells; member: one-hot [s, groups]."""
    best = score == score.max(axis=1, keepdims=True)
    return jnp.sum(best * member, axis=1) / jnp.sum(best, axis=1)
