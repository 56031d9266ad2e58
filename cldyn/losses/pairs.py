"""Who is positive to whom among the rows of a batch, and how much every pair counts."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from cldyn.fields import number
from cldyn.nouns import noun


@noun
class Supervised:
    """Positive pairs of one class (SCL): two draws from the rows of a class."""

    by_class, by_view, share = True, False, 1.0


@noun
class Unsupervised:
    """Positive pairs of one example (UCL): two of its views."""

    by_class, by_view, share = False, True, 0.0


@noun
class Joint:
    """Both kinds of positive pairs, beta P_scl + (1 - beta) P_ucl."""

    beta: float = number(0.5, "weight of the supervised pairs", 0, 1)
    by_class, by_view = True, True

    @property
    def share(self) -> Any:
        """beta."""
        return self.beta


POSITIVES = {"scl": Supervised, "ucl": Unsupervised, "joint": Joint}


def mix(positives: Any, by_class: Any, by_view: Any) -> Any:
    """share by_class + (1 - share) by_view: what a kind of positives makes of both kinds of pairs.

    Args:
        positives: one of `POSITIVES`.
        by_class: a quantity of supervised pairs.
        by_view: the same of unsupervised ones.

    Returns:
        Their mixture.
    """
    if not positives.by_view:
        return by_class
    if not positives.by_class:
        return by_view
    return positives.share * by_class + (1 - positives.share) * by_view


class Pairs(NamedTuple):
    """Who is positive to whom among b units with m views each, and how much every pair counts.

        positive = mix(different or same x sum_c member_ca member_cb, 1[a = b]/b) E_ab,
        negative = different or same x E_ab,   E_ab: 1/m^2 for a != b, `within` for a = b

    member: classes [classes, b], sqrt(n/n_c) for a unit of a class that has a share n_c/n, else 0.
    within: weights of the views of one unit [m, m], symmetric.
    different, same: weights of two units, and of a unit with itself.
    positives: kind of positive pairs.

    Source: derived here, after Horvitz and Thompson (1952): a batch's term over its inclusion
    probability is unbiased.
    """

    member: Array
    within: Array
    different: Any
    same: Any
    positives: Any

    @property
    def positive(self) -> Array:
        """Weights of positive pairs [N, N]."""
        one = jnp.eye(self.member.shape[1], dtype=self.member.dtype)
        shared = self.member.T @ self.member
        by_class = self._spread(shared * self.different, jnp.diag(shared) * self.same)
        by_view = self._spread(jnp.zeros_like(one), jnp.diag(one) / len(one))
        return mix(self.positives, by_class, by_view)

    @property
    def negative(self) -> Array:
        """Weights of negative pairs [N, N]."""
        b = self.member.shape[1]
        every = jnp.full((b, b), self.different, self.member.dtype)
        return self._spread(every, jnp.full(b, self.same, self.member.dtype))

    def _spread(self, apart: Array, alone: Array) -> Array:
        """Weights of pairs of units [b, b], and of units by themselves [b], as those of rows."""
        m, one = self.within.shape[0], jnp.eye(len(apart), dtype=apart.dtype)
        outer = jnp.kron(apart * (1 - one), jnp.full((m, m), 1 / m**2, apart.dtype))
        return outer + jnp.kron(jnp.diag(alone), self.within.astype(apart.dtype))


def all_pairs(member: Array, m: int, positives: Any) -> Pairs:
    """All pairs of N = n m rows, a row with itself included: the V-statistic.

        positive_ij = 1[c_i = c_j]/(n n_c m^2) (scl), 1[same example]/(n m^2) (ucl)
        negative_ij = 1/N^2

    Args:
        member: one-hot classes of the examples [classes, n].
        m: views of each; rows are ordered by example.
        positives: kind of positive pairs.

    Returns:
        Pairs.

    Source: supervised and unsupervised positives of Xue et al. (2023); the V-statistic is this
    project's convention.
    """
    n = member.shape[1]
    shares = jnp.maximum(member.mean(axis=1, keepdims=True), 1 / n)
    within = jnp.full((m, m), 1 / m**2, member.dtype)
    return Pairs(member / jnp.sqrt(shares), within, 1 / n**2, 1 / n**2, positives)
