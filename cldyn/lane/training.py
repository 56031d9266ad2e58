"""One lane of an experiment: put together and run."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from cldyn import dynamics, encoders, losses, measures
from cldyn.experiment import Experiment, Problem, Training, cast, check, check_steps, numerics
from cldyn.lane.observed import inside_of, leave_apart, observe
from cldyn.lane.prepared import Prepared, prepare
from cldyn.lane.target import Structure, Target, settle, structure_of, with_step

_REGISTER = 8  # a row of w is padded to whole vector registers: 201 coordinates cost a quarter more than 208


class Run(NamedTuple):
    """records: measure name -> [t, ...]. finite_steps: steps before divergence. weights: the last W in input coordinates [p, D].
    learning_rate: the step size in use."""

    records: dict[str, np.ndarray]
    finite_steps: int
    weights: np.ndarray
    learning_rate: float


def begin(prepared: Prepared, training: Training, rows: int) -> tuple[encoders.Layers, Array]:
    """W_0 in the frame, its first layer [rows, > r], rows from embed_dim on zero, and the unit vectors [rows, D] of that layer's parts outside.

    The last coordinate of a row is the length of what W_0 has outside the frame. No data reach it, so its direction
    never changes, and its length obeys the same optimizer (weight decay, momentum, flow) exactly.
    Coordinates between the frame's r and the last one are zero and stay so.
    """
    basis = prepared.frame.basis
    key = jax.random.key(training.seed)
    scale = jnp.asarray(training.init_scale, basis.dtype)
    draw = encoders.linear(rows, bias=False).init(key, basis.shape[0], scale if training.depth == 1 else jnp.ones_like(scale))
    draw = jnp.where(jnp.arange(rows)[:, None] < training.embed_dim, draw, 0)
    first, head = (draw, jnp.zeros((0, rows, rows), draw.dtype)) if training.depth == 1 else encoders.balanced(draw, training.depth, scale)
    inside = first @ basis
    outside = first - inside @ basis.T
    length = jnp.linalg.norm(outside, axis=1, keepdims=True)
    spare = jnp.zeros((rows, -(inside.shape[1] + 1) % _REGISTER), inside.dtype)
    return encoders.Layers(jnp.concatenate([inside, spare, length], axis=1), head), outside / jnp.where(length > 0, length, 1)


def weights(prepared: Prepared, layers: encoders.Layers, outside: Array) -> Array:
    """W [rows, D], of all layers, in input coordinates from the frame's and the vectors of `begin`."""
    first = inside_of(prepared, layers.first) @ prepared.frame.basis.T + layers.first[:, -1:] * outside
    return encoders.end_to_end(encoders.Layers(first, layers.head))


def train(
    prepared: Prepared, training: Training, target: Target, record_at: Array, structure: Structure
) -> tuple[dynamics.Trajectory, Array]:
    """One lane in the frame; also returns the vectors of `begin`."""
    start, outside = begin(prepared, training, structure.rows)
    beyond = (0, start.first.shape[1] - prepared.frame.second.size)
    second = jnp.pad(prepared.frame.second, beyond)
    factor = jnp.pad(prepared.frame.factor(training.loss, training.beta), ((0, 0), beyond))

    def gradient(layers: encoders.Layers, key: Array) -> encoders.Layers:
        w, pull = jax.vjp(encoders.end_to_end, layers)
        slope = losses.spectral_gradient(w, second, factor)
        return pull(slope + 2 * training.weight_decay * w if structure.decays else slope)[0]

    apart = leave_apart(prepared, outside)

    def record(layers: encoders.Layers, step: Array) -> dict[str, Array]:
        return observe(prepared, training, target, structure.measures, layers, apart)

    optimizer = optax.sgd(training.learning_rate, training.momentum if training.optimizer == "momentum" else None)
    slope = dynamics.runge_kutta(gradient, training.learning_rate) if training.optimizer == "flow" else gradient
    key = jax.random.fold_in(jax.random.key(training.seed), 1)
    state = dynamics.start(start, optimizer)
    return dynamics.simulate(key, state, slope, optimizer, record_at=record_at, record=record), outside


@partial(jax.jit, static_argnames="structure")
def _run(problem: Problem, training: Training, record_at: Array, structure: Structure) -> tuple[Any, ...]:
    prepared = prepare(problem, structure.measures)
    target = settle(prepared, training, structure)
    training = with_step(training, target)
    trajectory, outside = train(prepared, training, target, record_at, structure)
    state = trajectory.state
    return trajectory.records, state.finite_steps, weights(prepared, state.params, outside), training.learning_rate


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
