"""Optimizers and schedules by name, from numbers that may be traced."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

from cldyn.experiment import Training
from cldyn.lane.structure import Structure

DECOUPLED = ("adamw", "lion")  # weight decay beside the gradient, not in it


def schedule_of(training: Training) -> Any:
    """The learning rate, as a number or as a function of the step.

        warmup_cosine: eta t/t_w for t < t_w, then (eta/2)(1 + cos(pi (t - t_w)/(t_d - t_w))), 0 from t_d on
        inverse_time: eta/(1 + t/t_d)

    t_w, t_d: `warmup_steps`, `decay_steps`. Source: optax's schedules of these names, which take no traced steps.
    """
    rate, warm, end = training.learning_rate, training.warmup_steps, training.decay_steps

    def warmup_cosine(step: Array) -> Array:
        share = jnp.clip((step - warm) / (end - warm), 0, 1)
        return rate * jnp.where(step < warm, step / jnp.maximum(warm, 1), (1 + jnp.cos(jnp.pi * share)) / 2)

    def inverse_time(step: Array) -> Array:
        return rate / (1 + step / end)

    return {"constant": rate, "warmup_cosine": warmup_cosine, "inverse_time": inverse_time}[training.schedule]


def optimizer_of(training: Training, structure: Structure) -> optax.GradientTransformation:
    """The optax transformation of a training.

    For "gd" the decay of optax, W <- W - eta (g + w W), and the penalty lambda |W|^2 of theory, whose gradient is 2 lambda W, are the same at
    w = 2 lambda. So they are for "adamw" and "lion" as far as the shrinking goes, 1 - 2 eta lambda a step; but the gradient beside it is
    rescaled, and they do not end at the minimizer with that penalty. All others have the penalty in their gradient.
    """
    rate, mu, b2, eps = schedule_of(training), training.momentum, training.square_decay, training.epsilon
    decay = 2 * training.weight_decay if structure.decays else 0.0
    named: dict[str, Callable[[], optax.GradientTransformation]] = {
        "gd": lambda: optax.sgd(rate),
        "flow": lambda: optax.sgd(rate),
        "momentum": lambda: optax.sgd(rate, mu),
        "nesterov": lambda: optax.sgd(rate, mu, nesterov=True),
        "adam": lambda: optax.adam(rate, mu, b2, eps),
        "adamw": lambda: optax.adamw(rate, mu, b2, eps, weight_decay=decay),
        "rmsprop": lambda: optax.rmsprop(rate, b2, eps),
        "lion": lambda: optax.lion(rate, mu, b2, weight_decay=decay),
    }
    chosen: Any = training.optimizer
    optimizer = chosen(replace(training, learning_rate=rate)) if callable(chosen) else named[chosen]()
    return optax.chain(optax.clip_by_global_norm(training.clip_norm), optimizer) if structure.clips else optimizer
