import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

import cldyn
from cldyn import Experiment, FeatureModel, Problem, Training, losses, moments, theory

seeds = st.integers(0, 10_000)


def random_moments(seed, d=5, n=6, m=3):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 1, d)) * rng.uniform(0.3, 2, d) + 0.7 * rng.normal(size=(n, m, d))
    rows = x.reshape(-1, d)
    means = x.mean(axis=1)
    return rows.T @ rows / len(rows), means.T @ means / n


def objective(w, second, positive, decay=0.0):
    return -2 * jnp.trace(w @ positive @ w.T) + jnp.sum((w @ second @ w.T) ** 2) + decay * jnp.sum(w**2)


def agreements(second, positive):
    values, basis = np.linalg.eigh(second)
    root = basis / np.sqrt(values) @ basis.T
    return np.linalg.eigvalsh(root @ positive @ root)[::-1]


@given(seeds, st.integers(1, 7), st.sampled_from([0.0, 0.1, 0.6]))
def test_minimizer_reaches_the_global_minimum(seed, p, decay):
    second, positive = random_moments(seed)
    w = theory.minimizer(second, positive, p, decay)
    a = agreements(second, positive - decay / 2 * np.eye(5))[:p]
    assert objective(w, second, positive, decay) == pytest.approx(-np.sum(a[a > 0] ** 2), rel=1e-9, abs=1e-12)
    assert np.abs(jax.grad(objective)(w, second, positive, decay)).max() < 1e-8
    assert np.all(w[int((a > 0).sum()) :] == 0)
    traced = jax.jit(lambda q: theory.minimizer(second, positive, q, decay, rows=8))(p)
    np.testing.assert_allclose(traced.T @ traced, w.T @ w, atol=1e-10)
    assert np.all(traced[p:] == 0)


@given(seeds, st.integers(1, 4))
def test_ties_are_cut_by_least_norm(seed, p):
    rng = np.random.default_rng(seed)
    views = cldyn.views(np.repeat(rng.normal(size=(5, 1, 9)) * rng.uniform(0.3, 3, 9), 2, axis=1), np.zeros(5, int))
    second, positive = moments.sample_moments(views, "ucl", bias=False)  # views agree: every a is 1
    w = theory.minimizer(second, positive, p)
    assert objective(w, second, positive) == pytest.approx(-p, abs=1e-9)
    variances = np.sort(np.linalg.eigvalsh(second))[::-1]
    assert np.sum(w**2) == pytest.approx(np.sum(1 / variances[:p]), rel=1e-7)
    frame = moments.frame(views, bias=False)
    for decays in (True, False):
        ours = theory.frame_minimizer(frame.second, frame.factor("ucl"), p, 0.0, decays=decays) @ frame.basis.T
        np.testing.assert_allclose(ours.T @ ours, w.T @ w, atol=1e-7)


def test_weight_decay_tends_to_the_minimum_norm_minimizer_at_first_order():
    second, positive = random_moments(3)
    limit = theory.minimizer(second, positive, 3)
    errors = [np.linalg.norm(w.T @ w - limit.T @ limit) for w in (theory.minimizer(second, positive, 3, decay) for decay in (1e-3, 5e-4))]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.02)


@settings(max_examples=8)
@given(seeds, st.integers(1, 6), st.sampled_from([0.0, 0.3]))
def test_critical_rate_is_the_hessians(seed, p, decay):
    second, positive = random_moments(seed, d=4)
    w = theory.minimizer(second, positive, p, decay)
    hessian = jax.hessian(objective)(w, second, positive, decay).reshape(4 * p, 4 * p)
    expected = 2 / np.linalg.eigvalsh(hessian)[-1]
    assert theory.critical_learning_rate(second, positive, p, decay) == pytest.approx(expected, rel=1e-4)


@given(seeds, st.integers(1, 6), st.sampled_from([0.0, 0.3]))
def test_commuting_critical_rate(seed, p, decay):
    rng = np.random.default_rng(seed)
    second = rng.uniform(0.2, 3, 4)
    shared = second * rng.uniform(0.2, 1, 4)
    w = theory.minimizer(np.diag(second), np.diag(shared), p, decay)
    hessian = jax.hessian(objective)(w, np.diag(second), np.diag(shared), decay).reshape(4 * p, 4 * p)
    ours = theory.commuting_critical_learning_rate(jnp.array(second), jnp.array(shared), p, decay)
    assert ours == pytest.approx(2 / np.linalg.eigvalsh(hessian)[-1], rel=1e-8)


@given(seeds, st.sampled_from([0.0, 0.2]))
def test_early_growth_is_the_matrix_power(seed, decay):
    rng = np.random.default_rng(seed)
    factor, start = rng.normal(size=(2, 4)), rng.normal(size=(3, 4))
    step = np.eye(4) + 4 * 0.03 * (factor.T @ factor - decay / 2 * np.eye(4))
    grown = theory.early_growth(start, factor, 0.03, np.array([0.0, 7.0]), decay)
    np.testing.assert_allclose(grown, [start, start @ np.linalg.matrix_power(step, 7)], rtol=1e-10, atol=1e-12)


@given(seeds)
def test_learning_step_of_a_small_start_is_the_simulated_crossing(seed):
    rng = np.random.default_rng(seed)
    second, factor = np.array([1.0, 1.0, 0.5]), np.diag([np.sqrt(0.9), 0.3, 0.1])
    w = 1e-7 * rng.normal(size=(3, 3))
    step, efold = theory.learning_step(w, factor, jnp.array([1.0, 0, 0]), 0.02, 0.01)
    assert efold == pytest.approx(1 / np.log1p(4 * 0.02 * 0.9), rel=1e-9)
    norms = [np.linalg.norm(w[:, 0])]
    while norms[-1] < 0.01:
        w = w + 4 * 0.02 * (w @ factor.T @ factor - w * second @ w.T @ w * second)
        norms.append(np.linalg.norm(w[:, 0]))
    assert abs(cldyn.phases(range(len(norms)), norms, threshold=0.01).learned - step) < 0.1


def test_one_mode_is_the_flow():
    flow = solve_ivp(lambda _, g: 8 * g * (0.6 - 1.3**2 * g), (0, 2), [0.01], rtol=1e-11, atol=1e-13, t_eval=[0.5, 1.0, 2.0])
    np.testing.assert_allclose(theory.one_mode(0.01, 0.6, 1.3, flow.t), flow.y[0], rtol=1e-8)


@given(st.floats(0.3, 2), st.floats(0.2, 2))
def test_peak_bound_of_a_population(strength, mean):
    model = FeatureModel(d=4, subclass_strength=strength, subclass_mean=mean, class_strength=0.5, noise=0.0)
    frame = moments.population_frame(model)
    length = 1 + mean**2
    alpha = length / (length**2 + strength**2 * mean**2)
    direction = frame.basis.T @ jnp.eye(5)[1]
    assert theory.peak_bound(frame.second, frame.factor("scl"), direction) == pytest.approx(alpha * mean, rel=1e-9)


@given(st.floats(0.4, 2), st.floats(0.3, 2), st.floats(0.2, 1.5), st.floats(0.3, 1), st.sampled_from([(), (0.6,)]))
def test_unlearning_rate_is_the_slowest_linear_mode(class_strength, strength, mean, keep, other):
    model = FeatureModel(
        d=4, class_strength=class_strength, subclass_strength=strength, subclass_mean=mean, class_keep=keep,
        irrelevant_strength=(0.8,) * len(other), irrelevant_mean=other, noise=0.0,
    )
    second, positive = moments.population(model, "scl")
    w = np.zeros((2, 5))
    w[0, 4], w[1, 0] = 1, keep / class_strength
    hessian = jax.hessian(objective)(w, second, positive).reshape(10, 10)
    values, vectors = np.linalg.eigh(hessian)
    takes_part = (np.linalg.norm(vectors.reshape(2, 5, 10)[:, 1], axis=0) > 1e-5) & (values > 1e-9)
    assert theory.unlearning_rate(model) == pytest.approx(values[takes_part].min(), rel=1e-6)


@pytest.mark.parametrize(
    ("strength", "mean", "rate", "expected"),
    [(1, 1, 0.05, 0.0917), (0.5, 1, 0.05, 0.0245), (1, 0.5, 0.05, 0.1553), (0.25, 1, 0.05, 0.00622), (1, 2, 0.02, 0.0149)],
)
def test_unlearning_rates_of_reference(strength, mean, rate, expected):
    model = FeatureModel(subclass_strength=float(strength), subclass_mean=float(mean))
    assert -np.log1p(-rate * theory.unlearning_rate(model)) == pytest.approx(expected, rel=2e-3)


@pytest.mark.slow
@settings(max_examples=6)
@given(seeds, st.floats(0.3, 1.5), st.sampled_from(["scl", "ucl", "joint"]), st.booleans())
def test_gradient_descent_ends_where_predicted(seed, strength, loss, bias):
    model = FeatureModel(d=6, subclass_strength=strength, class_keep=0.9, subclass_keep=0.7, noise=1.5, noise_keep=0.3, subclass_mean=0.4)
    problem = Problem(model, n=12, m=2, bias=bias, precision="float64", data_seed=seed, balanced=False)
    training = Training(loss, "critical", learning_rate=0.4, embed_dim=2, init_scale=1e-2, seed=seed)
    end = cldyn.run(Experiment(problem, training), [0, 60_000])
    limit = cldyn.predict(Experiment(problem, training), [np.inf])
    assert end.records["distance"][-1] < 1e-3 or end.records["excess_loss"][-1] < 1e-7
    assert end.records["excess_loss"][-1] > -1e-10
    if end.records["distance"][-1] < 1e-6:
        np.testing.assert_allclose(end.records["feature_norms"][-1], limit.records["feature_norms"][0], atol=1e-2)


def test_many_minimizers_off_the_range():
    problem = Problem(FeatureModel(d=60), n=8, m=2, precision="float64")
    views = cldyn.sample(jax.random.key(0), problem.data, 8, 2)
    second, positive = moments.sample_moments(views, "scl")
    w = theory.minimizer(second, positive, 2)
    values, basis = np.linalg.eigh(second)
    free = basis[:, 0]
    assert values[0] < 1e-12 and objective(w + np.outer([3.0, 1.0], free), second, positive) == pytest.approx(float(objective(w, second, positive)))
    assert np.abs(w @ free).max() < 1e-6
    assert losses.spectral(moments.append_one(views.x, True).reshape(16, -1) @ w.T, *losses.pair_weights(views.label, 2, "scl")) == pytest.approx(-2)


@given(seeds, st.integers(1, 6), st.sampled_from([0.0, 0.2]), st.sampled_from(["scl", "ucl", "joint"]))
def test_minimizer_of_moments_without_full_rank_is_that_of_the_frame(seed, p, decay, loss):
    rng = np.random.default_rng(seed)
    drawn = cldyn.views(rng.normal(size=(4, 2, 12)) * rng.uniform(0.5, 2, 12), rng.integers(0, 3, 4))
    second, positive = moments.sample_moments(drawn, loss, beta=0.4)
    frame = moments.frame(drawn)
    dense = theory.minimizer(second, positive, p, decay)
    ours = theory.frame_minimizer(frame.second, frame.factor(loss, 0.4), p, decay) @ frame.basis.T
    np.testing.assert_allclose(dense.T @ dense, ours.T @ ours, atol=1e-8)
    outside = np.eye(13) - frame.basis @ frame.basis.T
    assert np.abs(dense @ outside).max() < 1e-8


def test_minimizer_and_critical_rate_map_over_dimensions_and_decays():
    second, positive = random_moments(7)
    dims, decays = jnp.array([1, 3, 4]), jnp.array([0.0, 0.1, 0.4])
    many = jax.vmap(lambda p, decay: theory.minimizer(second, positive, p, decay, rows=4))(dims, decays)
    rates = jax.vmap(lambda p, decay: theory.critical_learning_rate(second, positive, p, decay, rows=4))(dims, decays)
    for w, rate, p, decay in zip(many, rates, dims, decays, strict=True):
        one = theory.minimizer(second, positive, int(p), decay)
        np.testing.assert_allclose(w.T @ w, one.T @ one, atol=1e-12)
        assert rate == pytest.approx(float(theory.critical_learning_rate(second, positive, int(p), decay)), rel=1e-6)


@given(seeds, st.integers(1, 5), st.sampled_from([0.0, 0.5]))
def test_minimizer_of_any_positive_matrices(seed, p, decay):
    rng = np.random.default_rng(seed)
    factors = rng.normal(size=(2, 5, 7)) * np.array([0.5, 3.0])[:, None, None]
    second, positive = factors @ factors.transpose(0, 2, 1) / 7  # P is not below M
    w = theory.minimizer(second, positive, p, decay)
    a = agreements(second, positive - decay / 2 * np.eye(5))[:p]
    assert objective(w, second, positive, decay) == pytest.approx(-np.sum(a[a > 0] ** 2), rel=1e-8)
