"""What batches without replacement make of the noise of SGD."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import Array

KINDS = ("iid", "subset", "epochs")


class Parts(NamedTuple):
    """What batches without replacement make of both parts of the noise.

    first, other: factors of their covariances. shuffled: w/(p - 1) of reshuffling, in m.
    """

    first: Array
    other: Array
    shuffled: Array


def parts_of(p: int, b: Array, batches: str, n: Array, c: Array) -> Parts:
    """For p outputs, b of n units in a batch, c = 4 eta m. batches: one of `KINDS`."""
    one = jnp.ones(())
    if batches == "iid":
        return Parts(one, one, 0 * one)
    stored = jnp.isfinite(n)
    n = jnp.where(stored, n, 10.0 * b)
    first = (n - b) / (n - 1)
    other = _without_replacement(p, b, n, batches == "epochs") if p > 1 else first**2
    shuffled = _shuffled(n / b, c) if batches == "epochs" else 0 * one
    return Parts(*(jnp.where(stored, x, y) for x, y in ((first, 1), (other, 1), (shuffled, 0))))


def _shuffled(turns: Array, c: Array) -> Array:
    """w = 2/(E (E - 1)) sum_(l < E) (E - l) (1 - 2c)^(l - 1) for E batches in an epoch."""
    x = 2 * c
    exact = 2 * (turns * x - 1 + (1 - x) ** turns) / (turns * jnp.maximum(turns - 1, 1) * x**2)
    return jnp.where(turns * x < 0.02, 1 - (turns - 2) * x / 3, exact)


def _without_replacement(p: int, b: Array, n: Array, epochs: bool) -> Array:
    """A of stored units over that of new ones, small steps, of a full factorial of signs.

    With q_ac = D_a E_c of the left-out feature, sum_a D_a = sum_c E_c = sum_a q_aa = 0 turn all
    sums over different units into S = sum_(a != c) (|q_ac|^2 + q_ac.q_ca) = n p (p-1) (n - 2p + 2)
    and Q = sum |q_aa|^2 = n p (p-1)^2: three units 4Q - 2S, four S - 4Q. They are weighted by the
    probabilities that a batch holds them, or that batches of one epoch do.
    """
    s, q = n * p * (p - 1) * (n - 2 * p + 2), n * p * (p - 1) ** 2
    apart, alone = (n - 1) / (n * b * (b - 1)), 1 / (n * b)
    if epochs:
        two = (b - 1) / (n - 1)
        three = two * (b - 2) / (n - 2)
        four = two * ((b - 2) * (b - 3) + (n - b) * (b - 1)) / ((n - 2) * (n - 3))
        total = apart**2 * b / n * (two * s + three * (4 * q - 2 * s) + four * (s - 4 * q))
        return total * b * (b - 1) / (p * (p - 1))
    one = b / n
    two = one * (b - 1) / (n - 1)
    three = two * (b - 2) / (n - 2)
    four = three * (b - 3) / (n - 3)
    total = apart**2 * (two * s + three * (4 * q - 2 * s) + four * (s - 4 * q))
    total += 4 * apart * alone * q * (three - two) + alone**2 * q * (one - two)
    return total * b * (b - 1) / (p * (p - 1))
