"""Minimum-norm global minimizers of the spectral loss.

M (`second`) and P (`positive`) are the moments of moments.py. Agreements are the eigenvalues a of A = M^{-1/2} P M^{-1/2}.
"""

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.data import is_whole

_TIE = 1e-8


def minimizer(
    second: Array, positive: Array, embed_dim: int | Array, weight_decay: float | Array = 0.0, *, rows: int | None = None
) -> Array:
    """The minimum-norm global minimizer of L(W) + weight_decay |W|_F^2.

        W^T W = M^{-1/2} [A]_{p,+} M^{-1/2},   A = M^{-1/2} (P - weight_decay/2 I) M^{-1/2} on range(M)

    Args:
        second, positive: M, P [D, D], symmetric. embed_dim: p, may be traced. weight_decay: >= 0.
        rows: rows of the result, by default embed_dim; required when embed_dim is traced.

    Returns:
        [rows, D], rows by descending agreement, those from embed_dim on zero. Where the cut at p runs through a tie
        (agreements within 1e-8), the directions of largest variance are taken; if those tie again, some of them.

    Raises:
        ValueError: M and P that are not square and alike, embed_dim below 1, rows missing where they are required.

    Source: derived here. L = |M^{1/2} W^T W M^{1/2} - A|^2 + const, so Eckart-Young picks the top eigenpairs of A; the
    norm tr(q^T M^{-1} q) is then least on the bottom eigenvectors of M^{-1} in the tied space.
    """
    rows = static_rows(embed_dim, rows)
    second, positive = square(second, positive)
    values, basis = jnp.linalg.eigh(second)
    floor = values.size * jnp.finfo(values.dtype).eps * values[-1]
    inverse = jnp.where(values > floor, 1 / jnp.where(values > floor, values, 1), 0)
    shared = basis.T @ positive @ basis - jnp.diag(jnp.full_like(values, 0.5) * weight_decay)
    return _top(*_dense_agreement(shared, inverse), inverse, embed_dim, rows) @ basis.T


def frame_minimizer(
    second: Array, factor: Array, embed_dim: int | Array, weight_decay: float | Array = 0.0, *, rows: int | None = None,
    decays: bool = True,
) -> Array:
    """`minimizer` in a frame: M = diag(second) [r], P = C^T C with factor C [q, r]; returns [rows, r].

    Args:
        decays: False promises that weight_decay is zero; then the SVD of the factor is enough, else r x r matrices are.
    """
    rows = static_rows(embed_dim, rows)
    inverse = jnp.where(second > 0, 1 / jnp.where(second > 0, second, 1), 0)
    if decays:
        shared = factor.T @ factor - jnp.diag(jnp.full_like(second, 0.5) * weight_decay)
        return _top(*_dense_agreement(shared, inverse), inverse, embed_dim, rows)
    _, values, vectors = jnp.linalg.svd(factor * jnp.sqrt(inverse), full_matrices=False)
    return _top(values**2, vectors.T, inverse, embed_dim, rows)


def static_rows(embed_dim: int | Array, rows: int | None) -> int:
    """Rows of a result, which a traced embed_dim cannot tell."""
    if isinstance(embed_dim, jax.core.Tracer):
        if rows is None:
            raise ValueError("rows: None, allowed is a whole number >= embed_dim when embed_dim is traced")
        return rows
    if not (is_whole(embed_dim) and embed_dim >= 1):
        raise ValueError(f"embed_dim: {embed_dim!r}, allowed is a whole number >= 1")
    return int(embed_dim) if rows is None else rows


def square(second: Array, positive: Array) -> tuple[Array, Array]:
    """M and P as arrays, refused unless both are [D, D]."""
    second, positive = jnp.asarray(second), jnp.asarray(positive)
    if second.ndim != 2 or second.shape[0] != second.shape[1] or second.shape != positive.shape:
        raise ValueError(f"second, positive: shapes {second.shape}, {positive.shape}, allowed is [D, D] for both")
    return second, positive


def _dense_agreement(shared: Array, inverse: Array) -> tuple[Array, Array]:
    root = jnp.sqrt(inverse)
    scaled = root[:, None] * shared * root
    values, vectors = jnp.linalg.eigh((scaled + scaled.T) / 2)
    return values[::-1], vectors[:, ::-1]


def _top(agreement: Array, vectors: Array, inverse: Array, embed_dim: int | Array, rows: int) -> Array:
    """Rows sqrt(a) e^T M^{-1/2} of the chosen eigenpairs; agreement [k] descends, vectors [r, k], inverse = 1/M [r]."""
    epsilon = jnp.finfo(agreement.dtype).eps
    tie = jnp.maximum(_TIE, 50 * epsilon).astype(agreement.dtype)
    cut = agreement[jnp.clip(jnp.asarray(embed_dim) - 1, 0, agreement.size - 1)]
    tied = jnp.abs(agreement - cut) <= tie
    above = jnp.sum(agreement > cut + tie)
    cost = jnp.where(tied[:, None] & tied, vectors.T @ (inverse[:, None] * vectors), 0)
    _, turn = jnp.linalg.eigh(cost + jnp.diag(jnp.where(tied, 0, 1 + 2 * jnp.trace(cost))))
    row = jnp.arange(rows)
    place = jnp.clip(row - above, 0, agreement.size - 1)  # within the tied space, which eigh puts first
    clear = row < above
    mixing = jnp.where(clear, jnp.eye(agreement.size, dtype=turn.dtype)[:, jnp.clip(row, 0, agreement.size - 1)], turn[:, place])
    strength = agreement @ mixing**2
    present = (row < embed_dim) & (clear | (row - above < jnp.sum(tied))) & (strength > 100 * epsilon)
    return (jnp.sqrt(jnp.where(present, strength, 0)) * (vectors @ mixing) * jnp.sqrt(inverse)[:, None]).T
