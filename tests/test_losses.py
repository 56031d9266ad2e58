import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    POSITIVES,
    batch_weights,
    looped_moments,
    one_hot,
    pair_loss,
    pair_weights,
    with_one,
)

from cldyn import CappedSpectral, Iid, Joint, Spectral, Subset, Supervised, Unsupervised, moments
from cldyn.losses import (
    Pairs,
    all_pairs,
    mix,
    slope,
    spectral_gradient,
    spectral_in_frame,
)

pytestmark = pytest.mark.quick

SEEDS = st.integers(0, 2**31 - 1)
KINDS = st.sampled_from(POSITIVES)
LABEL = np.array([0, 2, 2, 0, 2, 1])


@pytest.mark.parametrize(
    ("positives", "mixture"), [(Supervised(), 5.0), (Unsupervised(), 7.0), (Joint(0.3), 6.4)]
)
def test_a_mixture_takes_its_share_of_both_kinds_and_the_pure_ones_touch_one_alone(
    positives, mixture
):
    assert mix(positives, 5.0, 7.0) == pytest.approx(mixture, rel=1e-15)
    assert bool(np.isnan(mix(positives, np.nan, 7.0))) == (not isinstance(positives, Unsupervised))
    assert bool(np.isnan(mix(positives, 5.0, np.nan))) == (not isinstance(positives, Supervised))


def test_joint_at_its_ends_is_either_kind():
    assert (mix(Joint(1.0), 5.0, 7.0), mix(Joint(0.0), 5.0, 7.0)) == (5.0, 7.0)
    assert float(jax.grad(lambda beta: mix(Joint(beta), 5.0, 7.0))(0.3)) == pytest.approx(-2)


@given(st.lists(st.integers(0, 3), min_size=5, max_size=5), st.integers(1, 3), KINDS)
def test_weights_of_all_pairs_are_a_double_loop_and_sum_to_one(label, m, positives):
    member = np.array([np.array(label) == group for group in range(4)], float)  # some empty
    pairs = all_pairs(jnp.array(member), m, positives)
    for found, expected in zip(
        (pairs.positive, pairs.negative), pair_weights(label, m, positives), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-15)
        assert float(found.sum()) == pytest.approx(1, rel=1e-13)


def batch_of(seed, m, positives, kind, alone):
    """A random batch of 5 of 9 units, of classes of unequal sizes, and its pairs.

    alone: whether a view meets itself.
    """
    rng = np.random.default_rng(seed)
    label = np.append(np.arange(3), rng.integers(0, 3, 6))
    chosen = rng.permutation(9)[:5]
    member = one_hot(label) / np.sqrt(one_hot(label).mean(axis=1, keepdims=True))
    within = np.full((m, m), 1 / m**2) if alone else (1 - np.eye(m)) / max(m * (m - 1), 1)
    given = member[:, chosen], within, *kind(5).weights(9)
    pairs = Pairs(jnp.array(given[0]), jnp.array(within), *given[2:], positives)
    return rng.normal(size=(5 * m, 3)), pairs, batch_weights(*given, positives)


@given(SEEDS, st.integers(1, 3), KINDS, st.sampled_from([Iid, Subset]), st.booleans())
def test_pairs_of_a_batch_weigh_as_in_a_double_loop(seed, m, positives, kind, alone):
    f, pairs, expected = batch_of(seed, m, positives, kind, alone)
    np.testing.assert_allclose(pairs.positive, expected[0], rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(pairs.negative, expected[1], rtol=1e-12, atol=1e-15)
    loss = pair_loss(f, *expected)
    assert float(Spectral()(jnp.array(f), pairs)) == pytest.approx(loss, rel=1e-10, abs=1e-12)


@pytest.mark.parametrize(
    ("kind", "different", "same"), [(Subset, 8 / (9 * 20), 1 / 45), (Iid, 1 / 20, 0)]
)
def test_weights_of_a_batch_are_inverse_inclusion_probabilities_over_all_pairs(
    kind, different, same
):
    """b = 5 of n = 9: n (n - 1)/(b (b - 1)) and n/b over n^2; with replacement n^2/(b (b - 1))."""
    assert kind(5).weights(9) == pytest.approx((different, same), rel=1e-14)


@jax.jit
def by_pairs(w, rows, positive, negative):
    gram = (rows @ w.T) @ (rows @ w.T).T
    return jnp.sum(negative * gram**2) - 2 * jnp.sum(positive * gram)


slope_by_pairs = jax.jit(jax.grad(by_pairs))


@given(SEEDS, KINDS, st.sampled_from([(4, True), (20, False)]))
def test_linear_encoder_has_one_loss_and_gradient_in_pairs_moments_and_frame(
    seed, positives, shape
):
    (d, bias), rng = shape, np.random.default_rng(seed)
    x, w = rng.normal(size=(6, 2, d)) + 0.5, rng.normal(size=(3, d + bias)) / 2
    wide = with_one(x, bias)
    pairs = w, wide.reshape(12, -1), *pair_weights(LABEL, 2, positives)
    second, shared = looped_moments(wide, LABEL, positives)
    by_moments = np.sum((w @ second @ w.T) ** 2) - 2 * np.trace(w @ shared @ w.T)
    assert float(by_pairs(*pairs)) == pytest.approx(by_moments, rel=1e-12)
    frame = moments.frame(x, jnp.array(one_hot(LABEL)), bias)
    inside = w @ frame.basis, frame.second, frame.factor(positives)
    assert float(spectral_in_frame(*inside)) == pytest.approx(by_moments, rel=1e-12)
    slope = spectral_gradient(*inside) @ frame.basis.T
    np.testing.assert_allclose(slope, slope_by_pairs(*pairs), rtol=1e-10, atol=1e-10)


slope_in_frame = jax.jit(jax.grad(spectral_in_frame))


@given(SEEDS, st.sampled_from([1, 4]))
def test_gradient_in_any_frame_is_the_derivative(seed, p):
    rng = np.random.default_rng(seed)
    given = rng.normal(size=(p, 5)), rng.uniform(0, 2, 5), rng.normal(size=(3, 5))
    expected = slope_in_frame(*given)
    np.testing.assert_allclose(spectral_gradient(*given), expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("loss", [Spectral(), CappedSpectral()])
@given(SEEDS, st.integers(1, 3), KINDS, st.booleans())
def test_a_slope_in_columns_is_the_gradient_of_the_loss(loss, seed, m, positives, sampled):
    rng, b, p = np.random.default_rng(seed), 5, 3
    rows = jnp.array(rng.normal(size=(b * m, p)))
    member = jnp.array(rng.uniform(0.3, 2, (2, b)))
    within = rng.uniform(size=(m, m))
    within = jnp.array((1 - np.eye(m)) / max(m * (m - 1), 1) if sampled else within + within.T)
    pairs = Pairs(member, within, rng.uniform(), rng.uniform(), positives)

    def columns(x):  # all first views, then all second ones
        return x.reshape(b, m, p).transpose(2, 1, 0).reshape(p, m * b)

    expected = columns(jax.grad(loss)(rows, pairs))
    np.testing.assert_allclose(slope(loss, columns(rows), pairs), expected, rtol=1e-10, atol=1e-12)
