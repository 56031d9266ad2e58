"""Minimum-norm global minimizers of the spectral loss.

M (`second`) and P (`positive`) are the moments of moments.py. Agreements are the eigenvalues a of A
= M^{-1/2} P M^{-1/2}.
"""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.linalg import solve_triangular

from cldyn.checks import is_whole, refuse, require
from cldyn.theory.arguments import Number

_TIE = 1e-8


def minimizer(
    second: Array,
    positive: Array,
    embed_dim: Number,
    weight_decay: Number = 0.0,
    *,
    rows: int | None = None,
) -> Array:
    """The minimum-norm global minimizer of L(W) + weight_decay |W|_F^2.

        W^T W = M^{-1/2} [A]_{p,+} M^{-1/2}   on range(M)
        A = M^{-1/2} (P - weight_decay/2 I) M^{-1/2}

    Args:
        second, positive: M, P [D, D], symmetric.
        embed_dim: p, may be traced.
        weight_decay: >= 0.
        rows: rows of the result, by default embed_dim; required when embed_dim is traced.

    Returns:
        [rows, D], rows by descending agreement, those from embed_dim on zero. Where the cut at p
        runs through a tie (agreements within 1e-8), the directions of largest variance are taken;
        if those tie again, some of them.

    Raises:
        ValueError: M and P that are not square and alike, embed_dim below 1, rows missing where
        they are required.

    Source: derived here. L = |M^{1/2} W^T W M^{1/2} - A|^2 + const, so Eckart-Young picks the top
    eigenpairs of A; the norm tr(q^T M^{-1} q) is then least on the bottom eigenvectors of M^{-1} in
    the tied space.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> second, positive = np.diag([4.0, 1.0]), np.diag([2.0, 1.0])
        >>> abs(theory.minimizer(second, positive, embed_dim=1)).round(2).tolist()
        [[0.0, 1.0]]
    """
    rows = _static_rows(embed_dim, rows)
    second, positive = _square(second, positive)
    values, basis = jnp.linalg.eigh(second)
    values = jnp.where(values > values.size * jnp.finfo(values.dtype).eps * values[-1], values, 0)
    return (
        _top(*_agreeing(values, basis.T @ positive @ basis, weight_decay), embed_dim, rows)
        @ basis.T
    )


def unseen(basis: Array, second: Array, direction: Array) -> Array:
    """The part of a direction that no training row reaches.

        v_perp = v - sum of the projections on the basis vectors with a non-zero second moment

    Args:
        basis: orthonormal columns [D, r].
        second: M in them [r].
        direction: v [D].

    Returns:
        [D]; zero, to rounding, where the rows span v.

    Source: derived here. The loss knows W on range(M) alone: W + s z v_perp^T has the loss of W for
    every s and z. It is theorem 4.3 of Xue et al. (2023) where v is the subclass and W the
    collapsed minimizer, and void where v_perp is zero.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> theory.unseen(np.eye(3)[:, :2], np.ones(2), np.ones(3)).tolist()
        [0.0, 0.0, 1.0]
    """
    along = jnp.where(second > 0, basis.T @ direction, 0)
    apart = direction - basis @ along
    return apart - basis @ jnp.where(second > 0, basis.T @ apart, 0)


def frame_minimizer(
    second: Array,
    factor: Array,
    embed_dim: Number,
    weight_decay: Number = 0.0,
    *,
    rows: int | None = None,
    decays: bool = True,
) -> Array:
    """`minimizer` in a frame.

        M = diag(second),   P = C^T C

    Args:
        second: M [r].
        factor: C [q, r].
        embed_dim: p, may be traced.
        weight_decay: >= 0.
        rows: rows of the result, by default embed_dim.
        decays: False promises that weight_decay is zero; then the SVD of the factor is enough, else
            r x r matrices are.

    Returns:
        [rows, r].

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> abs(theory.frame_minimizer(np.array([4.0, 1.0]), np.eye(2), 1)).round(2).tolist()
        [[0.0, 1.0]]
    """
    rows = _static_rows(embed_dim, rows)
    if decays:
        return _top(*_agreeing(second, factor.T @ factor, weight_decay), embed_dim, rows)
    root = _inverse_root(second)
    _, values, vectors = jnp.linalg.svd(factor * root, full_matrices=False)
    return _top(values**2, vectors * root, embed_dim, rows)


def balanced_layers(w: Array, depth: int) -> tuple[Array, Array]:
    """The balanced layers of W: where gradient flow of a deep linear encoder ends if it ends at W.

        W = U S V^T:   W_1 = S^(1/L) V^T,   W_2 = ... = S^(1/L),   W_L = U S^(1/L)
        so W_1^T W_1 = (W^T W)^(1/L) and |W_1 v| <= |W v|^(1/L)

    Args:
        w: W [p, r].
        depth: L >= 2.

    Returns:
        W_1 [p, r] and W_2 ... W_L [L - 1, p, p].

    Source: derived here. Flow conserves W_(l+1)^T W_(l+1) - W_l W_l^T (Arora, Cohen and Hazan
    2018); where all are zero, W^T W = (W_1^T W_1)^L. For a unit vector v = sum_k x_k q_k, |W_1 v|^2
    = sum_k x_k^2 s_k^(2/L) is at most (sum_k x_k^2 s_k^2)^(1/L) by Jensen.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> first, others = theory.balanced_layers(np.diag([4.0, 1.0]), depth=2)
        >>> abs(first).round(2).tolist(), others.shape
        ([[2.0, 0.0], [0.0, 1.0]], (1, 2, 2))
    """
    left, values, right = jnp.linalg.svd(w, full_matrices=False)
    wide = w.shape[0]
    root = jnp.pad(values ** (1 / depth), (0, wide - values.size))
    left = jnp.pad(left, ((0, 0), (0, wide - values.size)))
    right = jnp.pad(right, ((0, wide - values.size), (0, 0)))
    between = jnp.broadcast_to(jnp.diag(root), (depth - 2, wide, wide))
    return root[:, None] * right, jnp.concatenate([between, (left * root)[None]])


def _static_rows(embed_dim: Number, rows: int | None) -> int:
    """Rows of a result, which a traced embed_dim cannot tell."""
    if isinstance(embed_dim, jax.core.Tracer):
        if rows is None:
            refuse("rows", rows, "a whole number >= embed_dim when embed_dim is traced")
        return rows
    require(is_whole(embed_dim) and embed_dim >= 1, "embed_dim", embed_dim, "a whole number >= 1")
    return int(embed_dim) if rows is None else rows


def _square(second: Array, positive: Array) -> tuple[Array, Array]:
    """M and P as arrays, refused unless both are [D, D]."""
    second, positive = jnp.asarray(second), jnp.asarray(positive)
    fits = (
        second.ndim == 2 and second.shape[0] == second.shape[1] and second.shape == positive.shape
    )
    require(fits, "second, positive", (second.shape, positive.shape), "a shape [D, D] for both")
    return second, positive


def _inverse_root(second: Array) -> Array:
    """M^{-1/2} on range(M), zero elsewhere, for M = diag(second)."""
    return jnp.where(second > 0, 1 / jnp.sqrt(jnp.where(second > 0, second, 1)), 0)


def _agreeing(second: Array, positive: Array, weight_decay: Number) -> tuple[Array, Array]:
    """Agreements a [k], descending, and their rows u [k, r], for M = diag(second).

        (P - weight_decay/2 I) u = a M u,   u^T M u = 1

    Small eigenvalues of M make A huge and its top inaccurate. D = 2 s M - P + weight_decay/2 I is
    positive for s M >= P (s = 1 for moments of data), and (P - weight_decay/2 I) u = k D u has the
    same vectors, k = a/(2 s - a) between -1 and 1.
    """
    reached, root = second > 0, _inverse_root(second)
    positive = jnp.where(reached[:, None] & reached, (positive + positive.T) / 2, 0)
    shared = positive - jnp.diag(jnp.where(reached, 0.5, 0) * weight_decay)
    span = 2 * jnp.maximum(jnp.linalg.eigvalsh(root[:, None] * positive * root)[-1], 1)
    apart = jnp.diag(jnp.where(reached, span * second, 1)) - shared
    scale = 1 / jnp.sqrt(jnp.diag(apart))
    lower = jnp.linalg.cholesky(scale[:, None] * apart * scale)
    half = solve_triangular(lower, scale[:, None] * shared * scale, lower=True)
    ratio, vectors = jnp.linalg.eigh(solve_triangular(lower, half.T, lower=True))
    units = (scale[:, None] * solve_triangular(lower.T, vectors, lower=False)).T
    length = jnp.sqrt(jnp.sum(units**2 * second, axis=1, keepdims=True))
    agreement = span * ratio / jnp.maximum(1 + ratio, jnp.finfo(ratio.dtype).eps)
    return agreement[::-1], (units / jnp.where(length > 0, length, 1))[::-1]


def _top(agreement: Array, units: Array, embed_dim: Number, rows: int) -> Array:
    """Rows sqrt(a) u of the chosen eigenpairs.

    agreement: [k], descending. units: u [k, r], orthonormal under M.
    """
    epsilon = jnp.finfo(agreement.dtype).eps
    tie = jnp.maximum(_TIE, 50 * epsilon).astype(agreement.dtype)
    cut = agreement[jnp.clip(jnp.asarray(embed_dim) - 1, 0, agreement.size - 1)]
    tied = jnp.abs(agreement - cut) <= tie
    above = jnp.sum(agreement > cut + tie)
    cost = jnp.where(tied[:, None] & tied, units @ units.T, 0)
    _, turn = jnp.linalg.eigh(cost + jnp.diag(jnp.where(tied, 0, 1 + 2 * jnp.trace(cost))))
    row = jnp.arange(rows)
    # Places within the tied space, which eigh puts first.
    place = jnp.clip(row - above, 0, agreement.size - 1)
    clear = row < above
    mixing = jnp.where(
        clear,
        jnp.eye(agreement.size, dtype=turn.dtype)[:, jnp.clip(row, 0, agreement.size - 1)],
        turn[:, place],
    )
    strength = agreement @ mixing**2
    present = (
        (row < embed_dim) & (clear | (row - above < jnp.sum(tied))) & (strength > 100 * epsilon)
    )
    return jnp.sqrt(jnp.where(present, strength, 0))[:, None] * (mixing.T @ units)
