"""Early growth: the encoder while it is small, and when it first sees a feature."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array, lax

from cldyn.linalg import over
from cldyn.theory.arguments import Number, allow, allow_shapes

# Limits of the conditions below. A prediction is NaN beyond one of them; the docstrings say why.
_FILLED = 0.5  # share of its limit from which a mode counts as filling its outputs
_SELF_LIMITING = 0.3  # of the growth of |W v| that the quartic term of the loss takes back
_LEAK = 0.2  # of the size, that full outputs may carry of v
_FROZEN = 0.7  # of the size, that v may have kept in full outputs
_SMALL = 0.3  # of the size, that the start may have of v
_VISIBLE = 0.01  # least part of v outside full outputs, of that inside


class _Modes(NamedTuple):
    """The start in the eigenvectors of P.

    vectors: u [k, r]. shared: their c - weight_decay/2 [k]. growth: their log growth per step [k].
    along: W_0 u [p, k]. base: the rest of W_0 [p, r]. still: its log growth per step.
    """

    vectors: Array
    shared: Array
    growth: Array
    along: Array
    base: Array
    still: Array

    def powers(self, step: Array) -> Array:
        """Growth factors of the modes after some steps, short of infinity."""
        most = 0.9 * jnp.log(jnp.finfo(self.growth.dtype).max)
        return jnp.exp(jnp.minimum(step * self.growth, most))

    def rest(self, step: Array) -> Array:
        """What no mode makes grow, after some steps."""
        return self.base * jnp.exp(step * self.still)

    def encoder(self, step: Array, kept: Array) -> Array:
        """W after some steps of early growth, of the modes that are kept."""
        grown = jnp.where(kept, self.powers(step), 0)
        return self.rest(step) + (self.along * grown) @ self.vectors


def early_growth(
    start: Array,
    factor: Array,
    learning_rate: Number,
    steps: Array,
    weight_decay: Number = 0.0,
    *,
    flow: bool | Array = False,
) -> Array:
    """The encoder while it is small, by gradient descent on the quadratic part of the loss.

        W_t = W_0 (I + 4 eta (P - weight_decay/2 I))^t
        by gradient flow W_0 exp(4 eta t (P - weight_decay/2 I))

    Args:
        start: W_0 [p, r].
        factor: C [q, r] with P = C^T C.
        learning_rate: eta > 0.
        steps: [t], >= 0, may be fractional.
        weight_decay: >= 0.
        flow: whether a step is eta of flow time.

    Returns:
        [t, p, r].

    Raises:
        ValueError: numbers or shapes that make no sense, unless traced.

    Source: the linear early phase of Xue et al. (2023); the exact discrete form is ours.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> round(float(theory.early_growth(np.eye(2), np.eye(2), 0.1, 2)[0, 0, 0]), 2)
        1.96
    """
    allow_shapes(start=(start, "pr"), factor=(factor, "qr"))
    allow("numbers > 0", learning_rate=learning_rate)
    allow("numbers >= 0", steps=steps, weight_decay=weight_decay)
    modes = _modes(start, factor, learning_rate, weight_decay, flow)
    step = jnp.atleast_1d(steps)[:, None]
    rest = modes.base * jnp.exp(step * modes.still)[..., None]
    grown = jnp.exp(step * modes.growth)
    return rest + jnp.einsum("tk,pk,kr->tpr", grown, modes.along, modes.vectors)


def _modes(
    start: Array, factor: Array, learning_rate: Number, decay: Number, flow: bool | Array
) -> _Modes:
    _, values, vectors = jnp.linalg.svd(factor, full_matrices=False)
    rounding = max(factor.shape) * jnp.finfo(values.dtype).eps
    vectors = jnp.where((values > rounding * values[0])[:, None], vectors, 0)
    along = start @ vectors.T
    shared = jnp.append(values**2, 0) - jnp.asarray(decay) / 2
    growth = 4 * learning_rate * shared
    growth = jnp.where(jnp.asarray(flow), growth, jnp.log1p(growth))
    return _Modes(vectors, shared[:-1], growth[:-1], along, start - along @ vectors, growth[-1])


def learning_step(
    start: Array,
    factor: Array,
    direction: Array,
    learning_rate: Number,
    size: Number = 0.1,
    *,
    weight_decay: Number = 0.0,
    flow: bool | Array = False,
    second: Array | None = None,
) -> tuple[Array, Array]:
    """When early growth first carries |W v| to a size, and the e-folding time there.

        |(1 - F) W_0 (I + 4 eta (P - weight_decay/2 I))^t v| = size
        for an eigenvector, without F and decay: t = ln(size/|W_0 v|)/ln(1 + 4 eta c)

    F projects on the outputs that modes of P which grow faster than v's have filled: the span of
    W_0 u over those that have passed half their limit g = sqrt(c)/(u^T M u). v stops growing there.

    Args:
        start: W_0 [p, r].
        factor: C [q, r] with P = C^T C.
        direction: v [r].
        learning_rate: eta > 0.
        size: threshold > 0.
        weight_decay: >= 0, as in `early_growth`.
        flow: as in `early_growth`.
        second: M [r], diagonal. Without it nothing limits growth: F = 0, no condition is checked.

    Returns:
        step and e-folding time 1/ln(1 + 4 eta c) in steps, c the eigenvalue of P that v has most of
        W_t v in at the crossing. The step is infinite for a direction that never grows, and NaN
        where a condition fails; elsewhere it is right within one e-folding time or one step.

    Raises:
        ValueError: numbers or shapes that make no sense, unless traced.

    Conditions, derived here. In flow Y = (1 - F) W obeys Y' = 4 Y (P - M W^T W M) exactly.
    1. Y stays linear: with S = Y M Y^T at the crossing, growing at twice the rate c of v, the
       quartic term has taken |S Y M v|/(2 c |Y v|) of Y v, summed over the modes v is made of; at
       most 0.3. For one mode that is m^2 size^2/(2 c), a delay of -ln(1 - m^2 size^2/c)/2 = 0.46
       e-folds, and at 0.5 it never reaches the size.
    2. Full outputs carry no v of their own: theirs is g u.exp(-4 eta s M) v after s steps, whose
       first three terms sum to at most 0.2 size; zero where v is an eigenvector of M and P.
    3. What v had in them when the last was filled, grown since at the rate 4 (c - m a) of takeover
       if that is positive, a = c_u/(u^T M u), is at most 0.7 size: it may hasten the crossing, by
       0.34 e-folds at most, v being an eigenvector.
    4. Something is left to grow: v has at most 100 size in full outputs when the rest has size;
       never so for as many filled modes as outputs.
    5. The start is small: |W_0 v| <= 0.3 size.
    6. Filled modes are stable under gradient descent: eta <= 1/(4 lambda_max(M)) if there are any.
    7. No further mode that grows faster fills outputs before v crosses.

    Example:
        >>> import numpy as np
        >>> from cldyn import theory
        >>> step, efold = theory.learning_step(1e-3 * np.eye(2), np.eye(2), np.eye(2)[0], 0.05)
        >>> round(float(step), 1), round(float(efold), 1)
        (25.3, 5.5)
    """
    allow_shapes(start=(start, "pr"), factor=(factor, "qr"))
    allow_shapes(factor=(factor, "qr"), direction=(direction, "r"), second=(second, "r"))
    allow("numbers > 0", learning_rate=learning_rate, size=size)
    allow("numbers >= 0", weight_decay=weight_decay, second=second)
    modes = _modes(start, factor, learning_rate, weight_decay, flow)
    overlap = modes.vectors @ direction
    length = jnp.linalg.norm(modes.along, axis=0)
    most = jnp.full(length.shape, jnp.inf, length.dtype)
    if second is not None:
        most = over(jnp.sqrt(jnp.maximum(modes.shared, 0)), modes.vectors**2 @ second)

    def bounded(step: Array) -> Array:
        """W v if every mode stops at its limit."""
        powers = jnp.minimum(modes.powers(step), over(most, length))
        return modes.along @ (powers * overlap) + modes.rest(step) @ direction

    first, reached = _crossing(bounded, modes.growth[0], size)
    reach = length * modes.powers(first)
    carrier = jnp.argmax(jnp.abs(overlap) * jnp.minimum(reach, most))
    growth = modes.growth[carrier]
    faster = modes.growth > growth + 1e3 * jnp.finfo(growth.dtype).eps * modes.growth[0]
    full = faster & (reach > _FILLED * most)
    filled = _Filled(most, full, faster, _span(jnp.where(full, over(modes.along, length), 0)))

    def free(step: Array) -> Array:  # W v outside of full outputs
        return filled.outside(modes.encoder(step, ~full) @ direction)

    step, _ = _crossing(free, growth, size)
    begin = jnp.linalg.norm(start @ direction)
    never = ~reached & (begin < size)
    if second is None:
        return jnp.where(never, jnp.inf, step), 1 / growth
    touch = modes.vectors @ (second * direction) / second.max()
    never &= ~(most @ (jnp.abs(overlap) + jnp.abs(touch)) > 1e-3 * size)
    stable = flow | (4 * learning_rate * second.max() <= 1 + 1e-5)
    holds = _holds(modes, filled, carrier, direction, second, step, size, learning_rate)
    holds &= (begin <= _SMALL * size) & (stable | ~full.any())
    step = jnp.where(never & stable, jnp.inf, jnp.where(holds, step, jnp.nan))
    return step, jnp.where(jnp.isnan(step), jnp.nan, 1 / growth)


class _Filled(NamedTuple):
    """Outputs that modes have filled.

    most: limits of all modes [k]. full, faster: which have passed half of it, and which grow faster
    than v's [k]. outputs: an orthonormal basis of what the first have filled [p, k].
    """

    most: Array
    full: Array
    faster: Array
    outputs: Array

    def inside(self, x: Array) -> Array:
        """The part of outputs [p, ...] that is full."""
        return self.outputs @ (self.outputs.T @ x)

    def outside(self, x: Array) -> Array:
        """What is left of outputs [p, ...] that is not full."""
        return x - self.inside(x)


def _holds(
    modes: _Modes,
    filled: _Filled,
    carrier: Array,
    direction: Array,
    second: Array,
    step: Array,
    size: Number,
    learning_rate: Number,
) -> Array:
    """Conditions 1 to 4 and 7 of `learning_step`."""
    full, most = filled.full, filled.most
    length, overlap = jnp.linalg.norm(modes.along, axis=0), modes.vectors @ direction
    w = modes.encoder(step, ~full)
    since = jnp.where(full, step - jnp.log(over(most, length)) / modes.growth, jnp.inf)
    since = jnp.clip(since, 0, step)
    time = 4 * learning_rate * since
    own = jnp.where(full, 0, overlap)
    taken = _taken(filled.outside(w), own, modes, direction, second)
    once, twice = (jnp.abs(modes.vectors @ (second**n * direction)) for n in (1, 2))
    leak = most * (jnp.abs(overlap) + time * once + time**2 / 2 * twice)
    agreement = over(modes.shared, modes.vectors**2 @ second)
    variance = over(second @ direction**2, direction @ direction)
    takeover = modes.shared[carrier] - variance * jnp.min(jnp.where(full, agreement, jnp.inf))
    after = jnp.clip(jnp.min(time) * takeover, 0, 50)
    now = jnp.linalg.norm(filled.inside(w @ direction))
    before = modes.encoder(step - jnp.min(since), ~full) @ direction
    frozen = jnp.linalg.norm(filled.inside(before)) * jnp.exp(after)
    later = filled.faster & ~full & (length * modes.powers(step) > _FILLED * most)
    return (
        ~later.any()
        & (2 * learning_rate * taken <= _SELF_LIMITING * modes.growth[carrier])
        & (jnp.sum(jnp.where(full, leak, 0)) <= _LEAK * size)
        & (jnp.minimum(frozen, now) <= _FROZEN * size)
        & (now <= size / _VISIBLE)
    )


def _taken(y: Array, overlap: Array, modes: _Modes, direction: Array, second: Array) -> Array:
    """|S Y M v|/|Y v|, summed over the modes v is made of, S = Y M Y^T."""
    weighted = y * second
    back = weighted @ y.T @ weighted
    rest = direction - (modes.vectors @ direction) @ modes.vectors
    lost = jnp.linalg.norm(back @ modes.vectors.T, axis=0) @ jnp.abs(overlap)
    return (lost + jnp.linalg.norm(back @ rest)) / jnp.linalg.norm(y @ direction)


def _crossing(curve: Callable[[Array], Array], growth: Array, size: Number) -> tuple[Array, Array]:
    """Step at which the norm of a curve passes a size, by bisection, and whether it does.

    Args:
        curve: of steps, as vectors; its norm increases once it is above its start.
        growth: log growth per step of what grows fastest in it.
        size: to pass.
    """
    most = 0.9 * jnp.log(jnp.finfo(growth.dtype).max)
    span = jnp.stack([jnp.zeros_like(growth), over(most, growth)])

    def halve(_: int, ends: Array) -> Array:
        middle = ends.mean()
        below = jnp.linalg.norm(curve(middle)) < size
        return jnp.where(below, ends.at[0].set(middle), ends.at[1].set(middle))

    return lax.fori_loop(0, 60, halve, span)[1], jnp.linalg.norm(curve(span[1])) >= size


def _span(columns: Array) -> Array:
    """An orthonormal basis [p, k] of the span of columns of length 1 or 0, with zeros to spare."""
    left, values, _ = jnp.linalg.svd(columns, full_matrices=False)
    return jnp.where(values > 100 * jnp.finfo(values.dtype).eps, left, 0)
