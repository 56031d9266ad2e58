"""Linear encoders of any depth, whose params are `Layers`."""

from dataclasses import fields, replace
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import Array

from cldyn import linalg
from cldyn.fields import choice, flag, internal, number, size, whole
from cldyn.nouns import noun

_EMBED_DIM = "p, dimension of the embedding"
_INIT_SCALE = "standard deviation of the entries of W_0 (and of b_0)"
_BIAS = "whether there is an offset b"


class Layers(NamedTuple):
    """A deep linear encoder W_L ... W_2 W_1.

    first: W_1 [p, D], with a bias D = d + 1 and its last column is b.
    head: W_2 ... W_L [L - 1, p, p], none for a linear encoder.
    """

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


def append_one(x: Array, bias: bool) -> Array:
    """x [..., d] with a last coordinate 1 if there is a bias."""
    return jnp.concatenate([x, jnp.ones((*x.shape[:-1], 1), x.dtype)], axis=-1) if bias else x


class Window(NamedTuple):
    """What is seen of inputs: their features, and the noise inside a frame that moves with W.

    features: directions K of the features. seen: directions q of the frame, at least as many as W
    has rows. other: directions D' of all noise.
    """

    features: int
    seen: int
    other: int

    @property
    def wide(self) -> int:
        """Directions of the inputs."""
        return self.features + self.other

    def seen_of(self, key: Array, entries: Array) -> Array:
        """Entries N(0, 1) of W_0 [rows, K + q (+ 1)], as if the noise had all its D' directions.

        Its part there [rows, D'] is known by its Gram matrix alone, a Wishart one.
        """
        # No key of a sample is this one: these count from 0.
        root = linalg.bartlett(jax.random.fold_in(key, 2**16 + 1), len(entries), self.other)
        part = jnp.pad(root, ((0, 0), (0, self.seen - len(entries))))
        return entries.at[:, self.features : self.features + self.seen].set(part)


class _Linear:
    """What linear encoders of any depth share."""

    is_linear = True
    embed_dim: Any
    init_scale: Any
    bias: bool
    rows: int
    window: Any

    def apply(self, params: Layers, x: Array) -> Array:
        """Embeddings [..., p] of inputs [..., d]."""
        return project(params.head, append_one(x, self.bias) @ params.first.T)

    def draw(self, key: Array, wide: int) -> Array:
        """Entries N(0, 1) of a first layer [rows, D], drawn in float32 and widened.

        Rows do not depend on how many there are; those from embed_dim on are zero.
        """
        rows = self.rows or int(self.embed_dim)
        entries = nn.initializers.normal(1.0, jnp.float32)(key, (rows, wide))
        if self.window:
            entries = self.window.seen_of(key, entries)
        present = jnp.arange(rows)[:, None] < self.embed_dim
        return jnp.where(present, entries.astype(jnp.asarray(self.init_scale).dtype), 0)


@noun
class Linear(_Linear):
    """The linear encoder f(x) = W x (+ b), entries iid N(0, init_scale^2) at the start.

    Source: the encoder of Xue et al. (2023), whose entries are N(0, sigma_0^2/d):
    init_scale = sigma_0 with init_scale_unit = "root_d".
    """

    embed_dim: int = whole(3, _EMBED_DIM, 1)
    init_scale: float = number(1e-4, _INIT_SCALE, 0)
    bias: bool = flag(True, _BIAS)
    rows: int = internal(0)
    window: Any = internal(())
    init_scale_unit: str = choice(
        "absolute", "of init_scale: as it is, or over sqrt(d)", "absolute", "root_d"
    )

    depth = 1

    def init(self, key: Array, d: int) -> Layers:
        """W_0 as layers."""
        scale = jnp.asarray(self.init_scale)
        if self.init_scale_unit == "root_d":
            wide = self.window.wide if self.window else d
            scale = scale / jnp.sqrt(wide).astype(scale.dtype)
        first = scale * self.draw(key, d + self.bias)
        return Layers(first, jnp.zeros((0, len(first), len(first)), first.dtype))


@noun
class DeepLinear(_Linear):
    """The deep linear encoder f(x) = W_L ... W_2 (W_1 x (+ b)) from a balanced start.

        W_1 = init_scale Q,   W_2 = ... = W_L = init_scale Q Q^T,   Q the polar factor of a draw

    Layers above the first are a linear projection head. It takes no weight decay and has no
    critical rate.

    Source: the linear projection head of Xue et al. (2024), arXiv 2403.11391. The start is derived
    here: W_(l+1)^T W_(l+1) = W_l W_l^T for every l, and W_L ... W_1 = init_scale^L Q.
    """

    embed_dim: int = whole(3, "p, width of every layer", 1)
    init_scale: float = number(1e-2, "singular values of every layer at the start", 0)
    bias: bool = flag(True, _BIAS)
    depth: int = size(2, "L, number of layers", 2)
    rows: int = internal(0)
    window: Any = internal(())

    layers = ("pre",)

    def init(self, key: Array, d: int) -> Layers:
        """W_1 ... W_L at the start."""
        scale = jnp.asarray(self.init_scale)
        rows = linalg.polar(self.draw(key, d + self.bias))
        above = (self.depth - 1, rows.shape[0], rows.shape[0])
        return Layers(scale * rows, jnp.broadcast_to(scale * rows @ rows.T, above))

    def through(self, params: Layers, x: Array) -> dict[str, Array]:
        """Embeddings of the first layer [..., p]."""
        return {"pre": append_one(x, self.bias) @ params.first.T}


def is_linear(encoder: Any) -> bool:
    """Whether f(x) = W x + b."""
    return getattr(encoder, "is_linear", False)


def with_rows(encoder: Any, rows: int) -> Any:
    """The encoder with room for embed_dim up to `rows`; one of a fixed width as it is."""
    able = any(one.name == "rows" for one in fields(encoder)) if is_linear(encoder) else False
    return replace(encoder, rows=rows) if able else encoder
