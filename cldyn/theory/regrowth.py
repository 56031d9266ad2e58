"""What the noise of SGD gives back: a feature that gradient descent left out, over time."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.scipy.special import gammainc

from cldyn.checks import require
from cldyn.theory.arguments import Number, allow, allow_shapes
from cldyn.theory.replacement import KINDS, parts_of

SIGNS = -2.0  # excess kurtosis
_POINTS = 256  # of a course
_FULL = 1e6  # |z|^2 from which on the feature is learned to rounding
_COARSE, _GREW = 0.08, 0.3  # limits of the conditions of `regrowth`


def regrowth(
    weak: Number,
    strong: Array,
    batch_size: Number,
    learning_rate: Number,
    time: Number,
    *,
    init_scale: Number = 1e-4,
    batches: str = "iid",
    n: Number = jnp.inf,
    kurtosis: Number = SIGNS,
    levels: tuple[float, ...] = (0.5, 0.1, 0.9),
    bounded: bool = True,
) -> Array:
    """How much of a left-out feature SGD has brought back: quantiles of phi_1 |W v_1| over seeds.

        |z|^2 = Z chi^2_p/p,   |z| = sin th cos(th)^(-m_1/m),   phi_1 |W v_1| = sin th
        dZ_k/dtau = A_k + sum_l G_kl Z_l + J(th) Z_k,   Z = sum_k Z_k,   tau = eta (T - t_0)
        t_0 = ln(1/(init (p m)^(1/2)))/(4 m)
        equal m:  A = 16 K_2 m_1^2/(b (b-1)),  G = 16 K_2 m_1 (m - m_1)/b + G_2/(b (b-1))
        signs:    K_2 = p - 1,  G_2 = 16 [p (p-1) m m_1 + (14 - 6p) m_1^2 + (p-1) m_1^3/m]

    So it grows linearly at first, at a rate of eta/b^2, then exponentially, at a rate of eta/b.

    Args:
        weak: m_1 = phi_1^2 > 0, variance of the feature that is left out.
        strong: [p], variances m_k > m_1 of the features that fill all p outputs.
        batch_size: b >= 2, in units (examples whose views share all features).
        learning_rate: eta > 0; with momentum eta/(1 - mu).
        time: T >= 0, flow time, learning rate x steps, from the start of training; before t_0 the
            law is that of t_0.
        init_scale: standard deviation of the entries of W_0.
        batches: "iid" (also new examples), "subset" or "epochs" of n stored units.
        n: how many these are, a balanced full factorial of the codes; infinity: new ones.
        kurtosis: excess kurtosis of the independent features, -2 for signs, 0 for gaussian ones.
        levels: of the quantiles.
        bounded: whether the law is NaN outside of its conditions; else it is what it is.

    Returns:
        [levels], in [0, 1]; what the start left for p = 1 signs, to which nothing is given back.
        NaN where a condition fails. Signs, equal m: the median within 12 % (200 seeds and more).
        Unequal m: while it is below 0.5.

    Raises:
        ValueError: numbers that make no sense, unless traced.

    Conditions. m_1 < m_k, b <= n, signs where n is finite, 4 eta m_k < 1. c p (p - 1)/b <= 0.08,
    c = 4 eta m: steps small enough for the noise; the mean of |z|^2 is larger by about 0.9 times
    that, which growth multiplies: at 0.13 medians near a half are off by a quarter. "epochs" with
    p > 2: growth by less than 1.35, since its rate is known at leading order in 1/n alone. No bias,
    means or kept noise, and no other feature left out. Near 1 the spread is not known: SGD hovers a
    few per cent below.

    Source: derived here, for contrastive losses published nowhere that we know. `slow_drift` and
    `slow_diffusion` at the null vector n = (1, n_2, ...) of V; with x = P V M + h n^T M for a
    pair of units, P = D_1 D_2 + D_2 D_1, h = s_2 D_1 f_2 + s_1 D_2 f_1, s = n.u: P never diffuses,
    E h h^T = (K_2 + 2 kap |n|^2) I + 3 kap^2 diag(n_k^2), E P h = kap (p + 3 + 2 kap) n, which
    give A and G of E n_k^2 (`_rates`); |z|^2 = |n|^2 (1 + m_1/m |n|^2 + ...) adds
    (2p + 4) A m_1/m. Halfway K_2 is larger: for signs d(ln tan)/dtau has
    K_2 + 2 sin^2 cos^2 (1 + sum e_k^4), of mean 3/(p + 2) over directions e, whence
    J = -16 kap m_1 (m - m_1) (1 + 3/(p + 2)) sin^2 cos^2/(b (1 - c)).
    Finite steps: a pair of outputs relaxes by 1 - 2 c_ik a step, c_ik = 2 eta (m_i + m_k), which
    multiplies the first part of G by 1/(1 - c) and A by 1 + (b - 1) c/(b (1 - c)).
    Without replacement: f = (n - b)/(n - 1) for the first part and `replacement` for the
    other; reshuffling takes 4 m w from p - 1 in m_k - m_1 of the first.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> found = theory.regrowth(1.0, np.full(4, 4.0), 16, 0.0025, time=20.0)
        >>> [round(float(one), 2) for one in found]
        [0.21, 0.12, 0.33]
    """
    allow("numbers >= 0", time=time)
    given = weak, strong, batch_size, learning_rate, init_scale, batches, n, kurtosis
    law = _checked(*given, levels=(0.5, *levels))
    tau = jnp.maximum(jnp.asarray(learning_rate) * (time - law.begin), 0)
    at = jnp.clip(_POINTS * jnp.cbrt(tau / law.tau[-1]), 0, _POINTS)
    low = jnp.minimum(jnp.floor(at), _POINTS - 1).astype(int)
    found = (low + 1 - at) * law.learned[low] + (at - low) * law.learned[low + 1]
    return jnp.where(law.holds(tau, found[0]) | (not bounded), found[1:], jnp.nan)


def halfway_time(
    weak: Number,
    strong: Array,
    batch_size: Number,
    learning_rate: Number,
    *,
    size: Number = 0.5,
    init_scale: Number = 1e-4,
    batches: str = "iid",
    n: Number = jnp.inf,
    kurtosis: Number = SIGNS,
) -> Array:
    """When the median of phi_1 |W v_1| is back at a size: how long suppression holds.

        T = t_0 + tau/eta,   tau = b/(16 K_2 m_1 (m - m_1)) ln(1 + x (b-1) (m - m_1)/(p m_1))
        about, at equal m and b well above p m/(m - m_1); x = size^2 (1 - size^2)^(-m_1/m)

    So it is known by eta T/(b ln b), and does not depend on the step or the batch size alone.

    Args:
        size: in (0, 1), below 0.5 for unequal m.
    Others, errors, conditions and source: as `regrowth`, whose course is followed to the size.

    Returns:
        Flow time T; infinite where it never is.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> round(float(theory.halfway_time(1.0, np.full(4, 4.0), 16, 0.0025)))
        56
    """
    allow("numbers in [0, 1)", size=size)
    given = weak, strong, batch_size, learning_rate, init_scale, batches, n, kurtosis
    law = _checked(*given, levels=(0.5,))
    median = law.learned[:, 0]
    place = jnp.clip(jnp.searchsorted(median, size), 1, _POINTS)
    low, high = median[place - 1], median[place]
    share = jnp.clip((size - low) / jnp.where(high > low, high - low, 1), 0, 1)
    tau = law.tau[-1] * ((place - 1 + share) / _POINTS) ** 3
    time = jnp.where(median[-1] >= size, law.begin + tau / learning_rate, jnp.inf)
    return jnp.where(law.holds(tau, size), time, jnp.nan)


class _Course(NamedTuple):
    """The law over all of its time.

    begin: flow time at which the strong features fill the embedding. tau: since then [points + 1].
    learned: quantiles of sin th then [points + 1, levels]. growth: rate of |z|^2 per tau.
    small: whether steps are small enough. known: whether the rate of growth is known to all orders.
    equal: whether strong variances are.
    """

    begin: Array
    tau: Array
    learned: Array
    growth: Array
    small: Array
    known: Array
    equal: Array

    def holds(self, tau: Array, median: Number) -> Array:
        """Whether the conditions of `regrowth` do, at a time and a median."""
        grown = self.known | (tau * self.growth <= _GREW)
        return self.small & grown & (self.equal | (jnp.asarray(median) < 0.5))


def _checked(
    weak: Number, strong: Array, batch_size: Number, learning_rate: Number, init_scale: Number,
    batches: str, n: Number, kurtosis: Number, levels: tuple[float, ...],
) -> _Course:  # fmt: skip
    """The course of numbers that make sense."""
    require(batches in KINDS, "batches", batches, f"one of {KINDS}")
    allow("numbers > 0", weak=weak, strong=strong, learning_rate=learning_rate)
    allow("numbers > 0", init_scale=init_scale)
    allow("numbers > 1", batch_size=batch_size)
    allow_shapes(strong=(strong, "p"))
    given = weak, jnp.asarray(strong, float), batch_size, learning_rate, init_scale
    return _course(*given, batches, n, kurtosis, levels)


@partial(jax.jit, static_argnames=("batches", "levels"))
def _course(
    weak: Array, strong: Array, batch_size: Array, learning_rate: Array, init_scale: Array,
    batches: str, n: Array, kurtosis: Array, levels: tuple[float, ...],
) -> _Course:  # fmt: skip
    """The law over all of its time, in the names of `regrowth`."""
    p, b, weak, m = strong.size, jnp.asarray(batch_size), jnp.asarray(weak), strong.mean()
    c = 4 * jnp.asarray(learning_rate) * m
    parts = parts_of(p, b, batches, jnp.asarray(n), c)
    source, first, other = _rates(weak, strong, kurtosis, b, learning_rate)
    first = parts.first * (first - parts.shuffled * 16 * weak * 4 * strong / b)
    source, growth = parts.other * source, jnp.diag(first) + parts.other * other
    faster = -kurtosis * 16 * weak * (strong - weak) * (1 + 3 / (p + 2)) / (b * (1 - c))
    start = init_scale**2 * p * weak * (init_scale**2 * p * m) ** (-weak / m)
    ratio = _chi2_quantiles(levels, p)[:, None] / p

    def rate(z: Array) -> Array:
        """d/dtau of what Z [levels, p] is, where its quantile is followed."""
        mean = jnp.sum(strong * z, axis=1) / jnp.sum(z, axis=1)
        sine, cosine = _angle(ratio[:, 0] * z.sum(axis=1), weak / mean)
        return source + z @ growth.T + parts.first * faster * (sine * cosine)[:, None] * z

    ahead, weight = jnp.array([0, 0.5, 0.5, 1]), jnp.array([1, 2, 2, 1]) / 6  # Runge and Kutta's

    def step(z: Array, dtau: Array) -> tuple[Array, Array]:
        def stage(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            slope, total = carry
            slope = rate(z + ahead[i] * dtau * slope)
            return slope, total + weight[i] * slope

        _, slope = lax.fori_loop(0, 4, stage, (jnp.zeros_like(z), jnp.zeros_like(z)))
        z_next = jnp.clip(z + dtau * slope, 0, _FULL)
        return z_next, z_next

    total, fastest = source.sum(), growth.sum(axis=0).max()
    longest = jnp.where(fastest > 0, jnp.log1p(_FULL * fastest / total), 20) / jnp.abs(fastest)
    tau = jnp.where(total > 0, longest, 1.0) * (jnp.arange(_POINTS + 1) / _POINTS) ** 3
    begun = jnp.full((len(levels), p), jnp.maximum(start / p, 1e-30))
    _, course = lax.scan(step, begun, jnp.diff(tau))
    course = jnp.clip(jnp.concatenate([begun[None], course]), 0, _FULL)
    mean = jnp.sum(strong * course, axis=2) / jnp.sum(course, axis=2)
    learned = jnp.sqrt(_angle(ratio[:, 0] * course.sum(axis=2), weak / mean)[0])
    equal = strong.max() <= strong.min() * (1 + 1e-5)
    sane = (weak < strong.min()) & (4 * learning_rate * strong.max() < 1) & (b <= n)
    sane &= (batches == "iid") | jnp.isinf(n) | (kurtosis == SIGNS)
    return _Course(
        jnp.log(1 / (init_scale * jnp.sqrt(p * m))) / (4 * m),
        tau, learned, fastest, sane & (c * p * (p - 1) / b <= _COARSE),
        jnp.asarray(batches != "epochs" or p <= 2), equal,
    )  # fmt: skip


def _rates(
    weak: Array, strong: Array, kurtosis: Number, batch_size: Array, learning_rate: Number
) -> tuple[Array, Array, Array]:
    """A [p], and G [p, p] as the diagonal of its first part [p] and its other part."""
    m_1, m, k, b, p = weak, strong, kurtosis, batch_size, strong.size
    k_2, apart, pair, one = p + 1 + k, m - m_1, m[:, None] + m, jnp.eye(p)
    square = 1 + (1 + k) * one  # E D_ik^2
    c = 2 * learning_rate * pair
    noise = 16 / (b * (b - 1))
    source = noise * m_1**2 * (square * (1 + (b - 1) / b * c / (1 - c))).sum(axis=1)
    first = 16 * m_1 * apart / b * (square / (1 - c)).sum(axis=1)
    half = (k_2**2 + p + 3 + 4 * k + k**2) / 2
    own = m_1 * apart * half + k * (p + 3 + 2 * k) * m_1**2 - p * k_2 * m_1**2 / 2
    own += k_2 * m_1**2 * apart * (1 / m + (1 / pair).sum(axis=1))
    own += m_1 * k_2 * apart * (0.5 - (m / pair).sum(axis=1))
    own = 2 * own + 3 * k**2 * m_1**2 - k_2 * m_1 * apart**2 / m - k_2 * m_1**2
    mixed = 2 * k * m_1**2 + 2 * k_2 * m_1 * apart * (m[:, None] + m_1) / pair
    curved = (m_1 / m * source)[:, None] * (1 + (p + 4) * one)  # from E n_k^2 to E z_k^2
    return source, first, noise * (jnp.diag(own) + mixed) + curved


def _angle(square: Array, ratio: Array) -> tuple[Array, Array]:
    """sin^2 th and cos^2 th with (sin th cos(th)^-ratio)^2 = square.

    In w = ln tan th it is w - (1 - ratio)/2 ln(1 + e^(2w)) = ln(square)/2, concave: Newton's steps
    come from below.
    """
    aim = jnp.log(square) / 2

    def newton(_: Array, w: Array) -> Array:
        gap = aim - w + (1 - ratio) / 2 * jnp.logaddexp(0, 2 * w)
        return w + gap / (1 - (1 - ratio) * _logistic(2 * w))

    w = lax.fori_loop(0, 14, newton, aim)
    return _logistic(2 * w), _logistic(-2 * w)


def _logistic(x: Array) -> Array:
    return jnp.exp(-jnp.logaddexp(0, -x))


def _chi2_quantiles(levels: tuple[float, ...], p: int) -> Array:
    """Of chi^2_p, by bisection."""
    wanted = jnp.asarray(levels, float)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = (ends[0] + ends[1]) / 2
        below = gammainc(p / 2, middle / 2) < wanted
        return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

    zero = jnp.zeros_like(wanted)
    return lax.fori_loop(0, 60, halve, (zero, zero + 20 + 4 * p))[0]
