"""What a source draws, and the units that batches are made of."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cldyn import data, moments
from cldyn.data import contrasts, membership
from cldyn.losses import Pairs

SIGNS = (-1, 1)  # classes and subclasses of a feature model


class Rows(NamedTuple):
    """Labelled inputs. x: [N, d]. classes, subclasses: one-hot [groups, N]."""

    x: Array
    classes: Array
    subclasses: Array


class Drawn(NamedTuple):
    """What a source has drawn.

    x: training views [n, m, d], None where none are stored.
    member, submember: one-hot classes and subclasses of the examples [groups, n], or None.
    originals: examples whose views are fresh, or None.
    directions: named feature directions [named, d]; no rows where none are known.
    gaps: differences of class means and of subclass means {name: [pairs, d]}.
    test: test rows, None where nobody asked for them.
    plain: images as they are, which probes are fitted on; None: that is done on the views.
    """

    x: Any
    member: Any
    submember: Any
    originals: Any
    directions: Array
    gaps: dict[str, Array]
    test: Rows | None = None
    plain: Rows | None = None

    def train(self) -> Rows | None:
        """Training rows."""
        if self.plain is not None:
            return self.plain
        if self.x is None or self.member is None or self.submember is None:
            return None
        m = self.x.shape[1]
        groups = (jnp.repeat(one, m, axis=1) for one in (self.member, self.submember))
        return Rows(self.x.reshape(-1, self.x.shape[2]), *groups)


class Batch(NamedTuple):
    """x: [b, m, d or r]. pairs: who is positive to whom."""

    x: Array
    pairs: Pairs

    def rows(self) -> Array:
        """All first views, then all second ones and so on [m b, d or r]."""
        return jnp.swapaxes(self.x, 0, 1).reshape(-1, self.x.shape[-1])


class StoredUnits(NamedTuple):
    """Units [N, m, d or r] with classes [classes, N], entries sqrt(N/N_c). key: of all draws."""

    key: Array
    x: Array
    member: Array

    def draw(self, training: Any, key: Array, step: Array) -> Batch:
        """The batch of a step, whose key is for it alone; everything where batches are full."""
        if not training.batch.draws:
            return self.everything(training.positives)
        count = self.member.shape[1]
        chosen = training.batch.choose(self.key, key, step, count)
        apart, alone = training.batch.weights(count)
        member = self.member[:, chosen]
        pairs = Pairs(member, self._within(), apart, alone, training.positives)
        return Batch(self.x[chosen], pairs)

    def everything(self, positives: Any) -> Batch:
        """All units and all their pairs."""
        alike = 1 / self.member.shape[1] ** 2
        return Batch(self.x, Pairs(self.member, self._within(), alike, alike, positives))

    def _within(self) -> Array:
        m = self.x.shape[1]
        return jnp.full((m, m), 1 / m**2)


class FreshUnits(NamedTuple):
    """Examples [N] whose views are drawn anew. member: as of `StoredUnits`."""

    key: Array
    source: Any
    originals: Any
    member: Array

    def draw(self, training: Any, key: Array, step: Array) -> Batch:
        """The batch of a step, whose key is for it alone."""
        count, dtype = self.member.shape[1], self.member.dtype
        chosen = training.batch.choose(self.key, key, step, count)
        x = self.source.views(self.originals, chosen, jax.random.fold_in(key, 1), dtype)
        within, (apart, alone) = _sampled_views(x.shape[1]), training.batch.weights(count)
        member = self.member[:, chosen]
        return Batch(x, Pairs(member, within, apart, alone, training.positives))


class NewUnits(NamedTuple):
    """New examples in every step; each class is half of the population."""

    key: Array
    source: Any
    member: Array

    def draw(self, training: Any, key: Array, step: Array) -> Batch:
        """The batch of a step, whose key is for it alone."""
        b, m, dtype = training.batch.batch_size, self.source.m, self.member.dtype
        views = data.sample_fresh(key, self.source.model, b, m, dtype=dtype)
        member = jnp.sqrt(2.0).astype(dtype) * membership(views.label, SIGNS, dtype)
        pairs = Pairs(member, _sampled_views(m), 1 / (b * (b - 1)), 0.0, training.positives)
        return Batch(views.x, pairs)


def _sampled_views(m: int) -> Array:
    """Weights of views that are a sample of all of one unit: none meets itself."""
    return (1 - jnp.eye(m)) / max(m * (m - 1), 1)


def batch_key(seed: Any) -> Array:
    """The key of all batches of a seed.

    No sampling key of the data is this one, even where seed and data_seed agree: `sample` splits
    its key in five.
    """
    return jax.random.fold_in(jax.random.key(seed), 2**16)


def unit_shape(source: Any, positives: Any) -> tuple[int, int]:
    """How many units there are, and views of each: rows for scl on stored views, else examples."""
    n, m, _ = source.shape
    rows = not positives.by_view and not source.fresh
    return (n * m, 1) if rows else (n, m)


def mean_gaps(x: Array, member: Array, submember: Array) -> dict[str, Array]:
    """Differences of class means and of subclass means of views [n, m, d], as `Drawn.gaps`."""
    rows, groups = x.reshape(-1, x.shape[-1]), {"class_gap": member, "subclass_gap": submember}
    return {
        name: contrasts(rows, jnp.repeat(one, x.shape[1], axis=1)) for name, one in groups.items()
    }


def stored_units(source: Any, drawn: Drawn, training: Any, x: Array) -> StoredUnits:
    """Stored units of views x [n, m, d or r]."""
    _, m = unit_shape(source, training.positives)
    member = jnp.repeat(weighted(drawn.member), source.shape[1] // m, axis=1)
    return StoredUnits(batch_key(training.seed), x.reshape(member.shape[1], m, -1), member)


def weighted(member: Any) -> Array:
    """One-hot classes as sqrt(N/N_c)."""
    return member.shape[1] * moments.class_means(member)
