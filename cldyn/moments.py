"""Second moments of inputs and of positive pairs, and the frame in which they are small.

M = E[x x^T] (second) and P = E[x x+^T] (positive) are all that the spectral loss of a linear
encoder knows of its data. With a bias a 1 is appended to every input and D = d + 1; else D = d.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.data import FeatureModel, Originals, mean_views, membership
from cldyn.encoders import append_one
from cldyn.linalg import over, singular
from cldyn.losses import Supervised, Unsupervised, mix

_REGISTER = 8  # rows of w fill whole vector registers: 201 coordinates cost a quarter more than 208


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Frame:
    """Coordinates in which M is diagonal and P = C^T C has few rows.

    The last coordinate is none of the data: it holds the length of what a row of W has off their
    range. Those before it that the data do not fill are zero and stay so.

    Args:
        second: M [r]; zero where the data do not reach.
        class_factor: C of supervised positives [classes, r].
        view_factor: C of unsupervised ones [n, r].
        basis: orthonormal columns [D, r], or zero ones; W in these coordinates is W basis.
    """

    second: Array
    class_factor: Array
    view_factor: Array
    basis: Array

    def factor(self, positives: Any) -> Array:
        """C [q, r] of a kind of positives, P = C^T C."""
        if isinstance(positives, Supervised):
            return self.class_factor
        if isinstance(positives, Unsupervised):
            return self.view_factor
        share = jnp.asarray(positives.share, self.second.dtype)
        scaled = jnp.sqrt(share) * self.class_factor, jnp.sqrt(1 - share) * self.view_factor
        return jnp.concatenate(scaled)

    def split(self, rows: Array) -> tuple[Array, Array]:
        """Rows [..., D] inside [..., r], and what they have outside [..., D]."""
        inside = rows @ self.basis
        return inside, rows - inside @ self.basis.T


def _padded(second: Array, class_factor: Array, view_factor: Array, basis: Array) -> Frame:
    """The frame with a coordinate for what is outside, and spare ones up to whole registers."""
    more = 1 + -(second.size + 1) % _REGISTER
    parts = (jnp.pad(one, ((0, 0), (0, more))) for one in (class_factor, view_factor, basis))
    return Frame(jnp.pad(second, (0, more)), *parts)


def population(
    model: FeatureModel, positives: Any, *, bias: bool = True, dtype: Any = None
) -> tuple[Array, Array]:
    """Exact moments of the population in the unrotated basis (features first, bias last).

        M = m m^T + diag(var) - c c^T,   m = c + sum_j mean_j v_j (+ e_b),   c = E xi
        P_ucl = m m^T + diag(keep_j^2 phi_j^2 + E xi xi+^T) - kept c c^T
        P_scl = m m^T + keep_1^2 phi_1^2 v_1 v_1^T

    Args:
        model: feature model.
        positives: kind of positive pairs, one of `losses.POSITIVES`.
        bias: whether inputs get a 1 appended.
        dtype: of the moments, by default JAX's float.

    Returns:
        second, positive [D, D].

    Source: derived here. Views of one example share s_j with probability keep_j each,
    independently, else they are independent, hence keep_j^2; changes are independent. Examples of a
    class share s_1 alone. E xi xi^T is diagonal for every kind of noise, so its covariance lacks
    c c^T, and so does that of two views where they keep the noise (kept = 1, else 0).

    Example:
        >>> import cldyn
        >>> M, P = cldyn.moments.population(cldyn.FeatureModel(d=5), cldyn.Supervised())
        >>> cldyn.theory.minimizer(M, P, embed_dim=2).shape
        (2, 6)
    """
    known = _covariances(model, bias, dtype)
    shared = mix(positives, known.by_class, known.by_view)
    less = mix(positives, 0.0, known.kept) * jnp.outer(known.noise_mean, known.noise_mean)
    constant = jnp.outer(known.mean, known.mean)
    second = constant + jnp.diag(known.variance)
    second -= jnp.outer(known.noise_mean, known.noise_mean)
    return second, constant + jnp.diag(shared) - less


class _Covariances(NamedTuple):
    """Of a population: its mean and that of the noise, and diagonals, each [D].

    variance: of M. by_class, by_view: of P_scl and P_ucl. kept: 1 where views keep the mean of the
    noise, else 0.
    """

    mean: Array
    noise_mean: Array
    variance: Array
    by_class: Array
    by_view: Array
    kept: float


def _covariances(model: FeatureModel, bias: bool, dtype: Any) -> _Covariances:
    dtype = dtype or jnp.result_type(float)
    noise, wide = model.noise.moments(model.other, dtype), model.d + bias
    first = 0 if model.noise.everywhere else model.features

    def placed(values: Array, start: int = 0) -> Array:
        return jnp.zeros(wide, dtype).at[start : start + values.size].set(values)

    shared, noise_mean = model.shared_variances(dtype), placed(noise.mean, first)
    mean = placed(model.means(dtype)) + noise_mean
    return _Covariances(
        mean=mean.at[model.d :].set(1),
        noise_mean=noise_mean,
        variance=placed(model.variances(dtype)) + placed(noise.second, first),
        by_class=placed(shared[:1]),
        by_view=placed(shared) + placed(noise.shared, first),
        kept=1 - noise.apart,
    )


def sample_moments(
    x: Array, member: Array, positives: Any, *, bias: bool = True
) -> tuple[Array, Array]:
    """Moments of a sample over all pairs of its N = n m rows, a row with itself included.

        M = X^T X/N,   P_scl = sum_c (n_c/n) x_c x_c^T,   P_ucl = sum_i x_i x_i^T/n

    Args:
        x: views [n, m, d].
        member: one-hot classes [classes, n].
        positives: kind of positive pairs.
        bias: whether inputs get a 1 appended.

    Returns:
        second, positive [D, D]: for small D; `frame` never forms them.

    Source: V-statistics (x_c, x_i: means of class and example); the convention is this project's.
    """
    x = append_one(jnp.asarray(x), bias)
    rows = x.reshape(-1, x.shape[-1])
    by_class = _row_weights(member.astype(x.dtype), x.shape[1]) @ rows
    by_view = x.mean(axis=1) / jnp.sqrt(x.shape[0])
    positive = mix(positives, by_class.T @ by_class, by_view.T @ by_view)
    return rows.T @ rows / rows.shape[0], positive


def _row_weights(member: Array, m: int) -> Array:
    """Weights [classes, N] that turn rows into the factor of P_scl."""
    return jnp.repeat(class_means(member) / m, m, axis=1)


def class_means(member: Array) -> Array:
    """Weights [classes, n] that turn examples into the factor of P_scl; an empty class is zero."""
    return member / jnp.sqrt(jnp.maximum(member.sum(axis=1, keepdims=True), 1) * member.shape[1])


def frame(x: Array, member: Array, bias: bool = True) -> Frame:
    """The right singular frame of a sample, never forming a D x D matrix.

    X = U S V^T gives M = V (S^2/N) V^T, and P = C^T C with C = B U S/sqrt(N), where the rows of B
    (orthonormal) average over a class or over the views of an example. A QR factorization reduces
    the SVD to a small one.

    Args:
        x: views [n, m, d].
        member: one-hot classes [classes, n].
        bias: whether inputs get a 1 appended.

    Returns:
        Frame. Directions with zero singular value stay, with zero second moment.

    Source: derived here. Gradient descent maps W0 V to W V and leaves W0 (I - V V^T) alone, so
    min(N, D) coordinates are enough. Rows in float32 go by their Gram matrix
    where JAX has float64.
    """
    x = append_one(jnp.asarray(x), bias)
    n, m, wide = x.shape
    rows = x.reshape(n * m, wide)
    eps = jnp.finfo(rows.dtype).eps
    left, values, basis = singular(rows)
    dtype = values.dtype
    least = jnp.maximum(1e-10, values.size * eps).astype(dtype) * values[0]
    scale = jnp.where(values > least, values, 0) / jnp.sqrt(jnp.asarray(n * m, dtype))
    averages = _row_weights(member.astype(dtype), m) * jnp.sqrt(jnp.asarray(n * m, dtype))
    class_factor = averages @ left * scale
    view_factor = left.reshape(n, m, -1).mean(axis=1) * jnp.sqrt(jnp.asarray(m, dtype)) * scale
    made = _padded(scale**2, class_factor, view_factor, basis)
    return jax.tree.map(lambda leaf: leaf.astype(rows.dtype), made)


def population_frame(model: FeatureModel, bias: bool = True, dtype: Any = None) -> Frame:
    """The eigenframe of the population's M.

    P factors into the mean and one row for each shared direction. Args and source: as `population`.
    """
    known = _covariances(model, bias, dtype)
    mean, wide = known.mean, known.mean.size
    if model.noise.everywhere:  # its mean mixes all directions
        second, basis = jnp.linalg.eigh(population(model, Supervised(), bias=bias, dtype=dtype)[0])
        second = _without_rounding(second)
    else:  # only named features and bias mix through the mean: all others are eigenvectors already
        mixed = jnp.array([*range(model.named), *range(model.d, wide)])
        block = jnp.outer(mean[mixed], mean[mixed]) + jnp.diag(known.variance[mixed])
        values, turn = jnp.linalg.eigh(block)
        second = known.variance.at[mixed].set(_without_rounding(values))
        basis = jnp.eye(wide, dtype=mean.dtype).at[mixed[:, None], mixed[None]].set(turn)
    class_rows = jnp.stack([mean, jnp.sqrt(known.by_class)])
    view_rows = jnp.concatenate([mean[None], _root(known)])
    reached = second > 0
    return _padded(second, class_rows @ basis * reached, view_rows @ basis * reached, basis)


def _without_rounding(values: Array) -> Array:
    """Ascending eigenvalues, zero where rounding made them."""
    return jnp.where(values > values.size * jnp.finfo(values.dtype).eps * values[-1], values, 0)


def _root(known: _Covariances) -> Array:
    """Rows C of P_ucl - m m^T = C^T C.

    diag(s) - c c^T = D (I - u u^T) D,   D = diag(s)^(1/2),   u = D^-1 c,   |u| <= 1
    I - u u^T = (I - k u u^T)^2,   k = (1 - (1 - |u|^2)^(1/2))/|u|^2
    """
    root = jnp.sqrt(known.by_view)
    unit = over(known.kept * known.noise_mean, root)
    length = jnp.minimum(unit @ unit, 1)
    scale = over(1 - jnp.sqrt(1 - length), length)
    return jnp.diag(root) - scale * jnp.outer(unit, unit * root)


def views_frame(
    model: FeatureModel, given: Originals, bias: bool = True, dtype: Any = None
) -> Frame:
    """The eigenframe of all views of some originals.

        M = (1/n) sum_i x_i x_i^T + S
        P_scl = sum_c (n_c/n) x_c x_c^T,   P_ucl = (1/n) sum_i x_i x_i^T

    Args:
        model: whose views.
        given: the originals.
        bias: whether inputs get a 1 appended.
        dtype: of the frame.

    Returns:
        Frame.

    Source: derived here; x_i is the mean of all views of an example, x_c that of a class, S the
    mean covariance of a view about x_i, and two views of one example are independent given their
    original: `sample_moments` at m = infinity, where self-pairs have no weight.
    """
    dtype = dtype or jnp.result_type(float)
    views = mean_views(model, given, dtype=dtype)
    rows = append_one(views.mean, bias)
    spread = jnp.diag(views.spread) - jnp.outer(views.less, views.less)
    spread = jnp.pad(spread, (0, int(bias)))
    second, basis = jnp.linalg.eigh(rows.T @ rows / rows.shape[0] + spread)
    second = _without_rounding(second)
    classes = class_means(membership(given.codes[:, 0], (-1, 1), dtype)) @ rows
    examples = rows @ basis / jnp.sqrt(jnp.asarray(rows.shape[0], dtype))
    # Examples of equal means make equal rows, whose factorization runs into numbers that XLA
    # flushes to zero and then into 0/0.
    apart = jax.random.normal(jax.random.key(0), examples.shape, jnp.float32).astype(dtype)
    examples += 0.01 * jnp.finfo(dtype).eps * jnp.sqrt(second) * apart
    reached = second > 0
    turned = jnp.concatenate([views.rotate(basis[: model.d].T), basis[model.d :].T], axis=1).T
    return _padded(second, classes @ basis * reached, examples * reached, turned)
