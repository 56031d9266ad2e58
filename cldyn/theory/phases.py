"""How far features get and how fast they are unlearned.

Rates are per unit of flow time, learning_rate x steps, unless a name says per step.
"""

import jax.numpy as jnp
from jax import Array

from cldyn.data import FeatureModel
from cldyn.linalg import over
from cldyn.theory.arguments import Number, allow, allow_model, allow_shapes, allow_zero

# Limits of the conditions below. A prediction is NaN beyond one of them; the docstrings say why.
_SHARED = 0.05  # of the bound, that other modes may add to a peak
_FASTER = 1.05  # times the variance of v, the largest along a mean
_START = 0.01  # of the bound, that the start may be


def peak_bound(
    second: Array,
    factor: Array,
    direction: Array,
    *,
    start: Array | None = None,
    learning_rate: Number | None = None,
    flow: bool | Array = False,
) -> Array:
    """Upper bound on |W v| at all times, where one mode of P alone carries v.

        W saturates at g u^T with P u = c u, g = sqrt(c)/(u^T M u);  bound g |u.v|

    Args:
        second: M [r], diagonal.
        factor: C [q, r] with P = C^T C.
        direction: v [r], e.g. the subclass.
        start: W_0 [p, r]; without it the start is taken to be small.
        learning_rate: eta > 0; without it, it is taken to be small.
        flow: whether training is gradient flow, at any learning rate.

    Returns:
        Scalar, NaN where a condition fails; for a population with mean m = mu_2 v_2 + e_b along u
        it is alpha mu_2, alpha = |m|^2/(m^T M m).

    Raises:
        ValueError: numbers or shapes that make no sense, unless traced.

    Conditions, derived here. Let m = sqrt(c) u, D = M - m m^T, b the row of W along u and beta_j =
    b_j/m_j in the eigenvectors of D: beta_j' = 4 (h (1 - s) - s d_j beta_j), h = m.b, s = b^T M b,
    all beta_j alike at first. With d the variance v^T D v/|v|^2 and q = m^T D m:
    1. Other modes of P add at most 0.05 of the bound: not so where positives share v itself
       (unsupervised, joint) or the class has a mean.
    2. d is the largest variance along m. Then beta_v is the least beta and h >= c beta_v. A
       feature of larger variance and a mean is unlearned before v and makes room for it.
    3. d q <= c^2 (2 c + d). Then beta_v' < 0 at B = sqrt(c/((c + d) (c^2 + q))) for all h >= c B,
       so it stays below B <= c/(c^2 + q), the bound, as q <= c d. Beyond, v is unlearned so fast
       that it follows the constant, which has yet to grow.
    4. v is an eigenvector of D up to |D v - d v| <= (1 - B (c^2 + q)/c) d |v|, the margin left.
    5. The start is small: |W_0 v| < 0.01 of the bound.
    6. Flow, or eta <= 1/(8 lambda_max(M)): larger steps overshoot.
    Weight decay only lowers beta_v' at B: the bound stands.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> mean, mode = np.array([1.0, 1.0]), np.array([[1.0, 1.0]])  # subclass and constant
        >>> values, basis = np.linalg.eigh(np.outer(mean, mean) + np.diag([1.0, 0.0]))
        >>> bound = theory.peak_bound(values, mode @ basis, basis.T @ np.array([1.0, 0.0]))
        >>> round(float(bound), 2)
        0.4
    """
    allow_shapes(
        second=(second, "r"), factor=(factor, "qr"), direction=(direction, "r"), start=(start, "pr")
    )
    allow("numbers >= 0", second=second)
    allow("numbers > 0", learning_rate=learning_rate)
    _, values, vectors = jnp.linalg.svd(factor, full_matrices=False)
    peaks = over(values, vectors**2 @ second) * jnp.abs(vectors @ direction)
    carrier = jnp.argmax(peaks)
    bound, mode, shared = peaks[carrier], vectors[carrier], values[carrier] ** 2

    def spread(x: Array) -> Array:
        return second * x - shared * mode * (mode @ x)

    variance = over(direction @ spread(direction), direction @ direction)
    around = spread(mode)
    others = around - direction * over(direction @ around, direction @ direction)
    rounding = 10 * jnp.finfo(second.dtype).eps * second.max()
    apart = jnp.linalg.norm(spread(direction) - variance * direction)
    largest = variance * (_FASTER * jnp.linalg.norm(others) + 0.02 * jnp.linalg.norm(around))
    total = shared * (mode @ around)
    margin = 1 - jnp.sqrt(over(shared**2 + total, shared**2 + shared * variance))
    holds = (
        (jnp.linalg.norm(peaks.at[carrier].set(0)) <= _SHARED * bound)
        & (jnp.linalg.norm(spread(others)) <= largest + rounding * second.max())
        & (apart <= margin * variance * jnp.linalg.norm(direction) + rounding)
        & (variance * total <= shared**2 * (2 * shared + variance))
    )
    if start is not None:
        holds &= jnp.linalg.norm(start @ direction) < _START * bound
    if learning_rate is not None:
        holds &= flow | (8 * learning_rate * second.max() <= 1 + 1e-5)
    return jnp.where(holds, bound, jnp.nan)


def peak_balance(strength: Number, mean: Number) -> Array:
    """Upper bound of |W P|/|W M W^T W M| where |W v_2| peaks, in supervised training.

        1 <= |W P|/|W M W^T W M| <= (1 + mu^2)^(1/2) (mu^2 + phi^2 + 1)/(q^2 + (1 + mu^2)^2)^(1/2)
        q = mu (mu^2 + phi^2 + 1)

    Args:
        strength: phi_2 >= 0.
        mean: mu_2 > 0.

    Returns:
        Of the shape of the arguments; 1.18 for phi_2 = mu_2 = 1.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here, for figure 6 of Xue et al. (2023), where both coincide. Before the class
    is learned W = z w^T with w = (w_2, w_b) on v_2 and the bias, from a small start along m = (mu,
    1): w' = 4 ((w.m) m - (w^T M w) M w), M = [[mu^2 + phi^2, mu], [mu, 1]]. At the peak both terms
    agree along v_2, so the whole ratio is that of the cosines of M w and of m with v_2: it is 1
    only where M w is along m, at the end. While w_b <= 1 the slope w_2/w_b stays between 0 and mu
    (its derivative points inwards at both), M w therefore between m and M m, which are the bounds.
    While W is small the ratio falls by (1 + 4 eta (1 + mu^2))^2 a step.

    Example:
        >>> from cldyn import theory
        >>> round(float(theory.peak_balance(1.0, 1.0)), 2)
        1.18
    """
    allow("numbers >= 0", strength=strength)
    allow("numbers > 0", mean=mean)
    phi, mu = jnp.asarray(strength), jnp.asarray(mean)
    length, along = 1 + mu**2, mu**2 + phi**2 + 1
    return jnp.sqrt(length) * along / jnp.hypot(mu * along, length)


def unlearning_rate(model: FeatureModel) -> Array:
    """Rate per flow time at which supervised training unlearns the subclass near its minimizer.

        |W v_2| ~ exp(-4 lambda time),   per step -ln(1 - 4 eta lambda)
        lambda = min(lambda_1, lambda_2)

    lambda_1: smallest eigenvalue of M + m m^T on the features but the class and the bias; lambda_2:
    that of [[k^2 M, k phi_1 m], [k phi_1 m^T, phi_1^2]] but for its zero mode, k = class_keep. For
    K = 2: [[phi_2^2 + 2 mu_2^2, 2 mu_2], [2 mu_2, 2]] and
    [[k^2 (phi_2^2 + mu_2^2), k mu_2 s], [k mu_2 s, s^2]], s^2 = k^2 + phi_1^2.

    Args:
        model: with class_mean = 0 and class_change = 0, for a bias and p >= 2; its noise plays no
            part, as no noise direction beside the features couples to the subclass (that on all
            directions up to O(sigma^2/d)), and own features, which have no mean, do not either.

    Returns:
        4 lambda.

    Raises:
        ValueError: a model that makes no sense or has a class_mean, unless traced.

    Source: derived here. Perturb the minimizer rows e_b (constant) and (k/phi_1) v_1 (class) by d_b
    and d_c on the features but the class, and the constant row by e along v_1. The gradient is
    linear: d_b' = -4 (M + m m^T) d_b; d_c' = -4 (k^2 M d_c + k phi_1 m e), e' = -4 (k phi_1 m.d_c
    + phi_1^2 e). Rotating the two rows into each other is its zero mode.

    Example:
        >>> import cldyn
        >>> rate = cldyn.theory.unlearning_rate(cldyn.FeatureModel(d=100))
        >>> round(float(rate), 3)
        1.754
    """
    allow_model(model)
    allow_zero("0: the class must have no mean", class_mean=model.class_mean)
    allow_zero("0", class_change=model.class_change)
    dtype, named = jnp.result_type(float), slice(1, model.named)
    mean = jnp.append(model.means(dtype)[named], 1)
    second = jnp.outer(mean, mean) + jnp.diag(jnp.append(model.variances(dtype)[named], 0))
    keep, strength = model.keeps(dtype)[0], model.strengths(dtype)[0]
    edge = keep * strength * mean[:, None]
    constant_row = second + jnp.outer(mean, mean)
    class_row = jnp.block([[keep**2 * second, edge], [edge.T, strength[None, None] ** 2]])
    return 4 * jnp.minimum(_slowest(constant_row), _slowest(class_row))


def _slowest(matrix: Array) -> Array:
    """Smallest non-zero eigenvalue whose eigenvector has a part along the subclass, the first."""
    values, vectors = jnp.linalg.eigh(matrix)
    takes_part = jnp.abs(vectors[0]) > 1e-6
    takes_part &= values > 100 * jnp.finfo(values.dtype).eps * values[-1]
    return jnp.min(jnp.where(takes_part, values, jnp.inf))


def escape_time(start: Number, shared: Number, depth: Number) -> Array:
    """Flow time at which a mode of a deep linear encoder leaves its small start.

        t = w_0^(-2 (1 - 1/L))/(8 c (L - 1));   1/(8 c w_0) for L = 2

    Args:
        start: w_0 = |W_L ... W_1 v| > 0 at time 0.
        shared: c > 0, the eigenvalue of P.
        depth: L >= 2.

    Returns:
        Flow time, learning_rate x steps, to leading order in w_0.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here. Balanced layers of one mode are w^(1/L) each and grow as 4 c w^(2 - 1/L),
    so w' = 4 L c w^(3 - 2/L), which reaches infinity in this time; the quartic term of the loss
    stops it at the limit.

    Example:
        >>> from cldyn import theory
        >>> round(float(theory.escape_time(0.01, 1.0, depth=2)), 2)
        12.5
    """
    allow("numbers > 0", start=start, shared=shared)
    allow("whole numbers >= 2", depth=depth)
    return jnp.asarray(start) ** (-2 * (1 - 1 / depth)) / (8 * jnp.asarray(shared) * (depth - 1))


def one_mode(start: Number, shared: Number, second: Number, time: Number) -> Array:
    """Gradient flow of one mode.

        g' = 8 g (c - m^2 g):   g(t) = g_inf/(1 + (g_inf/g_0 - 1) exp(-8 c t)),   g_inf = c/m^2

    Args:
        start: g_0 = |w|^2 > 0.
        shared: c > 0.
        second: m > 0.
        time: flow time >= 0, learning_rate x steps.

    Returns:
        g at `time`.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here; the logistic equation.

    Example:
        >>> from cldyn import theory
        >>> round(float(theory.one_mode(0.01, 1.0, 1.0, time=1.0)), 3)
        0.968
    """
    allow("numbers > 0", start=start, shared=shared, second=second)
    allow("numbers >= 0, or infinity", time=time)
    limit = jnp.asarray(shared) / second**2
    return limit / (1 + (limit / start - 1) * jnp.exp(-8 * shared * time))
