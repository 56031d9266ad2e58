"""The one training loop: any parameters, gradient and optax optimizer, records at any steps."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array, lax


class State(NamedTuple):
    """Where a run stands; `simulate` continues from it bit for bit.

    params, opt_state: pytrees.
    step: steps taken.
    finite_steps: steps after which every parameter and record was still finite; below `step` the
        run has diverged, and it stays so.
    """

    params: Any
    opt_state: Any
    step: Array
    finite_steps: Array


class Trajectory(NamedTuple):
    """records: what `record` returned, stacked over record steps [t, ...]. state: the last one."""

    records: Any
    state: State


def start(params: Any, optimizer: optax.GradientTransformation) -> State:
    """The state before the first step.

    Args:
        params: any pytree of parameters.
        optimizer: an optax transformation.

    Returns:
        State.

    Example:
        >>> import jax.numpy as jnp, optax, cldyn
        >>> int(cldyn.start(jnp.ones(2), optax.sgd(0.1)).step)
        0
    """
    return State(params, optimizer.init(params), jnp.int32(0), jnp.int32(0))


def simulate(
    key: Array,
    state: State,
    gradient: Callable[[Any, Array, Array], Any],
    optimizer: optax.GradientTransformation,
    *,
    record_at: Array,
    record: Callable[[Any, Array], Any],
    stride: int = 1,
) -> Trajectory:
    """Train, observing at chosen steps.

    Args:
        key: of the gradient's randomness; step t uses fold_in(key, t), so a run cut in two equals
            the whole.
        state: from `start` or from an earlier trajectory.
        gradient: (params, key, step) -> gradients shaped like params.
        optimizer: any optax transformation; its numbers may be traced.
        record_at: increasing steps [t], none before `state.step`; the run ends at the last. May be
            traced.
        record: (params, step) -> pytree of floats, run inside the loop: memory is records, never
            parameters x steps.
        stride: steps that a device takes before it asks whether there are more. An accelerator
            waits for its host to answer; on a CPU 1 is best. The result is the same.

    Returns:
        Trajectory. Of a diverged run every record from the first bad step on is NaN.

    Example:
        >>> import jax, jax.numpy as jnp, optax, cldyn
        >>> optimizer = optax.sgd(0.1)
        >>> state = cldyn.start(jnp.ones(2), optimizer)
        >>> done = cldyn.simulate(
        ...     jax.random.key(0), state, lambda w, key, step: w, optimizer,
        ...     record_at=jnp.array([0, 10]), record=lambda w, step: jnp.sum(w),
        ... )
        >>> bool(done.records[1] < done.records[0])
        True
    """

    def one_step(_: Array, state: State) -> State:
        grads = gradient(state.params, jax.random.fold_in(key, state.step), state.step)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        # 0 x is 0 exactly where x is finite: one sum costs half of a reduction of isfinite.
        finite = sum(jnp.sum(0 * leaf) for leaf in jax.tree.leaves(params)) == 0
        still = finite & (state.finite_steps == state.step)
        return State(params, opt_state, state.step + 1, state.finite_steps + still)

    def until(state: State, step: Array) -> tuple[State, Any]:
        gap = step - state.step
        if stride > 1:

            def stride_on(_: Array, state: State) -> State:
                return lax.fori_loop(0, stride, one_step, state)

            state = lax.fori_loop(0, gap // stride, stride_on, state)
            gap = gap % stride
        state = lax.fori_loop(0, gap, one_step, state)
        records = record(state.params, step)
        # Parameters may still be finite where a power of them, and so a record, is not.
        bounded = ~_any_infinite(records)
        state = state._replace(
            finite_steps=jnp.where(
                bounded, state.finite_steps, jnp.minimum(state.finite_steps, state.step - 1)
            )
        )
        diverged = state.finite_steps < state.step
        return state, jax.tree.map(lambda leaf: jnp.where(diverged, jnp.nan, leaf), records)

    state, records = lax.scan(until, state, jnp.asarray(record_at, jnp.int32))
    return Trajectory(records, state)


def _any_infinite(records: Any) -> Array:
    found = [jnp.any(jnp.isinf(leaf)) for leaf in jax.tree.leaves(records)]
    return jnp.any(jnp.stack(found)) if found else jnp.array(False)


def runge_kutta(gradient: Callable[..., Any], step: Any) -> Callable[..., Any]:
    """The slope with which a plain gradient step follows gradient flow, dw/dt = -gradient(w).

        (k_1 + 2 k_2 + 2 k_3 + k_4)/6
        k_1 = g(w), k_2 = g(w - h k_1/2), k_3 = g(w - h k_2/2), k_4 = g(w - h k_3)

    Args:
        gradient: as in `simulate`.
        step: h, the learning rate of the optimizer and the flow time of a step.

    Returns:
        A function like `gradient`.

    Source: the classical method of order four (Hairer, Norsett and Wanner 1993).
    """

    def slope(params: Any, *time: Array) -> Any:
        def ahead(share: float, k: Any) -> Any:
            return gradient(jax.tree.map(lambda p, g: p - share * step * g, params, k), *time)

        first = gradient(params, *time)
        second = ahead(0.5, first)
        third = ahead(0.5, second)
        return jax.tree.map(
            lambda a, b, c, d: (a + 2 * b + 2 * c + d) / 6, first, second, third, ahead(1.0, third)
        )

    return slope
