"""Noise along single directions, and all kinds by name."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.data.codes import each_view, random_signs
from cldyn.data.noise import LENGTH, About, Gaussian, Moments, Noise, fresh_noise
from cldyn.fields import number, whole
from cldyn.nouns import noun


@noun
class Basis(Noise):
    """Noise along one direction with a random sign; a view keeps its original's, or redraws it.

        xi = +-length e_j,   j uniform, with replacement over the rows

    Source: after the noise of Xue et al. (2023), here beside the features and of either sign;
    theirs is `OneHot`.
    """

    noise_length: float = number(1.0, LENGTH, 0)
    noise_keep: float = number(0.0, "probability that a view keeps the noise of its original", 0, 1)

    def originals(self, key: Array, n: int, other: int, dtype: Any) -> tuple[Array, Array]:
        """Place and sign of n originals, each [n]."""
        place_key, sign_key = jax.random.split(key)
        place = jax.random.randint(place_key, (n,), 0, other, dtype=jnp.int32)
        return place, random_signs(sign_key, (n,))

    def vectors(self, shared: Any, other: int, dtype: Any) -> Array:
        """Places and signs [...] as vectors [..., other]."""
        place, sign = shared
        hot = jax.nn.one_hot(place, other, dtype=dtype) * sign[..., None].astype(dtype)
        return hot * jnp.asarray(self.noise_length, dtype)

    def views(self, key: Array, shared: Any, m: int, other: int, dtype: Any) -> Array:
        """Noise of m views of every original [n, m, other]."""
        n = shared[0].shape[0]
        fresh = fresh_noise(key, m, lambda one: self.originals(one, n, other, dtype))
        kept = self._kept(key, n, m)
        place, sign = (
            jnp.where(kept, old[:, None], new) for old, new in zip(shared, fresh, strict=True)
        )
        return self.vectors((self._places(key, place, kept, other), sign), other, dtype)

    def _kept(self, key: Array, n: int, m: int) -> Array:
        """Which views keep the noise of their original [n, m]."""
        keep_key = jax.random.split(key, 3)[2]
        coins = each_view(keep_key, m, lambda one: jax.random.uniform(one, (n,), jnp.float32))
        return coins < jnp.asarray(self.noise_keep, jnp.float32)

    def _places(self, key: Array, place: Array, kept: Array, other: int) -> Array:
        return place

    def agreement(self) -> Any:
        """What part of its variance two views of an example share."""
        return self.noise_keep**2

    def moments(self, other: int, dtype: Any) -> Moments:
        """Its moments."""
        return Gaussian(self.noise_length, self.agreement()).moments(other, dtype)

    def about(self, shared: Any, other: int, dtype: Any) -> About:
        """Moments of the views of these originals."""
        keep, noise = jnp.asarray(self.noise_keep, dtype), self.vectors(shared, other, dtype)
        spread, known = keep * (1 - keep) * jnp.mean(noise**2, axis=0), self.moments(other, dtype)
        return About(keep * noise, (1 - keep) * known.second + spread, known.mean)


@noun
class DistinctBasis(Basis):
    """`Basis` noise in directions drawn without replacement over the rows: orthogonal noise."""

    def _places(self, key: Array, place: Array, kept: Array, other: int) -> Array:
        # Every row owns a direction; rows that keep the original's use that of the first that does.
        n, m = kept.shape
        fresh_key = jax.random.split(key, 3)[1]
        owner = jnp.where(kept, jnp.argmax(kept, axis=1)[:, None], jnp.arange(m))
        deck = jax.random.permutation(fresh_key, other)[: n * m].reshape(m, n).T
        return jnp.take_along_axis(deck, owner, axis=1)

    def room(self, rows: int, other: int) -> bool:
        """Whether there is a direction for every row."""
        return rows <= other


@noun
class OneHot(Noise):
    """Noise along one of all d directions, the features' own included, with positive sign.

        xi = length e_j,   j uniform in 1 ... d, drawn anew in every view

    Its mean is length/d in every direction, so its covariance is not diagonal: that of two
    directions is -length^2/d^2. Closed forms of populations refuse it; forecasts know it exactly.

    Source: the noise of Xue et al. (2023).
    """

    noise_length: float = number(1.0, "length of the noise", 0)

    everywhere = True

    def draw(self, key: Array, n: int, other: int, dtype: Any) -> Array:
        """Noise [n, other]."""
        place = jax.random.randint(key, (n,), 0, other, dtype=jnp.int32)
        return jax.nn.one_hot(place, other, dtype=dtype) * jnp.asarray(self.noise_length, dtype)

    def moments(self, other: int, dtype: Any) -> Moments:
        """Its moments."""
        mean = jnp.full(other, jnp.asarray(self.noise_length, dtype) / other)
        return Moments(mean, other * mean**2, jnp.zeros(other, dtype), 1.0)

    def about(self, shared: Any, other: int, dtype: Any) -> About:
        """Moments of the views of these originals."""
        known = self.moments(other, dtype)
        return About(jnp.broadcast_to(known.mean, shared.shape), known.second, known.mean)


@noun
class Perturbed(OneHot):
    """`OneHot` noise that all views of an example keep, but for a gaussian change of limited rank.

        xi = length e_j + zeta,   zeta ~ N(0, change_length^2/r I) on the last r directions

    Source: the imperfect augmentation of Xue et al. (2023), theorem 5.4, whose change has a
    covariance of rank at most m/2.
    """

    change_length: float = number(1.0, "root of the expected squared length of the change", 0)
    change_rank: int = whole(0, "r, rank of its covariance, at most d; 0: no change")

    def views(self, key: Array, shared: Any, m: int, other: int, dtype: Any) -> Array:
        """Noise of m views of every original [n, m, other]."""
        n = shared.shape[0]
        draw = fresh_noise(key, m, lambda one: jax.random.normal(one, (n, other), jnp.float32))
        return shared[:, None] + jnp.sqrt(self._change(other, dtype)) * draw.astype(dtype)

    def _change(self, other: int, dtype: Any) -> Array:
        """Variance of the change in every direction [other]."""
        rank = jnp.asarray(self.change_rank)
        variance = jnp.asarray(self.change_length, dtype) ** 2 / jnp.maximum(rank, 1)
        return jnp.where(jnp.arange(other) >= other - rank, variance, 0).astype(dtype)

    def moments(self, other: int, dtype: Any) -> Moments:
        """Its moments."""
        plain = super().moments(other, dtype)
        return Moments(plain.mean, plain.second + self._change(other, dtype), plain.second, 0.0)

    def about(self, shared: Any, other: int, dtype: Any) -> About:
        """Moments of the views of these originals."""
        return About(shared, self._change(other, dtype), jnp.zeros(other, dtype))


NOISES = {
    "gaussian": Gaussian,
    "basis": Basis,
    "distinct_basis": DistinctBasis,
    "one_hot": OneHot,
    "perturbed": Perturbed,
}
