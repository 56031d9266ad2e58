"""What encoders made of linen modules share: a start, what is observed, units and layers."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from cldyn.checks import is_size, require
from cldyn.nouns import parts, takes_of

EMBED_DIM = "p, dimension of the embedding"
INIT_SCALE = "scale of all weights at the start, of He's"
HEAD = "widths of the hidden layers of the projection head"
SHAPE = "height, width and channels of the images that the first inputs are, in this order"

Seen = tuple[Array, list[Array]]  # an output, and what there is below it


class Network:
    """An encoder noun whose params are those of a linen module that gives `Seen`."""

    init_scale: Any
    threshold: Any = 0.0  # of symmetric units at the start

    def __post_init__(self) -> None:
        """One width is a tuple of one."""
        for one, value in parts(self):
            if takes_of(one).kind == "sizes" and (is_size(value) or isinstance(value, list)):
                told = tuple(value) if isinstance(value, list) else (value,)
                object.__setattr__(self, one.name, told)

    @property
    def layers(self) -> tuple[str, ...]:
        """What can be observed below the output, in order."""
        raise NotImplementedError

    @property
    def module(self) -> nn.Module:
        """The module."""
        raise NotImplementedError

    def init(self, key: Array, d: int) -> Any:
        """Parameters of flax: kernels N(0, 2/fan_in) times init_scale, offsets zero.

        Source: He et al. (2015) for the variance.
        """
        scale, row = jnp.asarray(self.init_scale), jnp.zeros((1, d), jnp.float32)
        shapes = jax.eval_shape(self.module.init, key, row)
        leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
        ends = np.cumsum([leaf.size if path[-1].key == "kernel" else 0 for path, leaf in leaves])
        # All in one draw: one for each of many layers takes XLA the longest of all to compile.
        entries = jnp.split(jax.random.normal(key, (ends[-1],), jnp.float32), ends[:-1])
        started = []
        for (path, leaf), drawn in zip(leaves, entries, strict=True):
            if path[-1].key == "kernel":
                spread = scale * math.sqrt(2 / math.prod(leaf.shape[:-1]))
                started.append(spread * drawn.reshape(leaf.shape))
            else:
                value = {"threshold": self.threshold, "scale": 1.0}.get(path[-1].key, 0.0)
                started.append(jnp.full(leaf.shape, value, scale.dtype))
        return jax.tree.unflatten(structure, started)

    def apply(self, params: Any, x: Array) -> Array:
        """Embeddings [..., p] of inputs [..., d]."""
        output: Any = self.module.apply(params, x)
        return output[0]

    def through(self, params: Any, x: Array) -> dict[str, Array]:
        """Embeddings [..., width] of every layer below the output."""
        seen: Any = self.module.apply(params, x)
        return dict(zip(self.layers, seen[1], strict=True))


class OfImages(Network):
    """A network of rows that start with flattened images; further columns are constant channels."""

    shape: tuple[int, ...]

    def check(self) -> None:
        """Refuse what is no shape of an image."""
        require(len(self.shape) == 3, "shape", self.shape, "three: height, width and channels")

    def check_inputs(self, problem: Any) -> None:
        """Refuse images of another shape, and inputs that are too few for one."""
        d, image = problem.shape[2], getattr(problem, "image_shape", self.shape)
        shown = ",".join(map(str, image))
        require(self.shape == image, "shape", self.shape, f"shape={shown}, that of the images")
        allowed = f"height, width and channels of at most {d} inputs in all"
        require(math.prod(self.shape) <= d, "shape", self.shape, allowed)


def numbered(name: str, count: int) -> tuple[str, ...]:
    """name, name_2, name_3 and so on."""
    return tuple(f"{name}_{i + 1}" if i else name for i in range(count))


def symmetric(a: Array, b: Array) -> Array:
    """The symmetrised rectifier s(a, b) = relu(a - b) - relu(-a - b), which is odd in a.

    Args:
        a: [..., width].
        b: thresholds [width].

    Returns:
        [..., width].

    Source: Xue et al. (2024), arXiv 2403.11391.
    """
    return nn.relu(a - b) - nn.relu(-a - b)


_PLAIN: dict[str, Callable[[Array], Array]] = {"relu": nn.relu, "gelu": nn.gelu, "tanh": nn.tanh}
ACTIVATIONS = (*_PLAIN, "symmetric")


class Layer(nn.Module):
    """A dense layer and its units, of which symmetric ones have a threshold each."""

    width: int
    activation: str = "relu"
    bias: bool = True

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """[..., width] of [..., inputs]."""
        x = nn.Dense(self.width, self.bias, param_dtype=x.dtype, name="dense")(x)
        if self.activation != "symmetric":
            return _PLAIN[self.activation](x)
        return symmetric(x, self.param("threshold", nn.initializers.zeros, (self.width,), x.dtype))


def layered(x: Array, widths: tuple[int, ...], name: str, **units: Any) -> list[Array]:
    """What x and layers on it give, one after the other, inside a module."""
    given = [x]
    for width, told in zip(widths, numbered(name, len(widths)), strict=True):
        given.append(Layer(width, name=told, **units)(given[-1]))
    return given


def headed(pre: Array, head: tuple[int, ...], embed_dim: int) -> Seen:
    """A projection head of rectified layers and a linear output, inside a module."""
    below = layered(pre, head, "head")
    return nn.Dense(embed_dim, param_dtype=pre.dtype, name="output")(below[-1]), below
