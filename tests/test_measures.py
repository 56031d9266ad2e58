import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    entropy_rank,
    group_means,
    mean_gap,
    objective,
    one_hot,
    probe,
    variance_within,
)

from cldyn.data import contrasts
from cldyn.observables import (
    effective_rank,
    feature_norms,
    gap,
    gradient_balance,
    gram_distance,
    imbalance,
    within_variance,
)
from cldyn.probes import probe_accuracy

SEEDS = st.integers(0, 2**31 - 1)


def dense_distance(w, limit):
    return np.linalg.norm(w.T @ w - limit.T @ limit) / np.linalg.norm(limit.T @ limit)


def random_rotation(rng, p):
    return np.linalg.qr(rng.normal(size=(p, p)))[0]


def groups_of(rng, n, groups):
    """Codes [n] of so many groups, none of which is empty."""
    return rng.permutation(np.append(np.arange(groups), rng.integers(0, groups, n - groups)))


def test_feature_norms_are_lengths_along_the_last_axis():
    directions = np.array([[[3.0, 4.0], [0.0, -2.0]], [[5.0, 12.0], [0.0, 0.0]]])
    np.testing.assert_allclose(feature_norms(directions), [[5, 2], [13, 0]], rtol=1e-15)


@given(SEEDS, st.sampled_from([(1, 3), (5, 2), (3, 4)]))
def test_contrasts_gaps_and_variances_equal_loops(seed, shape):
    (p, groups), rng = shape, np.random.default_rng(seed)
    code, f = groups_of(rng, 40, groups), rng.normal(size=(40, p))
    member, centres = jnp.array(one_hot(code)), group_means(f, code)
    apart = [centres[i] - centres[j] for i in range(groups) for j in range(i + 1, groups)]
    found = contrasts(jnp.array(f), member)
    np.testing.assert_allclose(found, apart, rtol=1e-10, atol=1e-13)
    assert float(gap(found)) == pytest.approx(mean_gap(f, code), rel=1e-12)
    variance = variance_within(f, code)
    assert float(within_variance(f, member)) == pytest.approx(variance, rel=1e-12)
    empty = jnp.concatenate([member, jnp.zeros((1, 40))])
    assert float(within_variance(f, empty)) == pytest.approx(variance, rel=1e-12)


def test_gap_maps_over_leading_axes_and_of_one_group_is_nan():
    differences = np.array([[3.0, 4.0], [0.0, 1.0], [3.0, 3.0]])
    found = gap(np.stack([differences, 2 * differences]))
    np.testing.assert_allclose(found, np.sqrt(44 / 3) * np.array([1, 2]), rtol=1e-15)
    assert np.isnan(gap(jnp.zeros((0, 3))))


@given(SEEDS, st.sampled_from([1, 3]), st.sampled_from(["neither", "w", "limit", "both"]))
def test_gram_distance_is_the_dense_formula(seed, p, zero):
    rng = np.random.default_rng(seed)
    w, limit = rng.normal(size=(p, 4)), rng.normal(size=(p, 4))
    if p > 1:
        w[-1] *= zero not in ("w", "both")
        limit[-1] *= zero not in ("limit", "both")
    assert gram_distance(w, limit) == pytest.approx(dense_distance(w, limit), rel=1e-10)


@given(SEEDS)
def test_gradient_balance_is_that_of_the_two_terms_of_the_loss(seed):
    rng = np.random.default_rng(seed)
    w, factor, second = rng.normal(size=(2, 5)), rng.normal(size=(3, 5)), rng.uniform(size=5)
    shared, quartic = (
        jax.grad(objective)(w, m, p)
        for m, p in ((np.zeros((5, 5)), factor.T @ factor), (np.diag(second), np.zeros((5, 5))))
    )
    expected = np.linalg.norm(shared) / np.linalg.norm(quartic)
    np.testing.assert_allclose(gradient_balance(w, second, factor), expected, rtol=1e-10)


def test_gram_distance_from_nothing_and_from_the_double():
    limit = np.random.default_rng(0).normal(size=(3, 5))
    assert gram_distance(np.zeros((3, 5)), limit) == pytest.approx(1, rel=1e-13)
    assert gram_distance(2 * limit, limit) == pytest.approx(3, rel=1e-13)


@given(SEEDS, st.sampled_from([1e-4, 1e-8, 1e-12]), st.booleans())
def test_gram_distance_keeps_relative_precision_near_the_limit(seed, size, spare):
    """w = R (limit + size delta): Gram matrices differ linearly in size, up to its square."""
    rng = np.random.default_rng(seed)
    limit, delta = rng.normal(size=(3, 6)), rng.normal(size=(3, 6))
    if spare:
        limit[2] = 0
    w = random_rotation(rng, 3) @ (limit + size * delta)
    cross = limit.T @ delta
    apart = size * np.linalg.norm(cross + cross.T + size * delta.T @ delta)
    expected = apart / np.linalg.norm(limit.T @ limit)
    assert gram_distance(w, limit) == pytest.approx(expected, rel=max(1e-9, 2e-15 / size))


def test_gram_distance_batches():
    rng = np.random.default_rng(0)
    w, limit = rng.normal(size=(4, 2, 5)), rng.normal(size=(4, 2, 5))
    expected = [dense_distance(*pair) for pair in zip(w, limit, strict=True)]
    np.testing.assert_allclose(jax.vmap(gram_distance)(w, limit), expected, rtol=1e-10)


@given(SEEDS, st.sampled_from([(1, 2, 1), (4, 3, 0), (2, 5, 2)]))
def test_probe_accuracy_of_several_groups_is_that_of_least_squares(seed, shape):
    (p, groups, spare), rng = shape, np.random.default_rng(seed)
    code, test_code = groups_of(rng, 40, groups), groups_of(rng, 30, groups)
    centre, scale = rng.normal(size=(groups, p)), rng.uniform(0.1, 3, p)
    f, g = (rng.normal(size=(one.size, p)) * scale + centre[one] + 2 for one in (code, test_code))
    # Coordinates that do not vary, as an embedding has to spare, change nothing.
    train, test = (jnp.array(np.hstack([rows, np.zeros((len(rows), spare))])) for rows in (f, g))
    found = probe_accuracy(train, jnp.array(one_hot(code)), test, jnp.array(one_hot(test_code)))
    assert float(found) == pytest.approx(probe(f, code, g, test_code), abs=1e-12)


@pytest.mark.parametrize("groups", [2, 3])
def test_probe_of_a_constant_tells_nothing(groups):
    member = jnp.tile(jnp.eye(groups), (1, 2))
    found = probe_accuracy(*2 * (jnp.ones((2 * groups, 2)), member))
    assert float(found) == pytest.approx(1 / groups, rel=1e-12)


@given(SEEDS, st.sampled_from([(1, 0), (2, 3), (17, 0)]))
def test_effective_rank_is_the_entropy_of_singular_values(seed, shape):
    (p, spare), rng = shape, np.random.default_rng(seed)
    scale = np.diag(np.geomspace(1, 10.0 ** -rng.integers(0, 5), p))
    f = rng.normal(size=(30, p)) @ scale @ rng.normal(size=(p, p)) + 3
    found = effective_rank(jnp.array(np.hstack([f, np.zeros((30, spare))])))
    assert float(found) == pytest.approx(entropy_rank(f), rel=1e-8)


@given(SEEDS, st.integers(0, 3))
def test_imbalance_is_the_largest_relative_difference_of_neighbours(seed, above):
    rng = np.random.default_rng(seed)
    first, head = rng.normal(size=(3, 5)), rng.normal(size=(above, 3, 3))
    apart, low = [0.0], first
    for layer in head:
        apart.append(np.linalg.norm(layer.T @ layer - low @ low.T))
        low = layer
    expected = max(apart) / np.linalg.norm(first @ first.T)
    assert float(imbalance(jnp.array(first @ first.T), head)) == pytest.approx(expected, rel=1e-12)
    assert float(imbalance(jnp.zeros((3, 3)), jnp.zeros((above, 3, 3)))) == 0
