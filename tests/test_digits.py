"""The claim about digits: what it counts, and what its ratio is of."""

import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from cldyn.claims import digits
from cldyn.observables import variance_ratio


def test_neighbours_are_counted_where_not_both_are_guesses():
    """Medians .9 .7 .7 .1 .1 over bits: one falls, one ties, one falls to chance, one is chance."""
    seeds = np.array([0.9, 0.7, 0.7, 0.1, 0.1]) + np.array([-0.05, 0, 0.05])[:, None]
    values = xr.DataArray(seeds, dims=("seed", "bits"))
    assert digits._ordered(values, "bits", -1) == (2, 3)
    assert digits._ordered(values, "bits", 1) == (0, 3)
    assert digits._ordered(values.isel(bits=slice(1)), "bits", 1) == (0, 0)


def test_ratio_is_of_directions_and_blind_to_lengths():
    rng = np.random.default_rng(0)
    f, member = rng.normal(size=(24, 3)), np.eye(4)[:, rng.permutation(np.arange(24) % 4)]

    class Seen:
        embed = staticmethod(lambda name: jnp.array(f * rng.uniform(1, 9, (24, 1))))
        member = staticmethod(lambda rows, of: jnp.array({"cell": member, "class": pairs}[of]))

    pairs = member[:2] + member[2:]
    unit = f / np.linalg.norm(f, axis=1, keepdims=True)
    expected = float(variance_ratio(jnp.array(unit), jnp.array(member), jnp.array(pairs)))
    assert float(digits._direction_ratio(Seen())) == pytest.approx(expected, rel=1e-5)
