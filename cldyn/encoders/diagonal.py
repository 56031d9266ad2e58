"""The diagonal network."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.encoders.network import symmetric
from cldyn.fields import choice, number
from cldyn.nouns import noun


class Coordinates(NamedTuple):
    """Weights w_1, w_2 and thresholds b_1, b_2 of a diagonal network, each [d]."""

    first: Array
    second: Array
    first_threshold: Array
    second_threshold: Array


@noun
class Diagonal:
    """The diagonal network f_1 = s(w_1 x, b_1), f_2 = s(w_2 f_1, b_2), in every coordinate alone.

        s(a, b) = relu(a - b) - relu(-a - b)

    All of w_1, w_2, b_1 and b_2 are trained. Observed is pre, which is f_1.

    Source: Xue et al. (2024), arXiv 2403.11391, Theorems 3.8 and 4.2, which ask of a coordinate
    that starts at thresholds b_0 that |w_2| <= sqrt(b_0) and |w_2| (|w_1| - b_0) >= b_0. The
    defaults do.
    """

    first: float = number(0.6, "scale of w_1 at the start", 0)
    second: float = number(0.3, "scale of w_2 at the start", 0)
    threshold: float = number(0.1, "b_0, all thresholds at the start")
    drawn: str = choice(
        "signs", "weights at the start: the scale with a random sign, or N(0, scale^2)",
        "signs", "normal",
    )  # fmt: skip

    layers = ("pre",)

    def init(self, key: Array, d: int) -> Coordinates:
        """Weights and thresholds at the start."""
        draw = {"signs": jax.random.rademacher, "normal": jax.random.normal}[self.drawn]
        units = draw(key, (2, d), jnp.float32)
        first, second, b = map(jnp.asarray, (self.first, self.second, self.threshold))
        even = jnp.broadcast_to(b, (d,))
        return Coordinates(first * units[0], second * units[1], even, even)

    def apply(self, params: Coordinates, x: Array) -> Array:
        """Embeddings [..., d] of inputs [..., d]."""
        below = self.through(params, x)["pre"]
        return symmetric(params.second * below, params.second_threshold)

    def through(self, params: Coordinates, x: Array) -> dict[str, Array]:
        """Embeddings f_1 [..., d]."""
        return {"pre": symmetric(params.first * x, params.first_threshold)}
