"""The feature model, and what numbers make sense in it."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cldyn.checks import require
from cldyn.data.basis import NOISES
from cldyn.data.noise import Gaussian, Noise
from cldyn.fields import choice, flag, internal, number, numbers, part, size
from cldyn.nouns import noun

_STRENGTH = "phi_j >= 0, half the distance between the two values of the feature"
_MEAN = "mu_j, the mean of the feature"
_KEEP = "probability that a view keeps the sign of its original, else it redraws it uniformly"
_CHANGE = "standard deviation of what every view adds to the coordinate"


@noun
class FeatureModel:
    """Inputs made of orthonormal features plus noise.

        x = sum_j (mean_j + strength_j s_j) v_j + xi

    Feature 1 is the class, 2 the subclass, 3 ... K are irrelevant. `s_1`, `s_2` are independent
    uniform signs; dense irrelevant features are too, sparse ones have exactly one (uniform, with a
    uniform sign) active in an example, mean zero and one keep probability. Own ones are sparse, of
    one strength on `own_count` directions, and dealt: no two stored examples have the same one
    before all are used up. Measures and figures leave them unnamed.

    Source: the data model of Xue et al. (2023): sparse features, of means only the subclass's,
    noise `OneHot`; own features and changes are those of their theorem 5.4. Dense features, other
    means, keep probabilities and other noise are this project's.

    Example:
        >>> import jax, cldyn
        >>> model = cldyn.FeatureModel(d=50, irrelevant_strength=(2.0,), noise=cldyn.Gaussian(0.5))
        >>> cldyn.sample(jax.random.key(0), model, n=8, m=2).x.shape
        (8, 2, 50)
    """

    d: int = size(1000, "input dimension, above the number of features K")
    class_strength: float = number(1.0, _STRENGTH, 0)
    subclass_strength: float = number(1.0, _STRENGTH, 0)
    irrelevant_strength: tuple[float, ...] = numbers("phi_j of every irrelevant feature", 0)
    class_mean: float = number(0.0, _MEAN)
    subclass_mean: float = number(1.0, _MEAN)
    irrelevant_mean: tuple[float, ...] = numbers("mu_j of every irrelevant feature; empty: zero")
    class_keep: float = number(1.0, _KEEP, 0, 1)
    subclass_keep: float = number(1.0, _KEEP, 0, 1)
    irrelevant_keep: tuple[float, ...] = numbers("the same of irrelevant features; empty: 1", 0, 1)
    class_change: float = number(0.0, _CHANGE, 0)
    subclass_change: float = number(0.0, _CHANGE, 0)
    irrelevant: str = choice("dense", "how irrelevant features occur", "dense", "sparse", "own")
    own_count: int = size(0, "directions of own irrelevant features; 0: there are none", 0)
    noise: Any = part(Gaussian(), "kind of noise", NOISES)
    rotated: bool = flag(False, "turn named features to uniformly random orthonormal directions")
    still: bool = internal(False)  # whether views surely have the features of their originals

    @property
    def features(self) -> int:
        """K, the number of features."""
        return 2 + (self.own_count or len(self.irrelevant_strength))

    @property
    def named(self) -> int:
        """How many features are observed each by itself: all but own ones."""
        return 2 if self.own_count else self.features

    @property
    def other(self) -> int:
        """The number of directions that the noise lives on."""
        return self.d if self.noise.everywhere else self.d - self.features

    def strengths(self, dtype: Any = None) -> Array:
        """phi [K]."""
        rest = self._irrelevant(self.irrelevant_strength, 0.0)
        return _stack(self.class_strength, self.subclass_strength, rest, dtype)

    def means(self, dtype: Any = None) -> Array:
        """mu [K]."""
        rest = self._irrelevant(self.irrelevant_mean, 0.0)
        return _stack(self.class_mean, self.subclass_mean, rest, dtype)

    def keeps(self, dtype: Any = None) -> Array:
        """keep [K]."""
        rest = self._irrelevant(self.irrelevant_keep, 1.0)
        return _stack(self.class_keep, self.subclass_keep, rest, dtype)

    def changes(self, dtype: Any = None) -> Array:
        """Standard deviation of what a view adds to every feature [K]."""
        rest = self._irrelevant((), 0.0)
        return _stack(self.class_change, self.subclass_change, rest, dtype)

    def original_variances(self, dtype: Any = None) -> Array:
        """Variance of every feature of an original [K]: phi_j^2, over K - 2 for a sparse one."""
        share = jnp.ones(self.features, dtype)
        if self.irrelevant != "dense":
            share = share.at[2:].set(1 / max(self.features - 2, 1))
        return self.strengths(dtype) ** 2 * share

    def variances(self, dtype: Any = None) -> Array:
        """Variance of every feature of a view [K]."""
        return self.original_variances(dtype) + self.changes(dtype) ** 2

    def shared_variances(self, dtype: Any = None) -> Array:
        """Covariance of every feature between two views of an example [K]."""
        return self.keeps(dtype) ** 2 * self.original_variances(dtype)

    def _irrelevant(self, given: tuple[float, ...], default: float) -> Array | tuple[float, ...]:
        """Numbers of all irrelevant features; own ones share one."""
        if self.own_count:
            return jnp.broadcast_to(jnp.asarray(given[0] if given else default), self.own_count)
        return given or (default,) * len(self.irrelevant_strength)

    def check(self) -> None:
        """Refuse numbers that do not fit each other."""
        count = len(self.irrelevant_strength)
        require(self.d > self.features, "d", self.d, f"a whole number above K = {self.features}")
        for name in ("irrelevant_mean", "irrelevant_keep"):
            values = getattr(self, name)
            allowed = f"no number or one for each of {count} irrelevant features"
            require(len(values) in (0, count), name, values, allowed)
        require(isinstance(self.noise, Noise), "noise", self.noise, "a noun made from cldyn.Noise")
        rank, allowed = getattr(self.noise, "change_rank", 0), f"at most {self.d}, of d directions"
        require(rank <= self.d, "change_rank", rank, allowed)
        if self.irrelevant != "dense":
            keeps, means = self.irrelevant_keep, self.irrelevant_mean
            allowed = "'dense' where there is no irrelevant feature"
            require(count > 0, "irrelevant", self.irrelevant, allowed)
            require(not np.any(means), "irrelevant_mean", means, "zero for sparse features")
            allowed = "one probability shared by sparse features"
            require(len(set(keeps)) <= 1, "irrelevant_keep", keeps, allowed)
        own = self.irrelevant == "own"
        allowed = "at least 1 where irrelevant features are own ones, and 0 where not"
        require(own == (self.own_count > 0), "own_count", self.own_count, allowed)
        allowed = "one number, of all own features"
        strengths = self.irrelevant_strength
        require(not own or count == 1, "irrelevant_strength", strengths, allowed)


def _stack(first: Any, second: Any, rest: Any, dtype: Any) -> Array:
    kind = dtype or jnp.result_type(float)
    if isinstance(rest, Array):
        return jnp.concatenate([_stack(first, second, (), dtype), rest.astype(kind)])
    return jnp.stack([jnp.asarray(value, kind) for value in (first, second, *rest)])


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Views:
    """Augmented views of n examples, m of each.

    Args:
        x: views [n, m, d].
        label: class of every example [n], -1 or +1 in a feature model.
        subclass: subclass of every example [n].
        irrelevant: signs of the irrelevant features [n, K-2], 0 where a sparse one is absent.
        directions: directions v_j of the named features [named, d].
    """

    x: Any
    label: Any
    subclass: Any
    irrelevant: Any
    directions: Any


def membership(code: Any, groups: tuple[int, ...], dtype: Any) -> Array:
    """One-hot groups of codes [n], as [groups, n]."""
    return (jnp.asarray(code)[None] == jnp.array(groups)[:, None]).astype(dtype)


def contrasts(rows: Array, member: Array) -> Array:
    """Differences between the means of every two groups.

    Args:
        rows: [N, p].
        member: one-hot groups [groups, N].

    Returns:
        [pairs, p]; NaN where a group is empty.
    """
    centres = member @ rows / member.sum(axis=1, keepdims=True)
    first, second = np.triu_indices(member.shape[0], 1)
    return centres[first] - centres[second]
