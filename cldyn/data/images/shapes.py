"""Shapes, textures and colours: a set of images that needs no file."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cldyn.checks import is_key, is_size, require

SHAPES = ("disc", "square", "triangle", "cross")
TEXTURES = ("plain", "stripes", "checks")
COLOURS = ("red", "green", "blue", "yellow")
_RGB = np.array([(0.9, 0.2, 0.2), (0.2, 0.8, 0.25), (0.25, 0.35, 0.95), (0.9, 0.8, 0.2)])
COUNTS = {"shape": len(SHAPES), "texture": len(TEXTURES), "colour": len(COLOURS)}


def shapes(key: Any, n: int, side: int = 16) -> tuple[Array, Array]:
    """Images of one shape each, in a texture and a colour, on a grey ground.

    Place, size, period and phase of the texture, and the brightness of shape and ground vary;
    shape, texture and colour are independent and uniform.

    Args:
        key: JAX key.
        n: how many.
        side: height and width in pixels, >= 8.

    Returns:
        Images [n, side, side, 3] in [0, 1], and the labels of shape, texture and colour [n, 3],
        places in `SHAPES`, `TEXTURES` and `COLOURS`.

    Raises:
        ValueError: a size that is none.

    Source: this project's.

    Example:
        >>> import jax
        >>> from cldyn.data import images
        >>> x, factors = images.shapes(jax.random.key(0), n=4, side=8)
        >>> x.shape, factors.shape
        ((4, 8, 8, 3), (4, 3))
    """
    require(is_key(key), "key", key, "a JAX key")
    require(is_size(n), "n", n, "a whole number >= 1")
    require(is_size(side, 8), "side", side, "a whole number >= 8")
    factor_key, number_key = jax.random.split(key)
    counts = jnp.array([*COUNTS.values()])
    factors = jax.random.randint(factor_key, (n, 3), 0, counts, dtype=jnp.int32)
    numbers = jax.random.uniform(number_key, (n, 6), jnp.float32)
    return _all(side, factors, numbers), factors


@partial(jax.jit, static_argnums=0)
def _all(side: int, factors: Array, numbers: Array) -> Array:
    return jax.vmap(partial(_drawn, side))(factors, numbers)


def _drawn(side: int, factors: Array, u: Array) -> Array:
    """One image [side, side, 3]. u: six numbers in [0, 1)."""
    at = (jnp.arange(side) + 0.5) / side
    radius = 0.22 + 0.12 * u[2]
    centre = 0.5 + (u[:2] - 0.5) * (0.96 - 2 * radius)
    y, x = (at[:, None] - centre[0]) / radius, (at[None] - centre[1]) / radius
    wide, high = jnp.abs(x), jnp.abs(y)
    square = jnp.maximum(wide, high)
    away = jnp.stack(
        [
            jnp.sqrt(x**2 + y**2) - 1,
            square - 0.9,
            jnp.maximum(0.9 * wide - 0.5 * y - 0.45, y - 0.9),
            jnp.maximum(square - 1, jnp.minimum(wide, high) - 0.36),
        ]
    )[factors[0]]
    inside = jnp.clip(0.5 - away * radius * side, 0, 1)[..., None]  # an edge of one pixel
    period = 3.0 + jnp.floor(2 * u[3])  # pixels, whatever the side
    wave = jnp.floor(2 * (at * side / period + u[4])).astype(jnp.int32) % 2
    rows, both = wave[:, None], (wave[:, None] + wave[None]) % 2
    texture = jnp.stack([jnp.zeros_like(both), jnp.broadcast_to(rows, both.shape), both])
    shade = 1 - 0.6 * texture[factors[1]][..., None]
    colour = jnp.asarray(_RGB, jnp.float32)[factors[2]] * (0.8 + 0.2 * u[5])
    ground = 0.35 + 0.3 * u[4]
    return inside * shade * colour + (1 - inside) * ground
