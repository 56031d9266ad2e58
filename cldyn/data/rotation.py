"""Features along uniformly random orthonormal directions."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.data.model import FeatureModel


def directions_of(model: FeatureModel, mirrors: Array | None, dtype: Any) -> Array:
    """Directions v_j of the named features [named, d]."""
    return rotate(mirrors, jnp.eye(model.named, model.d, dtype=dtype))


def mirrors_of(key: Array, model: FeatureModel, dtype: Any) -> Array | None:
    """Householder vectors of the named features [named, d]; None without a rotation."""
    if not model.rotated:
        return None
    count = model.named
    draw = jax.random.normal(key, (count, model.d), jnp.float32).astype(dtype)
    draw = draw * (jnp.arange(model.d) >= jnp.arange(count)[:, None])
    return draw / jnp.linalg.norm(draw, axis=1, keepdims=True)


def rotate(mirrors: Array | None, x: Array) -> Array:
    """Apply the rotation to the last axis of x.

    Reflection j lives on the coordinates from j on and sends e_j to the uniformly random unit
    vector u_j of that space, so the first K columns of the product are uniformly distributed
    orthonormal directions (Stewart 1980), at a cost of K d a row and with no d x d matrix. The
    other columns span their complement.
    """
    if mirrors is None:
        return x
    for j in range(mirrors.shape[0] - 1, -1, -1):
        unit = mirrors[j]
        sign = jnp.where(unit[j] < 0, -1, 1).astype(x.dtype)
        # The mirror reflects e_j to -sign u_j; flipping coordinate j first makes that u_j.
        mirror = unit.at[j].add(sign)
        x = x.at[..., j].multiply(-sign)
        x = x - 2 * (x @ mirror)[..., None] * mirror / (mirror @ mirror)
    return x
