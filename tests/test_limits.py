import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import POSITIVES, enumerated_moments, objective, random_model, with_one

import cldyn
from cldyn import (
    DistinctBasis,
    Experiment,
    FeatureModel,
    Gaussian,
    Gd,
    Joint,
    Linear,
    Population,
    Supervised,
    Training,
    Unsupervised,
    moments,
    theory,
)

seeds = st.integers(0, 10_000)
KINDS = st.sampled_from([*POSITIVES, Joint(0.8)])
minimizer = jax.jit(theory.minimizer, static_argnames="rows")


@given(seeds, KINDS, st.booleans(), st.integers(1, 10))
def test_population_norms_are_those_of_the_dense_minimizer(seed, positives, bias, p):
    model = random_model(seed, bias)
    agreement, _ = theory.agreements(model, positives)
    if 4 + bias < p < model.d + bias and agreement[-1] > 0 and agreement[-1] > agreement[:4].min():
        return  # some of the noise directions, which all tie, are chosen
    w = minimizer(*enumerated_moments(model, positives, bias), p, rows=10)
    norms = np.linalg.norm(w[:, :4], axis=0)
    found = theory.population_norms(model, positives, p, bias=bias)
    np.testing.assert_allclose(found, norms, atol=1e-7)


def test_ties_of_agreement_go_to_variance_and_full_ties_are_shared():
    model = FeatureModel(20, 1.0, 1.0, (2.0, 2.0), subclass_mean=0.0, noise=Gaussian(0.1))
    for p, expected in (
        (1, (0, 0, 0.5, 0.5)),
        (2, (0, 0, 1, 1)),
        (3, (0.5, 0.5, 1, 1)),
        (4, (1, 1, 1, 1)),
    ):
        norms = theory.population_norms(model, Unsupervised(), p, bias=False)
        np.testing.assert_allclose((norms * np.array([1, 1, 2, 2])) ** 2, expected, atol=1e-12)


@settings(max_examples=6)
@given(seeds, st.booleans(), st.integers(1, 6))
def test_joint_threshold_is_where_the_class_enters(seed, bias, p):
    model = random_model(seed, bias)
    edge = float(theory.joint_threshold(model, p, bias=bias))
    betas = np.linspace(0.01, 0.99, 15)

    @jax.vmap
    def norms(beta):
        """Of the class, with p dimensions and with all there can be."""
        given = model, Joint(beta)
        return [theory.population_norms(*given, q, bias=bias)[0] for q in (p, 100)]

    norm, full = norms(jnp.array(betas))
    apart = np.abs(betas - edge) > 1e-6
    np.testing.assert_array_equal((norm > 0.99 * full)[apart], (betas > edge)[apart])


def norms_of_samples(model, positives, n, m, p, *, bias, seeds):
    """|W v_1|, |W v_2| of the minimum-norm minimizers of some samples [seeds, 2]."""

    def norms(seed):
        drawn = cldyn.sample(jax.random.key(seed), model, n, m)
        member = (drawn.label == jnp.array([[-1], [1]])).astype(float)
        frame = moments.frame(drawn.x, member, bias)
        given = frame.second, frame.factor(positives)
        w = theory.frame_minimizer(*given, p, decays=False) @ frame.basis.T
        return jnp.linalg.norm(w[:, :2], axis=0)

    return jax.lax.map(norms, jnp.arange(seeds))  # batched, factorizations can wait for ever


def test_augmentation_norm_of_orthogonal_noise():
    """In twelve random models; noise is orthogonal where views share all of it or none."""
    rng = np.random.default_rng(0)
    strength, length = rng.uniform(0.5, 2, 12), rng.uniform(1, 20, 12)
    keep = rng.permutation(np.repeat([0.0, 1.0], 6))

    @jax.jit
    @jax.vmap
    def found(strength, length, keep):
        noise = DistinctBasis(length, keep)
        model = FeatureModel(60, strength, 0.7, subclass_mean=0.0, noise=noise)
        return norms_of_samples(model, Unsupervised(), 8, 3, 16, bias=False, seeds=1)[0]

    phi = np.stack([strength, np.full(12, 0.7)])
    expected = theory.augmentation_norm(phi, length, keep, 8, 3) / phi
    np.testing.assert_allclose(found(strength, length, keep).T, expected, rtol=1e-6)


def test_probability_of_distinct_directions_is_the_product():
    for rows, d, taken in (
        (1, 5, 0),
        (4, 30, 3),
        (40, 2000, 0),
        (1600, 10**6, 4),
        (5, 5, 0),
        (5, 8, 4),
    ):
        product = np.prod([max(d - taken - i, 0) / d for i in range(rows)])
        found = theory.distinct_probability(rows, d, taken)
        np.testing.assert_allclose(found, product, rtol=1e-9)
        with jax.enable_x64(False):
            narrow = theory.distinct_probability(rows, d, taken)
        np.testing.assert_allclose(narrow, product, rtol=1e-4)
        assert found >= 1 - rows * (taken + (rows - 1) / 2) / d - 1e-12


def test_kept_share_is_what_minimizers_of_samples_keep():
    """Twelve models of sparse features with distinct noise, every p; ties share what is left."""
    rng = np.random.default_rng(0)
    strength = jnp.array(rng.choice([0.6, 0.9, 1.2], (12, 3)) * [1, 1, np.sqrt(2)])

    def model(one):
        rest = {"irrelevant_strength": (one[2], 1.6), "irrelevant": "sparse"}
        noise = DistinctBasis(0.5)
        return FeatureModel(300, one[0], one[1], subclass_mean=0.0, noise=noise, **rest)

    for p in range(1, 6):

        def norms(one, p=p):
            return norms_of_samples(model(one), Unsupervised(), 32, 2, p, bias=True, seeds=1)[0]

        found = jax.lax.map(jax.jit(norms), strength)
        shares = np.array([theory.kept_share(model(one), p)[:2] for one in strength])
        phi = strength[:, :2]
        full = phi / (phi**2 + 0.5**2 / 64)
        clear = (shares == 0) | (shares == 1)
        assert clear.any()
        np.testing.assert_allclose(found[clear], (shares * full)[clear], atol=1e-6)
        tied = ~clear
        assert (found[tied] <= full[tied] + 1e-6).all()


@pytest.mark.parametrize("k", [1, 2])
@given(seeds)
def test_own_unlearning_rate_is_the_least_curvature_of_the_loss_at_the_minimum_norm(k, seed):
    """Of directions in which the changed features take part, on a random sample."""
    rng = np.random.default_rng(seed)
    own, n, m = rng.uniform(0.3, 1.5), 4, 3
    x = np.zeros((n, m, k + n))
    x[:, :, :k] = rng.normal(size=(n, 1, k)) + rng.uniform(0.3, 1) * rng.normal(size=(n, m, k))
    x[:, :, k:] = own * np.eye(n)[:, None]
    rows, means = x.reshape(m * n, -1), x.mean(axis=1)
    second, positive = rows.T @ rows / (m * n), means.T @ means / n
    limit = np.concatenate([np.zeros((n, k)), np.sqrt(n) / own * np.eye(n)], axis=1)
    hessian = jax.hessian(objective)(jnp.array(limit), second, positive)
    curvatures = np.linalg.eigvalsh(np.array(hessian).reshape(limit.size, -1))
    between, within = positive[:k, :k], (second - positive)[:k, :k]
    rate = float(theory.own_unlearning_rate(between, within, own**2, n))
    least = curvatures[n * (n - 1) // 2]  # the others rotate the embedding
    assert rate == pytest.approx(least, rel=1e-6)
    if k == 1:
        q, (b,), (s,) = own**2 / n, between.ravel()[:1, None], within.ravel()[:1, None]
        plane = [[s[0] + 2 * b[0], 2 * np.sqrt(b[0] * q)], [2 * np.sqrt(b[0] * q), 2 * q]]
        assert rate == pytest.approx(4 * np.linalg.eigvalsh(plane)[0], rel=1e-6)


def plane_flow(mean, variance, step=2e-3):
    """The row w = (w_2, w_b) until w_2 peaks: gradient flow from a small start along its mean."""
    m = np.array([mean, 1.0])
    second, w = np.outer(m, m) + np.diag([variance, 0.0]), 1e-3 * m
    while True:
        grows, stops = (w @ m) * m, (w @ second @ w) * (second @ w)
        if grows[0] <= stops[0]:
            return w[0], np.linalg.norm(grows) / np.linalg.norm(stops)
        w = w + 4 * step * (grows - stops)


@pytest.mark.parametrize(("mean", "strength"), [(1.0, 1.0), (2.0, 1.0), (0.5, 1.0), (1.0, 0.4)])
def test_peaks_in_the_plane_of_a_mean_stay_within_their_bounds(mean, strength):
    m = np.array([mean, 1.0])
    second = np.outer(m, m) + np.diag([strength**2, 0.0])
    peak, balance = plane_flow(mean, strength**2)
    bound = float(theory.peak_balance(strength, mean))
    image = second @ m
    assert bound == pytest.approx(image[0] / np.linalg.norm(image) * np.linalg.norm(m) / mean)
    assert 1 <= balance <= bound and balance > 1 + 0.8 * (bound - 1)
    # The same plane where the class has the part of the subclass, own features of the constant.
    highest = float(theory.own_peak(mean**2, strength**2, 8.0, 8))
    assert highest == pytest.approx(m @ m / (m @ second @ m) * mean)
    assert 0.6 * highest <= peak <= highest


def test_augmentation_accuracy_of_reference():
    keeps = jnp.array([1.0, 0.9, 0.5, 0.0])
    found = theory.augmentation_accuracy(1.0, 32.0, keeps, 64, 8, 4000)
    np.testing.assert_allclose(found, [0.689, 0.698, 0.745, 0.919], atol=6e-4)
    norms = theory.augmentation_norm(1.0, 32.0, keeps, 64, 8)
    np.testing.assert_allclose(norms, [0.0588, 0.0641, 0.1000, 0.3333], atol=6e-5)


def test_phase_diagram_is_one_call():
    def norm(strength, p):
        model = FeatureModel(1500, 1.0, 1.0, (strength,) * 4, subclass_mean=0.0)
        return theory.population_norms(model, Unsupervised(), p, bias=False)[0]

    many = jax.jit(jax.vmap(jax.vmap(norm, (0, None)), (None, 0)))
    grid = many(jnp.linspace(0.5, 3, 100), jnp.arange(1, 101))
    assert grid.shape == (100, 100)
    assert grid[3, -1] == 0
    assert grid[5, -1] == pytest.approx(1) and grid[1, 0] == pytest.approx(1)


def of_model(strength, keep):
    means = {"subclass_mean": 0.5, "class_keep": keep, "subclass_keep": 0.8}
    return FeatureModel(50, 1.0, strength, (1.2,), irrelevant_keep=(0.9,), **means)


@pytest.mark.parametrize(
    "number",
    [
        lambda x, y: theory.joint_threshold(of_model(x, y), 3),
        lambda x, y: theory.collapsed_norm(FeatureModel(noise=Gaussian(x), subclass_mean=y), 16, 2),
        lambda x, y: theory.augmentation_norm(1.0, x, y, 64, 4),
        lambda x, y: theory.augmentation_accuracy(1.0, 20 * x, y, 64, 4, 2000),
        lambda x, y: theory.left_behind(0.01 * y, 1.0, x),
        lambda x, y: theory.distinct_probability(jnp.round(10 * x), 100 + jnp.round(100 * y)),
        lambda x, y: theory.kept_share(FeatureModel(20, x, y, subclass_mean=0.0), 2)[0] + x,
        lambda x, y: theory.own_unlearning_rate(1.0, y, x, 8),
        lambda x, y: theory.own_peak(1.0, y, x, 8),
        lambda x, y: theory.peak_balance(x, y),
        lambda x, y: theory.escape_time(0.01 * y, x, 2),
        lambda x, y: theory.unlearning_rate(of_model(x, y)),
    ],
)
def test_every_number_maps_over_a_grid_of_models(number):
    x, y = jnp.linspace(0.5, 2.5, 4), jnp.linspace(0.2, 0.9, 3)
    grid = jax.jit(jax.vmap(jax.vmap(number, (0, None)), (None, 0)))(x, y)
    one = jax.jit(number)
    alone = [[float(one(a, b)) for a in x] for b in y]
    np.testing.assert_allclose(np.abs(grid), np.abs(alone), rtol=1e-8)
    assert np.unique(np.round(alone, 6)).size > 2


@given(seeds)
def test_agreements_carry_the_variances_of_the_population(seed):
    model = random_model(seed, False)
    second, positive = map(np.diag, enumerated_moments(model, Unsupervised(), False))
    agreement, variance = theory.agreements(model, Unsupervised())
    np.testing.assert_allclose(variance, second[:5], rtol=1e-12)
    np.testing.assert_allclose(agreement, positive[:5] / second[:5], rtol=1e-10)


@pytest.mark.slow
def test_what_rivals_leave_behind_scales_with_the_start():
    """The exponent from two starts, in a population where class and rival agree fully."""
    model = FeatureModel(
        d=4,
        irrelevant_strength=(1.5,),
        subclass_strength=0.0,
        subclass_mean=0.0,
        noise=Gaussian(0.0),
    )
    training = Training(Linear(1, bias=False), positives=Unsupervised(), optimizer=Gd(0.01), seed=3)
    experiment = Experiment(Population(model), training, "float64")
    swept = cldyn.sweep(experiment, [{"init_scale": [1e-3, 1e-5]}], [0, 2000], progress=False)
    ends = swept.feature_norms.sel(feature="class").isel(step=-1).values
    found = np.log(ends[0] / ends[1]) / np.log(100)
    left = [theory.left_behind(start, 1.0, 1.5) for start in (1e-3, 1e-5)]
    expected = np.log(left[0] / left[1]) / np.log(100)
    assert found == pytest.approx(float(expected), rel=0.02)
    assert theory.left_behind(1e-3, 1.0, 0.8) == 1


@given(seeds, st.sampled_from([(8, 2, 30), (4, 3, 9)]))
def test_unseen_part_is_the_residual_of_least_squares(seed, sizes):
    n, m, d = sizes
    x = np.random.default_rng(seed).normal(size=(n, m, d))
    rows = with_one(x).reshape(n * m, -1)
    frame = moments.frame(x, jnp.ones((1, n)))
    subclass = np.eye(d + 1)[1]
    residual = subclass - rows.T @ np.linalg.lstsq(rows.T, subclass, rcond=None)[0]
    found = theory.unseen(frame.basis, frame.second, subclass)
    np.testing.assert_allclose(found, residual, atol=1e-9)


@pytest.mark.parametrize("keep", [0.0, 1.0])
def test_collapsed_norm_of_distinct_directions_is_exact(keep):
    """In six random models with irrelevant features; without a mean the subclass is gone."""
    rng = np.random.default_rng(0)
    numbers = rng.uniform([[0.5], [0.3], [0.5]], [[1.5], [1.5], [6.0]], (3, 6))
    numbers[1, 0] = 0.0

    def model(strength, mean, length):
        noise, rest = DistinctBasis(length, keep), {"irrelevant_strength": (1.5, 0.7)}
        return FeatureModel(
            80, 1.0, strength, subclass_mean=mean, irrelevant="sparse", noise=noise, **rest
        )

    def both(numbers):
        one = model(*numbers)
        left = norms_of_samples(one, Supervised(), 32, 2, 2, bias=True, seeds=1)[0, 1]
        return left, theory.collapsed_norm(one, 32, 2)

    found, expected = jax.lax.map(both, jnp.array(numbers.T))
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-12)


def test_collapsed_norm_is_what_samples_leave():
    """In six random models, by the median of 16 samples."""
    rng = np.random.default_rng(0)
    strength, mean, length = rng.uniform([[0.5], [0.3], [1.0]], [[1.5], [1.5], [6.0]], (3, 6))
    keep = np.repeat([0.0, 0.5, 1.0], 2)

    def model(strength, mean, length, keep):
        noise = Gaussian(length, keep)
        return FeatureModel(d=400, subclass_strength=strength, subclass_mean=mean, noise=noise)

    @jax.jit
    def found(*numbers):
        left = norms_of_samples(model(*numbers), Supervised(), 64, 2, 2, bias=True, seeds=16)
        return jnp.median(left[:, 1])

    for numbers in zip(strength, mean, length, keep, strict=True):
        expected = float(theory.collapsed_norm(model(*numbers), 64, 2))
        assert float(found(*numbers)) == pytest.approx(expected, rel=0.12)
