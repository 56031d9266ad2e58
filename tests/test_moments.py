from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jax.extend.core import jaxprs_in_params
from oracles import (
    POSITIVES,
    enumerated_moments,
    looped_moments,
    one_hot,
    paper_model,
    random_model,
    share_of,
    with_one,
)

from cldyn import Basis, Gaussian, OneHot, Perturbed, data, moments

SEEDS = st.integers(0, 2**31 - 1)
KINDS = st.sampled_from(POSITIVES)
MODELS = {"dense": random_model(0), "basis": random_model(1), "sparse": random_model(2)}
PAPER = {"one hot": paper_model(0), "perturbed": paper_model(3), "own": paper_model(5)}
LABEL = np.array([0, 2, 2, 0, 2, 1])


def test_random_models_are_of_every_kind():
    dense, basis, sparse = MODELS.values()
    assert (dense.irrelevant, sparse.irrelevant) == ("dense", "sparse")
    assert (type(dense.noise), type(basis.noise)) == (Gaussian, Basis)
    one_hot, perturbed, own = PAPER.values()
    assert (type(one_hot.noise), type(perturbed.noise)) == (OneHot, Perturbed)
    assert perturbed.noise.change_rank > 0 and own.irrelevant == "own"


@given(SEEDS, KINDS, st.booleans(), st.sampled_from([random_model, paper_model]))
def test_population_moments_equal_an_enumeration(seed, positives, bias, kind):
    model = kind(seed)
    expected = enumerated_moments(model, positives, bias)
    for found, wanted in zip(
        moments.population(model, positives, bias=bias), expected, strict=True
    ):
        np.testing.assert_allclose(found, wanted, atol=1e-13)


@pytest.mark.parametrize("name", [*MODELS, *PAPER])
def test_population_moments_equal_monte_carlo(name):
    model, key = (MODELS | PAPER)[name], jax.random.key(1)
    if model.irrelevant == "own":  # a deck for every example
        many = {
            name: getattr(model, name) * 3 for name in ("irrelevant_strength", "irrelevant_keep")
        }
        model = replace(model, irrelevant="sparse", own_count=0, **many)
    drawn = data.sample(key, model, 100_000, 2, balanced=False)
    x, label = with_one(drawn.x), np.array(drawn.label)
    pairs = np.argsort(label, kind="stable").reshape(-1, 2)
    pairs = pairs[label[pairs[:, 0]] == label[pairs[:, 1]]]  # independent examples of one class
    supervised, unsupervised, _ = POSITIVES
    second, by_view = moments.population(model, unsupervised)
    by_class = moments.population(model, supervised)[1]
    mates = (x[pairs[:, 0], 0], x[pairs[:, 1], 1], by_class)
    for left, right, expected in ((x[:, 0], x[:, 0], second), (x[:, 0], x[:, 1], by_view), mates):
        mean = left.T @ right / len(left)
        error = np.sqrt(((left**2).T @ right**2 / len(left) - mean**2).clip(0) / len(left))
        assert (np.abs(mean - expected) <= 5 * error + 1e-12).all()


@given(st.lists(st.integers(-1, 2), min_size=5, max_size=5), SEEDS, KINDS, st.booleans())
def test_sample_moments_equal_a_loop_over_pairs(label, seed, positives, bias):
    x = np.random.default_rng(seed).normal(size=(5, 2, 3)) + 1
    member = np.array([np.array(label) == group for group in (-1, 0, 1, 2)], float)  # some empty
    expected = looped_moments(with_one(x, bias), label, positives)
    found = moments.sample_moments(x, jnp.array(member), positives, bias=bias)
    for one, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, wanted, atol=1e-12)


def assert_frame(frame, expected):
    """expected: [(positives, M, P)] in input coordinates."""
    v, second = np.array(frame.basis), np.array(frame.second)
    filled = np.abs(v).max(axis=0) > 0
    np.testing.assert_allclose(v.T @ v, np.diag(filled.astype(float)), atol=1e-13)
    assert (second >= 0).all()
    for positives, moment, positive in expected:
        factor = np.array(frame.factor(positives))
        np.testing.assert_allclose((v * second) @ v.T, moment, atol=1e-12)
        np.testing.assert_allclose(v @ factor.T @ factor @ v.T, positive, atol=1e-12)


def assert_padded(frame, filled):
    """Spare coordinates are zero, and so is the last one, which is there in any case."""
    assert frame.second.size % 8 == 0 and filled < frame.second.size <= filled + 8
    for part in (frame.second, frame.class_factor, frame.view_factor, frame.basis):
        assert part.shape[-1] == frame.second.size
        np.testing.assert_array_equal(part[..., filled:], 0)
    assert (np.linalg.norm(frame.basis[:, :filled], axis=0) > 0.5).all()


@given(SEEDS, st.booleans(), st.sampled_from([5, 12, 30]), st.booleans())
def test_frame_of_a_sample_carries_its_moments_and_is_padded(seed, bias, d, repeated):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(6, 2, d)) + 0.5
    if repeated:
        x[3:], x[:, 1] = x[:3], x[:, 0]
    member = np.concatenate([one_hot(LABEL), np.zeros((1, 6))])  # one class has no example
    frame = moments.frame(x, jnp.array(member), bias)
    assert_padded(frame, min(12, d + bias))
    wide = with_one(x, bias)
    assert (frame.second > 0).sum() == np.linalg.matrix_rank(wide.reshape(12, -1))
    assert_frame(frame, [(one, *looped_moments(wide, LABEL, one)) for one in POSITIVES])


@given(
    SEEDS,
    st.booleans(),
    st.sampled_from(["none", "noise", "class"]),
    st.sampled_from([random_model, paper_model]),
)
def test_frame_of_a_population_carries_its_moments_and_is_padded(seed, bias, missing, kind):
    model = kind(seed)
    if missing != "none":
        gone = {"noise": {"noise": Gaussian(0.0)}, "class": {"class_strength": 0.0}}
        model = replace(model, **gone[missing])
    frame = moments.population_frame(model, bias)
    assert_padded(frame, model.d + bias)
    assert_frame(frame, [(one, *enumerated_moments(model, one, bias)) for one in POSITIVES])


@pytest.mark.parametrize(
    ("kind", "seed", "bias"),
    [
        (random_model, 9, True),
        (random_model, 10, False),
        (random_model, 11, True),
        (paper_model, 9, True),
        (paper_model, 10, False),
    ],
)
def test_frame_of_all_views_carries_means_of_views_and_is_padded(kind, seed, bias):
    """The mean of a view given its original by `mean_views`, which test_batches samples."""
    model = kind(seed)
    first = data.originals(jax.random.key(seed), model, 8)
    frame = moments.views_frame(model, first, bias)
    assert_padded(frame, model.d + bias)
    views = data.mean_views(model, first)
    x = with_one(views.mean, bias)
    label = np.array(first.codes[:, 0])
    spread = np.diag(views.spread) - np.outer(views.less, views.less)
    spread = np.pad(spread, (0, int(bias)))
    centres = np.array([x[label == y].mean(axis=0) for y in (-1, 1)])
    second, supervised, unsupervised = x.T @ x / 8 + spread, centres.T @ centres / 2, x.T @ x / 8
    expected = []
    for one in POSITIVES:
        share = share_of(one)
        expected.append((one, second, share * supervised + (1 - share) * unsupervised))
    assert_frame(frame, expected)


@given(SEEDS, st.booleans())
def test_a_frame_splits_rows_in_what_is_inside_and_what_is_outside(seed, bias):
    rng = np.random.default_rng(seed)
    x, rows = rng.normal(size=(6, 2, 30)), rng.normal(size=(4, 30 + bias))
    frame = moments.frame(x, jnp.array(one_hot(LABEL)), bias)
    inside, outside = frame.split(jnp.array(rows))
    spanned = with_one(x, bias).reshape(12, -1)
    np.testing.assert_allclose(inside @ frame.basis.T + outside, rows, atol=1e-13)
    np.testing.assert_allclose(outside @ spanned.T, 0, atol=1e-12)
    np.testing.assert_array_equal(inside[:, 12:], 0)


def shapes_of(jaxpr):
    """Shapes of everything that a computation makes, inner ones included."""
    for equation in jaxpr.eqns:
        yield from (tuple(made.aval.shape) for made in equation.outvars)
        for inner in jaxprs_in_params(equation.params):
            yield from shapes_of(inner)


def test_frame_of_a_wide_sample_forms_no_wide_matrix():
    x, member = jnp.zeros((20, 2, 3000)), jnp.zeros((2, 20))
    shapes = set(shapes_of(jax.make_jaxpr(moments.frame)(x, member).jaxpr))
    assert (3001, 48) in shapes  # the basis: 40 rows, one more coordinate and seven to spare
    assert max(np.prod(shape) for shape in shapes) <= 3001 * 48
