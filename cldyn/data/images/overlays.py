"""Overlays: a second image that is written over the first."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array

from cldyn.checks import require


def fitted(marks: np.ndarray, height: int, width: int, channels: int) -> np.ndarray:
    """Overlays [k, h, w, c] as large as whole multiples of theirs fit, in the middle of zeros.

    Raises:
        ValueError: they are larger than the images, or have colours where these have none.
    """
    _, h, w, c = marks.shape
    allowed = f"overlays of at most {height} x {width} x {channels}, as the images are"
    good = h <= height and w <= width and c in (1, channels)
    require(good, "overlay", f"{h} x {w} x {c}", allowed)
    times = min(height // h, width // w)
    large = marks.repeat(times, axis=1).repeat(times, axis=2)
    up, left = (height - h * times) // 2, (width - w * times) // 2
    down, right = height - h * times - up, width - w * times - left
    return np.pad(large, ((0, 0), (up, down), (left, right), (0, 0)))


def written_over(image: Any, mark: Any) -> Array:
    """The image, and the overlay in its place wherever that is brighter than 1/2.

    Args:
        image: numbers in [0, 1], [..., h, w, c].
        mark: numbers in [0, 1], [..., h, w, c], or of one channel [..., h, w, 1].

    Source: this project's; the idea of images that share a digit is Chen et al.'s (2021),
    Intriguing Properties of Contrastive Losses.
    """
    bright = jnp.mean(mark, axis=-1, keepdims=True) > 0.5
    return jnp.where(bright, mark, image)
