"""Originals, their augmented views, and test data, as pure functions of a key."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cldyn import nouns
from cldyn.checks import is_key, is_size, require
from cldyn.data.codes import balanced_codes, deal_own, each_view, iid_codes, new_codes, view_codes
from cldyn.data.model import FeatureModel, Views
from cldyn.data.rotation import directions_of, mirrors_of, rotate


def sample(
    key: Array, model: FeatureModel, n: int, m: int, *, balanced: bool = True, dtype: Any = None
) -> Views:
    """Draw m views of each of n examples.

    A view keeps the sign of feature j with probability keep_j, else redraws it, and adds its
    changes; its noise is made from its original's by the model's kind of noise. The original itself
    is never a row. Random numbers are drawn in float32 and widened, so that a key is the same
    sample in both precisions, and codes, signs, noise and rotation have keys of their own: changing
    the noise or the number of views changes no label.

    Args:
        key: a JAX key; consumed.
        model: feature model.
        n: number of examples.
        m: views of each.
        balanced: equal counts of every (class, subclass); inside such a cell the irrelevant
            patterns are dealt from a shuffled deck, a fresh one when it is used up (own features
            are dealt to all examples alike). Else iid, but for own features.
        dtype: of x, by default JAX's float.

    Returns:
        Views with x [n, m, d].

    Raises:
        ValueError: a key, model or numbers that make no sense, or n not a multiple of 4 when
            balanced.

    Example:
        >>> import jax, cldyn
        >>> views = cldyn.sample(jax.random.key(0), cldyn.FeatureModel(d=50), n=8, m=2)
        >>> int(views.label.sum())  # balanced
        0
    """
    _refuse(key, model, n, m, balanced)
    check_room(model, n, m)
    return _sample(key, model, n, m, balanced, dtype or jnp.result_type(float))


@partial(jax.jit, static_argnames=("n", "m", "balanced", "dtype"))
def _sample(key: Array, model: FeatureModel, n: int, m: int, balanced: bool, dtype: Any) -> Views:
    keys = _Keys(*jax.random.split(key, 5))
    return _views(keys, model, _originals(keys, model, n, balanced, dtype), m, dtype)


def sample_fresh(key: Array, model: FeatureModel, n: int, m: int, *, dtype: Any = None) -> Views:
    """As `sample` in law, of iid examples in unrotated directions, for batches.

    Args and returns: as `sample`.
    """
    dtype, model = dtype or jnp.result_type(float), replace(model, rotated=False)
    keys = _Keys(*jax.random.split(key, 5))
    codes = new_codes(keys.codes, model, n)  # own features are not dealt
    noise = model.noise.new(keys.noise, n, m, model.other, dtype)
    x = _together(model, _signal(keys.keeps, model, codes, m, dtype), noise)
    return _as_views(x, codes, directions_of(model, None, dtype))


class _Keys(NamedTuple):
    """Keys of the parts of a sample."""

    codes: Array
    keeps: Array
    noise: Array
    rotation: Array
    test: Array


class Originals(NamedTuple):
    """Examples before augmentation.

    codes: signs [n, K].
    noise: what the model's kind of noise keeps of theirs, leaves [n, ...].
    directions: v_j of named features [named, d].
    mirrors: of the rotation, None where there is none.
    """

    codes: Array
    noise: Any
    directions: Array
    mirrors: Array | None


def originals(
    key: Array, model: FeatureModel, n: int, *, balanced: bool = True, dtype: Any = None
) -> Originals:
    """The examples whose views `sample` returns for this key. Args and errors: as there."""
    _refuse(key, model, n, 1, balanced)
    dtype = dtype or jnp.result_type(float)
    return _originals(_Keys(*jax.random.split(key, 5)), model, n, balanced, dtype)


def _originals(keys: _Keys, model: FeatureModel, n: int, balanced: bool, dtype: Any) -> Originals:
    draw = balanced_codes if balanced else iid_codes
    shared_key = jax.random.split(keys.noise, 3)[0]
    noise = model.noise.kept(shared_key, n, model.other, dtype)
    mirrors = mirrors_of(keys.rotation, model, dtype)
    codes = draw(keys.codes, model, n)
    if model.irrelevant == "own":
        codes = deal_own(jax.random.fold_in(keys.codes, n), model, codes)
    return Originals(codes, noise, directions_of(model, mirrors, dtype), mirrors)


def augment(
    key: Array, model: FeatureModel, given: Originals, m: int, *, dtype: Any = None
) -> Array:
    """Fresh views of originals [n, m, d].

    Args:
        key: consumed.
        model: feature model.
        given: from `originals`.
        m: views of each.
        dtype: of the views.
    """
    keep_key, noise_key = jax.random.split(key)
    return _augment(keep_key, noise_key, model, given, m, dtype or jnp.result_type(float))


def _views(keys: _Keys, model: FeatureModel, first: Originals, m: int, dtype: Any) -> Views:
    """m views of the originals of the same keys."""
    x = _augment(keys.keeps, keys.noise, model, first, m, dtype)
    return _as_views(x, first.codes, first.directions)


def _as_views(x: Array, codes: Array, directions: Array) -> Views:
    return Views(x, codes[:, 0], codes[:, 1], codes[:, 2:], directions)


def _augment(
    keep_key: Array, noise_key: Array, model: FeatureModel, given: Originals, m: int, dtype: Any
) -> Array:
    """Rotated views [n, m, d]."""
    signal = _signal(keep_key, model, given.codes, m, dtype)
    noise = model.noise.views(noise_key, given.noise, m, model.other, dtype)
    return rotate(given.mirrors, _together(model, signal, noise))


def _signal(key: Array, model: FeatureModel, codes: Array, m: int, dtype: Any) -> Array:
    """Features [n, m, K] of m views of examples with these codes [n, K]."""
    if model.still:
        features = model.means(dtype) + model.strengths(dtype) * codes.astype(dtype)
        return jnp.broadcast_to(features[:, None], (len(codes), m, model.features))
    kept = each_view(key, m, lambda one: view_codes(one, model, codes))
    signal = model.means(dtype) + model.strengths(dtype) * kept.astype(dtype)
    # No key of `each_view` is this one: their views count from 0.
    changed = jax.random.normal(jax.random.fold_in(key, 2**16), (m, len(codes), 2), jnp.float32)
    change = model.changes(dtype)[:2] * jnp.swapaxes(changed, 0, 1).astype(dtype)
    return signal.at[..., :2].add(change)


def _together(model: FeatureModel, signal: Array, noise: Array) -> Array:
    """Coordinates [..., d] of features [..., K] and of the noise, beside or on top of them."""
    if model.noise.everywhere:
        return noise.at[..., : model.features].add(signal)
    return jnp.concatenate([signal, noise], axis=-1)


class MeanViews(NamedTuple):
    """All views of every original.

    mean: of each [n, d]. spread, less: their mean covariance about it is
    diag(spread) - less less^T, each [d]. rotate: x [..., d] -> x; the others are before it.
    """

    mean: Array
    spread: Array
    less: Array
    rotate: Callable[[Array], Array]


def mean_views(model: FeatureModel, given: Originals, *, dtype: Any = None) -> MeanViews:
    """Mean of all views of every original, and their mean covariance about it.

        E[z_j | s] = mu_j + keep_j phi_j s_j;   noise: `about` of its kind

    Args:
        model: feature model.
        given: from `originals`.
        dtype: of the results.

    Returns:
        MeanViews.

    Source: derived here. A redrawn sign has mean zero. Second moments of features about the mean
    are diagonal: features of a view are independent given the original, a sparse one is on one
    coordinate, whether kept or redrawn.
    """
    dtype = dtype or jnp.result_type(float)
    codes, strengths, keeps = given.codes.astype(dtype), model.strengths(dtype), model.keeps(dtype)
    noise = model.noise.about(given.noise, model.other, dtype)
    kept = keeps * strengths * codes
    # E z^2 - mu^2 is keep phi^2 s^2 + (1 - keep) var + change^2: a dense sign is never 0, a sparse
    # one mostly.
    second = keeps * strengths**2 * jnp.mean(codes**2, axis=0) + model.changes(dtype) ** 2
    second += (1 - keeps) * model.original_variances(dtype)
    spread = second - jnp.mean(kept**2, axis=0)
    return MeanViews(
        _together(model, model.means(dtype) + kept, noise.mean),
        _together(model, spread, noise.spread),
        _together(model, jnp.zeros_like(spread), noise.less),
        partial(rotate, given.mirrors),
    )


def sample_test(
    key: Array, model: FeatureModel, n: int, *, balanced: bool = False, dtype: Any = None
) -> Views:
    """Fresh originals without augmentation, in the directions of `sample(key, ...)`.

    Class and subclass of iid ones go together by chance, so that a gap between means of one is a
    part, of order 1/sqrt(n), of the gap of the other. Balanced ones have no such floor.

    Args:
        key: the key of the training sample; a part of it is used that training does not use.
        model: feature model.
        n: number of originals. Directions of basis noise are drawn with replacement.
        balanced: as of `sample`, else iid.
        dtype: of x, by default JAX's float.

    Returns:
        Views with x [n, 1, d].

    Raises:
        ValueError: as `sample`.

    Example:
        >>> import jax, cldyn
        >>> cldyn.sample_test(jax.random.key(0), cldyn.FeatureModel(d=50), 10).x.shape
        (10, 1, 50)
    """
    _refuse(key, model, n, 1, balanced)
    return _sample_test(key, model, n, balanced, dtype or jnp.result_type(float))


@partial(jax.jit, static_argnames=("n", "balanced", "dtype"))
def _sample_test(key: Array, model: FeatureModel, n: int, balanced: bool, dtype: Any) -> Views:
    keys = _Keys(*jax.random.split(key, 5))
    codes_key, noise_key = jax.random.split(keys.test)
    codes = (balanced_codes if balanced else iid_codes)(codes_key, model, n)
    signal = model.means(dtype) + model.strengths(dtype) * codes.astype(dtype)
    shared = model.noise.originals(noise_key, n, model.other, dtype)
    noise = model.noise.vectors(shared, model.other, dtype)
    mirrors = mirrors_of(keys.rotation, model, dtype)
    x = rotate(mirrors, _together(model, signal, noise))
    return _as_views(x[:, None], codes, directions_of(model, mirrors, dtype))


def _refuse(key: Array, model: FeatureModel, n: int, m: int, balanced: bool) -> None:
    require(isinstance(model, FeatureModel), "model", model, "a cldyn.FeatureModel")
    require(isinstance(key, jax.core.Tracer) or is_key(key), "key", key, "a key of jax.random.key")
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(model)):
        nouns.check(model, "float64")
    check_sizes(n, m, balanced)


def check_sizes(n: Any, m: Any, balanced: bool, named: str = "n") -> None:
    """Refuse unless there can be n examples of m views; named: the field that says n."""
    for name, value in ((named, n), ("m", m)):
        require(is_size(value), name, value, "a whole number >= 1")
    require(isinstance(balanced, bool), "balanced", balanced, "True or False")
    allowed = "a multiple of 4 when balanced (equal counts of every class and subclass)"
    require(not balanced or n % 4 == 0, named, n, allowed)


def check_room(model: FeatureModel, n: int, m: int) -> None:
    """Refuse more rows than directions where every row needs one of its own."""
    allowed = f"another kind for {n * m} rows, more than its {model.other} directions"
    require(model.noise.room(n * m, model.other), "noise", model.noise, allowed)
