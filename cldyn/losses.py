"""Contrastive losses, who is positive to whom, and the spectral loss in closed form.

A loss is a noun with `__call__(embeddings [N, p], pairs)`, N = b m rows ordered by unit: m views of
each of b units. `pairs.positive` and `pairs.negative` are its pair weights [N, N].
"""

from typing import Any, NamedTuple

import jax
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


@noun
class Spectral:
    """Spectral contrastive loss.

        L = -2 sum_ij positive_ij f_i.f_j + sum_ij negative_ij (f_i.f_j)^2

    With sums over units, not pairs, it costs b (p^2 + m^2 p). For a linear encoder it depends on
    second moments alone, and its gradient on a batch is an unbiased one.

    Source: HaoChen, Wei, Gaidon and Ma (2021), unclipped, at scale 1, with free pair weights.
    """

    by_moments = True

    def __call__(self, embeddings: Array, pairs: Pairs) -> Array:
        """The loss of embeddings [N, p]."""
        m = pairs.within.shape[0]
        f = embeddings.reshape(-1, m, embeddings.shape[-1])
        within = pairs.within.astype(f.dtype)
        gram = jnp.einsum("aup,avp->auv", f, f)
        alone = jnp.sum(within * gram, axis=(1, 2))
        mean = f.mean(axis=1)
        classes, weight = pairs.member @ mean, jnp.sum(pairs.member**2, axis=0)
        others = jnp.sum(classes**2) - weight @ jnp.sum(mean**2, axis=1)
        by_class = pairs.different * others + pairs.same * (weight @ alone)
        squares = jnp.sum((embeddings.T @ embeddings) ** 2) - jnp.sum(gram**2)
        negative = pairs.different * squares / m**2 + pairs.same * jnp.sum(within * gram**2)
        return -2 * mix(pairs.positives, by_class, jnp.mean(alone)) + negative

    def slope(self, columns: Array, pairs: Pairs) -> Array:
        """Its gradient, as `slope` of this module; a third of the time of differentiation.

            4 [d S f/m^2 - F_a (d G_a/m^2) - share d (C^T c_a - w_a mean_a)/m + F_a (unit's own)]

        S = sum f f^T, F_a the views of a unit, G_a = F_a^T F_a, C the sums of classes.
        """
        m, b = pairs.within.shape[0], pairs.member.shape[1]
        views = [columns[:, u * b : (u + 1) * b] for u in range(m)]
        within, member, apart = pairs.within.astype(columns.dtype), pairs.member, pairs.different
        weight = jnp.sum(member**2, axis=0)
        share = mix(pairs.positives, 1.0, 0.0)
        shared = apart / m**2 * (columns @ columns.T @ columns)
        others = jnp.zeros((), columns.dtype)
        if pairs.positives.by_class:
            mean = sum(views[1:], views[0]) / m
            others = share * apart / m * ((member @ mean.T).T @ member - mean * weight)
        pull = share * pairs.same * weight + (1 - share) / b
        # Written out, since axes of two or three are slow; sums by a product, which is done once.
        both = [(u, v) for u in range(m) for v in range(u, m)]
        dots = jnp.ones(len(columns), columns.dtype) @ jnp.concatenate(
            [views[u] * views[v] for u, v in both], axis=1
        )
        gram = {pair: dots[i * b : (i + 1) * b] for i, pair in enumerate(both)}
        parts = []
        for u in range(m):
            alone = [
                (within[u, v] * pairs.same - apart / m**2) * gram[min(u, v), max(u, v)]
                - within[u, v] * pull
                for v in range(m)
            ]
            own = sum((views[v] * alone[v] for v in range(1, m)), views[0] * alone[0])
            parts.append(shared[:, u * b : (u + 1) * b] + own - others)
        return 4 * jnp.concatenate(parts, axis=1)


def slope(loss: Any, columns: Array, pairs: Pairs) -> Array:
    """Gradient of a loss in embeddings, by its own `slope`, if it has one.

    Args:
        loss: a noun.
        columns: embeddings [p, m b], all first views, then all second ones and so on.
        pairs: of b units with m views.

    Returns:
        [p, m b].
    """
    known = getattr(loss, "slope", None)
    if known:
        return known(columns, pairs)
    shape = len(columns), pairs.within.shape[0], pairs.member.shape[1]
    rows = jnp.transpose(columns.reshape(shape), (2, 1, 0))  # by unit, as a loss takes them
    found = jax.grad(loss)(rows.reshape(-1, len(columns)), pairs).reshape(rows.shape)
    return jnp.transpose(found, (2, 1, 0)).reshape(columns.shape)


@noun
class InfoNce:
    """InfoNCE of cosines with every positive outside of the logarithm, a row never with itself.

        L = -sum_ij positive_ij ln(exp(s_ij/tau)/sum_(k != i) exp(s_ik/tau))/sum_ij positive_ij

    With supervised positives of equal classes it is the mean L_out of SupCon over the rows; a row
    without positives counts for nothing.
    On batches it is the loss of the batch, whose gradient is no unbiased estimate of the whole's.

    Source: van den Oord, Li and Vinyals (2018); Khosla et al. (2020), equation 2.
    """

    temperature: float = number(0.5, "tau, what cosines are divided by", 0, above=True)

    def __call__(self, embeddings: Array, pairs: Pairs) -> Array:
        """The loss of embeddings [N, p]."""
        length = jnp.sum(embeddings**2, axis=1, keepdims=True)
        unit = embeddings / jnp.sqrt(jnp.where(length > 0, length, 1))
        itself = jnp.eye(len(unit), dtype=bool)
        cosines = jnp.where(itself, -jnp.inf, unit @ unit.T / self.temperature)
        share = cosines - jax.nn.logsumexp(cosines, axis=1, keepdims=True)
        weight = jnp.where(itself, 0, pairs.positive)
        total = jnp.sum(weight)
        apart = jnp.sum(weight * jnp.where(itself, 0, share))
        return -apart / jnp.where(total > 0, total, 1)


LOSSES = {"spectral": Spectral, "info_nce": InfoNce}


def spectral(embeddings: Array, positive: Array, negative: Array) -> Array:
    """Spectral contrastive loss of any pair weights, by their matrices.

        L = -2 sum_ij positive_ij f_i.f_j + sum_ij negative_ij (f_i.f_j)^2

    Args:
        embeddings: [N, p].
        positive: pair weights [N, N], self-pairs included.
        negative: pair weights [N, N].

    Returns:
        Scalar.

    Source: as `Spectral`.
    """
    similarity = embeddings @ embeddings.T
    return -2 * jnp.sum(positive * similarity) + jnp.sum(negative * similarity**2)


def spectral_in_frame(w: Array, second: Array, factor: Array) -> Array:
    """Spectral loss of a linear encoder from its moments.

        L(w) = -2 |w C^T|^2 + |w M w^T|^2,   M = diag(second), P = C^T C

    Args:
        w: encoder in the frame [p, r].
        second: M [r].
        factor: C [q, r].

    Returns:
        Scalar.

    Source: derived here. With f = W x both sums of `spectral` are moments: E f.f+ = tr W P W^T and,
    since the two negatives are independent, E (f.f-)^2 = |W M W^T|^2.
    """
    return -2 * jnp.sum((w @ factor.T) ** 2) + jnp.sum(((w * second) @ w.T) ** 2)


def spectral_gradient(w: Array, second: Array, factor: Array) -> Array:
    """Gradient of `spectral_in_frame`: 4 ((w M w^T) w M - (w C^T) C).

    Args and source: as there. Returns: [p, r].
    """
    weighted = w * second
    return 4 * ((weighted @ w.T) @ weighted - (w @ factor.T) @ factor)
