import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import (
    POSITIVES,
    dense_agreements,
    enumerated_moments,
    looped_moments,
    objective,
    pair_loss,
    pair_weights,
    random_moments,
    with_one,
)
from scipy.integrate import solve_ivp

import cldyn
from cldyn import (
    Experiment,
    FeatureModel,
    Gaussian,
    Gd,
    Linear,
    Stored,
    Supervised,
    Training,
    Unsupervised,
    moments,
    theory,
)

seeds = st.integers(0, 10_000)
KINDS = st.sampled_from(POSITIVES)


# Compiled once for all numbers; p is traced, and rows from p on are to be zero.
minimizer, critical_learning_rate = (
    jax.jit(function, static_argnames="rows")
    for function in (theory.minimizer, theory.critical_learning_rate)
)
frame_minimizer = jax.jit(theory.frame_minimizer, static_argnames=("rows", "decays"))
frame_of = jax.jit(moments.frame, static_argnames="bias")
loss, slope = jax.jit(objective), jax.jit(jax.grad(objective))


@jax.jit
def hessian(w, second, positive, decay=0.0):
    return jax.hessian(objective)(w, second, positive, decay).reshape(w.size, w.size)


@given(seeds, st.integers(1, 7), st.sampled_from([0.0, 0.1, 0.6]), st.booleans())
def test_minimizer_reaches_the_global_minimum(seed, p, decay, below):
    second, positive = random_moments(seed)
    if not below:  # P of no data, which is not below M
        factors = np.random.default_rng(seed).normal(size=(2, 5, 7)) * [[[0.5]], [[3.0]]]
        second, positive = factors @ factors.transpose(0, 2, 1) / 7
    w = minimizer(second, positive, p, decay, rows=7)
    a = dense_agreements(second, positive - decay / 2 * np.eye(5))[:p]
    least = -np.sum(a[a > 0] ** 2)
    assert loss(w, second, positive, decay) == pytest.approx(least, rel=1e-9, abs=1e-12)
    if below:
        assert np.abs(slope(w, second, positive, decay)[:p]).max() < 1e-8
    assert np.all(w[int((a > 0).sum()) :] == 0)


@given(seeds, st.integers(1, 4))
def test_ties_are_cut_by_least_norm(seed, p):
    rng = np.random.default_rng(seed)
    x = np.repeat(rng.normal(size=(5, 1, 9)) * rng.uniform(0.3, 3, 9), 2, axis=1)
    second, positive = looped_moments(x, np.zeros(5), Unsupervised())  # views agree: every a is 1
    w = minimizer(second, positive, p, rows=4)
    assert loss(w, second, positive) == pytest.approx(-p, abs=1e-9)
    variances = np.sort(np.linalg.eigvalsh(second))[::-1]
    assert np.sum(w**2) == pytest.approx(np.sum(1 / variances[:p]), rel=1e-7)
    frame = frame_of(x, jnp.ones((1, 5)), bias=False)
    for decays in (True, False):
        given = frame.second, frame.view_factor, p
        ours = frame_minimizer(*given, 0.0, rows=4, decays=decays) @ frame.basis.T
        np.testing.assert_allclose(ours.T @ ours, w.T @ w, atol=1e-7)


def test_weight_decay_tends_to_the_minimum_norm_minimizer_at_first_order():
    second, positive = random_moments(3)
    limit, *ends = (minimizer(second, positive, 3, decay, rows=7) for decay in (0.0, 1e-3, 5e-4))
    errors = [np.linalg.norm(w.T @ w - limit.T @ limit) for w in ends]
    assert errors[0] / errors[1] == pytest.approx(2, abs=0.02)


def rate_by_hessian(second, positive, p, decay):
    """2/lambda_max of the Hessian with respect to the p rows there are."""
    w = minimizer(second, positive, p, decay, rows=6)
    return 2 / np.linalg.eigvalsh(hessian(w, second, positive, decay)[: 4 * p, : 4 * p])[-1]


@given(seeds, st.integers(1, 6), st.sampled_from([0.0, 0.3]))
def test_critical_rate_is_the_hessians(seed, p, decay):
    second, positive = random_moments(seed, d=4)
    expected = rate_by_hessian(second, positive, p, decay)
    found = critical_learning_rate(second, positive, p, decay, rows=6)
    assert found == pytest.approx(expected, rel=1e-4)


@given(seeds, st.integers(1, 6), st.sampled_from([0.0, 0.3]))
def test_commuting_critical_rate(seed, p, decay):
    rng = np.random.default_rng(seed)
    second = rng.uniform(0.2, 3, 4)
    shared = second * rng.uniform(0.2, 1, 4)
    expected = rate_by_hessian(np.diag(second), np.diag(shared), p, decay)
    given = jnp.array(second), jnp.array(shared)
    found = theory.commuting_critical_learning_rate(*given, p, decay)
    assert found == pytest.approx(expected, rel=1e-8)


early_growth = jax.jit(theory.early_growth, static_argnames="flow")


@given(seeds, st.sampled_from([0.0, 0.2]), st.booleans())
def test_early_growth_is_the_matrix_power_and_of_flow_the_exponential(seed, decay, flow):
    rng = np.random.default_rng(seed)
    factor, start = rng.normal(size=(2, 4)), rng.normal(size=(3, 4))
    rate = 4 * 0.03 * (factor.T @ factor - decay / 2 * np.eye(4))
    values, basis = np.linalg.eigh(rate)
    step = basis * np.exp(values) @ basis.T if flow else np.eye(4) + rate
    steps = np.array([0.0, 7.0])
    grown = early_growth(start, factor, 0.03, steps, decay, flow=flow)
    expected = [start, start @ np.linalg.matrix_power(step, 7)]
    np.testing.assert_allclose(grown, expected, rtol=1e-10, atol=1e-12)


learning_step = jax.jit(theory.learning_step)


@given(seeds)
def test_learning_step_of_a_small_start_is_the_simulated_crossing(seed):
    rng = np.random.default_rng(seed)
    second, factor = np.array([1.0, 1.0, 0.5]), np.diag([np.sqrt(0.9), 0.3, 0.1])
    w = 1e-7 * rng.normal(size=(3, 3))
    step, efold = learning_step(w, factor, jnp.array([1.0, 0, 0]), 0.02, 0.01)
    assert efold == pytest.approx(1 / np.log1p(4 * 0.02 * 0.9), rel=1e-9)
    norms = [np.linalg.norm(w[:, 0])]
    while norms[-1] < 0.01:
        w = w + 4 * 0.02 * (w @ factor.T @ factor - w * second @ w.T @ w * second)
        norms.append(np.linalg.norm(w[:, 0]))
    assert abs(cldyn.phases(range(len(norms)), norms, threshold=0.01).learned - step) < 0.1


def test_one_mode_is_the_flow():
    def slope(_, g):
        return 8 * g * (0.6 - 1.3**2 * g)

    flow = solve_ivp(slope, (0, 2), [0.01], rtol=1e-11, atol=1e-13, t_eval=[0.5, 1.0, 2.0])
    np.testing.assert_allclose(theory.one_mode(0.01, 0.6, 1.3, flow.t), flow.y[0], rtol=1e-8)


@given(st.floats(0.3, 2), st.floats(0.2, 2))
def test_peak_bound_of_a_population(strength, mean):
    model = FeatureModel(
        d=4,
        subclass_strength=strength,
        subclass_mean=mean,
        class_strength=0.5,
        noise=Gaussian(0.0),
    )
    frame = moments.population_frame(model)
    length = 1 + mean**2
    alpha = length / (length**2 + strength**2 * mean**2)
    found = theory.peak_bound(frame.second, frame.class_factor, frame.basis[1])
    assert found == pytest.approx(alpha * mean, rel=1e-9)


@given(
    st.floats(0.4, 2),
    st.floats(0.3, 2),
    st.floats(0.2, 1.5),
    st.floats(0.3, 1),
    st.sampled_from([(), (0.6,)]),
)
def test_unlearning_rate_is_the_slowest_linear_mode(class_strength, strength, mean, keep, other):
    model = FeatureModel(
        d=4,
        class_strength=class_strength,
        subclass_strength=strength,
        subclass_mean=mean,
        class_keep=keep,
        irrelevant_strength=(0.8,) * len(other),
        irrelevant_mean=other,
        noise=Gaussian(0.0),
    )
    given = enumerated_moments(model, Supervised(), True)
    w = np.zeros((2, 5))
    w[0, 4], w[1, 0] = 1, keep / class_strength
    values, vectors = np.linalg.eigh(hessian(w, *given))
    along = np.linalg.norm(vectors.reshape(2, 5, 10)[:, 1], axis=0)
    slowest = values[(along > 1e-5) & (values > 1e-9)].min()
    assert theory.unlearning_rate(model) == pytest.approx(slowest, rel=1e-6)


@pytest.mark.parametrize(
    ("strength", "mean", "rate", "expected"),
    [
        (1, 1, 0.05, 0.0917),
        (0.5, 1, 0.05, 0.0245),
        (1, 0.5, 0.05, 0.1553),
        (0.25, 1, 0.05, 0.00622),
        (1, 2, 0.02, 0.0149),
    ],
)
def test_unlearning_rates_of_reference(strength, mean, rate, expected):
    model = FeatureModel(subclass_strength=float(strength), subclass_mean=float(mean))
    found = -np.log1p(-rate * theory.unlearning_rate(model))
    assert found == pytest.approx(expected, rel=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("positives", "bias"), [*zip(POSITIVES, (True, False, True), strict=True)], ids=str
)
def test_gradient_descent_ends_where_predicted(positives, bias):
    model = FeatureModel(
        d=6, class_keep=0.9, subclass_keep=0.7, noise=Gaussian(1.5, 0.3), subclass_mean=0.4
    )
    training = Training(
        Linear(2, 1e-2, bias), positives=positives, optimizer=Gd(0.4, learning_rate_unit="critical")
    )
    experiment = Experiment(Stored(model, n=12, m=2, balanced=False), training, "float64")
    drawn = {"data_seed": range(3), "seed": range(3), "subclass_strength": [0.3, 0.8, 1.5]}
    ends = cldyn.sweep(experiment, [drawn], [0, 60_000], progress=False).isel(step=-1)
    limits = cldyn.forecast(experiment, [drawn], critical=False, progress=False)
    assert (ends.excess_loss > -1e-10).all()
    assert ((ends.distance < 1e-3) | (ends.excess_loss < 1e-7)).all()
    near = (ends.distance < 1e-6).values
    assert near.any()
    norms = ends.feature_norms.values[near], limits.feature_norms.values[near]
    np.testing.assert_allclose(*norms, atol=1e-2)


def test_many_minimizers_off_the_range():
    drawn = cldyn.sample(jax.random.key(0), FeatureModel(d=60), 8, 2)
    rows, label = with_one(drawn.x), np.array(drawn.label)
    given = looped_moments(rows, label, Supervised())
    w = minimizer(*given, 2, rows=2)
    values, basis = np.linalg.eigh(given[0])
    free, least = basis[:, 0], float(loss(w, *given))
    moved = loss(w + np.outer([3.0, 1.0], free), *given)
    assert values[0] < 1e-12 and moved == pytest.approx(least)
    assert np.abs(w @ free).max() < 1e-6
    weights = pair_weights(label, 2, Supervised())
    assert pair_loss(rows.reshape(16, -1) @ w.T, *weights) == pytest.approx(-2)


@given(seeds, st.integers(1, 6), st.sampled_from([0.0, 0.2]), KINDS)
def test_minimizer_of_moments_without_full_rank_is_that_of_the_frame(seed, p, decay, positives):
    rng = np.random.default_rng(seed)
    x, label = rng.normal(size=(4, 2, 12)) * rng.uniform(0.5, 2, 12), rng.integers(0, 3, 4)
    member = np.array([label == group for group in range(3)], float)  # some empty
    frame = frame_of(x, member)
    dense = minimizer(*looped_moments(with_one(x), label, positives), p, decay, rows=6)
    framed = frame_minimizer(frame.second, frame.factor(positives), p, decay, rows=6)
    ours = framed @ frame.basis.T
    np.testing.assert_allclose(dense.T @ dense, ours.T @ ours, atol=1e-8)
    outside = np.eye(13) - frame.basis @ frame.basis.T
    assert np.abs(dense @ outside).max() < 1e-8


def test_minimizer_and_critical_rate_map_over_moments_dimensions_and_decays():
    cases = [(*random_moments(7), 2, 0.0), (*random_moments(8), 7, 0.1)]
    stacked = [jnp.array(part) for part in zip(*cases, strict=True)]
    functions = theory.minimizer, theory.critical_learning_rate
    many, rates = (
        jax.jit(jax.vmap(lambda *one, f=f: f(*one, rows=8)))(*stacked) for f in functions
    )
    for w, rate, case in zip(many, rates, cases, strict=True):
        one, alone = (f(*case) for f in functions)  # of p rows
        np.testing.assert_allclose(w.T @ w, one.T @ one, atol=1e-12)
        assert one.shape[0] == case[2] and np.all(w[case[2] :] == 0)
        assert rate == pytest.approx(float(alone), rel=1e-6)
