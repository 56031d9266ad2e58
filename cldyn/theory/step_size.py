"""What a step size does: the largest that can converge, and what noise it leaves."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from cldyn.theory.arguments import Number, allow, allow_shapes
from cldyn.theory.minimizers import minimizer

_KRYLOV = 24  # products between restarts


def critical_learning_rate(
    second: Array,
    positive: Array,
    embed_dim: Number,
    weight_decay: Number = 0.0,
    *,
    rows: int | None = None,
) -> Array:
    """The step size above which gradient descent cannot converge to the minimum-norm minimizer.

    Below it, it does locally.

        eta = 2/lambda_max(Hessian of L + weight_decay |W|^2 at the minimizer)

    Args:
        second: M [D, D].
        positive: P [D, D].
        embed_dim: p >= 1, may be traced.
        weight_decay: >= 0.
        rows: as in `minimizer`.

    Returns:
        Scalar, by Hessian-vector products.

    Raises:
        ValueError: as `minimizer`, and numbers that make no sense, unless traced.

    Source: linear stability of gradient descent at a minimum. From a small start it may need a
    smaller step.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> round(float(theory.critical_learning_rate(np.eye(2), np.diag([1.0, 0.5]), 2)), 3)
        0.25
    """
    allow("numbers >= 0", weight_decay=weight_decay)
    w = minimizer(second, positive, embed_dim, weight_decay, rows=rows)
    second, positive = jnp.asarray(second), jnp.asarray(positive)
    return _critical(w, lambda u: u @ second, lambda u: u @ positive, embed_dim, weight_decay)


def frame_critical_learning_rate(
    w: Array,
    second: Array,
    factor: Array,
    embed_dim: Number,
    weight_decay: Number = 0.0,
) -> Array:
    """`critical_learning_rate` in a frame.

    Args:
        w: the minimizer [rows, r].
        second: M [r], diagonal.
        factor: C [q, r] with P = C^T C.
        embed_dim: p >= 1, may be traced.
        weight_decay: >= 0.

    Returns:
        Scalar.

    Raises:
        ValueError: numbers or shapes that make no sense, unless traced.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> rate = theory.frame_critical_learning_rate(np.eye(2), np.ones(2), np.eye(2), 2)
        >>> round(float(rate), 3)
        0.25
    """
    allow_shapes(w=(w, "pr"), second=(second, "r"), factor=(factor, "qr"))
    allow("numbers >= 0", second=second, weight_decay=weight_decay)
    allow("whole numbers >= 1", embed_dim=embed_dim)
    return _critical(
        w, lambda u: u * second, lambda u: (u @ factor.T) @ factor, embed_dim, weight_decay
    )


def _critical(
    w: Array,
    by_second: Callable[[Array], Array],
    by_positive: Callable[[Array], Array],
    embed_dim: Number,
    weight_decay: Number,
) -> Array:
    weighted = by_second(w)
    inner = weighted @ w.T
    parameters = jnp.arange(w.shape[0])[:, None] < embed_dim

    def hessian(u: Array) -> Array:
        cross = u @ weighted.T
        curved = 4 * (cross @ weighted + cross.T @ weighted + inner @ by_second(u))
        return jnp.where(parameters, curved - 4 * by_positive(u) + 2 * weight_decay * u, 0)

    first = jax.random.normal(jax.random.key(0), w.shape, jnp.float32).astype(w.dtype)
    first = jnp.where(parameters, first, 0)
    return 2 / _largest_eigenvalue(hessian, first)


def _largest_eigenvalue(product: Callable[[Array], Array], first: Array) -> Array:
    """Of a symmetric map, by the Lanczos method, restarted from its best vector while that gains.

    Golub and Van Loan. Power iteration agrees, but needs thousands of products where the largest
    eigenvalues nearly tie.
    """
    size = min(_KRYLOV, first.size)
    tiny = jnp.finfo(first.dtype).tiny

    def unit(v: Array) -> Array:
        return v / jnp.maximum(jnp.linalg.norm(v), tiny)

    def extend(j: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, table = state
        v = product(basis[j].reshape(first.shape)).ravel()
        table = table.at[:, j].set(basis[:-1] @ v)
        length = jnp.linalg.norm(v)
        for _ in range(2):  # once leaves rounding errors, twice does not (Parlett 1998)
            v = v - basis.T @ (basis @ v)
        new = jnp.linalg.norm(v) > 1e3 * jnp.finfo(v.dtype).eps * length
        return basis.at[j + 1].set(jnp.where(new, unit(v), 0)), table

    def restart(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        v, before, _, turn = state
        basis = jnp.zeros((size + 1, first.size), first.dtype).at[0].set(unit(v))
        basis, table = lax.fori_loop(0, size, extend, (basis, jnp.zeros((size, size), first.dtype)))
        values, vectors = jnp.linalg.eigh((table + table.T) / 2)
        return vectors[:, -1] @ basis[:-1], values[-1], before, turn + 1

    def grows(state: tuple[Array, Array, Array, Array]) -> Array:
        _, value, before, turn = state
        gains = value - before > 16 * jnp.finfo(first.dtype).eps * jnp.abs(value)
        return (turn < 2) | ((turn < 200) & gains)

    begin = (first.ravel(), jnp.zeros((), first.dtype), jnp.zeros((), first.dtype), jnp.int32(0))
    return lax.while_loop(grows, restart, begin)[1]


def commuting_critical_learning_rate(
    second: Number, shared: Number, embed_dim: Number, weight_decay: Number = 0.0
) -> Array:
    """`critical_learning_rate` in closed form when M and P are diagonal in one basis.

        lambda_max = max of 8 c_j, 4 (a_j m_k + a_k m_j) over learned j, k
        and of 4 m_k (a_j - a_k) over learned j, unlearned k

    Args:
        second: eigenvalues m [D] > 0.
        shared: eigenvalues c of P [D] >= 0, in the same order.
        embed_dim: p >= 1.
        weight_decay: >= 0, replaces c by c - weight_decay/2.

    Returns:
        Scalar.

    Raises:
        ValueError: numbers or shapes that make no sense, unless traced.

    Source: derived here: the Hessian at the minimizer splits into 1 x 1 and 2 x 2 blocks. An output
    dimension to spare adds 4 m_k (0 - a_k), which is never the largest.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> rate = theory.commuting_critical_learning_rate(np.ones(2), np.array([1.0, 0.5]), 2)
        >>> round(float(rate), 3)
        0.25
    """
    allow_shapes(second=(second, "D"), shared=(shared, "D"))
    allow("numbers > 0", second=second)
    allow("numbers >= 0", shared=shared, weight_decay=weight_decay)
    allow("whole numbers >= 1", embed_dim=embed_dim)
    second, shared = jnp.asarray(second), jnp.asarray(shared) - jnp.asarray(weight_decay) / 2
    agreement = shared / second
    rank = jnp.argsort(jnp.argsort(-agreement))
    learned = (rank < embed_dim) & (agreement > 0)
    pair = learned[:, None] & learned
    mixed = 4 * (agreement[:, None] * second + agreement * second[:, None])
    strongest = jnp.max(jnp.where(learned, agreement, 0))
    candidates = jnp.concatenate(
        [
            jnp.where(pair, mixed, 0).ravel(),
            jnp.where(learned, 0, 4 * second * (strongest - agreement)),
        ]
    )
    return 2 / jnp.max(candidates)


def stationary_excess(noise: Number, learning_rate: Number, momentum: Number = 0.0) -> Array:
    """Mean excess loss at which SGD with a constant small step hovers.

        eta C/(4 (1 - mu)),   C = E|g_b|^2 at the minimizer

    Args:
        noise: C >= 0, from `cldyn.gradient_noise`.
        learning_rate: eta > 0.
        momentum: mu in [0, 1), heavy ball or Nesterov.

    Returns:
        Excess loss, up to terms of second order in eta.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here. Near the minimizer w' = w - eta (H w + noise); the covariance S of w is
    stationary where H S + S H = eta cov + O(eta^2). Its trace is 2 tr(H S) = eta C, and the excess
    loss is tr(H S)/2. Every direction counts alike: flat ones wander farther, and only take longer
    to get there. A batch's loss is invariant under turns of the outputs like the whole, so those
    carry no noise. Momentum adds up steps that last 1/(1 - mu) times longer. Of independent
    batches: those of an epoch share less noise.

    Example:
        >>> from cldyn import theory
        >>> round(float(theory.stationary_excess(2.0, 0.01, momentum=0.9)), 3)
        0.05
    """
    allow("numbers >= 0", noise=noise)
    allow("numbers > 0", learning_rate=learning_rate)
    allow("numbers in [0, 1)", momentum=momentum)
    return jnp.asarray(learning_rate) * noise / (4 * (1 - jnp.asarray(momentum)))
