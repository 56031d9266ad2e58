"""What does not move while a lane trains: its static structure, and where theory says that it ends."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

from cldyn import losses, measures, theory
from cldyn.data import FeatureModel, Views
from cldyn.experiment import Experiment, Training
from cldyn.lane.prepared import Prepared
from cldyn.refusal import require

_RUNGE_KUTTA = 2.785293563405282  # where the classical method stops damping a real mode


class Target(NamedTuple):
    """What theory says of one (problem, embed_dim, beta, weight decay): minimizer [rows, r], its loss, the critical rate."""

    w: Array
    loss: Array
    critical: Array


class Structure(NamedTuple):
    """What is static of a group of lanes. decays, critical: whether weight decay or the critical rate plays a part at all."""

    rows: int
    decays: bool
    critical: bool
    measures: tuple[str, ...]


def settle(prepared: Prepared, training: Training, structure: Structure) -> Target:
    """The minimizer, its loss, and the critical rate where somebody asks for it (else NaN)."""
    second, factor = prepared.frame.second, prepared.frame.factor(training.loss, training.beta)
    decay = training.weight_decay
    w = theory.frame_minimizer(second, factor, training.embed_dim, decay, rows=structure.rows, decays=structure.decays)
    critical = jnp.full((), jnp.nan, w.dtype)
    if structure.critical and training.depth == 1:  # no closed form for more layers
        critical = theory.frame_critical_learning_rate(w, second, factor, training.embed_dim, decay)
    return Target(w, losses.spectral_in_frame(w, second, factor) + decay * jnp.sum(w**2), critical)


def with_step(training: Training, target: Target) -> Training:
    """The training with its learning rate as an absolute number."""
    if training.learning_rate_unit == "absolute":
        return training
    return replace(training, learning_rate=training.learning_rate * critical_of(training, target))  # type: ignore[arg-type]  # traced


def critical_of(training: Training, target: Target) -> Array:
    """The critical rate of the optimizer.

        2/lambda_max;   momentum mu, w' = w + mu (w - w_before) - eta g: 2 (1 + mu)/lambda_max;   Runge-Kutta: 2.785/lambda_max

    Source: roots of z^2 - (1 + mu - eta lambda) z + mu, and of |1 - x + x^2/2 - x^3/6 + x^4/24| = 1, on the unit circle.
    """
    if training.optimizer == "momentum":
        return target.critical * (1 + training.momentum)
    return target.critical * (_RUNGE_KUTTA / 2 if training.optimizer == "flow" else 1)


def structure_of(experiment: Experiment, measure: Sequence[str], embed_dim: Any = None, weight_decay: Any = None) -> Structure:
    """Static side of an experiment, or of lanes with these values."""
    training, problem = experiment.training, experiment.problem
    require(isinstance(measure, (list, tuple, set)), "measure", measure, "a list of names")
    rows = int(np.max(training.embed_dim if embed_dim is None else embed_dim))
    decays = bool(np.any(np.asarray(training.weight_decay if weight_decay is None else weight_decay) != 0))
    for name in measure:
        require(isinstance(name, str) and name in measures.MEASURES, "measure", name, f"one of {', '.join(measures.MEASURES)}")
        require(name not in measures.TRAIN or not problem.population, "measure", name, "one that needs no sample, for a population")
        tested = isinstance(problem.data, FeatureModel) and not problem.population
        require(name not in measures.TEST or tested, "measure", name, "one without a test sample, but for a sample of a FeatureModel")
    if isinstance(problem.data, Views) and not len(problem.data.directions):
        measure = [name for name in measure if name != "feature_norms"]
    return Structure(rows, decays, training.learning_rate_unit == "critical", tuple(measure))
