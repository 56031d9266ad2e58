import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cldyn.data import views
from cldyn.losses import pair_weights, spectral, spectral_gradient, spectral_in_frame
from cldyn.moments import append_one, frame, sample_moments

LOSSES = [("scl", 0.5), ("ucl", 0.5), ("joint", 0.3)]
LABEL = np.array([0, 2, 2, 0, 2, 1])


def loop_loss(f, label, m, loss, beta):
    """The V-statistic, pair by pair."""
    n, total = len(label), 0.0
    for i in range(n * m):
        for j in range(n * m):
            dot = float(f[i] @ f[j])
            same_class = (label[i // m] == label[j // m]) / (n * (label == label[i // m]).sum() * m**2)
            same_example = (i // m == j // m) / (n * m**2)
            share = {"scl": 1.0, "ucl": 0.0, "joint": beta}[loss]
            total += -2 * (share * same_class + (1 - share) * same_example) * dot + dot**2 / (n * m) ** 2
    return total


@pytest.mark.parametrize(("loss", "beta"), LOSSES)
@given(seed=st.integers(0, 2**31 - 1))
def test_spectral_with_pair_weights_is_a_double_loop(loss, beta, seed):
    f = np.random.default_rng(seed).normal(size=(12, 3))
    assert spectral(f, *pair_weights(LABEL, 2, loss, beta)) == pytest.approx(loop_loss(f, LABEL, 2, loss, beta), rel=1e-12)


@pytest.mark.parametrize(("loss", "beta"), LOSSES)
def test_pair_weights_sum_to_one(loss, beta):
    positive, negative = pair_weights(LABEL, 3, loss, beta)
    assert positive.shape == negative.shape == (18, 18)
    assert (float(positive.sum()), float(negative.sum())) == pytest.approx((1, 1), rel=1e-13)


@pytest.mark.parametrize(("loss", "beta"), LOSSES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("d", [4, 20])
def test_linear_encoder_has_one_loss_in_pairs_moments_and_frame(loss, beta, bias, d):
    rng = np.random.default_rng(d)
    given_views = views(rng.normal(size=(6, 2, d)) + 0.5, LABEL)
    w = rng.normal(size=(3, d + bias)) / 2
    rows = append_one(jnp.asarray(given_views.x), bias).reshape(12, -1)
    by_pairs = spectral(rows @ w.T, *pair_weights(LABEL, 2, loss, beta))
    second, positive = sample_moments(given_views, loss, beta=beta, bias=bias)
    coordinates = frame(given_views, bias)
    in_frame = spectral_in_frame(w @ coordinates.basis, coordinates.second, coordinates.factor(loss, beta))
    assert by_pairs == pytest.approx(float(-2 * np.trace(w @ positive @ w.T) + np.sum((w @ second @ w.T) ** 2)), rel=1e-12)
    assert in_frame == pytest.approx(float(by_pairs), rel=1e-12)


@given(seed=st.integers(0, 2**31 - 1), p=st.sampled_from([1, 4]))
def test_gradient_in_the_frame_is_the_derivative(seed, p):
    rng = np.random.default_rng(seed)
    w, second, factor = rng.normal(size=(p, 5)), rng.uniform(0, 2, 5), rng.normal(size=(3, 5))
    np.testing.assert_allclose(spectral_gradient(w, second, factor), jax.grad(spectral_in_frame)(w, second, factor), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize(("loss", "beta"), LOSSES)
def test_gradient_in_the_frame_is_that_of_the_pair_loss(loss, beta):
    rng = np.random.default_rng(1)
    given_views, w = views(rng.normal(size=(6, 2, 20)), LABEL), rng.normal(size=(3, 20))
    weights = pair_weights(LABEL, 2, loss, beta)
    by_pairs = jax.grad(lambda w: spectral(given_views.x.reshape(12, 20) @ w.T, *weights))(w)
    coordinates = frame(given_views, bias=False)
    in_frame = spectral_gradient(w @ coordinates.basis, coordinates.second, coordinates.factor(loss, beta))
    np.testing.assert_allclose(in_frame @ coordinates.basis.T, by_pairs, atol=1e-11)
