"""Originals, their augmented views, and test data, as pure functions of a key."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.data.codes import balanced_codes, iid_codes, random_signs, view_codes
from cldyn.data.model import FeatureModel, Views, check_model, check_room, check_sizes


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
    return _views_of(key, model, originals(key, model, n, balanced=balanced, dtype=dtype), m, dtype)


def sample_fresh(key: Array, model: FeatureModel, n: int, m: int, *, dtype: Any = None) -> Views:
    """As `sample`, of iid examples in unrotated directions, for batches: one gaussian view alone has its noise drawn once, not twice.

    Shared and fresh noise of one view sum to the law of either. Args and returns: as `sample`.
    """
    dtype, model = dtype or jnp.result_type(float), replace(model, rotated=False)
    first = originals(key, model, n, balanced=False, dtype=dtype)
    if m == 1 and model.noise_kind == "gaussian":
        first = first._replace(noise=None)
    return _views_of(key, model, first, m, dtype)


class Originals(NamedTuple):
    """Examples before augmentation. codes: signs [n, K]. noise: [n, d - K] (gaussian), or its place and sign [n] each (basis).
    directions: v_j [K, d]. mirrors: of the rotation, None where there is none."""

    codes: Array
    noise: Any
    directions: Array
    mirrors: Array | None


def originals(key: Array, model: FeatureModel, n: int, *, balanced: bool = True, dtype: Any = None) -> Originals:
    """The examples whose views `sample` returns for this key.

    Args, returns and errors: as `sample`.
    """
    _refuse(model, n, 1, balanced)
    dtype = dtype or jnp.result_type(float)
    codes_key, _, noise_key, rotation_key, _ = jax.random.split(key, 5)
    codes = balanced_codes(codes_key, model, n) if balanced else iid_codes(codes_key, model, n)
    shared_key = jax.random.split(noise_key, 3)[0]
    noise = _gaussian(shared_key, model, n, dtype) if model.noise_kind == "gaussian" else _draw_basis(shared_key, model, (n,))
    mirrors = _mirrors(rotation_key, model, dtype)
    return Originals(codes, noise, _rotate(mirrors, jnp.eye(model.features, model.d, dtype=dtype)), mirrors)


def augment(key: Array, model: FeatureModel, given: Originals, m: int, *, dtype: Any = None) -> Array:
    """Fresh views of originals [n, m, d].

    Args:
        key: consumed. given: from `originals`. m: views of each.
    """
    dtype = dtype or jnp.result_type(float)
    keep_key, noise_key = jax.random.split(key)
    return _augment(keep_key, noise_key, model, given, m, dtype)


def mean_views(model: FeatureModel, given: Originals, *, dtype: Any = None) -> tuple[Array, Array, Callable[[Array], Array]]:
    """Mean of all views of every original, their mean variance about it, and the rotation that both still lack.

        E[z_j | s] = mu_j + keep_j phi_j s_j,   E[xi | xi_0] = sqrt(noise_keep) xi_0   (basis noise: noise_keep xi_0)

    Returns:
        mean [n, d], variance of every coordinate [d], x [..., d] -> rotated x.

    Source: derived here. A redrawn sign or noise has mean zero. Second moments about the mean are diagonal: features of a view
    are independent given the original, a sparse one or a basis noise is on one coordinate, whether kept or redrawn.
    """
    dtype = dtype or jnp.result_type(float)
    codes, strengths, keeps = given.codes.astype(dtype), model.strengths(dtype), model.keeps(dtype)
    other = model.d - model.features
    keep, length = jnp.asarray(model.noise_keep, dtype), jnp.asarray(model.noise, dtype)
    fresh = jnp.full(other, length**2 / other)
    if model.noise_kind == "gaussian":
        noise, spread = jnp.sqrt(keep) * given.noise, (1 - keep) * fresh
    else:
        place, sign = given.noise
        noise = _basis_vectors(model, place, sign, dtype)
        spread = (1 - keep) * fresh + keep * (1 - keep) * jnp.mean(noise**2, axis=0)
        noise = keep * noise
    kept = keeps * strengths * codes
    # E z^2 - mu^2 is keep phi^2 s^2 + (1 - keep) var: a dense sign is never 0, a sparse feature mostly is.
    second = keeps * strengths**2 * jnp.mean(codes**2, axis=0) + (1 - keeps) * model.variances(dtype)
    variance = jnp.concatenate([second - jnp.mean(kept**2, axis=0), spread])
    return jnp.concatenate([model.means(dtype) + kept, noise], axis=1), variance, partial(_rotate, given.mirrors)


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
    codes = iid_codes(codes_key, model, n)
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


# --- views, noise and rotation ---------------------------------------------------------------------------------------


def _views_of(key: Array, model: FeatureModel, first: Originals, m: int, dtype: Any) -> Views:
    """m views of the originals of the same key."""
    _, keep_key, noise_key, _, _ = jax.random.split(key, 5)
    codes = first.codes
    return Views(_augment(keep_key, noise_key, model, first, m, dtype), codes[:, 0], codes[:, 1], codes[:, 2:], first.directions)


def _augment(keep_key: Array, noise_key: Array, model: FeatureModel, given: Originals, m: int, dtype: Any) -> Array:
    """Rotated views [n, m, d]."""
    kept = jnp.stack([view_codes(jax.random.fold_in(keep_key, view), model, given.codes) for view in range(m)], axis=1)
    signal = model.means(dtype) + model.strengths(dtype) * kept.astype(dtype)
    return _rotate(given.mirrors, jnp.concatenate([signal, _noise(noise_key, model, given, m, dtype)], axis=-1))


def _gaussian(key: Array, model: FeatureModel, n: int, dtype: Any) -> Array:
    other = model.d - model.features
    draw = jax.random.normal(key, (n, other), jnp.float32).astype(dtype)
    return draw * jnp.asarray(model.noise, dtype) / math.sqrt(other)


def _draw_basis(key: Array, model: FeatureModel, shape: tuple[int, ...]) -> tuple[Array, Array]:
    place_key, sign_key = jax.random.split(key)
    place = jax.random.randint(place_key, shape, 0, model.d - model.features, dtype=jnp.int32)
    return place, random_signs(sign_key, shape)


def _basis_vectors(model: FeatureModel, place: Array, sign: Array, dtype: Any) -> Array:
    hot = jax.nn.one_hot(place, model.d - model.features, dtype=dtype)
    return hot * sign[..., None].astype(dtype) * jnp.asarray(model.noise, dtype)


def _noise(key: Array, model: FeatureModel, given: Originals, m: int, dtype: Any) -> Array:
    """Noise of all views [n, m, d - K]."""
    n = given.codes.shape[0]
    _, fresh_key, keep_key = jax.random.split(key, 3)
    fresh_keys = [jax.random.fold_in(fresh_key, view) for view in range(m)]
    if model.noise_kind == "gaussian":
        keep = jnp.asarray(model.noise_keep, dtype)
        fresh = jnp.stack([_gaussian(view_key, model, n, dtype) for view_key in fresh_keys], axis=1)
        if given.noise is None:
            return fresh
        return jnp.sqrt(keep) * given.noise[:, None] + jnp.sqrt(1 - keep) * fresh
    place, sign = given.noise
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
