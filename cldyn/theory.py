"""What theory predicts: minimizers, growth, unlearning and critical step sizes of the spectral loss.

M (`second`) and P (`positive`) are the moments of moments.py. Agreements are the eigenvalues a of A = M^{-1/2} P M^{-1/2}.
Rates are per unit of flow time, learning_rate x steps, unless a name says per step.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array, lax

from cldyn.data import FeatureModel

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

    Source: derived here. L = |M^{1/2} W^T W M^{1/2} - A|^2 + const, so Eckart-Young picks the top eigenpairs of A; the
    norm tr(q^T M^{-1} q) is then least on the bottom eigenvectors of M^{-1} in the tied space.
    """
    rows = _static_rows(embed_dim, rows)
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
    rows = _static_rows(embed_dim, rows)
    inverse = jnp.where(second > 0, 1 / jnp.where(second > 0, second, 1), 0)
    if decays:
        shared = factor.T @ factor - jnp.diag(jnp.full_like(second, 0.5) * weight_decay)
        return _top(*_dense_agreement(shared, inverse), inverse, embed_dim, rows)
    _, values, vectors = jnp.linalg.svd(factor * jnp.sqrt(inverse), full_matrices=False)
    return _top(values**2, vectors.T, inverse, embed_dim, rows)


def _static_rows(embed_dim: int | Array, rows: int | None) -> int:
    if rows is None:
        if isinstance(embed_dim, jax.core.Tracer):
            raise ValueError("rows: None, allowed is a whole number >= embed_dim when embed_dim is traced")
        rows = int(embed_dim)
    return rows


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


def critical_learning_rate(
    second: Array, positive: Array, embed_dim: int | Array, weight_decay: float | Array = 0.0, *, rows: int | None = None
) -> Array:
    """The step size above which gradient descent cannot converge to the minimum-norm minimizer, below which it does locally.

        eta = 2/lambda_max(Hessian of L + weight_decay |W|^2 at the minimizer)

    Args:
        second, positive: M, P [D, D]. embed_dim, weight_decay, rows: as in `minimizer`.

    Returns:
        Scalar, by power iteration on Hessian-vector products.

    Source: linear stability of gradient descent at a minimum. From a small start it may need a smaller step.
    """
    rows = _static_rows(embed_dim, rows)
    w = minimizer(second, positive, embed_dim, weight_decay, rows=rows)
    return _critical(w, lambda u: u @ second, lambda u: u @ positive, embed_dim, weight_decay)


def frame_critical_learning_rate(
    w: Array, second: Array, factor: Array, embed_dim: int | Array, weight_decay: float | Array = 0.0
) -> Array:
    """`critical_learning_rate` at the minimizer w [rows, r] of a frame (second [r], factor [q, r])."""
    return _critical(w, lambda u: u * second, lambda u: (u @ factor.T) @ factor, embed_dim, weight_decay)


def _critical(
    w: Array, by_second: Callable[[Array], Array], by_positive: Callable[[Array], Array], embed_dim: int | Array,
    weight_decay: float | Array,
) -> Array:
    weighted = by_second(w)
    inner = weighted @ w.T
    parameters = jnp.arange(w.shape[0])[:, None] < embed_dim

    def hessian(u: Array) -> Array:
        cross = u @ weighted.T
        curved = 4 * (cross @ weighted + cross.T @ weighted + inner @ by_second(u))
        return jnp.where(parameters, curved - 4 * by_positive(u) + 2 * weight_decay * u, 0)

    def improve(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        u, value, _, turn = state
        v = hessian(u)
        return v / jnp.maximum(jnp.linalg.norm(v), jnp.finfo(v.dtype).tiny), jnp.sum(u * v), value, turn + 1

    def unsettled(state: tuple[Array, Array, Array, Array]) -> Array:
        _, value, before, turn = state
        return (turn < 20_000) & ((turn < 50) | (jnp.abs(value - before) > 4 * jnp.finfo(w.dtype).eps * jnp.abs(value)))

    first = jnp.where(parameters, jax.random.normal(jax.random.key(0), w.shape, jnp.float32).astype(w.dtype), 0)
    begin = (first / jnp.linalg.norm(first), jnp.zeros((), w.dtype), jnp.full((), jnp.inf, w.dtype), jnp.int32(0))
    return 2 / lax.while_loop(unsettled, improve, begin)[1]


def commuting_critical_learning_rate(second: Array, shared: Array, embed_dim: int, weight_decay: float | Array = 0.0) -> Array:
    """`critical_learning_rate` in closed form when M and P are diagonal in one basis.

        lambda_max = max of 8 c_j, 4 (a_j m_k + a_k m_j) over learned j, k and of 4 m_k (a_j - a_k) over learned j, unlearned k

    Args:
        second: eigenvalues m [D] > 0. shared: eigenvalues c of P [D], in the same order. embed_dim: p.
        weight_decay: replaces c by c - weight_decay/2.

    Returns:
        Scalar. Source: derived here: the Hessian at the minimizer splits into 1 x 1 and 2 x 2 blocks; an output
        dimension to spare acts like one learned with a_j = 0.
    """
    shared = shared - jnp.asarray(weight_decay) / 2
    agreement = shared / second
    rank = jnp.argsort(jnp.argsort(-agreement))
    learned = (rank < embed_dim) & (agreement > 0)
    occupied = jnp.where(learned, agreement, 0)
    pair = learned[:, None] & learned
    mixed = 4 * (agreement[:, None] * second + agreement * second[:, None])
    spare = jnp.sum(learned) < embed_dim
    strongest = jnp.max(occupied)
    candidates = jnp.concatenate([
        jnp.where(pair, mixed, 0).ravel(),
        jnp.where(learned, 0, 4 * second * (strongest - agreement)),
        jnp.where(learned | ~spare, 0, -4 * shared),
    ])
    return 2 / jnp.max(candidates)


def early_growth(start: Array, factor: Array, learning_rate: float | Array, steps: Array, weight_decay: float | Array = 0.0) -> Array:
    """The encoder while it is small, by gradient descent on the quadratic part of the loss.

        W_t = W_0 (I + 4 eta (P - weight_decay/2 I))^t

    Args:
        start: W_0 [p, r]. factor: C [q, r] with P = C^T C. learning_rate: eta. steps: [t], may be fractional.

    Returns:
        [t, p, r]. Source: the linear early phase of Xue et al. (2023); the exact discrete form is ours.
    """
    base, modes, growth = _growth(start, factor, learning_rate, weight_decay)
    powers = _powers(growth, steps)
    return base * powers[:, -1, None, None] + jnp.einsum("tk,pk,kr->tpr", powers[:, :-1], *modes)


def _growth(start: Array, factor: Array, learning_rate: float | Array, decay: float | Array) -> tuple[Array, tuple[Array, Array], Array]:
    """Part of the start outside P's range, its parts along P's eigenvectors, and log growth per step of these and of that."""
    _, values, vectors = jnp.linalg.svd(factor, full_matrices=False)
    along = start @ vectors.T
    shared = jnp.append(values**2, 0) - jnp.asarray(decay) / 2
    return start - along @ vectors, (along, vectors), jnp.log1p(4 * learning_rate * shared)


def _powers(growth: Array, steps: Array) -> Array:
    return jnp.exp(jnp.atleast_1d(steps)[:, None] * growth)


def learning_step(
    start: Array, factor: Array, direction: Array, learning_rate: float | Array, size: float = 0.1
) -> tuple[Array, Array]:
    """When early growth first carries |W v| to a size, and the e-folding time there.

        |W_0 (I + 4 eta P)^t v| = size;   for an eigenvector of P: t = ln(size/|W_0 v|)/ln(1 + 4 eta c)

    Args:
        start: W_0 [p, r]. factor: C [q, r]. direction: v [r]. learning_rate: eta. size: threshold.

    Returns:
        step and e-folding time 1/ln(1 + 4 eta c) in steps, c the eigenvalue of P that v has most of W_t v in at the crossing;
        infinite for a direction that never grows.

    Source: derived here from `early_growth`; bisection of a function that increases once it is above its start.
    """
    base, (along, vectors), growth = _growth(start, factor, learning_rate, 0.0)
    overlap = vectors @ direction

    def norm(step: Array) -> Array:
        powers = _powers(growth, step)[0]
        return jnp.linalg.norm(powers[-1] * base @ direction + along @ (powers[:-1] * overlap))

    span = jnp.array([0.0, 200.0], start.dtype) / growth[0]  # 200 e-folds of the fastest mode are beyond any start

    def halve(_: int, ends: Array) -> Array:
        middle = ends.mean()
        return jnp.where(norm(middle) < size, ends.at[0].set(middle), ends.at[1].set(middle))

    step = lax.fori_loop(0, 60, halve, span)[1]
    parts = jnp.linalg.norm(along, axis=0) * jnp.abs(overlap) * _powers(growth, step)[0, :-1]
    return jnp.where(norm(span[1]) < size, jnp.inf, step), 1 / growth[jnp.argmax(parts)]


def peak_bound(second: Array, factor: Array, direction: Array) -> Array:
    """Upper bound on |W v| while the leading direction of P rules.

        W saturates at g u^T with P u = c u, g = sqrt(c)/(u^T M u);  bound g |u.v|

    Args:
        second: M [r], diagonal. factor: C [q, r]. direction: v [r], e.g. the subclass.

    Returns:
        Scalar; for a population with mean mu_2 v_2 + e_b along u it is alpha mu_2, alpha = |m|^2/(m^T M m).

    Source: derived here: the minimum of -2 g^2 c + g^4 (u^T M u)^2. Holds in flow, and for steps
    up to 1/(8 lambda_max(M)) in every case tried; larger ones overshoot.
    """
    _, values, vectors = jnp.linalg.svd(factor, full_matrices=False)
    leading = vectors[0]
    return values[0] / jnp.sum(leading**2 * second) * jnp.abs(leading @ direction)


def unlearning_rate(model: FeatureModel) -> Array:
    """Rate per flow time at which supervised training unlearns the subclass near its minimizer (bias, p >= 2, class_mean = 0).

        |W v_2| ~ exp(-4 lambda time),   per step -ln(1 - 4 eta lambda),   lambda = min(lambda_1, lambda_2)

    lambda_1: smallest eigenvalue of M + m m^T on the features but the class and the bias; lambda_2: that of
    [[k^2 M, k phi_1 m], [k phi_1 m^T, phi_1^2]] but for its zero mode, k = class_keep. For K = 2: [[phi_2^2 + 2 mu_2^2, 2 mu_2], [2 mu_2, 2]] and
    [[k^2 (phi_2^2 + mu_2^2), k mu_2 s], [k mu_2 s, s^2]], s^2 = k^2 + phi_1^2.

    Args:
        model: feature model; its noise plays no part (no noise direction couples to the subclass).

    Returns:
        4 lambda.

    Source: derived here. Perturb the minimizer rows e_b (constant) and (k/phi_1) v_1 (class) by d_b and d_c on the
    features but the class, and the constant row by e along v_1. The gradient is linear: d_b' = -4 (M + m m^T) d_b;
    d_c' = -4 (k^2 M d_c + k phi_1 m e), e' = -4 (k phi_1 m.d_c + phi_1^2 e). Rotating the two rows into each other is its zero mode.
    """
    dtype = jnp.result_type(float)
    mean = jnp.append(model.means(dtype)[1:], 1)
    second = jnp.outer(mean, mean) + jnp.diag(jnp.append(model.variances(dtype)[1:], 0))
    keep, strength = model.keeps(dtype)[0], model.strengths(dtype)[0]
    edge = keep * strength * mean[:, None]
    constant_row = second + jnp.outer(mean, mean)
    class_row = jnp.block([[keep**2 * second, edge], [edge.T, strength[None, None] ** 2]])
    return 4 * jnp.minimum(_slowest(constant_row), _slowest(class_row))


def _slowest(matrix: Array) -> Array:
    """Smallest non-zero eigenvalue whose eigenvector has a part along the first coordinate, the subclass."""
    values, vectors = jnp.linalg.eigh(matrix)
    takes_part = (jnp.abs(vectors[0]) > 1e-6) & (values > 1e-12 * values[-1])
    return jnp.min(jnp.where(takes_part, values, jnp.inf))


def one_mode(start: Array, shared: Array, second: Array, time: Array) -> Array:
    """Gradient flow of one mode.

        g' = 8 g (c - m^2 g):   g(t) = g_inf/(1 + (g_inf/g_0 - 1) exp(-8 c t)),   g_inf = c/m^2

    Args:
        start: g_0 = |w|^2 > 0. shared: c > 0. second: m > 0. time: flow time, learning_rate x steps.

    Returns:
        g at `time`. Source: derived here; the logistic equation.
    """
    limit = shared / second**2
    return limit / (1 + (limit / start - 1) * jnp.exp(-8 * shared * time))
