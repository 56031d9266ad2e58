"""Dense linear algebra: singular values of rows, and small problems by products alone.

LAPACK calls inside trajectories can block each other's threads on CPU.
"""

import jax
import jax.numpy as jnp
from jax import Array, lax


def polar(matrix: Array, steps: int = 60) -> Array:
    """Polar factor of a matrix [p, q]: its singular values become one, those that are zero stay.

    Source: the Newton-Schulz iteration (Higham 2008), which multiplies small singular values by 3/2
    a step.
    """
    start = matrix / jnp.maximum(jnp.linalg.norm(matrix), jnp.finfo(matrix.dtype).tiny)
    return lax.fori_loop(0, steps, lambda _, o: 1.5 * o - 0.5 * (o @ o.T) @ o, start)


def solve(matrix: Array, right: Array) -> Array:
    """Solution for a positive matrix [p, p] by Gauss-Jordan elimination."""

    def eliminate(k: Array, table: Array) -> Array:
        pivot = table[k] / table[k, k]
        return (table - table[:, k, None] * pivot).at[k].set(pivot)

    p = matrix.shape[0]
    return lax.fori_loop(0, p, eliminate, jnp.concatenate([matrix, right], axis=1))[:, p:]


def eigenvalues(matrix: Array) -> Array:
    """Eigenvalues of a symmetric matrix [p, p] by Jacobi's rotations (Golub and Van Loan)."""
    p = matrix.shape[0]
    first, second = (
        jnp.array([(i, j) for i in range(p) for j in range(i + 1, p)], jnp.int32).reshape(-1, 2).T
    )

    def rotate(turn: Array, a: Array) -> Array:
        i, j = first[turn % first.size], second[turn % first.size]
        apart = a[j, j] - a[i, i]
        angle = 0.5 * jnp.arctan2(
            jnp.where(apart < 0, -2, 2) * a[i, j], jnp.abs(apart)
        )  # the smaller of two, which converges
        c, s = jnp.cos(angle), jnp.sin(angle)
        rows = a[jnp.array([i, j])]
        a = a.at[i].set(c * rows[0] - s * rows[1]).at[j].set(s * rows[0] + c * rows[1])
        columns = a[:, jnp.array([i, j])]
        return (
            a.at[:, i]
            .set(c * columns[:, 0] - s * columns[:, 1])
            .at[:, j]
            .set(s * columns[:, 0] + c * columns[:, 1])
        )

    return jnp.diag(lax.fori_loop(0, 8 * first.size, rotate, matrix)) if p > 1 else jnp.diag(matrix)


def over(above: Array, below: Array) -> Array:
    """above/below, zero unless below > 0."""
    return jnp.where(below > 0, above / jnp.where(below > 0, below, 1), 0)


def singular(rows: Array) -> tuple[Array, Array, Array]:
    """U [N, r], S [r] and V [D, r] of rows; of float32 ones in float64 where JAX has it."""
    double = jax.dtypes.canonicalize_dtype("float64")
    return _by_factors(rows) if rows.dtype == double else _by_gram(rows)


def _by_factors(rows: Array) -> tuple[Array, Array, Array]:
    """U [N, r], S [r] and V [D, r] of rows, by QR and a small SVD."""
    if rows.shape[0] <= rows.shape[1]:
        outer, triangle = jnp.linalg.qr(rows.T)
        left, values, right = jnp.linalg.svd(triangle.T)
        return left, values, outer @ right.T
    outer, triangle = jnp.linalg.qr(rows)
    left, values, right = jnp.linalg.svd(triangle)
    return outer @ left, values, right.T


def _by_gram(rows: Array) -> tuple[Array, Array, Array]:
    """As `_by_factors`, of float32 rows: from their Gram matrix in float64, in half the time.

    What it rounds off is 1e-8 of the largest value, less than float32 tells apart. Vectors of
    values that are zero to float32 are zero on the longer side.
    """
    rows = rows.astype(float)
    wide = rows.shape[0] <= rows.shape[1]
    squares, short = jnp.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    values, short = jnp.sqrt(jnp.maximum(squares[::-1], 0)), short[:, ::-1]
    there = values > 1e-7 * values[0]
    long = (rows.T if wide else rows) @ short * over(there, values)
    return (short, values, long) if wide else (long, values, short)
