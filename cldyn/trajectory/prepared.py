"""A problem made ready for trajectories: frame, probes and units of batches."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.encoders import append_one, is_linear
from cldyn.sources import Drawn, stored_units
from cldyn.trajectory.plan import Plan

DIFFERENCES = ("directions", "class_gap", "subclass_gap")  # of inputs: no bias reaches them


class Framed(NamedTuple):
    """A probe in the frame. inside: coordinates [s, r]. outside: what is left of it [s, D]."""

    inside: Array
    outside: Array


class Prepared(NamedTuple):
    """What all trajectories of a problem share.

    frame: `moments.Frame`, coordinates of gradient descent; None where moments are not enough.
    probes: inputs on which encoders are observed {name: [s, d], or `Framed`}.
    groups: one-hot classes and subclasses of the rows among them.
    units: of batches, or of everything where only rows will do; None in between.
    rows: everything, for the loss, where moments are not enough.
    origin: the input zero [d].
    """

    frame: Any
    probes: dict[str, Any]
    groups: dict[str, tuple[Array, Array]]
    units: Any
    rows: Any
    origin: Array


def draw(problem: Any, training: Any, plan: Plan) -> Drawn:
    """What is drawn of a problem."""
    return _draw(problem, plan.precision, needs_test(plan, training))


def needs_test(plan: Plan, training: Any) -> bool:
    """Whether a measure needs a test sample; gaps do where differences have no embedding."""
    return plan.needs("test") or (plan.needs("gaps") and not is_linear(training.encoder))


# On its own: drawing is the larger part of what XLA has to compile, and all trainings share it.
@partial(jax.jit, static_argnames=("precision", "test"))
def _draw(problem: Any, precision: str, test: bool) -> Drawn:
    return problem.draw(jnp.dtype(precision), test)


def prepare(problem: Any, drawn: Drawn, training: Any, plan: Plan) -> Prepared:
    """Everything that trajectories of a problem share, once for all of them.

    Args:
        problem: a source; its numbers may be traced.
        drawn: of the problem, by `draw`.
        training: of one of the trajectories; they share loss, kind of batch and, with batches, the
            seed.
        plan: what is measured.
    """
    dtype = jnp.dtype(plan.precision)
    bias = getattr(training.encoder, "bias", False)
    linear = is_linear(training.encoder)
    frame: Any = problem.frame(drawn, bias, dtype) if plan.moments else None
    probes, groups = _probes(drawn, plan, linear)
    units, rows = None, None
    if training.batch.draws or not plan.moments:
        x = drawn.x
        if plan.in_frame:
            x = append_one(x, bias) @ frame.basis
        units = problem.units(drawn, training, x)
    if plan.needs("loss") and not plan.moments:
        rows = stored_units(problem, drawn, training, drawn.x)
    if plan.in_frame:
        framed = {name: _framed(frame, name, probe, bias) for name, probe in probes.items()}
        return Prepared(frame, framed, groups, units, rows, jnp.zeros(problem.shape[2], dtype))
    return Prepared(frame, probes, groups, units, rows, jnp.zeros(problem.shape[2], dtype))


def _probes(
    drawn: Drawn, plan: Plan, linear: bool
) -> tuple[dict[str, Array], dict[str, tuple[Array, Array]]]:
    """Inputs to be embedded, and the groups of rows among them."""
    probes = {"directions": drawn.directions, **(drawn.gaps if linear else {})}
    groups = {}
    train = drawn.train() if plan.needs("train") else None
    for name, rows in (("train", train), ("test", drawn.test)):
        if rows is not None:
            probes[name], groups[name] = rows.x, (rows.classes, rows.subclasses)
    return probes, groups


def _framed(frame: Any, name: str, probe: Array, bias: bool) -> Framed:
    """A probe in the frame; differences have no part along the constant."""
    if name in DIFFERENCES:
        rows = jnp.pad(probe, ((0, 0), (0, int(bias))))
    else:
        rows = append_one(probe, bias)
    return Framed(*frame.split(rows))


def key_of(prepared: Prepared) -> Array:
    """The key of all draws of batches; without them nothing is random."""
    return prepared.units.key if prepared.units is not None else jax.random.key(0)
