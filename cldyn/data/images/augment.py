"""Augmentations of images: what is drawn of a key, and what is made of an image with it.

All of it is linear in the image but for a clip to [0, 1]: crops, flips and shifts are one matrix
for rows and one for columns, colours one matrix of channels. On a CPU two such products take a
quarter of the time that gathering four neighbours of every pixel does (8 x 8 to 32 x 32 pixels).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cldyn.checks import require
from cldyn.fields import number, whole
from cldyn.nouns import noun

_LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue
# Luma, and two coordinates of colour that a change of hue rotates (YIQ of the NTSC).
_YIQ = np.array([_LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_SHARE = "0: it is left as it is"


class Draw(NamedTuple):
    """What is drawn of one view.

    top, left, height, width: of the crop, in pixels. flip: whether columns are in reverse order.
    down, right: of the shift, in whole pixels. brightness, contrast, saturation: factors.
    hue: turns. grey: whether it loses its colours. kept: whether pixels are [h, w].
    noise: what is added [h, w, c], or 0.
    """

    top: Array
    left: Array
    height: Array
    width: Array
    flip: Array
    down: Array
    right: Array
    brightness: Array
    contrast: Array
    saturation: Array
    hue: Array
    grey: Array
    kept: Array
    noise: Array


@noun
class Augment:
    """Crop, flip, shift, change colours, drop pixels, add noise: a view of an image, in this order.

        view = kept * clip(colours(shift(flip(crop(image)))), 0, 1) + noise

    A crop's share of the area is uniform in [crop, crop_most], its ratio of width to height
    log-uniform in [1/aspect, aspect] (sides no longer than the image's), its place uniform; it is
    resampled to the image's size by bilinear interpolation. Flips are from left to right. Factors
    of colours are uniform in [max(0, 1 - a), 1 + a], a change of hue rotates colours around grey by
    up to `hue` turns; saturation, hue and grey do nothing to images without three channels.

    Source: the augmentations of SimCLR (Chen et al., 2020), with hues rotated in YIQ, colours
    changed in one order and clipped once; dropped pixels and their defaults are this project's.

    Example:
        >>> import jax, numpy as np
        >>> from cldyn.data.images import Augment
        >>> simclr = Augment(crop=0.08, aspect=4 / 3, dropout=0.0, flip=0.5, jitter=0.8,
        ...     brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, grey=0.2)
        >>> simclr(jax.random.key(0), np.full((32, 32, 3), 0.5)).shape
        (32, 32, 3)
    """

    crop: float = number(0.3, "least share of the area in a crop; 1: no crops", 0, 1, above=True)
    crop_most: float = number(1.0, "largest share of the area in a crop", 0, 1, above=True)
    aspect: float = number(1.0, "largest ratio of a crop's sides", 1)
    flip: float = number(0.0, "probability of a flip", 0, 1)
    shift: int = whole(0, "pixels of a shift to every side, at most; zeros move in")
    jitter: float = number(1.0, "probability that colours are changed", 0, 1)
    brightness: float = number(0.0, f"half a width of factors; {_SHARE}", 0)
    contrast: float = number(0.0, f"half a width of factors; {_SHARE}", 0)
    saturation: float = number(0.0, f"half a width of factors; {_SHARE}", 0)
    hue: float = number(0.0, f"turns of the colours to either side, at most; {_SHARE}", 0, 0.5)
    grey: float = number(0.0, "probability that colours are lost", 0, 1)
    dropout: float = number(0.25, "probability that a pixel is set to 0", 0, 1)
    pixel_noise: float | None = number(
        None, "standard deviation of what is added to all numbers", 0, optional=True
    )

    def __call__(self, key: Array, image: Any) -> Array:
        """A view [h, w, c] of an image [h, w, c] in [0, 1]."""
        image = jnp.asarray(image)
        image = image.astype(jnp.promote_types(image.dtype, jnp.float32))
        return augmented(image, self.draw(key, image.shape, image.dtype))

    def draw(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Draw:
        """What is drawn of a view of an image [h, w, c], in float32 and widened."""
        h, w, _ = shape
        words = jax.random.bits(key, (_SCALARS + -(-h * w // 2),), jnp.uint32)
        u = ((words[:_SCALARS] >> 9).astype(jnp.float32) * 2**-23).astype(dtype)
        height, width = self._sides(u[0], u[1], h, w)
        changed = u[6] < self.jitter
        # A word has coins of two pixels: drawing is most of what small images cost.
        coins = words[_SCALARS:] >> jnp.array([[0], [16]], jnp.uint32) & 0xFFFF
        kept = coins.ravel()[: h * w].reshape(h, w).astype(dtype) >= 2**16 * self.dropout
        noise = jnp.zeros((), dtype)
        if self.pixel_noise is not None:
            normal = jax.random.normal(jax.random.fold_in(key, 1), shape, jnp.float32)
            noise = self.pixel_noise * normal.astype(dtype)
        return Draw(
            top=u[2] * (h - height),
            left=u[3] * (w - width),
            height=height,
            width=width,
            flip=u[4] < self.flip,
            down=self._whole(u[5]),
            right=self._whole(u[7]),
            brightness=_factor(u[8], self.brightness, changed),
            contrast=_factor(u[9], self.contrast, changed),
            saturation=_factor(u[10], self.saturation, changed),
            hue=jnp.where(changed, (2 * u[11] - 1) * self.hue, 0),
            grey=u[12] < self.grey,
            kept=kept,
            noise=noise,
        )

    def _sides(self, area: Array, ratio: Array, h: int, w: int) -> tuple[Array, Array]:
        """Height and width of a crop."""
        share = self.crop + area * (self.crop_most - self.crop)
        root = jnp.exp((ratio - 0.5) * jnp.log(jnp.asarray(self.aspect, ratio.dtype)))
        side = jnp.sqrt(share)
        return h * jnp.minimum(1, side / root), w * jnp.minimum(1, side * root)

    def _whole(self, u: Array) -> Array:
        """A uniform whole number from -shift to shift."""
        return jnp.floor(u * (2 * self.shift + 1)) - self.shift

    def check(self) -> None:
        """Refuse a range that is none."""
        allowed = f"a number in [{self.crop:g}, 1], as crop is {self.crop:g}"
        require(self.crop <= self.crop_most, "crop_most", self.crop_most, allowed)
        noise, allowed = self.pixel_noise, "a finite number >= 0, or None alone: no noise is drawn"
        require(noise is None or np.isfinite(noise), "pixel_noise", noise, allowed)


_SCALARS = 13  # words of a view beside those of its pixels


def _factor(u: Array, amount: Any, changed: Array) -> Array:
    low = jnp.maximum(0, 1 - jnp.asarray(amount, u.dtype))
    return jnp.where(changed, low + u * (1 + amount - low), 1)


def augmented(image: Array, draw: Draw) -> Array:
    """The view [h, w, c] that a draw makes of an image [h, w, c]."""
    h, w, _ = image.shape
    one = jnp.zeros((), bool)
    rows = resampling(h, draw.top, draw.height, one, draw.down).astype(image.dtype)
    columns = resampling(w, draw.left, draw.width, draw.flip, draw.right).astype(image.dtype)
    planes = rows @ jnp.moveaxis(image, 2, 0) @ columns.T  # [c, h, w]
    planes = jnp.clip(recoloured(planes, draw), 0, 1)
    return jnp.moveaxis(jnp.where(draw.kept, planes, 0), 0, 2) + draw.noise


def resampling(size: int, start: Any, length: Any, flip: Any, shift: Any) -> Array:
    """The matrix that crops, flips and shifts one side of an image.

        R_ij = max(0, 1 - |x_i - j|)
        x_i = clip(start + (i' + 1/2) length/size - 1/2, 0, size - 1)

    where i' = i - shift, or size - 1 - (i - shift) in a flip; rows of i' outside are zero.

    Args:
        size: pixels of the side.
        start, length: of the crop, in pixels.
        flip: whether the order is reversed.
        shift: whole pixels to the end.

    Returns:
        [size, size].
    """
    at = jnp.arange(size)
    moved = at - shift
    moved = jnp.where(flip, size - 1 - moved, moved)
    place = jnp.clip(start + (moved + 0.5) * (length / size) - 0.5, 0, size - 1)
    inside = (moved >= 0) & (moved < size)
    return jnp.where(inside[:, None], jnp.maximum(0, 1 - jnp.abs(place[:, None] - at)), 0)


def recoloured(planes: Array, draw: Draw) -> Array:
    """Planes [c, h, w] in other colours.

    With brightness b, contrast k, saturation s, luma l, mean over pixels E, and H the rotation of
    colours around grey:

        x' = b k H (s x + (1 - s) l(x)) + b (1 - k) E l(x)
    """
    c = planes.shape[0]
    scale, mix = draw.brightness * draw.contrast, draw.brightness * (1 - draw.contrast)
    means = planes.mean((1, 2))
    if c != 3:
        return scale * planes + mix * means.mean()
    luma = jnp.asarray(_LUMA, planes.dtype)
    turn = 2 * np.pi * draw.hue
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    colour = jnp.where(draw.grey, 0, draw.saturation)
    zero, one = jnp.zeros_like(cos), jnp.ones_like(cos)
    middle = jnp.stack(
        [one, zero, zero, zero, colour * cos, -colour * sin, zero, colour * sin, colour * cos]
    ).reshape(3, 3)
    there, back = (jnp.asarray(one, planes.dtype) for one in (_YIQ, np.linalg.inv(_YIQ)))
    colours = scale * (back @ middle.astype(planes.dtype) @ there)
    return jnp.einsum("dc,chw->dhw", colours, planes) + mix * (luma @ means)
