from dataclasses import replace
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cldyn.data import FeatureModel, sample, views
from cldyn.moments import append_one, frame, population, population_frame, sample_moments

LOSSES = [("scl", 0.5), ("ucl", 0.5), ("joint", 0.3)]
DENSE = FeatureModel(
    d=7, class_strength=1.2, subclass_strength=0.8, irrelevant_strength=(1.5, 0.6), class_mean=0.3, irrelevant_mean=(-0.5, 0.2),
    class_keep=0.9, subclass_keep=0.6, irrelevant_keep=(0.7, 0.4), noise=1.7, noise_keep=0.6,
)
SPARSE = replace(DENSE, irrelevant="sparse", irrelevant_mean=(), irrelevant_keep=(0.7, 0.7))
MODELS = {"dense": DENSE, "sparse": SPARSE, "basis": replace(DENSE, noise_kind="basis")}


def enumerated(model, loss, beta, bias):
    """Moments by enumeration of all originals; views of an original are independent but for the noise."""
    count, other = model.features - 2, model.d - model.features
    irrelevant = list(product((-1, 1), repeat=count))
    if model.irrelevant == "sparse":
        irrelevant = [sign * row for sign in (-1, 1) for row in np.eye(count)]
    phi = np.array([model.class_strength, model.subclass_strength, *model.irrelevant_strength])
    mu = np.array([model.class_mean, model.subclass_mean, *(model.irrelevant_mean or (0.0,) * count)])
    keep = np.array([model.class_keep, model.subclass_keep, *model.irrelevant_keep])
    originals = [np.array([y, s, *rest]) for y in (-1, 1) for s in (-1, 1) for rest in irrelevant]

    def pad(z):
        return np.concatenate([z, np.zeros(other), np.ones(int(bias))])

    full = [pad(mu + phi * s) for s in originals]
    expected = [pad(mu + phi * keep * s) for s in originals]
    centres = [np.mean([x for x, s in zip(expected, originals, strict=True) if s[0] == y], axis=0) for y in (-1, 1)]
    noise = np.diag(np.concatenate([np.zeros(model.features), np.full(other, model.noise**2 / other), np.zeros(int(bias))]))
    shared = model.noise_keep if model.noise_kind == "gaussian" else model.noise_keep**2
    scl = np.mean([np.outer(x, x) for x in centres], axis=0)
    ucl = np.mean([np.outer(x, x) for x in expected], axis=0) + shared * noise
    share = {"scl": 1.0, "ucl": 0.0, "joint": beta}[loss]
    return np.mean([np.outer(x, x) for x in full], axis=0) + noise, share * scl + (1 - share) * ucl


@pytest.mark.parametrize(("loss", "beta"), LOSSES)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", MODELS)
def test_population_moments_equal_an_enumeration(name, loss, beta, bias):
    for found, expected in zip(
        population(MODELS[name], loss, beta=beta, bias=bias), enumerated(MODELS[name], loss, beta, bias), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-13)


@pytest.mark.parametrize("name", MODELS)
def test_population_moments_equal_monte_carlo(name):
    n = 100_000
    drawn = sample(jax.random.key(1), MODELS[name], n, 2, balanced=False)
    x = np.array(append_one(drawn.x, True))
    order = np.argsort(drawn.label, kind="stable")
    pairs = order.reshape(-1, 2)  # neighbours of one class: independent examples
    pairs = pairs[np.array(drawn.label)[pairs[:, 0]] == np.array(drawn.label)[pairs[:, 1]]]
    second, by_view = population(MODELS[name], "ucl")
    by_class = population(MODELS[name], "scl")[1]
    mates = (x[pairs[:, 0], 0], x[pairs[:, 1], 1], by_class)
    for left, right, expected in ((x[:, 0], x[:, 0], second), (x[:, 0], x[:, 1], by_view), mates):
        products = left[:, :, None] * right[:, None]
        error = products.std(axis=0) / np.sqrt(len(left))
        assert (np.abs(products.mean(axis=0) - expected) <= 5 * error + 1e-12).all()


def looped_moments(x, label, loss, beta):
    """Every ordered pair of rows, self-pairs included."""
    n, m, wide = x.shape
    second, scl, ucl = (np.zeros((wide, wide)) for _ in range(3))
    for i, a, j, b in product(range(n), range(m), range(n), range(m)):
        pair = np.outer(x[i, a], x[j, b])
        if i == j:
            ucl += pair / (n * m**2)
            second += pair / (n * m) * (a == b)
        if label[i] == label[j]:
            scl += pair / (n * (label == label[i]).sum() * m**2)
    share = {"scl": 1.0, "ucl": 0.0, "joint": beta}[loss]
    return second, share * scl + (1 - share) * ucl


@pytest.mark.parametrize(("loss", "beta"), LOSSES)
@pytest.mark.parametrize("bias", [True, False])
@given(label=st.lists(st.integers(-1, 2), min_size=5, max_size=5), seed=st.integers(0, 2**31 - 1))
def test_sample_moments_equal_a_loop_over_pairs(loss, beta, bias, label, seed):
    x, label = np.random.default_rng(seed).normal(size=(5, 2, 3)) + 1, np.array(label)
    expected = looped_moments(np.array(append_one(jnp.asarray(x), bias)), label, loss, beta)
    for found, wanted in zip(sample_moments(views(x, label), loss, beta=beta, bias=bias), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_sample_moments_of_unequal_drawn_classes_equal_a_loop():
    drawn = sample(jax.random.key(0), DENSE, 7, 2, balanced=False)
    label = np.array(drawn.label)
    assert label.sum() != 0
    for loss, beta in LOSSES:
        expected = looped_moments(np.array(append_one(drawn.x, True)), label, loss, beta)
        for found, wanted in zip(sample_moments(drawn, loss, beta=beta), expected, strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_class_without_examples_counts_for_nothing():
    drawn = sample(jax.random.key(0), DENSE, 8, 2)
    one = replace(drawn, label=np.ones(8, int))
    mean = np.array(append_one(drawn.x, True)).mean(axis=(0, 1))
    np.testing.assert_allclose(sample_moments(one, "scl")[1], np.outer(mean, mean), atol=1e-13)
    coordinates = frame(one)
    rows = np.array(coordinates.class_factor @ coordinates.basis.T)
    np.testing.assert_allclose(rows.T @ rows, np.outer(mean, mean), atol=1e-12)


def assert_frame(coordinates, expected):
    """expected: (loss, beta, second, positive) in input coordinates."""
    v = np.array(coordinates.basis)
    np.testing.assert_allclose(v.T @ v, np.eye(v.shape[1]), atol=1e-13)
    for loss, beta, second, positive in expected:
        factor = np.array(coordinates.factor(loss, beta))
        np.testing.assert_allclose((v * np.array(coordinates.second)) @ v.T, second, atol=1e-12)
        np.testing.assert_allclose(v @ factor.T @ factor @ v.T, positive, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("d", [5, 12, 30])
@pytest.mark.parametrize("repeated", [False, True])
def test_frame_of_a_sample_carries_its_moments(bias, d, repeated):
    rng = np.random.default_rng(d)
    x = rng.normal(size=(6, 2, d)) + 0.5
    if repeated:
        x[3:], x[:, 1] = x[:3], x[:, 0]
    given_views = views(x, np.array([0, 2, 2, 0, 2, 1]))
    coordinates = frame(given_views, bias)
    assert coordinates.basis.shape == (d + bias, min(12, d + bias))
    assert (np.array(coordinates.second) > 0).sum() == np.linalg.matrix_rank(np.array(append_one(jnp.asarray(x), bias)).reshape(12, -1))
    assert_frame(coordinates, [(loss, beta, *sample_moments(given_views, loss, beta=beta, bias=bias)) for loss, beta in LOSSES])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("model", [*MODELS.values(), replace(DENSE, noise=0.0, class_strength=0.0)])
def test_frame_of_a_population_carries_its_moments(model, bias):
    coordinates = population_frame(model, bias)
    assert_frame(coordinates, [(loss, beta, *population(model, loss, beta=beta, bias=bias)) for loss, beta in LOSSES])
    assert (np.array(coordinates.second) >= 0).all()


def test_frame_of_a_wide_sample_forms_no_wide_matrix():
    drawn = sample(jax.random.key(0), FeatureModel(d=20_000, irrelevant_strength=(2.0, 2.0), rotated=True), 200, 2)
    coordinates = frame(drawn)
    assert coordinates.basis.shape == (20_001, 400)
    v, x = np.array(coordinates.basis), np.array(append_one(drawn.x, True))
    rows = x.reshape(400, -1)
    np.testing.assert_allclose(v.T @ v, np.eye(400), atol=1e-12)
    np.testing.assert_allclose(rows.T @ (rows @ v) / 400, v * np.array(coordinates.second), atol=1e-12)
    probe = np.random.default_rng(0).normal(size=20_001)
    examples = x.mean(axis=1)
    centres = np.stack([examples[np.array(drawn.label) == y].mean(axis=0) for y in (-1, 1)])
    for loss, positive in (("scl", centres.T @ (centres @ probe) / 2), ("ucl", examples.T @ (examples @ probe) / 200)):
        factor = np.array(coordinates.factor(loss))
        np.testing.assert_allclose(v @ (factor.T @ (factor @ (v.T @ probe))), positive, atol=1e-10)
