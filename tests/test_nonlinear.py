"""What the claim of nonlinear encoders measures, against plain loops."""

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from cldyn.claims import nonlinear as claim
from cldyn.observed import Observed

pytestmark = pytest.mark.quick


def seen(rows, inputs, member):
    given = {"": rows, "input": inputs}
    nothing = dict.fromkeys(Observed._fields)
    groups = {"test": (member, member)}
    return Observed(
        **nothing | {"embed": lambda name, layer="": given[layer], "groups": groups, "views": 2}
    )


def drawn(seed, s=40, p=5):
    rng = np.random.default_rng(seed)
    inputs = np.hstack(
        [rng.choice([-1.0, 1.0], (s, claim.CROWD.features)), rng.normal(size=(s, 3))]
    )
    codes = inputs[:, : claim.CROWD.features]
    rows = codes @ rng.normal(size=(codes.shape[1], p)) + rng.normal(size=(s, p)) + 2
    sign = codes[:, 1]
    return rows, inputs, np.stack([sign < 0, sign > 0]).astype(float)


@given(st.integers(0, 2**31))
def test_gap_of_directions_is_that_of_embeddings_of_length_one(seed):
    rows, inputs, member = drawn(seed)
    means = []
    for group in member:
        chosen = [row / np.sqrt(sum(row**2)) for row, one in zip(rows, group, strict=True) if one]
        means.append(sum(chosen) / len(chosen))
    expected = np.sqrt(sum((means[0] - means[1]) ** 2))
    found = claim.DIRECTIONS_GAP.function(seen(rows, inputs, member))
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    scaled = claim.DIRECTIONS_GAP.function(seen(7 * rows, inputs, member))
    np.testing.assert_allclose(scaled, expected, rtol=1e-10)


@given(st.integers(0, 2**31))
def test_linear_share_is_the_share_that_least_squares_explains(seed):
    rows, inputs, member = drawn(seed)
    design = np.hstack([np.ones((len(rows), 1)), inputs[:, : claim.CROWD.features]])
    fitted = design @ np.linalg.lstsq(design, rows, rcond=None)[0]
    expected = fitted.var(axis=0).sum() / rows.var(axis=0).sum()
    found = claim.LINEAR_SHARE.function(seen(rows, inputs, member))
    np.testing.assert_allclose(found, expected, rtol=1e-9)


@given(st.floats(0, 1))
def test_the_law_of_the_subclass_is_that_of_the_best_function(beta):
    # f = sum_j sqrt(a_j) e_j, and a_j = 1 - beta for e_j = y_sub, whose means are 2 apart.
    np.testing.assert_allclose(claim.law(beta), 2 * np.sqrt(1 - beta), atol=1e-6)


def test_converged_is_who_has_left_the_saddle_and_stands_still():
    beta, gaps = 0.5, [[1.41, 1.41], [1.2, 1.41], [0.01, 0.01]]
    loss = [[-2.2, -2.5], [-2.2, -2.5], [-2.01, -2.01]]
    dims = ("seed", "step")
    one = xr.Dataset({"test_subclass_gap": (dims, gaps), "loss": (dims, loss)}, {"beta": beta})
    assert claim.settled(one).values.tolist() == [True, False, False]
