"""Noise, one class a kind. `other` is the number of directions it lives on."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.data.codes import each_view
from cldyn.fields import internal, number
from cldyn.nouns import noun

LENGTH = "root of the expected squared length of the noise"
KEEP = "what part of the noise all views of an example share"


class Moments(NamedTuple):
    """Moments of the noise xi of a view, and of xi+ of another view of the same example.

        E xi = mean,   E xi xi^T = diag(second),   E xi xi+^T = diag(shared) + apart mean mean^T

    mean, second, shared: [other]. apart: the weight of mean mean^T there; 0 without a mean.
    """

    mean: Array
    second: Array
    shared: Array
    apart: float


class About(NamedTuple):
    """The noise of all views of given originals.

    mean: over all views of each original [n, other]. spread, less: the mean covariance about it is
    diag(spread) - less less^T, each [other].
    """

    mean: Array
    spread: Array
    less: Array


class Noise:
    """A kind of noise; one of your own needs `draw` alone, and its views then have fresh noise.

    Originals carry `originals(...)`, any pytree of leaves [n, ...], from which the noise of their
    views is made. `moments`, which returns `Moments`, and `about`, an `About`, are exact, for
    populations and fresh views, `agreement` is what theory takes from them; a kind without them is
    for stored views, and for batches where moments are not all there is. It lives beside the
    features, or, with `everywhere`, on all d directions, theirs included; one with a mean does.
    """

    everywhere = False

    def draw(self, key: Array, n: int, other: int, dtype: Any) -> Array:
        """Noise of n examples [n, other]."""
        raise TypeError("a noise needs draw(key, n, other, dtype)")

    def originals(self, key: Array, n: int, other: int, dtype: Any) -> Any:
        """What n originals have of their noise."""
        return self.draw(key, n, other, dtype)

    def kept(self, key: Array, n: int, other: int, dtype: Any) -> Any:
        """What of `originals` is needed of examples whose views alone are looked at."""
        return self.originals(key, n, other, dtype)

    def vectors(self, shared: Any, other: int, dtype: Any) -> Array:
        """The noise of originals themselves [n, other]."""
        return shared

    def views(self, key: Array, shared: Any, m: int, other: int, dtype: Any) -> Array:
        """Noise of m views of every original [n, m, other]."""
        return self.fresh(key, jax.tree.leaves(shared)[0].shape[0], m, other, dtype)

    def fresh(self, key: Array, n: int, m: int, other: int, dtype: Any) -> Array:
        """Noise of m views of n examples that shares nothing [n, m, other]."""
        return fresh_noise(key, m, lambda one: self.draw(one, n, other, dtype))

    def new(self, key: Array, n: int, m: int, other: int, dtype: Any) -> Array:
        """Noise of m views of n new examples [n, m, other]."""
        shared_key = jax.random.split(key, 3)[0]
        return self.views(key, self.originals(shared_key, n, other, dtype), m, other, dtype)

    def room(self, rows: int, other: int) -> bool:
        """Whether there is noise for that many rows."""
        return True


def fresh_noise(key: Array, m: int, draw: Callable[[Array], Any]) -> Any:
    """The fresh noise of m views, leaves [n, m, ...]; draw: key of a view -> leaves [n, ...]."""
    _, fresh_key, _ = jax.random.split(key, 3)
    return each_view(fresh_key, m, draw)


def correlate(draws: Array, keep: Any, axis: int) -> Array:
    """Independent draws of the views of an example, made to share a part `keep` of their variance.

    C^(1/2) along an axis of m views: C has 1 on its diagonal and keep beside it, eigenvalues
    1 - keep + m keep on their mean and 1 - keep on what is left.
    """
    m = draws.shape[axis]
    if m == 1:
        return draws
    keep, mean = jnp.asarray(keep, draws.dtype), draws.mean(axis=axis, keepdims=True)
    return jnp.sqrt(1 - keep + m * keep) * mean + jnp.sqrt(1 - keep) * (draws - mean)


@noun
class Gaussian(Noise):
    """Gaussian noise, of which all views of an example share a part.

        xi = sqrt(noise_keep) xi_0 + sqrt(1 - noise_keep) xi',   xi_0, xi' ~ N(0, length^2/other I)

    Source: this project; at noise_keep = 1 the imperfect augmentation of Xue et al. (2023).
    """

    noise_length: float = number(1.0, LENGTH, 0)
    noise_keep: float = number(0.0, KEEP, 0, 1)
    silent: bool = internal(False)  # whether its length is surely 0
    directions: int = internal(0)  # of all noise, where only some is seen and none is kept

    def draw(self, key: Array, n: int, other: int, dtype: Any) -> Array:
        """Noise [n, other]."""
        draw = jax.random.normal(key, (n, other), jnp.float32).astype(dtype)
        return draw * self.deviation(other, dtype)

    def deviation(self, other: int, dtype: Any) -> Array:
        """Standard deviation along every direction."""
        return jnp.asarray(self.noise_length, dtype) / math.sqrt(self.directions or other)

    def kept(self, key: Array, n: int, other: int, dtype: Any) -> Array:
        """Nothing where views keep nothing, which spares a third of all draws."""
        return jax.lax.cond(
            jnp.asarray(self.noise_keep) > 0,
            lambda: self.draw(key, n, other, dtype),
            lambda: jnp.zeros((n, other), dtype),
        )

    def new(self, key: Array, n: int, m: int, other: int, dtype: Any) -> Array:
        """Noise of m views of n new examples [n, m, other]."""
        if self.silent:
            return jnp.zeros((n, m, other), dtype)
        draws = self.draw(key, n * m, other, dtype).reshape(n, m, other)
        return correlate(draws, self.noise_keep, 1)

    def views(self, key: Array, shared: Any, m: int, other: int, dtype: Any) -> Array:
        """Noise of m views of every original [n, m, other]."""
        if self.directions:  # originals keep nothing that is looked at
            return self.new(key, shared.shape[0], m, other, dtype)
        fresh = self.fresh(key, shared.shape[0], m, other, dtype)
        keep = jnp.asarray(self.noise_keep, dtype)
        return jnp.sqrt(keep) * shared[:, None] + jnp.sqrt(1 - keep) * fresh

    def agreement(self) -> Any:
        """What part of its variance two views of an example share."""
        return self.noise_keep

    def moments(self, other: int, dtype: Any) -> Moments:
        """Its moments."""
        variance = jnp.full(other, self.deviation(other, dtype) ** 2)
        kept = jnp.asarray(self.agreement(), dtype) * variance
        return Moments(jnp.zeros(other, dtype), variance, kept, 0.0)

    def about(self, shared: Any, other: int, dtype: Any) -> About:
        """Moments of the views of these originals."""
        keep, known = jnp.asarray(self.noise_keep, dtype), self.moments(other, dtype)
        return About(jnp.sqrt(keep) * shared, (1 - keep) * known.second, known.mean)
