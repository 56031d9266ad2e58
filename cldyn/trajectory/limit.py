"""Where theory says that a trajectory ends, and up to which learning rate it can."""

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cldyn import losses, theory
from cldyn.encoders import Linear
from cldyn.trajectory.plan import Plan
from cldyn.trajectory.prepared import Outline, Prepared, outline


class Limit(NamedTuple):
    """What theory says of one (problem, embed_dim, beta, weight decay).

    w: the minimum-norm minimizer [rows, r].
    loss: the loss there.
    flatness: 1/lambda_max of the Hessian there; NaN unless asked for.
    """

    w: Array
    loss: Array
    flatness: Array


class Setting(NamedTuple):
    """One trajectory: what is shared with others, its training, and where it is to end.

    prepared: of its problem. training: its numbers may be traced. limit: None where there is none.
    """

    prepared: Prepared
    training: Any
    limit: Any

    def factor(self) -> Array:
        """C [q, r] of its positives, P = C^T C."""
        return self.prepared.frame.factor(self.training.positives)

    def critical(self) -> Any:
        """The critical rate of its optimizer; NaN where none is known."""
        optimizer = self.training.optimizer
        known = getattr(optimizer, "critical", None)
        return known(self.limit.flatness) if known else jnp.nan


def settle(prepared: Prepared, training: Any, plan: Plan) -> Limit | None:
    """The minimizer, its loss, and the flatness where somebody asks for it (else NaN).

    By a program that all trainings with such limits share, wherever they are trained.
    """
    if not plan.moments:
        return None
    return _settle(prepared.frame, outline(training), plan.of_limit())


@partial(jax.jit, static_argnames="plan")
def _settle(frame: Any, training: Outline, plan: Plan) -> Limit:
    encoder, decay = training.encoder, training.weight_decay
    second, factor = frame.second, frame.factor(training.positives)
    rows = encoder.rows or int(encoder.embed_dim)
    p = encoder.embed_dim
    w = theory.frame_minimizer(second, factor, p, decay, rows=rows, decays=plan.decays)
    flatness = jnp.full((), jnp.nan, w.dtype)
    if plan.critical and plan.commutes and isinstance(encoder, Linear):
        flatness = theory.frame_critical_learning_rate(w, second, factor, p, decay) / 2
    loss = losses.spectral_in_frame(w, second, factor) + decay * jnp.sum(w**2)
    return Limit(w, loss, flatness)


def with_step(setting: Setting) -> Setting:
    """The setting with its learning rate as an absolute number."""
    optimizer = setting.training.optimizer
    if getattr(optimizer, "learning_rate_unit", "absolute") == "absolute":
        return setting
    rate = optimizer.learning_rate * setting.critical()
    changed = replace(optimizer, learning_rate=rate)
    return setting._replace(training=replace(setting.training, optimizer=changed))
