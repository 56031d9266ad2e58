"""A linear projection head: layers, their start, their limit, and what theory says of them."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st
from oracles import SMALL, multiplied, random_model, raw_layers, with_one

import cldyn
from cldyn import (
    DeepLinear,
    Experiment,
    FeatureModel,
    Flow,
    Gaussian,
    Gd,
    Joint,
    Linear,
    Momentum,
    Population,
    Training,
    Unsupervised,
    encoders,
    linalg,
    theory,
)
from cldyn.observables import imbalance

DEEP = SMALL.replace(encoder=DeepLinear(init_scale=0.4, depth=3), positives=Joint(0.4))
NAMES = ("feature_norms", "pre_feature_norms", "imbalance", "excess_loss", "distance")
seeds = st.integers(0, 10_000)


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"bias": False, "depth": 2, "embed_dim": 5, "optimizer": Momentum(0.02), "momentum": 0.6},
        {"model": random_model(4)},
    ],
    ids=["preset", "momentum", "random"],
)
def test_frame_equals_autodiff_through_all_layers_on_raw_data(change):
    experiment = DEEP.replace(**change)
    layers = raw_layers(experiment, 400)
    w, (first, *_) = multiplied(layers), layers
    ours = cldyn.run(experiment, [0, 400], measure=[*NAMES[:3], "pre_embeddings"])
    assert np.abs(w).max() > 0.05
    np.testing.assert_allclose(ours.weights, w, atol=1e-10)
    for name, matrix in (("feature_norms", w), ("pre_feature_norms", first)):
        norms = np.linalg.norm(matrix[:, : experiment.problem.model.features], axis=0)
        np.testing.assert_allclose(ours.records[name][-1], norms, atol=1e-10)
    problem = experiment.problem
    tests = cldyn.sample_test(jax.random.key(0), problem.model, problem.test_size)
    below = with_one(tests.x[:, 0], experiment.training.encoder.bias) @ first.T
    np.testing.assert_allclose(ours.records["pre_embeddings"][-1], below, atol=1e-9)
    size = np.linalg.norm(first @ first.T)
    apart = [np.linalg.norm(up.T @ up - low @ low.T) / size for low, up in pairwise(layers)]
    np.testing.assert_allclose(ours.records["imbalance"], [0, max(apart)], atol=1e-10)
    assert max(apart) > 1e-4


def test_one_layer_is_the_linear_encoder_and_its_measures():
    experiment = DEEP.replace(encoder=Linear(init_scale=0.1))
    records = cldyn.run(experiment, [0, 50], measure=["imbalance"]).records
    np.testing.assert_array_equal(records["imbalance"], 0)


def test_sweeps_of_a_deep_encoder_equal_runs_with_embedding_dimensions_and_divergence():
    axes = [{"embed_dim": (2, 4)}, {"seed": (0, 1)}, {"learning_rate": (0.02, 5.0)}]
    swept = cldyn.sweep(DEEP, axes, [0, 30, 60], measure=NAMES, progress=False)
    assert (swept.finite_steps[..., 1] < 60).all() and np.isnan(swept.distance[..., 1, -1]).all()
    for p, seed in ((2, 1), (4, 0)):
        run = cldyn.run(DEEP.replace(embed_dim=p, seed=seed), [0, 30, 60], measure=NAMES)
        one = swept.sel(embed_dim=p, seed=seed, learning_rate=0.02)
        for name in NAMES:
            np.testing.assert_allclose(one[name], run.records[name], atol=1e-12)


@pytest.mark.parametrize("depth", [2, 4])
@pytest.mark.parametrize("p", [1, 3, 5])
def test_balanced_start_is_balanced_with_orthonormal_rows(p, depth):
    encoder = DeepLinear(embed_dim=p, init_scale=0.3, bias=False, depth=depth, rows=5)
    for seed in range(3):
        layers = jax.jit(encoder.init, static_argnums=1)(jax.random.key(seed), 4)
        singular = np.linalg.svd(layers.first, compute_uv=False)
        np.testing.assert_allclose(singular[: min(p, 4)], 0.3, atol=1e-12)
        np.testing.assert_array_equal(layers.first[p:], 0)
        unbalanced = imbalance(layers.first @ layers.first.T, layers.head)
        np.testing.assert_allclose(unbalanced, 0, atol=1e-12)
        whole = encoders.end_to_end(layers)
        np.testing.assert_allclose(whole, 0.3 ** (depth - 1) * layers.first, atol=1e-12)


@given(seeds)
def test_polar_factor_is_that_of_scipy(seed):
    matrix = np.random.default_rng(seed).normal(size=(4, 7))
    found = linalg.polar(jnp.asarray(matrix))
    np.testing.assert_allclose(found, scipy.linalg.polar(matrix)[0], atol=1e-10)


def test_deep_encoder_applies_its_layers_with_a_bias():
    encoder = DeepLinear(embed_dim=3, init_scale=0.5, depth=3)
    params = encoder.init(jax.random.key(0), 6)
    x = np.random.default_rng(0).normal(size=(4, 6))
    expected = np.concatenate([x, np.ones((4, 1))], axis=1) @ params.first.T
    for layer in params.head:
        expected = expected @ layer.T
    np.testing.assert_allclose(encoder.apply(params, x), expected, rtol=1e-12, atol=1e-14)


@given(seeds, st.integers(2, 4), st.integers(1, 6))
def test_balanced_layers_of_a_limit(seed, depth, p):
    w = np.random.default_rng(seed).normal(size=(p, 4))
    first, head = theory.balanced_layers(jnp.asarray(w), depth)
    np.testing.assert_allclose(encoders.end_to_end(encoders.Layers(first, head)), w, atol=1e-10)
    np.testing.assert_allclose(imbalance(first @ first.T, head), 0, atol=1e-10)
    gram = np.linalg.matrix_power(first.T @ first, depth)
    np.testing.assert_allclose(gram, w.T @ w, atol=1e-9)
    lengths = np.linalg.norm(w, axis=0) ** (1 / depth)
    assert (np.linalg.norm(first, axis=0) <= lengths * (1 + 1e-9)).all()


@given(st.floats(1e-3, 1e-2), st.floats(0.2, 3), st.integers(2, 4))
def test_escape_time_is_that_of_the_ordinary_differential_equation(start, shared, depth):
    """One mode of L equal layers u, w = u^L, from the loss -2 c w^2 alone, to 1000 times w_0."""

    def slope(_, u):
        return 4 * shared * u ** (2 * depth - 1)

    def grown(_, u):
        return u[0] ** depth - 1000 * start

    grown.terminal = True
    time = float(theory.escape_time(start, shared, depth))
    first, span = [start ** (1 / depth)], (0, 2 * time)
    solved = scipy.integrate.solve_ivp(slope, span, first, events=grown, rtol=1e-10, atol=1e-14)
    left = 1000 ** (-2 * (1 - 1 / depth))  # of the time to infinity, what is still to come
    assert solved.t_events[0][0] == pytest.approx(time * (1 - left), rel=1e-6)


def test_deep_limit_is_forecast_and_reached():
    model = FeatureModel(
        d=5, irrelevant_strength=(1.4,), class_keep=0.9, subclass_keep=0.8, subclass_mean=0.4,
        noise=Gaussian(0.3, 0.2),
    )  # fmt: skip
    training = Training(
        DeepLinear(init_scale=0.3), positives=Unsupervised(), optimizer=Flow(learning_rate=0.02)
    )
    experiment = Experiment(Population(model), training, "float64")
    known = cldyn.predict(experiment)
    norms = "feature_norms", "pre_feature_norms"
    ended = cldyn.run(experiment, [0, 20_000], measure=norms)
    for name in norms:
        np.testing.assert_allclose(ended.records[name][-1], known.records[name][0], atol=1e-6)
    assert np.isnan(known.critical_learning_rate) and np.isnan(known.learning_step).all()
    swept = cldyn.forecast(experiment, [{"seed": (0, 1)}])
    expected = np.broadcast_to(known.records["pre_feature_norms"], (2, 3))
    np.testing.assert_allclose(swept.pre_feature_norms.values, expected, atol=1e-10)


@pytest.mark.parametrize("depth", [1, 3])
def test_what_rivals_leave_is_a_power_of_the_start_of_the_first_layer(depth):
    """The exponent, from two starts a factor of ten apart."""
    model = FeatureModel(
        d=7, irrelevant_strength=(1.6,) * 4, subclass_mean=0.0, noise=Gaussian(0.0)
    )
    scales = np.array([1e-2, 1e-3])
    if depth > 1:
        encoder, starts = DeepLinear(4, bias=False, depth=depth), scales ** (1 / depth)
    else:
        encoder, starts = Linear(4, bias=False), scales / 7**0.5
    training = Training(encoder, positives=Unsupervised(), optimizer=Gd(learning_rate=0.02))
    experiment = Experiment(Population(model), training, "float64")
    axes = [{"seed": range(16)}, {"init_scale": starts}]
    name = "pre_feature_norms" if depth > 1 else "feature_norms"
    swept = cldyn.sweep(experiment, axes, [0, 50_000], measure=[name], progress=False)
    start, left = swept[name].sel(feature="class").median("seed").values.T
    predicted = [float(theory.left_behind(norm, 1.0, 1.6)) for norm in start]
    found = np.log(left[0] / left[1])
    assert found == pytest.approx(np.log(predicted[0] / predicted[1]), rel=0.2)
