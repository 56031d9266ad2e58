"""Residual networks."""

import math

import flax.linen as nn
import jax.numpy as jnp
from jax import Array, lax

from cldyn.checks import require
from cldyn.encoders.convolution import Convolution, images
from cldyn.encoders.network import (
    EMBED_DIM,
    HEAD,
    INIT_SCALE,
    SHAPE,
    OfImages,
    Seen,
    headed,
    numbered,
)
from cldyn.fields import number, size, sizes
from cldyn.nouns import noun

_GROUPS = 32  # of channels, as Wu and He (2018); all that there are of fewer channels


class GroupNorm(nn.Module):
    """Normalization of every image [c, h, w, N] alone, by the moments of groups of its channels."""

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Images [c, h, w, N]."""
        groups, shape = math.gcd(_GROUPS, x.shape[0]), (x.shape[0],)
        grouped = x.reshape(groups, -1, x.shape[-1])
        centred = grouped - jnp.mean(grouped, 1, keepdims=True)
        variance = jnp.mean(centred**2, 1, keepdims=True)
        scale = self.param("scale", nn.initializers.ones, shape, x.dtype)[:, None, None, None]
        bias = self.param("bias", nn.initializers.zeros, shape, x.dtype)[:, None, None, None]
        return scale * (centred * lax.rsqrt(variance + 1e-5)).reshape(x.shape) + bias


class Block(nn.Module):
    """A basic block: two convolutions 3 x 3, and the identity or a convolution 1 x 1 beside."""

    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Images [channels, h, w, N]."""
        y = Convolution(self.channels, stride=self.stride, bias=False, name="first")(x)
        y = nn.relu(GroupNorm(name="first_norm")(y))
        y = Convolution(self.channels, bias=False, name="second")(y)
        y = GroupNorm(name="second_norm")(y)
        if self.stride > 1 or x.shape[0] != self.channels:
            x = Convolution(self.channels, 1, self.stride, bias=False, name="beside")(x)
            x = GroupNorm(name="beside_norm")(x)
        return nn.relu(x + y)


class _Residual(nn.Module):
    shape: tuple[int, ...]
    stem: int
    widths: tuple[int, ...]
    blocks: tuple[int, ...]
    head: tuple[int, ...]
    embed_dim: int

    @nn.compact
    def __call__(self, x: Array) -> Seen:
        image, means = images(x, self.shape), []
        image = Convolution(self.stem, bias=False, name="stem")(image)
        image = nn.relu(GroupNorm(name="stem_norm")(image))
        for i, (width, blocks) in enumerate(zip(self.widths, self.blocks, strict=True)):
            for j in range(blocks):
                stride = 2 if i and not j else 1
                image = Block(width, stride, name=f"stage_{i + 1}_block_{j + 1}")(image)
            means.append(jnp.mean(image, (1, 2)).T.reshape(*x.shape[:-1], -1))
        output, head = headed(means[-1], self.head, self.embed_dim)
        return output, [*means[:-1], *head]


@noun
class ResNet(OfImages):
    """A residual network of basic blocks for small images, then a projection head.

    The stem is a convolution 3 x 3 without pooling; stages have widths w, 2 w, 4 w and so on, and
    all but the first halve the image. With w = 64 it is ResNet-18. Observed are the means over
    positions of stage, stage_2 and so on; pre, that of the last stage, which the head gets; and
    head, head_2 and so on.
    Further columns of the inputs are constant channels of the image.

    Normalization is by groups of channels of every image alone. That by batches would make an
    embedding depend on the other rows of its batch, so that f(x) were no function of x.

    Source: He et al. (2016); Wu and He (2018) for 32 groups; Xue et al. (2023), Tables 2 and 6, for
    the width w and the factor of the last stage.
    """

    shape: tuple[int, ...] = sizes((8, 8, 1), SHAPE)
    width: int = size(64, "w, channels of the first stage")
    last: int = size(1, "k, factor of the width of the last stage")
    blocks: tuple[int, ...] = sizes((2, 2, 2, 2), "blocks of the stages")
    head: tuple[int, ...] = sizes((), HEAD)
    embed_dim: int = size(3, EMBED_DIM)
    init_scale: float = number(1.0, INIT_SCALE, 0)

    @property
    def layers(self) -> tuple[str, ...]:
        """What can be observed below the output, in order."""
        stages = numbered("stage", len(self.blocks) - 1)
        return (*stages, "pre", *numbered("head", len(self.head)))

    @property
    def module(self) -> nn.Module:
        """The module."""
        widths = [self.width * 2**i for i in range(len(self.blocks))]
        widths[-1] *= self.last
        return _Residual(
            self.shape, self.width, tuple(widths), self.blocks, self.head, self.embed_dim
        )

    def check(self) -> None:
        """Refuse what is no shape of an image, and no stage at all."""
        super().check()
        require(self.blocks, "blocks", self.blocks, "one number or more")
