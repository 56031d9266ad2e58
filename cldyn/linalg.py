"""Small dense linear algebra made of products alone.

LAPACK calls inside trajectories can block each other's threads on CPU.
"""

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
