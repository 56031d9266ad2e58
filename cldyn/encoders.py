"""Encoders as pairs of pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array

from cldyn import linalg


class Encoder(NamedTuple):
    """init: (key, d, init_scale) -> params. apply: (params, x [..., d]) -> embeddings [..., p]."""

    init: Callable[[Array, int, Any], Any]
    apply: Callable[[Any, Array], Array]


def linear(embed_dim: int, bias: bool = True) -> Encoder:
    """The linear encoder f(x) = W x (+ b).

    Parameters are one matrix [p, D] whose last column, with a bias, is b (D = d + 1, the input gets a 1 appended).
    Entries start iid N(0, init_scale^2), drawn in float32 and widened; rows do not depend on how many there are.

    Args:
        embed_dim: p. bias: whether there is a b.

    Source: the encoder of Xue et al. (2023).
    """
    draw = nn.initializers.normal(1.0, jnp.float32)

    def init(key: Array, d: int, init_scale: Any) -> Array:
        scale = jnp.asarray(init_scale)
        return scale * draw(key, (embed_dim, d + bias)).astype(scale.dtype)

    def apply(params: Array, x: Array) -> Array:
        return x @ params[:, :-1].T + params[:, -1] if bias else x @ params.T

    return Encoder(init, apply)


class Layers(NamedTuple):
    """A deep linear encoder W_L ... W_2 W_1. first: W_1 [p, D]. head: W_2 ... W_L [L - 1, p, p], none for a linear encoder."""

    first: Array
    head: Array


def project(head: Array, hidden: Array) -> Array:
    """Outputs of the first layer [..., p] through the others."""
    for layer in head:
        hidden = hidden @ layer.T
    return hidden


def end_to_end(layers: Layers) -> Array:
    """W = W_L ... W_1 [p, D]."""
    return project(layers.head, layers.first.T).T


def balanced(draw: Array, depth: int, scale: Array) -> Layers:
    """The balanced start whose rows span those of a draw [p, D].

        W_1 = scale Q,   W_2 = ... = W_L = scale Q Q^T,   Q the polar factor of the draw (orthonormal rows, where they are not zero)

    Source: derived here; W_(l+1)^T W_(l+1) = W_l W_l^T for every l, and W_L ... W_1 = scale^L Q.
    """
    rows = linalg.polar(draw)
    return Layers(scale * rows, jnp.broadcast_to(scale * rows @ rows.T, (depth - 1, rows.shape[0], rows.shape[0])))


def deep_linear(embed_dim: int, depth: int, bias: bool = True) -> Encoder:
    """The deep linear encoder f(x) = W_L ... W_2 (W_1 x (+ b)) from a balanced start.

    Args:
        embed_dim: p, width of every layer. depth: L >= 1; the layers above the first are a linear projection head. bias: whether there is a b.

    Source: the linear projection head of Xue et al. (2024), arXiv 2403.11391; the start is this project's.
    """
    one = linear(embed_dim, bias)

    def init(key: Array, d: int, init_scale: Any) -> Layers:
        scale = jnp.asarray(init_scale)
        return balanced(one.init(key, d, jnp.ones_like(scale)), depth, scale)

    def apply(params: Layers, x: Array) -> Array:
        return project(params.head, one.apply(params.first, x))

    return Encoder(init, apply)
