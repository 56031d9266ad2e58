"""Where theory says that a lane ends, and up to which learning rate it can."""

from dataclasses import replace
from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

from cldyn import losses, theory
from cldyn.experiment import COMMUTES, Training
from cldyn.lane.prepared import Prepared
from cldyn.lane.structure import Structure

_RUNGE_KUTTA = 2.785293563405282  # where the classical method stops damping a real mode


class Target(NamedTuple):
    """What theory says of one (problem, embed_dim, beta, weight decay): minimizer [rows, r], its loss, the critical rate."""

    w: Array
    loss: Array
    critical: Array


def settle(prepared: Prepared, training: Training, structure: Structure) -> Target:
    """The minimizer, its loss, and the critical rate where somebody asks for it (else NaN)."""
    second, factor = prepared.frame.second, prepared.frame.factor(training.loss, training.beta)
    decay = training.weight_decay
    w = theory.frame_minimizer(second, factor, training.embed_dim, decay, rows=structure.rows, decays=structure.decays)
    critical = jnp.full((), jnp.nan, w.dtype)
    if structure.critical and training.depth == 1 and training.optimizer in COMMUTES:  # no closed form for others
        critical = theory.frame_critical_learning_rate(w, second, factor, training.embed_dim, decay)
    return Target(w, losses.spectral_in_frame(w, second, factor) + decay * jnp.sum(w**2), critical)


def with_step(training: Training, target: Target) -> Training:
    """The training with its learning rate as an absolute number."""
    if training.learning_rate_unit == "absolute":
        return training
    return replace(training, learning_rate=training.learning_rate * critical_of(training, target))  # type: ignore[arg-type]  # traced


def critical_of(training: Training, target: Target) -> Array:
    """The critical rate of the optimizer.

        2/lambda_max;   momentum mu: 2 (1 + mu)/lambda_max;   nesterov: 2 (1 + mu)/((1 + 2 mu) lambda_max);   Runge-Kutta: 2.785/lambda_max

    Source: derived here. With x = eta lambda a mode's roots are those of z^2 - (1 + mu - x) z + mu (momentum) and of
    z^2 - (1 + mu - (1 + mu) x) z + mu (1 - x) (nesterov); a root leaves the unit circle at z = -1. Runge-Kutta: |1 - x + x^2/2 - x^3/6 + x^4/24| = 1.
    """
    mu = training.momentum
    if training.optimizer == "momentum":
        return target.critical * (1 + mu)
    if training.optimizer == "nesterov":
        return target.critical * (1 + mu) / (1 + 2 * mu)
    return target.critical * (_RUNGE_KUTTA / 2 if training.optimizer == "flow" else 1)
