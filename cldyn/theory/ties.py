"""Where all minimizers tie: how the noise of SGD moves an encoder among them.

With unsupervised positives and views that share all features, u whitened features of variances m
and V = W M^(1/2), every V V^T = I is a minimizer. Batches of b new units have the gradient

    g = 4 V [Z~ Pi + sum_(a != c) Z_a Pi Z_c/(b (b - 1))],   Z = u u^T - I, Z~ its mean, Pi = V^T V

in V M^(-1/2): the first part never leaves the row space of V, so that ties feel it at second order
alone. Over many small steps V drifts and diffuses along the ties in tau = learning_rate^2 x steps.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.theory.arguments import Number, allow, allow_shapes


def slow_drift(v: Array, second: Array, fourth: Array, batch_size: Number) -> Array:
    """How fast noise carries the mean of V along the ties.

        E dV = 1/2 Phi''[E g g^T] dtau,   Phi the limit of gradient flow, V' = -4 (V V^T - I) V M

    Args:
        v: V [p, K], orthonormal rows.
        second: m > 0 [K].
        fourth: E u_k^2 u_l^2 [K, K] of whitened features whose odd moments vanish: all 1 for
            signs, 3 on the diagonal for gaussian ones.
        batch_size: b >= 2, units drawn independently.

    Returns:
        [p, K], per tau.

    Raises:
        ValueError: numbers or shapes that make no sense, unless traced.

    Source: derived here, after Katzenberger (1991) and Li, Wang and Arora (2022). Both parts of g
    are uncorrelated. Flow from V + x at second order, N = V M V^T = diag(nu), r = x V^T + V x^T,
    l_ij = r_ij/(nu_i + nu_j), y = x - l V M (the part along the ties), B = y M V^T + V M y^T,
    N_2 = V M^2 V^T, T_ij = sum_k r_ik l_kj/(nu_i + 2 nu_k + nu_j),
    U_ij = sum_kl r_ik (N_2)_kl l_lj/(nu_i + nu_k + nu_l + nu_j):
    the departure R_1 decays as r_ij exp(-4 (nu_i + nu_j) t), R_2' = -4 (R_2 N + N R_2 + R_1 N_1 +
    N_1 R_1), V_2' = -4 (R_2 V M + R_1 V_1 M), whose integral is
    1/2 Phi''[x, x] = -L(x x^T - l B - B l - T N_2 - N_2 T^T - U - U^T) V M - l y M - T V M^2.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> v, fourth = np.array([[0.6, 0.8]]), 1 + 2 * np.eye(2)  # gaussian features
        >>> print(theory.slow_drift(v, np.array([1.0, 4.0]), fourth, batch_size=16).round(2))
        [[ 2.1  -1.73]]
    """
    _check(v, second, fourth, batch_size)
    first, other = _covariance(v, fourth, batch_size)
    units = jnp.eye(v.size).reshape(v.size, *v.shape)
    spread = _scaled(first + other, second).reshape(v.size, *v.shape)
    return jax.vmap(lambda x, y: _bend(v, second, x, y))(units, spread).sum(axis=0)


def slow_diffusion(v: Array, second: Array, fourth: Array, batch_size: Number) -> Array:
    """How noise spreads V along the ties.

        Cov dV = Phi' E[g g^T] Phi'^T dtau,   Phi'[x] = x - L(x V^T + V x^T) V M

    Args and errors: as `slow_drift`.

    Returns:
        [p, K, p, K], per tau; of order 1/(b (b - 1)), since the first part of g has no share.

    Source: derived here.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> v, fourth = np.array([[0.0, 1.0]]), 1 + 2 * np.eye(2)  # gaussian features
        >>> spread = theory.slow_diffusion(v, np.array([1.0, 4.0]), fourth, batch_size=16)
        >>> print(spread.round(2)[0, 0])
        [[0.13 0.  ]]
    """
    _check(v, second, fourth, batch_size)
    noise = _scaled(_covariance(v, fourth, batch_size)[1], second).reshape(v.size, *v.shape)
    along = jax.vmap(lambda x: _along(v, second, x))
    half = along(noise).reshape(v.size, v.size).T.reshape(v.size, *v.shape)
    return along(half).reshape(*v.shape, *v.shape)


def two_features(angle: Number, weak: Number, strong: Number, batch_size: Number) -> Array:
    """The slow equation of one output on two signs: p = 1, K = 2, where nothing grows by itself.

        dX = [8 sin^2(2 th) (m_2 - m_1)/b + 64 (m_2 sin^4 th - m_1 cos^4 th)/(b (b - 1))] dtau
             + cos(2 th) (128/(b (b - 1)))^(1/2) dB,   X = ln(sin th)/m_1 - ln(cos th)/m_2

    Args:
        angle: th in (0, pi/2), sin th = phi_1 |W v_1|.
        weak: m_1 > 0, variance of the feature with the sine.
        strong: m_2 > 0.
        batch_size: b >= 2.

    Returns:
        Drift and standard deviation of X [2, ...], per tau and per its root. No noise at pi/4:
        there the output is 0 or 2 of one sign, and stays.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here; `slow_drift` and `slow_diffusion` in the angle.

    Example:
        >>> from cldyn import theory
        >>> print(theory.two_features(0.5, 1.0, 4.0, batch_size=16).round(2))
        [0.96 0.39]
    """
    allow("numbers > 0", angle=angle, weak=weak, strong=strong)
    allow("numbers > 1", batch_size=batch_size)
    s, c, b = jnp.sin(angle), jnp.cos(angle), jnp.asarray(batch_size)
    pair = b * (b - 1)
    drift = 8 * (2 * s * c) ** 2 * (strong - weak) / b
    drift += 64 * (strong * s**4 - weak * c**4) / pair
    return jnp.stack(jnp.broadcast_arrays(drift, (c**2 - s**2) * jnp.sqrt(128 / pair)))


def two_features_density(share: Number, weak: Number, strong: Number, batch_size: Number) -> Array:
    """Stationary density of one output on two gaussian features, up to a constant.

        nu (t (1 - t))^(-1/2) exp(-(b + 2) nu^2/(4 m_1 m_2) - (m_1 + m_2) nu/(2 m_1 m_2))
        nu = m_2 - (m_2 - m_1) t

    Args:
        share: t = (phi_1 |W v_1|)^2 in (0, 1).
        weak: m_1 > 0.
        strong: m_2 > 0.
        batch_size: b >= 2. The density does not depend on the learning rate.

    Returns:
        Density over t, not normalized.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Source: derived here; flux zero in the slow equation of the angle.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> shares = np.array([0.1, 0.9])
        >>> weak_first = theory.two_features_density(shares, 1.0, 4.0, batch_size=16)
        >>> bool(weak_first[1] > weak_first[0])
        True
    """
    allow("numbers > 0", share=share, weak=weak, strong=strong)
    allow("numbers > 1", batch_size=batch_size)
    t, low, high = (jnp.asarray(one) for one in (share, weak, strong))
    nu, both = high - (high - low) * t, low * high
    power = -(batch_size + 2) * nu**2 / (4 * both) - (low + high) * nu / (2 * both)
    return nu / jnp.sqrt(t * (1 - t)) * jnp.exp(power)


def _check(v: Array, second: Array, fourth: Array, batch_size: Number) -> None:
    allow_shapes(v=(v, "pK"), second=(second, "K"), fourth=(fourth, "KK"))
    allow("numbers > 0", second=second)
    allow("numbers >= 0", fourth=fourth)
    allow("numbers > 1", batch_size=batch_size)


def _covariance(v: Array, fourth: Array, batch_size: Number) -> tuple[Array, Array]:
    """E g g [p, K, p, K] of both parts; of pairs of units only (a, c) with (a, c) or (c, a)."""
    one, b = jnp.eye(fourth.shape[0]), jnp.asarray(batch_size)
    z = jnp.einsum("ab,cd,ac->abcd", one, one, fourth)
    z += jnp.einsum("ac,bd,ab->abcd", one, one, fourth)
    z += jnp.einsum("ad,bc,ab->abcd", one, one, fourth)
    z -= 2 * jnp.einsum("ab,ac,ad,a->abcd", one, one, one, jnp.diag(fourth))
    z = z - jnp.einsum("ab,cd->abcd", one, one)  # E Z_ab Z_cd
    inside = v.T @ v
    first = jnp.einsum("aicj,ib,jd->abcd", z, inside, inside)
    other = jnp.einsum("aick,ij,kl,jbld->abcd", z, inside, inside, z)
    other += jnp.einsum("aild,ij,kl,jbck->abcd", z, inside, inside, z)

    def turned(x: Array) -> Array:
        return jnp.einsum("pa,abcd,qc->pbqd", v, x, v)

    return 16 / b * turned(first), 16 / (b * (b - 1)) * turned(other)


def _scaled(covariance: Array, second: Array) -> Array:
    """The same of g M, by which V moves."""
    return covariance * second[:, None, None] * second


def _outputs(v: Array, second: Array) -> tuple[Array, Array, Array]:
    """nu [p], the turn that makes N diagonal [p, p], and V in these outputs."""
    nu, turn = jnp.linalg.eigh((v * second) @ v.T)
    return nu, turn, turn.T @ v


def _along(v: Array, second: Array, x: Array) -> Array:
    """Phi'[x]: what flow leaves of a small step."""
    nu, turn, v = _outputs(v, second)
    x = turn.T @ x
    off = x @ v.T
    return turn @ (x - ((off + off.T) / (nu[:, None] + nu)) @ (v * second))


def _bend(v: Array, second: Array, x: Array, y: Array) -> Array:
    """Phi''[x, y]/2, in the names of `slow_drift`."""
    nu, turn, v = _outputs(v, second)
    pair, vm = nu[:, None] + nu, v * second
    n2 = (vm * second) @ v.T
    three, four = nu[:, None, None] + 2 * nu[:, None] + nu, pair[:, :, None, None] + pair

    def linear(x: Array) -> tuple[Array, Array, Array, Array]:
        r = _sum(x @ v.T)
        along = x - r / pair @ vm
        return r, r / pair, along, _sum((along * second) @ v.T)

    def symmetric(f: Callable[[Array, Array], Array]) -> Array:
        return (f(r, k) + f(q, l)) / 2

    x, y = turn.T @ x, turn.T @ y
    (r, l, along_x, b_x), (q, k, along_y, b_y) = linear(x), linear(y)
    t = symmetric(lambda a, c: jnp.einsum("ik,kj,ikj->ij", a, c, 1 / three))
    u = symmetric(lambda a, c: jnp.einsum("ik,kl,lj,iklj->ij", a, n2, c, 1 / four))
    whole = _sum(x @ y.T - l @ b_y - k @ b_x) / 2 - _sum(t @ n2) - _sum(u)
    bent = whole / pair @ vm + (l @ along_y + k @ along_x) / 2 * second + t @ (vm * second)
    return -turn @ bent


def _sum(x: Array) -> Array:
    return x + x.T
