"""Originals, their augmented views, and test data, as pure functions of a key."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array, lax

from cldyn.data.model import FeatureModel, Views, check_model, check_room, check_sizes

_LARGEST_DECK = 2**16  # irrelevant sign patterns up to this many are dealt from a written-out deck


def sample(
    key: Array, model: FeatureModel, n: int, m: int, *, balanced: bool = True, dtype: Any = None
) -> Views:
    """Draw m views of each of n examples.

    A view keeps the sign of feature j with probability keep_j, else redraws it; its noise is
    sqrt(noise_keep) xi_0 + sqrt(1 - noise_keep) xi' (gaussian), or xi_0 with probability noise_keep (basis). The
    original itself is never a row. Random numbers are drawn in float32 and widened, so that a key is the same sample
    in both precisions, and codes, signs, noise and rotation have keys of their own: changing the noise or the number
    of views changes no label.

    Args:
        key: consumed. n, m: numbers of examples and views. dtype: of x, by default JAX's float.
        balanced: equal counts of every (class, subclass); inside such a cell the irrelevant patterns are dealt from a
            shuffled deck, a fresh one when it is used up. Otherwise codes are iid.

    Returns:
        Views with x [n, m, d].

    Raises:
        ValueError: numbers of the model that make no sense, or n not a multiple of 4 when balanced.
    """
    _refuse(model, n, m, balanced)
    check_room(model, n, m)
    dtype = dtype or jnp.result_type(float)
    codes_key, keep_key, noise_key, rotation_key, _ = jax.random.split(key, 5)
    codes = _balanced_codes(codes_key, model, n) if balanced else _iid_codes(codes_key, model, n)
    kept = jnp.stack([_augment(jax.random.fold_in(keep_key, view), model, codes) for view in range(m)], axis=1)
    signal = model.means(dtype) + model.strengths(dtype) * kept.astype(dtype)
    noise = _noise(noise_key, model, n, m, dtype)
    x = jnp.concatenate([signal, noise], axis=-1)
    mirrors = _mirrors(rotation_key, model, dtype)
    directions = _rotate(mirrors, jnp.eye(model.features, model.d, dtype=dtype))
    return Views(_rotate(mirrors, x), codes[:, 0], codes[:, 1], codes[:, 2:], directions)


def sample_test(key: Array, model: FeatureModel, n: int, *, dtype: Any = None) -> Views:
    """Fresh originals, iid and without augmentation, in the directions of `sample(key, ...)` but with a key of their own.

    Args:
        key: the key of the training sample; the test sample uses a part of it that training does not.
        n: number of originals. Directions of basis noise are drawn with replacement, also "distinct_basis".

    Returns:
        Views with x [n, 1, d].

    Raises:
        ValueError: as `sample`.
    """
    _refuse(model, n, 1, False)
    dtype = dtype or jnp.result_type(float)
    _, _, _, rotation_key, test_key = jax.random.split(key, 5)
    codes_key, noise_key = jax.random.split(test_key)
    codes = _iid_codes(codes_key, model, n)
    signal = model.means(dtype) + model.strengths(dtype) * codes.astype(dtype)
    if model.noise_kind == "gaussian":
        noise = _gaussian(noise_key, model, n, dtype)
    else:
        noise = _basis_vectors(model, *_draw_basis(noise_key, model, (n,)), dtype)
    mirrors = _mirrors(rotation_key, model, dtype)
    directions = _rotate(mirrors, jnp.eye(model.features, model.d, dtype=dtype))
    x = _rotate(mirrors, jnp.concatenate([signal, noise], axis=-1))
    return Views(x[:, None], codes[:, 0], codes[:, 1], codes[:, 2:], directions)


def _refuse(model: FeatureModel, n: int, m: int, balanced: bool) -> None:
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(model)):
        check_model(model)
    check_sizes(n, m, balanced)


# --- codes -----------------------------------------------------------------------------------------------------------


def _signs(key: Array, shape: tuple[int, ...]) -> Array:
    return 2 * jax.random.bernoulli(key, jnp.float32(0.5), shape).astype(jnp.int32) - 1


def _iid_codes(key: Array, model: FeatureModel, n: int) -> Array:
    """Signs [n, K], every example by itself."""
    class_key, irrelevant_key = jax.random.split(key)
    return jnp.concatenate([_signs(class_key, (n, 2)), _iid_irrelevant(irrelevant_key, model, n)], axis=1)


def _iid_irrelevant(key: Array, model: FeatureModel, n: int) -> Array:
    count = model.features - 2
    if model.irrelevant == "dense":
        return _signs(key, (n, count))
    return _sparse_pattern(jax.random.randint(key, (n,), 0, 2 * count, dtype=jnp.int32), count)


def _sparse_pattern(card: Array, count: int) -> Array:
    """Card 2 k + s names the active feature k and its sign."""
    return jax.nn.one_hot(card // 2, count, dtype=jnp.int32) * (2 * (card % 2) - 1)[:, None]


def _balanced_codes(key: Array, model: FeatureModel, n: int) -> Array:
    """Signs [n, K] with equal counts of the four cells, in shuffled order."""
    order_key, *cell_keys = jax.random.split(key, 5)
    cells = [
        jnp.concatenate([jnp.tile(jnp.array(signs, jnp.int32), (n // 4, 1)), _deal(cell_key, model, n // 4)], axis=1)
        for signs, cell_key in zip([(-1, -1), (-1, 1), (1, -1), (1, 1)], cell_keys, strict=True)
    ]
    return jax.random.permutation(order_key, jnp.concatenate(cells))


def _deal(key: Array, model: FeatureModel, hand: int) -> Array:
    """`hand` irrelevant patterns from shuffled decks."""
    count = model.features - 2
    if model.irrelevant == "sparse":
        return _sparse_pattern(_deal_cards(key, 2 * count, hand), count)
    if count > 30 or 2**count > max(_LARGEST_DECK, 2 * hand):
        return _distinct_signs(key, hand, count)
    return 2 * (_deal_cards(key, 2**count, hand)[:, None] >> jnp.arange(count) & 1) - 1


def _deal_cards(key: Array, deck: int, hand: int) -> Array:
    keys = jax.random.split(key, -(-hand // deck))
    return jax.vmap(lambda k: jax.random.permutation(k, deck))(keys).ravel()[:hand].astype(jnp.int32)


def _distinct_signs(key: Array, hand: int, count: int) -> Array:
    """`hand` distinct rows of `count` signs, for decks too large to write out.

    Repeats are redrawn until none is left. The procedure treats all patterns alike and any `hand` distinct patterns can be
    mapped to any others by renaming patterns, so the result is uniform among them, as a shuffled deck's is.
    """

    def repeated(signs: Array) -> Array:
        bits = jnp.pad(signs > 0, ((0, 0), (0, -count % 32))).reshape(hand, -1, 32)
        words = jnp.sum(bits.astype(jnp.uint32) << jnp.arange(32, dtype=jnp.uint32), axis=2, dtype=jnp.uint32)
        order = jnp.lexsort(words.T)
        same = jnp.all(signs[order[1:]] == signs[order[:-1]], axis=1)
        return jnp.zeros(hand, bool).at[order[1:]].set(same)

    def redraw(state: tuple[Array, Array]) -> tuple[Array, Array]:
        signs, turn = state
        fresh = _signs(jax.random.fold_in(key, turn), (hand, count))
        return jnp.where(repeated(signs)[:, None], fresh, signs), turn + 1

    first = _signs(jax.random.fold_in(key, 0), (hand, count))
    return lax.while_loop(lambda state: jnp.any(repeated(state[0])), redraw, (first, jnp.int32(1)))[0]


def _augment(key: Array, model: FeatureModel, codes: Array) -> Array:
    """Signs [n, K] of one view of every example."""
    keep_key, sign_key, irrelevant_key = jax.random.split(key, 3)
    n, count = codes.shape
    coins = jax.random.uniform(keep_key, (n, count), jnp.float32)
    if model.irrelevant == "sparse":  # identity and sign are kept or redrawn together
        coins = coins.at[:, 2:].set(coins[:, 2:3])
    fresh = jnp.concatenate([_signs(sign_key, (n, 2)), _iid_irrelevant(irrelevant_key, model, n)], axis=1)
    return jnp.where(coins < model.keeps(jnp.float32), codes, fresh)


# --- noise and rotation ----------------------------------------------------------------------------------------------


def _gaussian(key: Array, model: FeatureModel, n: int, dtype: Any) -> Array:
    other = model.d - model.features
    draw = jax.random.normal(key, (n, other), jnp.float32).astype(dtype)
    return draw * jnp.asarray(model.noise, dtype) / math.sqrt(other)


def _draw_basis(key: Array, model: FeatureModel, shape: tuple[int, ...]) -> tuple[Array, Array]:
    place_key, sign_key = jax.random.split(key)
    place = jax.random.randint(place_key, shape, 0, model.d - model.features, dtype=jnp.int32)
    return place, _signs(sign_key, shape)


def _basis_vectors(model: FeatureModel, place: Array, sign: Array, dtype: Any) -> Array:
    hot = jax.nn.one_hot(place, model.d - model.features, dtype=dtype)
    return hot * sign[..., None].astype(dtype) * jnp.asarray(model.noise, dtype)


def _noise(key: Array, model: FeatureModel, n: int, m: int, dtype: Any) -> Array:
    """Noise of all views [n, m, d - K]."""
    shared_key, fresh_key, keep_key = jax.random.split(key, 3)
    fresh_keys = [jax.random.fold_in(fresh_key, view) for view in range(m)]
    if model.noise_kind == "gaussian":
        keep = jnp.asarray(model.noise_keep, dtype)
        shared = _gaussian(shared_key, model, n, dtype)
        fresh = jnp.stack([_gaussian(view_key, model, n, dtype) for view_key in fresh_keys], axis=1)
        return jnp.sqrt(keep) * shared[:, None] + jnp.sqrt(1 - keep) * fresh
    place, sign = _draw_basis(shared_key, model, (n,))
    draws = [_draw_basis(view_key, model, (n,)) for view_key in fresh_keys]
    fresh_place, fresh_sign = (jnp.stack(part, axis=1) for part in zip(*draws, strict=True))
    coins = jnp.stack([jax.random.uniform(jax.random.fold_in(keep_key, view), (n,), jnp.float32) for view in range(m)], axis=1)
    kept = coins < jnp.asarray(model.noise_keep, jnp.float32)
    places = jnp.where(kept, place[:, None], fresh_place)
    signs = jnp.where(kept, sign[:, None], fresh_sign)
    if model.noise_kind == "distinct_basis":
        # Every row owns one direction; rows that keep the original's noise use that of the first row that does.
        owner = jnp.where(kept, jnp.argmax(kept, axis=1)[:, None], jnp.arange(m))
        deck = jax.random.permutation(fresh_key, model.d - model.features)[: n * m].reshape(m, n).T
        places = jnp.take_along_axis(deck, owner, axis=1)
    return _basis_vectors(model, places, signs, dtype)


def _mirrors(key: Array, model: FeatureModel, dtype: Any) -> Array | None:
    """Householder vectors [K, d] and, in front, the signs they need; None when nothing is rotated."""
    if not model.rotated:
        return None
    count = model.features
    draw = jax.random.normal(key, (count, model.d), jnp.float32).astype(dtype)
    draw = draw * (jnp.arange(model.d) >= jnp.arange(count)[:, None])
    return draw / jnp.linalg.norm(draw, axis=1, keepdims=True)


def _rotate(mirrors: Array | None, x: Array) -> Array:
    """Apply the rotation to the last axis of x.

    Reflection j lives on the coordinates from j on and sends e_j to the uniformly random unit vector u_j of that space,
    so the first K columns of the product are uniformly distributed orthonormal directions (Stewart 1980), at a cost
    of K d a row and with no d x d matrix. The other columns span their complement.
    """
    if mirrors is None:
        return x
    for j in range(mirrors.shape[0] - 1, -1, -1):
        unit = mirrors[j]
        sign = jnp.where(unit[j] < 0, -1, 1).astype(x.dtype)
        mirror = unit.at[j].add(sign)  # reflects e_j to -sign u_j; flipping coordinate j first makes that u_j
        x = x.at[..., j].multiply(-sign)
        x = x - 2 * (x @ mirror)[..., None] * mirror / (mirror @ mirror)
    return x
