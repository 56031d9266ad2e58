"""A problem made ready for trajectories: frame, probes and units of batches."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.encoders import append_one, is_linear
from cldyn.sources import Drawn, Rows, stored_units
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


class Outline(NamedTuple):
    """What preparation and limits know of a training; those that differ in the rest share both."""

    encoder: Any
    positives: Any
    weight_decay: Any
    seed: Any


def outline(training: Any) -> Outline:
    """The outline of a training."""
    return Outline(*(getattr(training, name) for name in Outline._fields))


def draw(problem: Any, training: Any, plan: Plan) -> Drawn:
    """What is drawn of a problem, and test rows where measures need them."""
    drawn = _draw(problem, plan.precision)
    if needs_test(plan, training):
        return drawn._replace(test=_test(problem, plan.precision))
    return drawn


def needs_test(plan: Plan, training: Any) -> bool:
    """Whether a measure needs a test sample; gaps do where differences have no embedding."""
    return plan.needs("test") or (plan.needs("gaps") and not is_linear(training.encoder))


# Drawing is the larger part of what XLA has to compile. Programs of their own are shared by all
# trainings, by blocks of every shape and by single runs.
@partial(jax.jit, static_argnames="precision")
def _draw(problem: Any, precision: str) -> Drawn:
    return problem.draw(jnp.dtype(precision))


@partial(jax.jit, static_argnames="precision")
def _test(problem: Any, precision: str) -> Rows:
    return problem.test(jnp.dtype(precision))


def prepare(problem: Any, drawn: Drawn, training: Any, plan: Plan) -> Prepared:
    """Everything that trajectories of a problem share, once for all of them.

    Args:
        problem: a source; its numbers may be traced.
        drawn: of the problem, by `draw`.
        training: of one of the trajectories; with batches they share the seed.
        plan: what is static of them.
    """
    frame = None
    if plan.moments:
        with jax.enable_x64(True):  # in which rows of either precision have a frame sooner
            frame = _frame(problem, drawn, getattr(training.encoder, "bias", False), plan.precision)
    return _prepare(problem, drawn, frame, outline(training), plan.of_problem())


@partial(jax.jit, static_argnames=("bias", "precision"))
def _frame(problem: Any, drawn: Drawn, bias: bool, precision: str) -> Any:
    return problem.frame(drawn, bias, jnp.dtype(precision))


@partial(jax.jit, static_argnames="plan")
def _prepare(problem: Any, drawn: Drawn, frame: Any, training: Outline, plan: Plan) -> Prepared:
    dtype = jnp.dtype(plan.precision)
    bias = getattr(training.encoder, "bias", False)
    linear = is_linear(training.encoder)
    probes, groups = _probes(drawn, plan, linear)
    units, rows = None, None
    if plan.draws or not plan.moments:
        x = drawn.x
        if plan.in_frame:
            x = append_one(x, bias) @ frame.basis
        made = problem.units if plan.draws else partial(stored_units, problem)
        units = made(drawn, training, x)
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
    if plan.needs("views"):
        probes["views"] = drawn.x.reshape(-1, drawn.x.shape[2])
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
