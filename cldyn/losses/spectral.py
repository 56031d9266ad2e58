"""The spectral loss: of rows, of a linear encoder in closed form, and with a cap on norms."""

import jax.numpy as jnp
from jax import Array

from cldyn.fields import number
from cldyn.losses.pairs import Pairs, mix
from cldyn.nouns import noun


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
        """Its gradient, as `losses.slope` of any loss; a third of the time of differentiation.

            4 [d S f/m^2 - F_a (d G_a/m^2) - share d (C^T c_a - w_a mean_a)/m + F_a (unit's own)]

        S = sum f f^T, F_a the views of a unit, G_a = F_a^T F_a, C the sums of classes.
        """
        m, b = pairs.within.shape[0], pairs.member.shape[1]
        views = [columns[:, u * b : (u + 1) * b] for u in range(m)]
        within, member, apart = pairs.within.astype(columns.dtype), pairs.member, pairs.different
        weight = jnp.sum(member**2, axis=0)
        share = pairs.positives.share
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


@noun
class CappedSpectral:
    """`Spectral` of embeddings whose lengths are capped.

        L = L_spectral(g),   g_i = f_i min(1, sqrt(cap)/|f_i|)

    It is no function of second moments, whatever the encoder.

    Source: HaoChen, Wei, Gaidon and Ma (2021), section on experiments; mu there.
    """

    cap: float = number(1.0, "largest |f|^2", 0, above=True)

    def __call__(self, embeddings: Array, pairs: Pairs) -> Array:
        """The loss of embeddings [N, p]."""
        length = jnp.sum(embeddings**2, axis=1, keepdims=True)
        over = length > self.cap
        shrunk = jnp.where(over, jnp.sqrt(self.cap / jnp.where(over, length, 1)), 1)
        return Spectral()(embeddings * shrunk, pairs)


def spectral_in_frame(w: Array, second: Array, factor: Array) -> Array:
    """Spectral loss of a linear encoder from its moments.

        L(w) = -2 |w C^T|^2 + |w M w^T|^2,   M = diag(second), P = C^T C

    Args:
        w: encoder in the frame [p, r].
        second: M [r].
        factor: C [q, r].

    Returns:
        Scalar.

    Source: derived here. With f = W x both sums of `Spectral` are moments: E f.f+ = tr W P W^T and,
    since the two negatives are independent, E (f.f-)^2 = |W M W^T|^2.
    """
    return -2 * jnp.sum((w @ factor.T) ** 2) + jnp.sum(((w * second) @ w.T) ** 2)


def spectral_gradient(w: Array, second: Array, factor: Array) -> Array:
    """Gradient of `spectral_in_frame`: 4 ((w M w^T) w M - (w C^T) C).

    Args and source: as there. Returns: [p, r].
    """
    weighted = w * second
    return 4 * ((weighted @ w.T) @ weighted - (w @ factor.T) @ factor)
