"""Optimizers and schedules: nouns that make an optax transformation from traced numbers.

An optimizer has `transform(weight_decay) -> optax.GradientTransformation`; it may say that it
`commutes` with rotations of the inputs (then it runs in the frame of the data), that it `decouples`
the weight decay from the gradient, and what its critical rate is. A schedule is a function of the
step that returns what the learning rate is multiplied by.
"""

import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

from cldyn import dynamics
from cldyn.checks import require
from cldyn.fields import choice, number, part
from cldyn.nouns import noun

_RUNGE_KUTTA = 2.785293563405282  # where the classical method stops damping a real mode
_RATE = "step size, a number or a fraction of the critical one"
_UNIT = "unit of learning_rate: a number, or the rate above which training cannot converge"
_SQUARES = "decay of the mean of squared gradients"


@noun
class Constant:
    """The learning rate as it is."""

    def __call__(self, step: Array) -> Any:
        """1."""
        return 1.0


@noun
class WarmupCosine:
    """Up from 0 over warmup_steps, then down a cosine to 0 at decay_steps.

        t/t_w for t < t_w, then (1 + cos(pi (t - t_w)/(t_d - t_w)))/2, 0 from t_d on

    Source: optax's schedule of this name, which takes no traced steps.
    """

    warmup_steps: float = number(0.0, "t_w", 0)
    decay_steps: float = number(1000.0, "t_d, above t_w", 0, above=True)

    def __call__(self, step: Array) -> Array:
        """What the learning rate is multiplied by."""
        warm, end = self.warmup_steps, self.decay_steps
        share = jnp.clip((step - warm) / (end - warm), 0, 1)
        rising = step / jnp.maximum(warm, 1)
        return jnp.where(step < warm, rising, (1 + jnp.cos(jnp.pi * share)) / 2)

    def check(self) -> None:
        """Refuse a fall that ends before the rise does."""
        allowed = f"above warmup_steps = {self.warmup_steps}"
        require(self.decay_steps > self.warmup_steps, "decay_steps", self.decay_steps, allowed)


@noun
class InverseTime:
    """1/(1 + t/decay_steps)."""

    decay_steps: float = number(1000.0, "step at which the learning rate is halved", 0, above=True)

    def __call__(self, step: Array) -> Array:
        """What the learning rate is multiplied by."""
        return 1 / (1 + step / self.decay_steps)


SCHEDULES = {"constant": Constant, "warmup_cosine": WarmupCosine, "inverse_time": InverseTime}


class Optimizer:
    """What all optimizers share. One of your own needs `transform` alone."""

    commutes, decouples, takes_batches = False, False, True

    def critical(self, flatness: Any) -> Any:
        """The rate above which training cannot converge; NaN where none is known.

        flatness: 1/lambda_max of the Hessian at the minimizer.
        """
        return math.nan * flatness

    def slope(self, gradient: Callable[..., Any]) -> Callable[..., Any]:
        """What the transformation gets to see in the gradient's place."""
        return gradient

    def transform(self, weight_decay: Any) -> optax.GradientTransformation:
        """The optax transformation. weight_decay: for those that decouple it."""
        raise TypeError("an optimizer needs transform(weight_decay)")


@noun
class Scheduled(Optimizer):
    """An optimizer whose learning rate has a schedule and whose gradients may be clipped."""

    learning_rate: float = number(0.01, "step size", 0, above=True)
    schedule: Any = part(Constant(), "of the learning rate over the steps", SCHEDULES)
    clip_norm: float | None = number(
        None, "largest norm of a gradient", 0, above=True, optional=True
    )

    def check(self) -> None:
        """Refuse a schedule that is no function of the step."""
        require(callable(self.schedule), "schedule", self.schedule, "a function of the step")

    def rate(self) -> Any:
        """The learning rate, as a number or as a function of the step."""
        if isinstance(self.schedule, Constant):
            return self.learning_rate
        return lambda step: self.learning_rate * self.schedule(step)

    def clipped(self, made: optax.GradientTransformation) -> optax.GradientTransformation:
        """The transformation of clipped gradients, where there is a clip_norm."""
        limit = self.clip_norm
        return made if limit is None else optax.chain(optax.clip_by_global_norm(limit), made)


@noun
class Gd(Scheduled):
    """Gradient descent; on batches, SGD. Its critical rate is 2/lambda_max of the Hessian."""

    learning_rate: float = number(0.05, _RATE, 0, above=True)
    learning_rate_unit: str = choice("absolute", _UNIT, "absolute", "critical")

    commutes = True

    def critical(self, flatness: Any) -> Any:
        """2/lambda_max."""
        return 2 * flatness

    def transform(self, weight_decay: Any) -> optax.GradientTransformation:
        """The optax transformation."""
        return self.clipped(optax.sgd(self.rate()))


@noun
class Momentum(Gd):
    """Gradient descent with heavy-ball momentum mu; critical rate 2 (1 + mu)/lambda_max.

    Source: Polyak (1964). The rate is derived here: with x = eta lambda a mode's roots are those of
    z^2 - (1 + mu - x) z + mu; one leaves the unit circle at z = -1.
    """

    momentum: float = number(0.9, "mu, decay of the mean of gradients", 0, 1, below=True)

    def critical(self, flatness: Any) -> Any:
        """2 (1 + mu)/lambda_max."""
        return 2 * (1 + self.momentum) * flatness

    def transform(self, weight_decay: Any) -> optax.GradientTransformation:
        """The optax transformation."""
        return self.clipped(optax.sgd(self.rate(), self.momentum))


@noun
class Nesterov(Momentum):
    """Gradient descent with Nesterov's momentum mu; critical rate 2 (1+mu)/((1+2 mu) lambda_max).

    Source: Nesterov (1983). The rate is derived here, as that of `Momentum`, from the roots of
    z^2 - (1 + mu - (1 + mu) x) z + mu (1 - x).
    """

    def critical(self, flatness: Any) -> Any:
        """2 (1 + mu)/((1 + 2 mu) lambda_max)."""
        return 2 * (1 + self.momentum) / (1 + 2 * self.momentum) * flatness

    def transform(self, weight_decay: Any) -> optax.GradientTransformation:
        """The optax transformation."""
        return self.clipped(optax.sgd(self.rate(), self.momentum, nesterov=True))


@noun
class Flow(Optimizer):
    """Gradient flow, every step one of Runge and Kutta over learning_rate units of time.

    Source: the classical method of order four; it stops damping a mode at eta lambda = 2.785, where
    |1 - x + x^2/2 - x^3/6 + x^4/24| = 1.
    """

    learning_rate: float = number(0.05, "flow time of a step, or a fraction", 0, above=True)
    learning_rate_unit: str = choice("absolute", _UNIT, "absolute", "critical")

    commutes, takes_batches = True, False

    def critical(self, flatness: Any) -> Any:
        """2.785/lambda_max."""
        return _RUNGE_KUTTA * flatness

    def slope(self, gradient: Callable[..., Any]) -> Callable[..., Any]:
        """The mean slope of a step."""
        return dynamics.runge_kutta(gradient, self.learning_rate)

    def transform(self, weight_decay: Any) -> optax.GradientTransformation:
        """The optax transformation."""
        return optax.sgd(self.learning_rate)


@noun
class Adam(Scheduled):
    """Adam (Kingma and Ba 2015)."""

    momentum: float = number(0.9, "b1, decay of the mean of gradients", 0, 1, below=True)
    square_decay: float = number(0.999, _SQUARES, 0, 1, below=True)
    epsilon: float = number(1e-8, "added to the root of that mean", 0, above=True)

    def transform(self, weight_decay: Any) -> optax.GradientTransformation:
        """The optax transformation."""
        numbers = self.momentum, self.square_decay, self.epsilon
        return self.clipped(optax.adam(self.rate(), *numbers))


@noun
class AdamW(Adam):
    """Adam with decoupled decay (Loshchilov and Hutter 2019).

    W shrinks by 1 - 2 learning_rate weight_decay a step, as it would under `Gd` on the penalty
    weight_decay |W|^2; but the gradient beside it is rescaled, and it does not end at the minimizer
    with that penalty. The `weight_decay` of optax is twice ours.
    """

    decouples = True

    def transform(self, weight_decay: Any) -> optax.GradientTransformation:
        """The optax transformation."""
        numbers = self.momentum, self.square_decay, self.epsilon
        return self.clipped(optax.adamw(self.rate(), *numbers, weight_decay=2 * weight_decay))


@noun
class RmsProp(Scheduled):
    """RMSprop (Hinton, Srivastava and Swersky 2012)."""

    square_decay: float = number(0.999, _SQUARES, 0, 1, below=True)
    epsilon: float = number(1e-8, "added to that mean, under the root", 0, above=True)

    def transform(self, weight_decay: Any) -> optax.GradientTransformation:
        """The optax transformation."""
        return self.clipped(optax.rmsprop(self.rate(), self.square_decay, self.epsilon))


@noun
class Lion(Scheduled):
    """Lion (Chen et al. 2023), with decoupled decay as `AdamW`."""

    momentum: float = number(0.9, "b1, decay of the mean that is signed", 0, 1, below=True)
    square_decay: float = number(0.999, "b2, decay of the mean that is kept", 0, 1, below=True)

    decouples = True

    def transform(self, weight_decay: Any) -> optax.GradientTransformation:
        """The optax transformation."""
        numbers = self.momentum, self.square_decay
        return self.clipped(optax.lion(self.rate(), *numbers, weight_decay=2 * weight_decay))


OPTIMIZERS = {
    "gd": Gd,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "flow": Flow,
    "adam": Adam,
    "adamw": AdamW,
    "rmsprop": RmsProp,
    "lion": Lion,
}


def follows_gradient(optimizer: Any) -> bool:
    """Whether every step is the whole gradient at one rate: gradient descent and flow."""
    constant = isinstance(getattr(optimizer, "schedule", Constant()), Constant)
    whole = getattr(optimizer, "clip_norm", None) is None
    return type(optimizer) in (Gd, Flow) and constant and whole


def duration(optimizer: Any) -> float:
    """Flow time of a step: the learning rate, over 1 - mu where momentum adds up steps.

    For Adam and its kin a sum of rates only.
    """
    sums = isinstance(optimizer, Momentum)
    return optimizer.learning_rate / (1 - optimizer.momentum if sums else 1)
