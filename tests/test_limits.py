from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cldyn
from cldyn import Experiment, FeatureModel, Problem, Training, moments, theory

seeds = st.integers(0, 10_000)
LOSSES = st.sampled_from([("scl", 0.5), ("ucl", 0.5), ("joint", 0.3), ("joint", 0.8)])


def random_model(seed, bias):
    rng = np.random.default_rng(seed)
    strengths, keeps = rng.uniform(0.4, 2, 4), rng.uniform(0.3, 1, 4)
    means = rng.uniform(-1, 1, 4) * bias
    kind = ["gaussian", "basis"][seed % 2]
    return FeatureModel(
        9, *strengths[:2], tuple(strengths[2:]), *means[:2], tuple(means[2:]), *keeps[:2], tuple(keeps[2:]), rng.uniform(0.2, 2),
        rng.uniform(0, 1), noise_kind=kind,
    )  # fmt: skip


@given(seeds, LOSSES, st.booleans(), st.integers(1, 10))
def test_population_norms_are_those_of_the_dense_minimizer(seed, loss, bias, p):
    model, (kind, beta) = random_model(seed, bias), loss
    agreement, _ = theory.agreements(model, kind, beta)
    second, positive = moments.population(model, kind, beta=beta, bias=bias)
    if 4 + bias < p < model.d + bias and agreement[-1] > 0 and agreement[-1] > agreement[:4].min():
        return  # some of the noise directions, which all tie, are chosen
    w = theory.minimizer(second, positive, p)
    norms = jnp.linalg.norm(w[:, :4], axis=0)
    np.testing.assert_allclose(theory.population_norms(model, kind, p, beta=beta, bias=bias), norms, atol=1e-7)


def test_ties_of_agreement_go_to_variance_and_full_ties_are_shared():
    model = FeatureModel(20, 1.0, 1.0, (2.0, 2.0), subclass_mean=0.0, noise=0.1)
    for p, expected in ((1, (0, 0, 0.5, 0.5)), (2, (0, 0, 1, 1)), (3, (0.5, 0.5, 1, 1)), (4, (1, 1, 1, 1))):
        norms = theory.population_norms(model, "ucl", p, bias=False)
        np.testing.assert_allclose((norms * jnp.array([1, 1, 2, 2])) ** 2, expected, atol=1e-12)


@given(seeds, st.booleans(), st.integers(1, 6))
def test_joint_threshold_is_where_the_class_enters(seed, bias, p):
    model = replace(random_model(seed, bias), noise_kind="gaussian")
    edge = float(theory.joint_threshold(model, p, bias=bias))
    for beta in np.linspace(0.01, 0.99, 15):
        if abs(beta - edge) < 1e-6:
            continue
        norm = theory.population_norms(model, "joint", p, beta=beta, bias=bias)[0]
        others = theory.population_norms(model, "joint", 100, beta=beta, bias=bias)[0]
        assert (norm > 0.99 * others) == (beta > edge)


@given(st.floats(0.5, 2), st.floats(1, 20), st.sampled_from([0.0, 1.0]), st.integers(2, 3))
def test_augmentation_norm_of_orthogonal_noise(strength, noise, keep, m):
    model = FeatureModel(
        60, strength, 0.7, subclass_mean=0.0, noise=noise, noise_keep=keep, noise_kind="distinct_basis"
    )
    problem = Problem(model, n=8, m=m, bias=False, precision="float64")
    found = cldyn.predict(Experiment(problem, Training(loss="ucl", embed_dim=16))).records["feature_norms"][0]
    expected = [theory.augmentation_norm(phi, noise, keep, 8, m) / phi for phi in (strength, 0.7)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_augmentation_accuracy_of_reference():
    found = theory.augmentation_accuracy(1.0, 32.0, jnp.array([1.0, 0.9, 0.5, 0.0]), 64, 8, 4000)
    np.testing.assert_allclose(found, [0.689, 0.698, 0.745, 0.919], atol=6e-4)
    norms = theory.augmentation_norm(1.0, 32.0, jnp.array([1.0, 0.9, 0.5, 0.0]), 64, 8)
    np.testing.assert_allclose(norms, [0.0588, 0.0641, 0.1000, 0.3333], atol=6e-5)


def test_phase_diagram_is_one_call():
    def norm(strength, p):
        model = FeatureModel(1500, 1.0, 1.0, (strength,) * 4, subclass_mean=0.0)
        return theory.population_norms(model, "ucl", p, bias=False)[0]

    grid = jax.jit(jax.vmap(jax.vmap(norm, (0, None)), (None, 0)))(jnp.linspace(0.5, 3, 100), jnp.arange(1, 101))
    assert grid.shape == (100, 100)
    assert grid[3, -1] == 0 and grid[5, -1] == pytest.approx(1) and grid[1, 0] == pytest.approx(1)


def of_model(strength, keep):
    return FeatureModel(50, 1.0, strength, (1.2,), subclass_mean=0.5, class_keep=keep, subclass_keep=0.8, irrelevant_keep=(0.9,))


@pytest.mark.parametrize(
    "number",
    [
        lambda x, y: theory.joint_threshold(of_model(x, y), 3),
        lambda x, y: theory.collapsed_norm(FeatureModel(noise=x, subclass_mean=y), 16, 2),
        lambda x, y: theory.augmentation_norm(1.0, x, y, 64, 4),
        lambda x, y: theory.augmentation_accuracy(1.0, x, y, 64, 4, 2000),
        lambda x, y: theory.left_behind(0.01 * y, 1.0, x),
        lambda x, y: theory.escape_time(0.01 * y, x, 2),
        lambda x, y: theory.unlearning_rate(of_model(x, y)),
        lambda x, y: theory.minimizer(*moments.population(FeatureModel(4, 1.0, x, class_keep=y, subclass_mean=0.5), "ucl"), 2)[0, 0],
        lambda x, y: theory.critical_learning_rate(*moments.population(FeatureModel(4, 1.0, x, class_keep=y, subclass_mean=0.5), "ucl"), 2),
    ],
)
def test_every_number_maps_over_a_grid_of_models(number):
    x, y = jnp.linspace(0.5, 2.5, 4), jnp.linspace(0.2, 0.9, 3)
    grid = jax.vmap(jax.vmap(number, (0, None)), (None, 0))(x, y)
    alone = [[number(float(a), float(b)) for a in x] for b in y]
    np.testing.assert_allclose(np.abs(grid), np.abs(alone), rtol=1e-8)


@given(seeds)
def test_agreements_carry_the_variances_of_the_population(seed):
    model = random_model(seed, False)
    second, positive = (np.diag(part) for part in moments.population(model, "ucl", bias=False))
    agreement, variance = theory.agreements(model, "ucl")
    np.testing.assert_allclose(variance, second[:5], rtol=1e-12)
    np.testing.assert_allclose(agreement, positive[:5] / second[:5], rtol=1e-10)


@pytest.mark.slow
def test_what_rivals_leave_behind_scales_with_the_start():
    """The exponent from two starts, in a population where class and rival agree fully."""
    ends = []
    for scale in (1e-3, 1e-5):
        model = FeatureModel(d=4, irrelevant_strength=(1.5,), subclass_strength=0.0, subclass_mean=0.0, noise=0.0)
        training = Training("ucl", learning_rate=0.01, embed_dim=1, init_scale=scale, seed=3)
        experiment = Experiment(Problem(model, bias=False, population=True, precision="float64"), training)
        ends.append(cldyn.run(experiment, [0, 2000]).records["feature_norms"][-1, 0])
    found = np.log(ends[0] / ends[1]) / np.log(100)
    expected = np.log(theory.left_behind(1e-3, 1.0, 1.5) / theory.left_behind(1e-5, 1.0, 1.5)) / np.log(100)
    assert found == pytest.approx(float(expected), rel=0.02)
    assert theory.left_behind(1e-3, 1.0, 0.8) == 1


@given(seeds, st.sampled_from([(8, 2, 30), (8, 2, 12), (4, 3, 9)]))
def test_unseen_part_is_the_residual_of_least_squares(seed, sizes):
    n, m, d = sizes
    views = cldyn.sample(jax.random.key(seed), FeatureModel(d=d), n, m)
    rows = np.asarray(moments.append_one(views.x, True)).reshape(n * m, -1)
    frame = moments.frame(views)
    subclass = np.eye(d + 1)[1]
    residual = subclass - rows.T @ np.linalg.lstsq(rows.T, subclass, rcond=None)[0]
    np.testing.assert_allclose(theory.unseen(frame.basis, frame.second, subclass), residual, atol=1e-9)


@given(st.floats(0.5, 1.5), st.floats(0.3, 1.5), st.floats(1, 6), st.sampled_from([0.0, 0.5, 1.0]))
def test_collapsed_norm_is_what_samples_leave(strength, mean, noise, keep):
    model = FeatureModel(d=400, subclass_strength=strength, subclass_mean=mean, noise=noise, noise_keep=keep)
    experiment = Experiment(Problem(model, n=64, m=2, precision="float64"), Training(embed_dim=2))
    known = cldyn.forecast(experiment, [{"data_seed": range(16)}], critical=False).feature_norms.sel(feature="subclass")
    assert float(known.median()) == pytest.approx(float(theory.collapsed_norm(model, 64, 2)), rel=0.12)
