"""Signs of the features: of originals, iid, balanced or dealt, and of their views."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jax import Array, lax

if TYPE_CHECKING:
    from cldyn.data.model import FeatureModel

_LARGEST_DECK = 2**16  # irrelevant sign patterns up to this many are dealt from a written-out deck


def each_view(key: Array, m: int, draw: Callable[[Array], Any]) -> Any:
    """Draws of m views, leaves [n, m, ...]; a view's does not depend on how many there are.

    One after the other: a loop is compiled once, a batch of keys at three times the cost of one.
    """
    drawn = lax.map(lambda view: draw(jax.random.fold_in(key, view)), jnp.arange(m))
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), drawn)


def random_signs(key: Array, shape: tuple[int, ...]) -> Array:
    return 2 * jax.random.bernoulli(key, jnp.float32(0.5), shape).astype(jnp.int32) - 1


def iid_codes(key: Array, model: FeatureModel, n: int) -> Array:
    """Signs [n, K], every example by itself."""
    class_key, irrelevant_key = jax.random.split(key)
    return jnp.concatenate(
        [random_signs(class_key, (n, 2)), _iid_irrelevant(irrelevant_key, model, n)], axis=1
    )


def new_codes(key: Array, model: FeatureModel, n: int) -> Array:
    """As `iid_codes`, for examples that are drawn in every step: 32 signs from a word."""
    if model.irrelevant != "dense":
        return iid_codes(key, model, n)
    words = jax.random.bits(key, (model.features, -(-n // 32)))
    bits = (words[:, :, None] >> jnp.arange(32, dtype=jnp.uint32) & 1).astype(jnp.int32)
    return 2 * bits.reshape(model.features, -1)[:, :n].T - 1


def _iid_irrelevant(key: Array, model: FeatureModel, n: int) -> Array:
    count = model.features - 2
    if model.irrelevant == "dense":
        return random_signs(key, (n, count))
    return _sparse_pattern(jax.random.randint(key, (n,), 0, 2 * count, dtype=jnp.int32), count)


def deal_own(key: Array, model: FeatureModel, codes: Array) -> Array:
    """Signs [n, K] with own features dealt to all examples from one deck."""
    deck_key, sign_key = jax.random.split(key)
    n, count = codes.shape[0], model.features - 2
    place = _deal_cards(deck_key, count, n)
    sign = random_signs(sign_key, (n, 1))
    return codes.at[:, 2:].set(jax.nn.one_hot(place, count, dtype=jnp.int32) * sign)


def _sparse_pattern(card: Array, count: int) -> Array:
    """Card 2 k + s names the active feature k and its sign."""
    return jax.nn.one_hot(card // 2, count, dtype=jnp.int32) * (2 * (card % 2) - 1)[:, None]


def balanced_codes(key: Array, model: FeatureModel, n: int) -> Array:
    """Signs [n, K] with equal counts of the four cells, in shuffled order."""
    keys = jax.random.split(key, 5)
    hands = jax.vmap(lambda one: _deal(one, model, n // 4))(keys[1:])
    cells = jnp.array([(-1, -1), (-1, 1), (1, -1), (1, 1)], jnp.int32)
    signs = jnp.broadcast_to(cells[:, None], (*hands.shape[:2], 2))
    codes = jnp.concatenate([signs, hands], axis=2)
    return jax.random.permutation(keys[0], codes.reshape(n, -1))


def _deal(key: Array, model: FeatureModel, hand: int) -> Array:
    """`hand` irrelevant patterns from shuffled decks."""
    count = model.features - 2
    if model.irrelevant != "dense":
        return _sparse_pattern(_deal_cards(key, 2 * count, hand), count)
    if count > 30 or 2**count > max(_LARGEST_DECK, 2 * hand):
        return _distinct_signs(key, hand, count)
    return 2 * (_deal_cards(key, 2**count, hand)[:, None] >> jnp.arange(count) & 1) - 1


def _deal_cards(key: Array, deck: int, hand: int) -> Array:
    keys = jax.random.split(key, -(-hand // deck))
    return (
        jax.vmap(lambda k: jax.random.permutation(k, deck))(keys).ravel()[:hand].astype(jnp.int32)
    )


def _distinct_signs(key: Array, hand: int, count: int) -> Array:
    """`hand` distinct rows of `count` signs, for decks too large to write out.

    Repeats are redrawn until none is left. The procedure treats all patterns alike and any `hand`
    distinct patterns can be mapped to any others by renaming patterns, so the result is uniform
    among them, as a shuffled deck's is.
    """

    def repeated(signs: Array) -> Array:
        bits = jnp.pad(signs > 0, ((0, 0), (0, -count % 32))).reshape(hand, -1, 32)
        words = jnp.sum(
            bits.astype(jnp.uint32) << jnp.arange(32, dtype=jnp.uint32), axis=2, dtype=jnp.uint32
        )
        order = jnp.lexsort(words.T)
        same = jnp.all(signs[order[1:]] == signs[order[:-1]], axis=1)
        return jnp.zeros(hand, bool).at[order[1:]].set(same)

    def redraw(state: tuple[Array, Array]) -> tuple[Array, Array]:
        signs, turn = state
        fresh = random_signs(jax.random.fold_in(key, turn), (hand, count))
        return jnp.where(repeated(signs)[:, None], fresh, signs), turn + 1

    first = random_signs(jax.random.fold_in(key, 0), (hand, count))
    return lax.while_loop(lambda state: jnp.any(repeated(state[0])), redraw, (first, jnp.int32(1)))[
        0
    ]


def view_codes(key: Array, model: FeatureModel, codes: Array) -> Array:
    """Signs [n, K] of one view of every example."""
    keep_key, sign_key, irrelevant_key = jax.random.split(key, 3)
    n, count = codes.shape
    coins = jax.random.uniform(keep_key, (n, count), jnp.float32)
    if model.irrelevant != "dense":  # identity and sign are kept or redrawn together
        coins = coins.at[:, 2:].set(coins[:, 2:3])
    fresh = jnp.concatenate(
        [random_signs(sign_key, (n, 2)), _iid_irrelevant(irrelevant_key, model, n)], axis=1
    )
    return jnp.where(coins < model.keeps(jnp.float32), codes, fresh)
