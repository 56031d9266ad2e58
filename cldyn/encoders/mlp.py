"""Perceptrons."""

from typing import Any

import flax.linen as nn
from jax import Array

from cldyn.encoders.network import (
    ACTIVATIONS,
    EMBED_DIM,
    HEAD,
    INIT_SCALE,
    Layer,
    Network,
    Seen,
    layered,
    numbered,
)
from cldyn.fields import choice, flag, number, size, sizes
from cldyn.nouns import noun


class _Perceptron(nn.Module):
    hidden: tuple[int, ...]
    head: tuple[int, ...]
    embed_dim: int
    activation: str
    bias: bool
    rectified: bool

    @nn.compact
    def __call__(self, x: Array) -> Seen:
        units: dict[str, Any] = {"activation": self.activation, "bias": self.bias}
        body = layered(x, self.hidden, "hidden", **units)
        head = layered(body[-1], self.head, "head", **units)
        if self.rectified:
            output = Layer(self.embed_dim, name="output", **units)(head[-1])
        else:
            dense = nn.Dense(self.embed_dim, self.bias, param_dtype=x.dtype, name="output")
            output = dense(head[-1])
        return output, [*body[1:-1], *head]


@noun
class Mlp(Network):
    """A perceptron f(x) = W_L s(... s(W_1 x + b_1) ...) + b_L of layers `hidden`, then `head`.

    Observed are hidden, hidden_2 and so on; pre, the last of them, which the head gets; and head,
    head_2 and so on. Units s are rectified, or symmetric: s(a) = relu(a - b) - relu(-a - b) with
    thresholds b that are trained.

    Source: He et al. (2015) for the variance of the start, times init_scale^2; Xue et al. (2024),
    arXiv 2403.11391, for symmetric units, which have no offsets and make the output there too:
    bias = False, rectified = True.
    """

    hidden: tuple[int, ...] = sizes((128,), "widths of the hidden layers below the head")
    embed_dim: int = size(3, EMBED_DIM)
    init_scale: float = number(1.0, INIT_SCALE, 0)
    activation: str = choice("relu", "of units", *ACTIVATIONS)
    threshold: float = number(0.1, "thresholds b of symmetric units at the start")
    head: tuple[int, ...] = sizes((), HEAD)
    bias: bool = flag(True, "whether layers have offsets")
    rectified: bool = flag(False, "whether the output passes units too")

    @property
    def layers(self) -> tuple[str, ...]:
        """What can be observed below the output, in order."""
        below = numbered("hidden", max(len(self.hidden) - 1, 0))
        return (*below, "pre", *numbered("head", len(self.head)))

    @property
    def module(self) -> nn.Module:
        """The module."""
        return _Perceptron(
            self.hidden, self.head, self.embed_dim, self.activation, self.bias, self.rectified
        )
