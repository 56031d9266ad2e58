"""Encoders as pairs of pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jax import Array


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
