"""Second moments of inputs and of positive pairs, of a population or a sample, and the frame in which they are small.

M = E[x x^T] (second) and P = E[x x+^T] (positive) are all that the spectral loss of a linear encoder knows of its data.
With a bias a 1 is appended to every input and D = d + 1; otherwise D = d.
"""

from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.data import FeatureModel, Originals, Views, mean_views, membership

Loss = Literal["scl", "ucl", "joint"]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Frame:
    """Coordinates in which M is diagonal and P = C^T C has few rows.

    Args:
        second: M [r]; zero where the data do not reach.
        class_factor: C of supervised positives [classes, r]. view_factor: C of unsupervised ones [n, r].
        basis: orthonormal columns [D, r]; W in these coordinates is W basis.
    """

    second: Array
    class_factor: Array
    view_factor: Array
    basis: Array

    def factor(self, loss: Loss, beta: Array | float = 0.5) -> Array:
        """C [q, r] of a loss: scl, ucl, or joint with P = beta P_scl + (1 - beta) P_ucl."""
        if loss == "scl":
            return self.class_factor
        if loss == "ucl":
            return self.view_factor
        beta = jnp.asarray(beta, self.second.dtype)
        return jnp.concatenate([jnp.sqrt(beta) * self.class_factor, jnp.sqrt(1 - beta) * self.view_factor])


def append_one(x: Array, bias: bool) -> Array:
    """x [..., d] with a last coordinate 1 if there is a bias."""
    return jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1), x.dtype)], axis=-1) if bias else x


def population(
    model: FeatureModel, loss: Loss, *, beta: Array | float = 0.5, bias: bool = True, dtype: Any = None
) -> tuple[Array, Array]:
    """Exact moments of the population in the unrotated basis (features first, bias last).

        M = m m^T + diag(var),  P_ucl = m m^T + diag(keep_j^2 var_j; noise: noise_keep var, for basis noise noise_keep^2 var)
        P_scl = m m^T + keep_1^2 phi_1^2 v_1 v_1^T,  m = sum_j mean_j v_j (+ e_b),  noise var = noise^2/(d - K)

    Args:
        model: feature model. loss, beta: kind of positive pairs. bias: whether inputs get a 1 appended.

    Returns:
        second, positive [D, D].

    Source: derived here. Views of one example share s_j with probability keep_j each, independently, else they are
    independent, hence keep_j^2; examples of a class share s_1 alone. Gaussian noise shares sqrt(noise_keep) xi_0.
    """
    mean, variance, class_shared, view_shared = _diagonals(model, bias, dtype)
    share = {"scl": 1.0, "ucl": 0.0, "joint": beta}[loss]
    constant = jnp.outer(mean, mean)
    return constant + jnp.diag(variance), constant + jnp.diag(share * class_shared + (1 - share) * view_shared)


def _diagonals(model: FeatureModel, bias: bool, dtype: Any) -> tuple[Array, Array, Array, Array]:
    """Mean and diagonal parts of M, P_scl and P_ucl, each [D]."""
    dtype = dtype or jnp.result_type(float)
    other = model.d - model.features
    noise = jnp.full(other, jnp.asarray(model.noise, dtype) ** 2 / other)
    noise_keep = jnp.asarray(model.noise_keep, dtype)
    kept_noise = noise * (noise_keep if model.noise_kind == "gaussian" else noise_keep**2)
    variance, kept = model.variances(dtype), model.keeps(dtype) ** 2 * model.variances(dtype)
    empty = jnp.zeros(int(bias), dtype)
    mean = jnp.concatenate([model.means(dtype), jnp.zeros(other, dtype), jnp.ones(int(bias), dtype)])
    class_shared = jnp.zeros(model.d + bias, dtype).at[0].set(kept[0])
    return (
        mean,
        jnp.concatenate([variance, noise, empty]),
        class_shared,
        jnp.concatenate([kept, kept_noise, empty]),
    )


def sample_moments(views: Views, loss: Loss, *, beta: Array | float = 0.5, bias: bool = True) -> tuple[Array, Array]:
    """Moments of a sample over all pairs of its N = n m rows, a row with itself included.

        M = X^T X/N,   P_scl = sum_c (n_c/n) x_c x_c^T,   P_ucl = sum_i x_i x_i^T/n   (x_c, x_i: means of class and example)

    Args:
        views: the sample. loss, beta, bias: as in `population`.

    Returns:
        second, positive [D, D]: for small D; `frame` never forms them.

    Source: V-statistics; the convention is this project's.
    """
    x = append_one(jnp.asarray(views.x), bias)
    rows = x.reshape(-1, x.shape[-1])
    by_class = _class_weights(views, x.dtype) @ rows
    by_view = x.mean(axis=1) / jnp.sqrt(x.shape[0])
    share = {"scl": 1.0, "ucl": 0.0, "joint": beta}[loss]
    positive = share * by_class.T @ by_class + (1 - share) * by_view.T @ by_view
    return rows.T @ rows / rows.shape[0], positive


def _class_weights(views: Views, dtype: Any) -> Array:
    """Weights [classes, N] that turn rows into the factor of P_scl."""
    m = views.x.shape[1]
    return jnp.repeat(class_means(membership(views.label, views.classes, dtype)) / m, m, axis=1)


def class_means(member: Array) -> Array:
    """Weights [classes, n] that turn examples into the factor of P_scl; an empty class is a zero row."""
    return member / jnp.sqrt(jnp.maximum(member.sum(axis=1, keepdims=True), 1) * member.shape[1])


def frame(views: Views, bias: bool = True) -> Frame:
    """The right singular frame of a sample, r = min(N, D), never forming a D x D matrix.

    X = U S V^T gives M = V (S^2/N) V^T, and P = C^T C with C = B U S/sqrt(N), where the rows of B (orthonormal) average
    over a class or over the views of an example. A QR factorization reduces the SVD to an r x r one.

    Args:
        views: the sample. bias: whether inputs get a 1 appended.

    Returns:
        Frame. Directions with zero singular value stay, with zero second moment.

    Source: derived here. Gradient descent maps W0 V to W V and leaves W0 (I - V V^T) alone, so r coordinates are enough.
    """
    x = append_one(jnp.asarray(views.x), bias)
    n, m, wide = x.shape
    rows = x.reshape(n * m, wide)
    if n * m <= wide:
        outer, triangle = jnp.linalg.qr(rows.T)
        left, values, right = jnp.linalg.svd(triangle.T)
        basis = outer @ right.T
    else:
        outer, triangle = jnp.linalg.qr(rows)
        left, values, right = jnp.linalg.svd(triangle)
        left, basis = outer @ left, right.T
    dtype = values.dtype
    limit = jnp.maximum(1e-10, values.size * jnp.finfo(dtype).eps).astype(dtype) * values[0]
    scale = jnp.where(values > limit, values, 0) / jnp.sqrt(jnp.asarray(n * m, dtype))
    class_factor = (_class_weights(views, dtype) * jnp.sqrt(jnp.asarray(n * m, dtype))) @ left * scale
    view_factor = left.reshape(n, m, -1).mean(axis=1) * jnp.sqrt(jnp.asarray(m, dtype)) * scale
    return Frame(scale**2, class_factor, view_factor, basis)


def population_frame(model: FeatureModel, bias: bool = True, dtype: Any = None) -> Frame:
    """The eigenframe of the population's M, r = D; P factors into the mean and one row for each shared direction.

    Args and source: as `population`. Returns: Frame with D coordinates.
    """
    mean, variance, class_shared, view_shared = _diagonals(model, bias, dtype)
    wide = mean.size
    # Only features and bias mix through the mean: diagonalize them alone, noise directions are eigenvectors already.
    mixed = jnp.array([*range(model.features), *range(model.d, wide)])
    block, turn = jnp.linalg.eigh(jnp.outer(mean[mixed], mean[mixed]) + jnp.diag(variance[mixed]))
    block = jnp.where(block > block.size * jnp.finfo(block.dtype).eps * block[-1], block, 0)  # rounding of the mixed ones alone
    second = variance.at[mixed].set(block)
    basis = jnp.eye(wide, dtype=mean.dtype).at[mixed[:, None], mixed[None]].set(turn)
    class_rows = jnp.stack([mean, jnp.sqrt(class_shared)])
    view_rows = jnp.concatenate([mean[None], jnp.diag(jnp.sqrt(view_shared))])
    reached = second > 0
    return Frame(second, class_rows @ basis * reached, view_rows @ basis * reached, basis)


def views_frame(model: FeatureModel, given: Originals, bias: bool = True, dtype: Any = None) -> Frame:
    """The eigenframe of all views of some originals, r = D.

        M = (1/n) sum_i x_i x_i^T + diag(var),   P_scl = sum_c (n_c/n) x_c x_c^T,   P_ucl = (1/n) sum_i x_i x_i^T

    Args:
        model, given: whose views. bias: as in `population`.

    Returns:
        Frame with D coordinates.

    Source: derived here; x_i is the mean of all views of an example, x_c that of a class, var the mean variance of a view about x_i, and two
    views of one example are independent given their original: `sample_moments` at m = infinity, where self-pairs have no weight.
    """
    dtype = dtype or jnp.result_type(float)
    mean, variance, rotate = mean_views(model, given, dtype=dtype)
    rows = append_one(mean, bias)
    second, basis = jnp.linalg.eigh(rows.T @ rows / rows.shape[0] + jnp.diag(jnp.pad(variance, (0, int(bias)))))
    second = jnp.where(second > second.size * jnp.finfo(dtype).eps * second[-1], second, 0)
    classes = class_means(membership(given.codes[:, 0], (-1, 1), dtype)) @ rows
    examples = rows @ basis / jnp.sqrt(jnp.asarray(rows.shape[0], dtype))
    # Examples of equal means make equal rows, whose factorization runs into numbers that XLA flushes to zero and then into 0/0.
    apart = jax.random.normal(jax.random.key(0), examples.shape, jnp.float32).astype(dtype)
    examples += 0.01 * jnp.finfo(dtype).eps * jnp.sqrt(second) * apart
    reached = second > 0
    turned = jnp.concatenate([rotate(basis[: model.d].T), basis[model.d :].T], axis=1).T
    return Frame(second, classes @ basis * reached, examples * reached, turned)
