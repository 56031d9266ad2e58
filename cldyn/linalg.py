"""Dense linear algebra: singular values of rows, and small problems by products alone.

LAPACK calls inside trajectories can block each other's threads on CPU.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

_SHORT = 8  # loops of so many turns are written out
_SWEEPS = 12  # of Jacobi's rotations, which converge quadratically
_BLOCK = 2**22  # numbers held at a time where rows meet rows


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


def lower(rows: Array) -> Array:
    """L [n, n], lower triangular, with L L^T = A A^T for rows A [n, k], which is never formed.

    Source: modified Gram-Schmidt, whose triangle is as good as Householder's (Bjorck 1967). Rows
    that depend on earlier ones get zeros, up to rounding.
    """
    count = rows.shape[0]

    if count > _SHORT:
        start = rows, jnp.zeros((count, count), rows.dtype)
        return lax.fori_loop(0, count, _project_out, start)[1]
    columns = []
    for i in range(count):  # written out, which is short enough to compile, and faster
        rows, along = _without(rows, i)
        columns.append(along)
    return jnp.stack(columns, axis=1)


def _without(rows: Array, i: int | Array) -> tuple[Array, Array]:
    """Rows without what they have along row i, and how much of it those from i on have."""
    length = jnp.sqrt(jnp.sum(rows[i] ** 2))
    unit = rows[i] / jnp.where(length > 0, length, 1)
    along = jnp.where(jnp.arange(len(rows)) >= i, jnp.sum(rows * unit, axis=1), 0)
    return rows - along[:, None] * unit, along


def _project_out(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
    rows, along = _without(carry[0], i)
    return rows, carry[1].at[:, i].set(along)


def bartlett(key: Array, count: int, freedom: int) -> Array:
    """L [n, n], lower triangular, L L^T a Wishart matrix: the Gram matrix of n rows of N(0, 1).

        L_ij ~ N(0, 1) for i > j,   L_ii^2 ~ chi^2(freedom - i), i from 0 on

    Args:
        key: consumed.
        count: n.
        freedom: length of the rows, at least n.

    Returns:
        In float32.

    Source: Bartlett (1933); chi^2 by Marsaglia and Tsang (2000). Of three proposals the first that
    is accepted is taken, or the last: of 64 degrees of freedom one in 10^9 is refused thrice.
    """
    normal_key, uniform_key = jax.random.split(key)
    drawn = jax.random.normal(normal_key, (count + 3, count), jnp.float32)
    below, normal = jnp.tril(drawn[:count], -1), drawn[count:]
    shape = (jnp.asarray(freedom, jnp.float32) - jnp.arange(count, dtype=jnp.float32)) / 2
    d = shape - 1 / 3
    t = normal / jnp.sqrt(9 * d)
    # ln of the acceptance, n^2/2 + d - d v + d ln v with v = (1 + t)^3, without its cancellations.
    safe = jnp.maximum(t, -0.999)
    exact = jnp.log1p(safe) - safe + safe**2 / 2 - safe**3 / 3
    series = t**4 * (-1 / 4 + t * (1 / 5 + t * (-1 / 6 + t * (1 / 7 - t / 8))))
    accept = 3 * d * jnp.where(jnp.abs(t) < 0.1, series, exact)
    uniform = jax.random.uniform(uniform_key, (3, count), jnp.float32)
    good = (jnp.log(uniform) < accept) & (t > -1)
    cubes = (1 + safe) ** 3
    cube = jnp.where(good[0], cubes[0], jnp.where(good[1], cubes[1], cubes[2]))
    return below + jnp.diag(jnp.sqrt(2 * d * cube))


def eigenvalues(matrix: Array) -> Array:
    """Eigenvalues of a symmetric matrix [p, p], in no order, by Jacobi's rotations.

    Source: Golub and Van Loan, the parallel ordering. Opposite rows meet in pairs, then all but the
    first move up by one seat, as in a tournament: p - 1 rounds are a sweep, after which all are
    back. Twelve leave 1e-9 of the largest at p = 128, and less of fewer.
    """
    p = matrix.shape[0]
    even = p + p % 2  # an odd one waits: its partner is zero
    lower = jnp.arange(even) < even // 2

    def rotate(_: Array, a: Array) -> Array:
        along, mixed = jnp.diag(a), jnp.diag(a[::-1])
        apart = jnp.where(lower, 1, -1) * (along[::-1] - along)  # both of a pair know one angle
        angle = 0.5 * jnp.arctan2(
            jnp.where(apart < 0, -2, 2) * mixed, jnp.abs(apart)
        )  # the smaller of two, which converges
        c, s = jnp.cos(angle)[:, None], (jnp.where(lower, -1, 1) * jnp.sin(angle))[:, None]
        for _rows_then_columns in range(2):
            a = c * a + s * a[::-1]
            a = jnp.concatenate([a[:1], a[2:], a[1:2]]).T
        return a

    wide = jnp.pad(matrix, (0, even - p))
    return jnp.diag(lax.fori_loop(0, _SWEEPS * (even - 1), rotate, wide))[:p]


def unit(rows: Array) -> Array:
    """Rows [..., p] over their lengths; zero stays."""
    return over(rows, jnp.linalg.norm(rows, axis=-1, keepdims=True))


def by_blocks(function: Callable[..., Array], width: int, *rows: Array) -> Array:
    """What a function makes of rows, [b, ...] -> [b], so many at a time that b width is bounded."""
    count = rows[0].shape[0]
    block = min(count, max(1, _BLOCK // width))
    blocks = -(-count // block)
    block = -(-count // blocks)  # of one size, with little to spare
    split = (
        jnp.pad(one, ((0, blocks * block - count), *((0, 0),) * (one.ndim - 1))).reshape(
            blocks, block, *one.shape[1:]
        )
        for one in rows
    )
    return lax.map(lambda some: function(*some), (*split,)).reshape(-1)[:count]


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
