from dataclasses import replace
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.integrate
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

import cldyn
from cldyn import Experiment, FeatureModel, Problem, Training, encoders, linalg, losses, measures, theory

MODEL = FeatureModel(d=40, class_strength=1.1, subclass_strength=0.9, irrelevant_strength=(1.5,), subclass_mean=0.7, class_keep=0.8, noise_keep=0.3)
DEEP = Experiment(Problem(MODEL, n=8, m=2, precision="float64"), Training("joint", depth=3, beta=0.4, learning_rate=0.02, init_scale=0.4))
NAMES = ("feature_norms", "first_layer_norms", "imbalance", "excess_loss", "distance")
seeds = st.integers(0, 10_000)


def start_of(experiment):
    """Layers of a start by scipy's polar decomposition of the draw."""
    training, wide = experiment.training, experiment.problem.data.d + experiment.problem.bias
    draw = np.asarray(jax.random.normal(jax.random.key(training.seed), (training.embed_dim, wide), jnp.float32), float)
    rows, _ = scipy.linalg.polar(draw)
    head = np.broadcast_to(training.init_scale * rows @ rows.T, (training.depth - 1, *2 * (training.embed_dim,)))
    return [training.init_scale * rows, *head]


@pytest.mark.parametrize(
    ("problem", "training"), [({}, {}), ({"bias": False}, {"depth": 2, "embed_dim": 5, "optimizer": "momentum", "momentum": 0.6})]
)
def test_frame_equals_autodiff_through_all_layers_on_raw_data(problem, training):
    experiment = Experiment(replace(DEEP.problem, **problem), replace(DEEP.training, **training))
    problem, training = experiment.problem, experiment.training
    views = cldyn.sample(jax.random.key(problem.data_seed), problem.data, problem.n, problem.m)
    rows = views.x.reshape(-1, problem.data.d)
    rows = jnp.concatenate([rows, jnp.ones((len(rows), 1))], axis=1) if problem.bias else rows
    pairs = losses.pair_weights(views.label, problem.m, training.loss, training.beta)
    optimizer = optax.sgd(training.learning_rate, training.momentum if training.optimizer == "momentum" else None)

    def product(layers):
        w = layers[0]
        for layer in layers[1:]:
            w = layer @ w
        return w

    def step(carry, _):
        layers, state = carry
        updates, state = optimizer.update(jax.grad(lambda layers: losses.spectral(rows @ product(layers).T, *pairs))(layers), state)
        return (optax.apply_updates(layers, updates), state), None

    layers = [jnp.asarray(layer) for layer in start_of(experiment)]
    (layers, _), _ = jax.jit(lambda layers: jax.lax.scan(step, (layers, optimizer.init(layers)), None, length=400))(layers)
    ours = cldyn.run(experiment, [0, 400], measure=NAMES)
    assert np.abs(product(layers)).max() > 0.05
    np.testing.assert_allclose(ours.weights, product(layers), atol=1e-10)
    directions = np.eye(3, rows.shape[1])
    np.testing.assert_allclose(ours.records["feature_norms"][-1], np.linalg.norm(directions @ product(layers).T, axis=1), atol=1e-10)
    np.testing.assert_allclose(ours.records["first_layer_norms"][-1], np.linalg.norm(directions @ layers[0].T, axis=1), atol=1e-10)
    gram = layers[0] @ layers[0].T
    apart = [np.linalg.norm(up.T @ up - low @ low.T) / np.linalg.norm(gram) for low, up in pairwise(layers)]
    np.testing.assert_allclose(ours.records["imbalance"], [0, max(apart)], atol=1e-10)
    assert max(apart) > 1e-4 or training.optimizer == "momentum"


def test_one_layer_is_the_linear_encoder_and_its_measures():
    records = cldyn.run(replace(DEEP, training=replace(DEEP.training, depth=1)), [0, 50], measure=NAMES).records
    np.testing.assert_array_equal(records["first_layer_norms"], records["feature_norms"])
    np.testing.assert_array_equal(records["imbalance"], 0)


def test_lanes_of_a_deep_encoder_equal_runs_with_embedding_dimensions_and_divergence():
    axes = [{"embed_dim": (2, 4)}, {"seed": (0, 1)}, {"learning_rate": (0.02, 5.0)}]
    swept = cldyn.sweep(DEEP, axes, [0, 30, 60], measure=NAMES)
    for p in (2, 4):
        for seed in (0, 1):
            lane = cldyn.run(replace(DEEP, training=replace(DEEP.training, embed_dim=p, seed=seed)), [0, 30, 60], measure=NAMES)
            one = swept.sel(embed_dim=p, seed=seed)
            for name in NAMES:
                np.testing.assert_allclose(one[name].sel(learning_rate=0.02), lane.records[name], atol=1e-12)
            assert int(one.finite_steps.sel(learning_rate=5.0)) < 60 and np.isnan(one.distance.sel(learning_rate=5.0).isel(step=-1))


@given(seeds, st.integers(1, 5), st.integers(2, 4))
def test_balanced_start_is_balanced_with_orthonormal_rows(seed, p, depth):
    draw = np.random.default_rng(seed).normal(size=(5, 4))
    draw[p:] = 0
    layers = encoders.balanced(jnp.asarray(draw), depth, jnp.asarray(0.3))
    singular = np.linalg.svd(layers.first, compute_uv=False)
    np.testing.assert_allclose(singular[: min(p, 4)], 0.3, atol=1e-12)
    np.testing.assert_allclose(measures.imbalance(layers.first @ layers.first.T, layers.head), 0, atol=1e-12)
    np.testing.assert_allclose(encoders.end_to_end(layers), 0.3 ** (depth - 1) * layers.first, atol=1e-12)


@given(seeds)
def test_polar_factor_is_that_of_scipy(seed):
    matrix = np.random.default_rng(seed).normal(size=(4, 7))
    np.testing.assert_allclose(linalg.polar(jnp.asarray(matrix)), scipy.linalg.polar(matrix)[0], atol=1e-10)


def test_deep_encoder_applies_its_layers_with_a_bias():
    encoder = encoders.deep_linear(3, 3)
    params = encoder.init(jax.random.key(0), 6, 0.5)
    x = np.random.default_rng(0).normal(size=(4, 6))
    expected = np.concatenate([x, np.ones((4, 1))], axis=1) @ np.asarray(encoders.end_to_end(params)).T
    np.testing.assert_allclose(encoder.apply(params, x), expected, rtol=1e-5, atol=1e-6)


@given(seeds, st.integers(2, 4), st.integers(1, 6))
def test_balanced_layers_of_a_limit(seed, depth, p):
    w = np.random.default_rng(seed).normal(size=(p, 4))
    first, head = theory.balanced_layers(jnp.asarray(w), depth)
    np.testing.assert_allclose(encoders.end_to_end(encoders.Layers(first, head)), w, atol=1e-10)
    np.testing.assert_allclose(measures.imbalance(first @ first.T, head), 0, atol=1e-10)
    np.testing.assert_allclose(np.linalg.matrix_power(first.T @ first, depth), w.T @ w, atol=1e-9)
    assert (np.linalg.norm(first, axis=0) <= np.linalg.norm(w, axis=0) ** (1 / depth) * (1 + 1e-9)).all()


@given(st.floats(1e-3, 1e-2), st.floats(0.2, 3), st.integers(2, 4))
def test_escape_time_is_that_of_the_ordinary_differential_equation(start, shared, depth):
    """One mode of L equal layers u, w = u^L, from the loss -2 c w^2 alone, to where w is a thousand times its start."""

    def slope(_, u):
        return 4 * shared * u ** (2 * depth - 1)

    def grown(_, u):
        return u[0] ** depth - 1000 * start

    grown.terminal = True
    time = theory.escape_time(start, shared, depth)
    solved = scipy.integrate.solve_ivp(slope, (0, 2 * float(time)), [start ** (1 / depth)], events=grown, rtol=1e-10, atol=1e-14)
    left = 1000 ** (-2 * (1 - 1 / depth))  # of the time to infinity, what is still to come
    assert solved.t_events[0][0] == pytest.approx(float(time) * (1 - left), rel=1e-6)


def test_deep_limit_is_forecast_and_reached():
    model = FeatureModel(d=5, irrelevant_strength=(1.4,), class_keep=0.9, subclass_keep=0.8, subclass_mean=0.4, noise=0.3, noise_keep=0.2)
    training = Training("ucl", depth=2, embed_dim=3, init_scale=0.3, optimizer="flow", learning_rate=0.02)
    experiment = Experiment(Problem(model, population=True, precision="float64"), training)
    known = cldyn.predict(experiment)
    ended = cldyn.run(experiment, [0, 20_000], measure=NAMES)
    np.testing.assert_allclose(ended.records["feature_norms"][-1], known.records["feature_norms"][0], atol=1e-6)
    np.testing.assert_allclose(ended.records["first_layer_norms"][-1], known.records["first_layer_norms"][0], atol=1e-6)
    assert np.isnan(known.critical_learning_rate) and np.isnan(known.learning_step).all()
    swept = cldyn.forecast(experiment, [{"seed": (0, 1)}])
    np.testing.assert_allclose(swept.first_layer_norms.values, np.broadcast_to(known.records["first_layer_norms"], (2, 3)), atol=1e-10)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_what_rivals_leave_is_a_power_of_the_start_of_the_first_layer(depth):
    """The exponent, from two starts a factor of ten apart."""
    model = FeatureModel(d=7, irrelevant_strength=(1.6,) * 4, subclass_mean=0.0, noise=0.0)
    problem = Problem(model, bias=False, population=True, precision="float64")
    left, predicted = [], []
    for scale in (1e-2, 1e-3):
        first = scale ** (1 / depth)
        training = Training("ucl", depth=depth, embed_dim=4, learning_rate=0.02, init_scale=first if depth > 1 else scale / 7**0.5)
        record = cldyn.sweep(Experiment(problem, training), [{"seed": range(16)}], [0, 100_000], measure=("first_layer_norms",))
        norms = record.first_layer_norms.sel(feature="class").median("seed")
        left.append(float(norms[1]))
        predicted.append(float(theory.left_behind(float(norms[0]), 1.0, 1.6)))
    assert np.log(left[0] / left[1]) == pytest.approx(np.log(predicted[0] / predicted[1]), rel=0.2)
