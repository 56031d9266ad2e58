"""One lane of an experiment: put together and run."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cldyn import dynamics, encoders, losses, measures
from cldyn.experiment import Experiment, Problem, Training, cast, check, check_steps, numerics
from cldyn.lane import batches
from cldyn.lane.observed import inside_of, leave_apart, observe
from cldyn.lane.optimizer import DECOUPLED, optimizer_of
from cldyn.lane.prepared import Prepared, prepare
from cldyn.lane.structure import Structure, structure_of
from cldyn.lane.target import Target, settle, with_step

_REGISTER = 8  # a row of w is padded to whole vector registers: 201 coordinates cost a quarter more than 208


class Run(NamedTuple):
    """records: measure name -> [t, ...]. finite_steps: steps before divergence. weights: the last W in input coordinates [p, D].
    learning_rate: the step size in use."""

    records: dict[str, np.ndarray]
    finite_steps: int
    weights: np.ndarray
    learning_rate: float


def initial(prepared: Prepared, training: Training, rows: int) -> encoders.Layers:
    """W_0 with its first layer [rows, D] in input coordinates, rows from embed_dim on zero."""
    scale = jnp.asarray(training.init_scale, prepared.frame.basis.dtype)
    key, wide = jax.random.key(training.seed), prepared.frame.basis.shape[0]
    draw = encoders.linear(rows, bias=False).init(key, wide, scale if training.depth == 1 else jnp.ones_like(scale))
    draw = jnp.where(jnp.arange(rows)[:, None] < training.embed_dim, draw, 0)
    return encoders.Layers(draw, jnp.zeros((0, rows, rows), draw.dtype)) if training.depth == 1 else encoders.balanced(draw, training.depth, scale)


def into_frame(prepared: Prepared, first: Array) -> tuple[Array, Array]:
    """A first layer [rows, D] in the frame [rows, > r], and the unit vectors [rows, D] of its parts outside.

    The last coordinate of a row is the length of what it has outside the frame. No data reach that, so its direction
    never changes, and its length obeys the same optimizer (weight decay, momentum, flow) exactly.
    Coordinates between the frame's r and the last one are zero and stay so.
    """
    basis = prepared.frame.basis
    inside = first @ basis
    outside = first - inside @ basis.T
    length = jnp.linalg.norm(outside, axis=1, keepdims=True)
    return widen(inside).at[:, -1:].set(length), outside / jnp.where(length > 0, length, 1)


def widen(inside: Array) -> Array:
    """Coordinates in the frame [..., r], one for the length outside and some that are spare: zeros up to a whole number of registers."""
    return jnp.pad(inside, [(0, 0)] * (inside.ndim - 1) + [(0, 1 + -(inside.shape[-1] + 1) % _REGISTER)])


def begin(prepared: Prepared, training: Training, rows: int) -> tuple[encoders.Layers, Array]:
    """W_0 in the frame, and the unit vectors outside, as in `into_frame`."""
    layers = initial(prepared, training, rows)
    first, outside = into_frame(prepared, layers.first)
    return encoders.Layers(first, layers.head), outside


def weights(prepared: Prepared, layers: encoders.Layers, outside: Array) -> Array:
    """W [rows, D], of all layers, in input coordinates from the frame's and the vectors of `into_frame`."""
    first = inside_of(prepared, layers.first) @ prepared.frame.basis.T + layers.first[:, -1:] * outside
    return encoders.end_to_end(encoders.Layers(first, layers.head))


def train(
    prepared: Prepared, training: Training, target: Target, record_at: Array, structure: Structure
) -> tuple[dynamics.Trajectory, Array]:
    """One lane, in the frame or on inputs as they are; also returns its last W [rows, D]."""
    start = initial(prepared, training, structure.rows)
    if structure.frame:
        start, outside = begin(prepared, training, structure.rows)
        apart = leave_apart(prepared, outside)
    coupled = structure.decays and training.optimizer not in DECOUPLED
    slope = slope_of(prepared, training, structure)

    def gradient(layers: encoders.Layers, key: Array, step: Array) -> encoders.Layers:
        w, pull = jax.vjp(encoders.end_to_end, layers)
        grads = slope(w, key, step)
        return pull(grads + 2 * training.weight_decay * w if coupled else grads)[0]

    def record(layers: encoders.Layers, step: Array) -> dict[str, Array]:
        if structure.frame:
            return observe(prepared, training, target, structure.measures, layers, apart)
        first, beyond = into_frame(prepared, layers.first)
        layers = encoders.Layers(first, layers.head)
        return observe(prepared, training, target, structure.measures, layers, leave_apart(prepared, beyond))

    optimizer = optimizer_of(training, structure)
    follow = dynamics.runge_kutta(gradient, training.learning_rate) if training.optimizer == "flow" else gradient
    key = prepared.source.key if prepared.source else jax.random.key(0)  # nothing else is random
    trajectory = dynamics.simulate(key, dynamics.start(start, optimizer), follow, optimizer, record_at=record_at, record=record)
    last = trajectory.state.params
    return trajectory, weights(prepared, last, outside) if structure.frame else encoders.end_to_end(last)


def slope_of(prepared: Prepared, training: Training, structure: Structure) -> Callable[[Array, Array, Array], Array]:
    """Gradient of the loss, of everything or of the step's batch, with respect to W in the coordinates of training."""
    source = prepared.source
    if source is not None:
        drawn = source._replace(x=widen(source.x)) if structure.frame else source  # type: ignore[arg-type]  # the frame has stored units
        return lambda w, key, step: batches.slope(batches.draw(drawn, training, key, step), training, w)
    second, factor, basis = prepared.frame.second, prepared.frame.factor(training.loss, training.beta), prepared.frame.basis
    if structure.frame:
        second, factor = widen(second), widen(factor)
        return lambda w, key, step: losses.spectral_gradient(w, second, factor)
    return lambda w, key, step: losses.spectral_gradient(w @ basis, second, factor) @ basis.T


@partial(jax.jit, static_argnames="structure")
def _run(problem: Problem, training: Training, record_at: Array, structure: Structure) -> tuple[Any, ...]:
    prepared = prepare(problem, training, structure)
    target = settle(prepared, training, structure)
    training = with_step(training, target)
    trajectory, last = train(prepared, training, target, record_at, structure)
    return trajectory.records, trajectory.state.finite_steps, last, training.learning_rate


def run(experiment: Experiment, record_at: Sequence[int], *, measure: Sequence[str] = measures.EXACT) -> Run:
    """Train one lane.

    Args:
        experiment: what to run. record_at: increasing steps >= 0; the run ends at the last.
        measure: names among `cldyn.MEASURES`, by default those that need no sample of embeddings.

    Returns:
        Run. Equal to the same lane of a sweep up to rounding (a batch of another shape sums in another order).

    Raises:
        ValueError: one line naming the field, the value and what is allowed.
    """
    check(experiment)
    structure = structure_of(experiment, measure)
    steps = check_steps(record_at)
    with numerics(experiment.problem.precision):
        problem, training = (cast(half, experiment.problem.precision) for half in (experiment.problem, experiment.training))
        records, finite, last, rate = jax.device_get(_run(problem, training, steps, structure))
    return Run(records, int(finite), last, float(rate))
