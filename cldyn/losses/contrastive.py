"""InfoNCE and SupCon, and one loss by class beside another by view."""

from collections.abc import Callable
from functools import partial
from itertools import combinations
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.checks import require
from cldyn.fields import choice, number, part
from cldyn.losses.columns import columns_of
from cldyn.losses.pairs import Pairs, Supervised, Unsupervised, mix
from cldyn.losses.spectral import CappedSpectral, Spectral
from cldyn.nouns import noun

_TAU = "tau, what similarities are divided by"


@noun
class InfoNce:
    """InfoNCE, with every positive outside of the logarithm and a row never with itself.

        L = -mean_i mean_(j in P(i)) ln(exp(s_ij/tau)/sum_(k in A(i)) exp(s_ik/tau))

    A(i), whom row i is compared with, are all other rows of the batch, positives too; by cross_view
    the rows of other views alone, in all directions, as of CLIP and of published RandBit code.
    P(i) are the positives among them: rows of its class (scl), other views of its unit (ucl); the
    loss of Joint(beta) is beta times that of scl and 1 - beta times that of ucl. Means are over the
    rows that have a positive, so that others are skipped.

    With ucl and two views it is SimCLR's NT-Xent, with scl SupCon's L_out, of classes of any sizes.
    A pair is positive or not, whatever it weighs: the gradient of a batch's InfoNCE or SupCon is no
    unbiased estimate of that of all rows, which the spectral loss alone has.

    Source: van den Oord, Li and Vinyals (2018); Chen, Kornblith, Norouzi and Hinton (2020),
    equation 1; Khosla et al. (2020), equation 2; cross_view: Radford et al. (2021).
    """

    temperature: float = number(0.5, _TAU, 0, above=True)
    similarity: str = choice("cosine", "s, of two embeddings", "cosine", "dot")
    negatives: str = choice("all", "rows that a row is compared with", "all", "cross_view")

    @property
    def least_views(self) -> int:
        """How many views of a unit it needs."""
        return 2 if self.negatives == "cross_view" else 1

    def __call__(self, embeddings: Array, pairs: Pairs) -> Array:
        """The loss of embeddings [N, p]."""
        z = self._compared(columns_of(embeddings, pairs))
        share, near = _positives(z, pairs, self.negatives == "cross_view")
        whole = share @ self._log_sums(z, pairs)
        return whole - jnp.sum(z * near) / self.temperature

    def _compared(self, columns: Array) -> Array:
        """What similarities are products of [p, N]; zero has a direction of length zero."""
        if self.similarity == "dot":
            return columns
        length = jnp.sum(columns**2, axis=0)
        return columns / jnp.sqrt(jnp.where(length > 0, length, 1))

    def _log_sums(self, z: Array, pairs: Pairs) -> Array:
        """ln sum_(k in A(i)) exp(s_ik/tau) of every row [N]."""
        m, b = pairs.within.shape[0], pairs.member.shape[1]
        check_views(self, m)
        if self.negatives == "all":
            scores = z.T @ z / self.temperature
            return jax.nn.logsumexp(jnp.where(jnp.eye(m * b, dtype=bool), -jnp.inf, scores), axis=1)
        views: list[list[Array]] = [[] for _ in range(m)]
        for u, v in combinations(range(m), 2):  # a block of scores serves the rows of both views
            scores = z[:, u * b : (u + 1) * b].T @ z[:, v * b : (v + 1) * b] / self.temperature
            views[u].append(jax.nn.logsumexp(scores, axis=1))
            views[v].append(jax.nn.logsumexp(scores, axis=0))
        return jnp.concatenate([jax.nn.logsumexp(jnp.stack(one), axis=0) for one in views])


def _positives(z: Array, pairs: Pairs, across: bool) -> tuple[Array, Array]:
    """Shares of rows sum_j Q_ij [N], and z Q [p, N].

        Q_ij = 1[j in P(i)]/(|P(i)| rows with a positive),   of both kinds, mixed

    Q is symmetric, and never written down: sums of classes and of units are all that it needs.

    z: [p, N], by view. across: whether rows of one view are no positives.
    """
    m, b = pairs.within.shape[0], pairs.member.shape[1]
    member, views = (pairs.member > 0).astype(z.dtype), z.reshape(-1, m, b)

    def of_class(x: Array) -> Array:
        classes = (x @ member.T) @ member
        return classes.sum(1, keepdims=True) - (classes if across else member.sum(0) * x)

    def of_unit(x: Array) -> Array:
        return x.sum(1, keepdims=True) - x

    def even(sums: Callable[[Array], Array]) -> tuple[Array, Array]:
        count = sums(jnp.ones_like(views[:1]))
        has = count > 0
        each = has / (jnp.maximum(count, 1) * jnp.maximum(has.sum(), 1))
        return (each * count).reshape(-1), (each * sums(views)).reshape(z.shape)

    return jax.tree.map(partial(mix, pairs.positives), even(of_class), even(of_unit))


@noun
class SupCon(InfoNce):
    """SupCon: `InfoNce` of supervised pairs, whatever `positives` says.

        L = -mean_i mean_(j of the class of i) ln(exp(s_ij/tau)/sum_(k != i) exp(s_ik/tau))

    So `positives` says what a batch is made of: of scl on stored views single rows, of ucl and
    joint all views of each example, which is the multiviewed batch of the paper.

    Source: Khosla et al. (2020), equation 2, L_out, and its temperature.
    """

    temperature: float = number(0.1, _TAU, 0, above=True)

    def __call__(self, embeddings: Array, pairs: Pairs) -> Array:
        """The loss of embeddings [N, p]."""
        return super().__call__(embeddings, pairs._replace(positives=Supervised()))


PARTS: dict[str, Any] = {
    "spectral": Spectral,
    "capped_spectral": CappedSpectral,
    "info_nce": InfoNce,
    "sup_con": SupCon,
}


@noun
class Both:
    """One loss of supervised pairs and another of unsupervised ones, by the share of `positives`.

        L = beta L_by_class + (1 - beta) L_by_view

    beta is the one of `Joint(beta)`; of scl or ucl it is 1 or 0. A number that both losses have, as
    two temperatures, is no axis, and is set with its loss:
    `experiment.replace(by_class=SupCon(0.1), by_view=InfoNce(0.5))`.

    Source: as of its losses.
    """

    by_class: Any = part(SupCon(), "loss of supervised pairs", PARTS)
    by_view: Any = part(InfoNce(), "loss of unsupervised pairs", PARTS)

    @property
    def least_views(self) -> int:
        """How many views of a unit it needs."""
        return max(getattr(one, "least_views", 1) for one in (self.by_class, self.by_view))

    def check(self) -> None:
        """Refuse a loss that is no function of embeddings and pairs."""
        for name, one in (("by_class", self.by_class), ("by_view", self.by_view)):
            require(callable(one), name, one, f"one of {', '.join(PARTS)}, or your own")

    def __call__(self, embeddings: Array, pairs: Pairs) -> Array:
        """The loss of embeddings [N, p]."""
        by_class = self.by_class(embeddings, pairs._replace(positives=Supervised()))
        by_view = self.by_view(embeddings, pairs._replace(positives=Unsupervised()))
        return mix(pairs.positives, by_class, by_view)


LOSSES: dict[str, Any] = {**PARTS, "both": Both}


def check_views(loss: Any, m: int) -> None:
    """Refuse units of m views where a loss needs more."""
    allowed = "'all' where batches are of single views, as for scl on stored ones (joint: of all)"
    require(m >= getattr(loss, "least_views", 1), "negatives", "cross_view", allowed)
