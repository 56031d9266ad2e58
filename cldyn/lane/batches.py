"""What minibatches are drawn from, and how."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cldyn import data, losses, moments
from cldyn.experiment import Problem, Training, units


class Source(NamedTuple):
    """What batches of a problem are drawn from. key: of their draws. x: stored units [N, m, r or D]. originals: examples whose views are fresh.
    member: classes of the units [classes, N], each entry sqrt(N/N_c). problem: where views, or views and examples, are fresh."""

    key: Array
    x: Array | None = None
    originals: data.Originals | None = None
    member: Array | None = None
    problem: Problem | None = None


class Batch(NamedTuple):
    """x: [b, m, r or D]. The others are arguments of `losses.spectral_of_batch`."""

    x: Array
    member: Array
    within: Array
    different: float
    same: float


def source(problem: Problem, training: Training, views: data.Views | None, originals: data.Originals | None, basis: Array | None) -> Source:
    """The source of batches.

    Args:
        views: stored ones. originals: those of fresh views; neither for a population. basis: coordinates of stored units, None as they are.
    """
    # No sampling key of the data is this one, even where seed and data_seed agree: `sample` splits its key in five.
    key = jax.random.fold_in(jax.random.key(training.seed), 2**16)
    count, m = units(problem, training.loss)
    if originals:
        member = _member(data.membership(originals.codes[:, 0], (-1, 1), jnp.dtype(problem.precision)))
        return Source(key, originals=originals, member=member, problem=problem)
    if not views:
        return Source(key, problem=problem)
    x = moments.append_one(jnp.asarray(views.x), problem.bias)
    member = _member(data.membership(views.label, views.classes, x.dtype))
    x = x if basis is None else x @ basis
    each = views.x.shape[1] // m  # rows are units of their own for scl
    return Source(key, x.reshape(count, m, -1), member=jnp.repeat(member, each, axis=1))


def _member(classes: Array) -> Array:
    """One-hot classes of all units as sqrt(N/N_c)."""
    return classes.shape[1] * moments.class_means(classes)


def draw(source: Source, training: Training, key: Array, step: Array) -> Batch:
    """The batch of a step, whose key is for it alone."""
    if source.member is None:
        return _fresh(source.problem, training.batch_size, key)  # type: ignore[arg-type]
    chosen = choose(training, source.key, key, step, source.member.shape[1])
    return take(source, training, chosen, jax.random.fold_in(key, 1))


def choose(training: Training, root: Array, key: Array, step: Array, count: int) -> Array:
    """Units of a step [b], of `count`. root, key: of all steps, of this one."""
    b = training.batch_size
    if training.batch == "iid":
        return jax.random.randint(key, (b,), 0, count, dtype=jnp.int32)
    if training.batch == "subset":
        return jax.lax.top_k(jax.random.uniform(key, (count,), jnp.float32), b)[1]
    turns = count // b  # of an epoch
    order = jnp.argsort(jax.random.uniform(jax.random.fold_in(root, step // turns), (count,), jnp.float32))
    return jax.lax.dynamic_slice(order, (step % turns * b,), (b,))


def take(source: Source, training: Training, chosen: Array, key: Array) -> Batch:
    """The batch of chosen units [b], with stored views or fresh ones from the key."""
    b, count = training.batch_size, source.member.shape[1]  # type: ignore[union-attr]
    different, same = (count - 1) / (count * b * (b - 1)), 1 / (count * b)
    if training.batch == "iid":  # a unit may meet its copy, and does as often as in all pairs
        different, same = 1 / (b * (b - 1)), 0.0
    if source.x is not None:
        x, fresh = source.x[chosen], False
    else:
        x, fresh = _fresh_views(source, chosen, key), True
    return Batch(x, source.member[:, chosen], _within(x.shape[1], fresh), different, same)  # type: ignore[index]


def _fresh_views(source: Source, chosen: Array, key: Array) -> Array:
    problem, given = source.problem, source.originals
    noise = jax.tree.map(lambda leaf: leaf[chosen], given.noise)  # type: ignore[union-attr]
    given = given._replace(codes=given.codes[chosen], noise=noise)  # type: ignore[union-attr]
    x = data.augment(key, problem.data, given, problem.m, dtype=jnp.dtype(problem.precision))  # type: ignore[union-attr,arg-type]
    return moments.append_one(x, problem.bias)  # type: ignore[union-attr]


def _fresh(problem: Problem, b: int, key: Array) -> Batch:
    """b new examples, in the coordinates of `moments.population`; either class has half of all examples there are."""
    dtype = jnp.dtype(problem.precision)
    views = data.sample_fresh(key, problem.data, b, problem.m, dtype=dtype)  # type: ignore[arg-type]
    member = jnp.sqrt(2.0).astype(dtype) * data.membership(views.label, views.classes, dtype)
    return Batch(moments.append_one(views.x, problem.bias), member, _within(problem.m, True), 1 / (b * (b - 1)), 0.0)


def _within(m: int, fresh: bool) -> Array:
    """Weights of the views of one unit: all there are, or a sample of them, in which no view meets itself."""
    if not fresh:
        return jnp.full((m, m), 1 / m**2)
    return (1 - jnp.eye(m)) / max(m * (m - 1), 1)


def slope(batch: Batch, training: Training, w: Array) -> Array:
    """Gradient of the batch's loss with respect to w [p, r or D]."""
    share = {"scl": 1.0, "ucl": 0.0, "joint": training.beta}[training.loss]
    wide = batch.x.shape[-1]

    def loss(embeddings: Array) -> Array:
        return losses.spectral_of_batch(embeddings, batch.member, batch.within.astype(w.dtype), batch.different, batch.same, share)

    pull = jax.grad(loss)(batch.x @ w.T)
    return pull.reshape(-1, w.shape[0]).T @ batch.x.reshape(-1, wide)
