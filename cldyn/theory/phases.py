"""When features are learned, how far they get and how fast they are unlearned.

Rates are per unit of flow time, learning_rate x steps, unless a name says per step.
"""

import jax.numpy as jnp
from jax import Array, lax

from cldyn.data import FeatureModel


def early_growth(
    start: Array,
    factor: Array,
    learning_rate: float | Array,
    steps: Array,
    weight_decay: float | Array = 0.0,
    *,
    flow: bool = False,
) -> Array:
    """The encoder while it is small, by gradient descent on the quadratic part of the loss.

        W_t = W_0 (I + 4 eta (P - weight_decay/2 I))^t,   by gradient flow W_0 exp(4 eta t (P - weight_decay/2 I))

    Args:
        start: W_0 [p, r]. factor: C [q, r] with P = C^T C. learning_rate: eta. steps: [t], may be fractional.
        flow: whether a step is eta of flow time.

    Returns:
        [t, p, r]. Source: the linear early phase of Xue et al. (2023); the exact discrete form is ours.
    """
    base, modes, growth = _growth(start, factor, learning_rate, weight_decay, flow)
    powers = _powers(growth, steps)
    return base * powers[:, -1, None, None] + jnp.einsum("tk,pk,kr->tpr", powers[:, :-1], *modes)


def _growth(
    start: Array, factor: Array, learning_rate: float | Array, decay: float | Array, flow: bool
) -> tuple[Array, tuple[Array, Array], Array]:
    """Part of the start outside P's range, its parts along P's eigenvectors, and log growth per step of these and of that."""
    _, values, vectors = jnp.linalg.svd(factor, full_matrices=False)
    along = start @ vectors.T
    shared = jnp.append(values**2, 0) - jnp.asarray(decay) / 2
    growth = 4 * learning_rate * shared
    return start - along @ vectors, (along, vectors), growth if flow else jnp.log1p(growth)


def _powers(growth: Array, steps: Array) -> Array:
    return jnp.exp(jnp.atleast_1d(steps)[:, None] * growth)


def learning_step(
    start: Array,
    factor: Array,
    direction: Array,
    learning_rate: float | Array,
    size: float = 0.1,
    *,
    weight_decay: float | Array = 0.0,
    flow: bool = False,
) -> tuple[Array, Array]:
    """When early growth first carries |W v| to a size, and the e-folding time there.

        |W_0 (I + 4 eta (P - weight_decay/2 I))^t v| = size;   for an eigenvector, without decay: t = ln(size/|W_0 v|)/ln(1 + 4 eta c)

    Args:
        start: W_0 [p, r]. factor: C [q, r]. direction: v [r]. learning_rate: eta. size: threshold.
        weight_decay, flow: as in `early_growth`.

    Returns:
        step and e-folding time 1/ln(1 + 4 eta c) in steps, c the eigenvalue of P that v has most of W_t v in at the crossing;
        infinite for a direction that never grows.

    Source: derived here from `early_growth`; bisection of a function that increases once it is above its start.
    """
    base, (along, vectors), growth = _growth(start, factor, learning_rate, weight_decay, flow)
    overlap = vectors @ direction

    def norm(step: Array) -> Array:
        powers = _powers(growth, step)[0]
        return jnp.linalg.norm(powers[-1] * base @ direction + along @ (powers[:-1] * overlap))

    span = (
        jnp.array([0, 0.9 * jnp.log(jnp.finfo(start.dtype).max)], start.dtype) / growth[0]
    )  # in e-folds of the fastest mode

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
    takes_part = (jnp.abs(vectors[0]) > 1e-6) & (
        values > 100 * jnp.finfo(values.dtype).eps * values[-1]
    )
    return jnp.min(jnp.where(takes_part, values, jnp.inf))


def escape_time(start: float | Array, shared: float | Array, depth: int) -> Array:
    """Flow time at which a mode of a deep linear encoder leaves its small start.

        t = w_0^(-2 (1 - 1/L))/(8 c (L - 1));   1/(8 c w_0) for L = 2

    Args:
        start: w_0 = |W_L ... W_1 v| at time 0. shared: c > 0, the eigenvalue of P. depth: L >= 2.

    Returns:
        Flow time, learning_rate x steps, to leading order in w_0.

    Source: derived here. Balanced layers of one mode are w^(1/L) each and grow as 4 c w^(2 - 1/L), so w' = 4 L c w^(3 - 2/L), which
    reaches infinity in this time; the quartic term of the loss stops it at the limit.
    """
    return jnp.asarray(start) ** (-2 * (1 - 1 / depth)) / (8 * jnp.asarray(shared) * (depth - 1))


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
