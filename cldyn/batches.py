"""Batches: how the units of a step are chosen, and what their pairs weigh.

Every weight is an inverse inclusion probability over n^2, so that the spectral loss of a batch is
an unbiased estimate of that of all units.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.fields import size
from cldyn.nouns import noun

_SIZE = "b, units in a batch"


@noun
class Full:
    """Everything in every step, exactly."""

    draws = False


@noun
class Iid:
    """Units drawn independently: stored ones with replacement, of a population new ones."""

    batch_size: int = size(32, _SIZE, 2)

    draws, replaces = True, True

    def choose(self, root: Array, key: Array, step: Array, count: int) -> Array:
        """Units of a step [b], of `count`. root: key of all steps. key: of this one."""
        return jax.random.randint(key, (self.batch_size,), 0, count, dtype=jnp.int32)

    def weights(self, count: int) -> tuple[float, float]:
        """Weights of two units, and of one with itself: 0, only copies drawn again meet."""
        return 1 / (self.batch_size * (self.batch_size - 1)), 0.0


class _Distinct:
    """Weights of batches without replacement."""

    draws, replaces = True, False
    batch_size: int

    def weights(self, count: int) -> tuple[float, float]:
        """Weights of two units, and of one with itself."""
        b = self.batch_size
        return (count - 1) / (count * b * (b - 1)), 1 / (count * b)


@noun
class Subset(_Distinct):
    """Units drawn without replacement, anew in every step."""

    batch_size: int = size(32, _SIZE, 2)

    def choose(self, root: Array, key: Array, step: Array, count: int) -> Array:
        """Units of a step [b], of `count`. root: key of all steps. key: of this one."""
        return jax.lax.top_k(jax.random.uniform(key, (count,), jnp.float32), self.batch_size)[1]


@noun
class Epochs(_Distinct):
    """Units in the order of a fresh shuffle, each at most once in an epoch of whole batches."""

    batch_size: int = size(32, _SIZE, 2)

    def choose(self, root: Array, key: Array, step: Array, count: int) -> Array:
        """Units of a step [b], of `count`. root: key of all steps. key: of this one."""
        turns = count // self.batch_size  # of an epoch
        marks = jax.random.uniform(jax.random.fold_in(root, step // turns), (count,), jnp.float32)
        start = (step % turns * self.batch_size,)
        order = jax.lax.top_k(-marks, count)[1]  # as argsort, at a seventh of its time on a CPU
        return jax.lax.dynamic_slice(order, start, (self.batch_size,))


BATCHES: dict[str, Any] = {"full": Full, "iid": Iid, "subset": Subset, "epochs": Epochs}
