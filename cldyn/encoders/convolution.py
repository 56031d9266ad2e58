"""Convolutions, and an encoder of a few of them."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array, lax

from cldyn.checks import require
from cldyn.encoders.network import (
    EMBED_DIM,
    HEAD,
    INIT_SCALE,
    SHAPE,
    OfImages,
    Seen,
    headed,
    layered,
    numbered,
)
from cldyn.fields import number, size, sizes
from cldyn.nouns import noun


def images(x: Array, shape: tuple[int, ...]) -> Array:
    """Rows [..., d] as images [channels, height, width, N], whose further columns are channels."""
    height, width, channels = shape
    columns = x.reshape(-1, x.shape[-1]).T
    pixels, further = jnp.split(columns, [math.prod(shape)])
    pixels = jnp.moveaxis(pixels.reshape(height, width, channels, -1), 2, 0)
    further = jnp.broadcast_to(
        further[:, None, None], (len(further), height, width, further.shape[1])
    )
    return jnp.concatenate([pixels, further])


def convolve(x: Array, kernel: Array, stride: int) -> Array:
    """Cross-correlation of images with a kernel, zeros around them, (size - 1)/2 on each side.

    On a CPU, where XLA's convolutions are slow inside of loops, by one product of the kernel and
    all patches. With rows last every patch is copied, and its gradient added, in contiguous pieces.

    Args:
        x: images [c, h, w, N].
        kernel: [size, size, c, channels], of odd size.
        stride: of positions.

    Returns:
        [channels, ceil(h/stride), ceil(w/stride), N].
    """
    size, channels = kernel.shape[0], kernel.shape[-1]
    edge = (size - 1) // 2
    if jax.default_backend() != "cpu":
        around, names = [(edge, edge)] * 2, ("CHWN", "HWIO", "CHWN")
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), around, dimension_numbers=names
        )
    height, width = (-(-length // stride) for length in x.shape[1:3])
    padded = jnp.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    down, right = stride * (height - 1) + 1, stride * (width - 1) + 1
    patches = jnp.concatenate([
        padded[:, i : i + down : stride, j : j + right : stride]
        for i in range(size)
        for j in range(size)
    ])  # fmt: skip
    product = kernel.reshape(-1, channels).T @ patches.reshape(len(patches), -1)
    return product.reshape(channels, height, width, -1)


class Convolution(nn.Module):
    """A convolution of images [c, h, w, N]."""

    channels: int
    size: int = 3
    stride: int = 1
    bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Images [channels, h, w, N]."""
        shape = (self.size, self.size, x.shape[0], self.channels)
        kernel = self.param("kernel", nn.initializers.lecun_normal(), shape, x.dtype)
        x = convolve(x, kernel, self.stride)
        if not self.bias:
            return x
        bias = self.param("bias", nn.initializers.zeros, (self.channels,), x.dtype)
        return x + bias[:, None, None, None]


class _Convolutions(nn.Module):
    shape: tuple[int, ...]
    channels: tuple[int, ...]
    hidden: tuple[int, ...]
    head: tuple[int, ...]
    embed_dim: int

    @nn.compact
    def __call__(self, x: Array) -> Seen:
        image, maps = images(x, self.shape), []
        for name, channels in zip(numbered("conv", len(self.channels)), self.channels, strict=True):
            image = nn.relu(Convolution(channels, stride=2, name=name)(image))
            maps.append(image.reshape(-1, image.shape[-1]).T.reshape(*x.shape[:-1], -1))
        body = layered(maps[-1], self.hidden, "hidden")
        output, head = headed(body[-1], self.head, self.embed_dim)
        return output, [*maps[:-1], *body[:-1], *head]


@noun
class Conv(OfImages):
    """Convolutions 3 x 3 of stride 2 and dense layers, all rectified, then a projection head.

    Observed are conv, conv_2 and so on (channels first), hidden, hidden_2 and so on; pre, which the
    head gets; and head, head_2 and so on. Further columns of the inputs are constant channels of
    the image: the random bits of RandBit.

    Source: Chen, Luo and Li (2021) for RandBit on images; He et al. (2015) for the variance of the
    start, times init_scale^2.
    """

    shape: tuple[int, ...] = sizes((8, 8, 1), SHAPE)
    channels: tuple[int, ...] = sizes((32, 64, 64), "channels of the convolutions")
    hidden: tuple[int, ...] = sizes((128,), "widths of the dense layers below the head")
    head: tuple[int, ...] = sizes((), HEAD)
    embed_dim: int = size(3, EMBED_DIM)
    init_scale: float = number(1.0, INIT_SCALE, 0)

    @property
    def layers(self) -> tuple[str, ...]:
        """What can be observed below the output, in order."""
        below = [*numbered("conv", len(self.channels)), *numbered("hidden", len(self.hidden))]
        return (*below[:-1], "pre", *numbered("head", len(self.head)))

    @property
    def module(self) -> nn.Module:
        """The module."""
        return _Convolutions(self.shape, self.channels, self.hidden, self.head, self.embed_dim)

    def check(self) -> None:
        """Refuse what is no shape of an image, and no convolution at all."""
        super().check()
        require(self.channels, "channels", self.channels, "one number or more")
