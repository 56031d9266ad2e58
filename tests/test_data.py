from collections import Counter
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from oracles import model_numbers, random_model

import cldyn
from cldyn import Basis, DistinctBasis, Experiment, FeatureModel, Gaussian, nouns
from cldyn.data import originals, sample, sample_test

PLAIN = FeatureModel(
    d=12,
    irrelevant_strength=(2.0, 0.5),
    irrelevant_mean=(0.3, -1.0),
    class_mean=0.4,
    noise=Gaussian(1.5),
)
SIGNS = FeatureModel(d=8, irrelevant_strength=(1.0, 1.0), subclass_mean=0.0, noise=Gaussian(0.0))
SEEDS = st.integers(0, 2**31 - 1)


def draw(model, n=8, m=2, seed=0, **options):
    return sample(jax.random.key(seed), model, n, m, **{"balanced": False, **options})


def codes(drawn):
    return np.column_stack([drawn.label, drawn.subclass, drawn.irrelevant])


@pytest.mark.parametrize(
    ("kind", "count", "deck", "hand"),
    [
        ("dense", 0, 1, 3),
        ("dense", 3, 8, 12),
        ("dense", 17, 2**17, 300),
        ("sparse", 3, 6, 9),
    ],
)
def test_every_cell_has_equal_counts_and_decks_without_repeats(kind, count, deck, hand):
    model = FeatureModel(d=40, irrelevant_strength=(1.0,) * count, irrelevant=kind)
    drawn = np.array(originals(jax.random.key(0), model, 4 * hand).codes)
    label, subclass, irrelevant = drawn[:, 0], drawn[:, 1], drawn[:, 2:]
    cells = Counter(zip(label.tolist(), subclass.tolist(), strict=True))
    assert cells == {(y, s): hand for y in (-1, 1) for s in (-1, 1)}
    assert (np.diff(label) != 0).sum() > 1, "examples come in shuffled order"
    for y, s in cells:
        patterns = irrelevant[(label == y) & (subclass == s)]
        counts = sorted(Counter(map(tuple, patterns.tolist())).values())
        assert max(counts) == -(-hand // deck)
        assert len(counts) == min(hand, deck) and min(counts) >= hand // deck
        active = np.abs(patterns).sum(axis=1)
        assert (active == (1 if kind == "sparse" else count)).all()
    if deck > 4 * hand:  # cells deal from decks of their own
        assert len(set(map(tuple, irrelevant.tolist()))) > 4 * hand - 20


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_iid_codes_are_uniform_and_uncorrelated(kind):
    n, model = 8000, replace(SIGNS, irrelevant=kind)
    first = originals(jax.random.key(0), model, n, balanced=False)
    drawn = np.array(first.codes, float)
    expected = np.diag([1, 1, 0.5, 0.5] if kind == "sparse" else np.ones(4))
    np.testing.assert_allclose(drawn.mean(axis=0), 0, atol=5 / np.sqrt(n))
    np.testing.assert_allclose(drawn.T @ drawn / n, expected, atol=5 / np.sqrt(n))
    assert len(set(Counter(map(tuple, drawn[:, :2].tolist())).values())) > 1


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_keep_one_keeps_every_sign(kind):
    drawn = draw(replace(SIGNS, irrelevant=kind), 16, 3)
    np.testing.assert_array_equal(drawn.x[..., :4], np.repeat(codes(drawn)[:, None], 3, axis=1))


def test_dense_keep_probabilities_are_those_of_each_feature():
    n, keep = 8000, np.array([0.9, 0.6, 0.3, 0.0])
    model = replace(SIGNS, class_keep=0.9, subclass_keep=0.6, irrelevant_keep=(0.3, 0.0))
    drawn = draw(model, n, 2)
    signs = np.array(drawn.x[..., :4])
    assert (np.abs(signs) == 1).all()
    slack = 5 / np.sqrt(n)
    np.testing.assert_allclose((signs[:, 0] * codes(drawn)).mean(axis=0), keep, atol=slack)
    np.testing.assert_allclose((signs[:, 0] * signs[:, 1]).mean(axis=0), keep**2, atol=slack)


def test_sparse_view_redraws_identity_and_sign_together():
    n, keep, count = 8000, 0.4, 2
    model = FeatureModel(
        d=8,
        irrelevant="sparse",
        irrelevant_strength=(1.0,) * count,
        irrelevant_keep=(keep,) * count,
        noise=Gaussian(0.0),
    )
    drawn = draw(model, n, 2)
    view = np.array(drawn.x[:, 0, 2:4])
    assert (np.abs(view).sum(axis=1) == 1).all()
    same = (view == np.array(drawn.irrelevant)).all(axis=1).mean()
    twice = (view == np.array(drawn.x[:, 1, 2:4])).all(axis=1).mean()
    slack = 5 * 0.5 / np.sqrt(n)
    assert same == pytest.approx(keep + (1 - keep) / (2 * count), abs=slack)
    assert twice == pytest.approx(keep**2 + (1 - keep**2) / (2 * count), abs=slack)


@pytest.mark.parametrize("keep", [0.0, 0.3, 1.0])
def test_gaussian_noise_has_its_squared_length_and_shares_noise_keep(keep):
    n, other = 400, 200
    model = replace(PLAIN, d=other + 4, noise=Gaussian(3.0, keep))
    noise = np.array(draw(model, n, 2).x[..., 4:])
    slack = 5 * np.sqrt(2 / (n * other))
    assert (noise**2).sum(axis=-1).mean() == pytest.approx(9, rel=slack)
    assert (noise[:, 0] * noise[:, 1]).sum(axis=-1).mean() / 9 == pytest.approx(keep, abs=slack)
    apart = (noise[0::2, 0] * noise[1::2, 0]).sum(axis=-1).mean() / 9
    assert apart == pytest.approx(0, abs=slack * np.sqrt(2))
    np.testing.assert_allclose((noise**2).mean(axis=(0, 1)), 9 / other, rtol=6 * np.sqrt(2 / n))


@pytest.mark.parametrize("keep", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("kind", [Basis, DistinctBasis])
def test_basis_noise_is_one_direction_of_given_length_kept_with_noise_keep(kind, keep):
    n, other = 1000, 3000
    noise = np.array(draw(FeatureModel(d=other + 2, noise=kind(3.0, keep)), n, 2).x[..., 2:])
    assert ((noise != 0).sum(axis=-1) == 1).all()
    np.testing.assert_array_equal((noise**2).sum(axis=-1), 9)
    place, sign = np.abs(noise).argmax(axis=-1), np.sign(noise.sum(axis=-1))
    assert abs(sign[:, 0].mean()) < 5 / np.sqrt(n)
    same = place[:, 0] == place[:, 1]
    slack = 5 * 0.45 / np.sqrt(n) if 0 < keep < 1 else 2e-3
    assert same.mean() == pytest.approx(keep**2, abs=slack)
    assert (sign[same, 0] == sign[same, 1]).all() or keep == 0
    if kind is DistinctBasis:
        assert len(np.unique(place)) == 2 * n - same.sum()
    else:
        assert len(np.unique(place[:, 0])) < n  # drawn with replacement


def test_one_hot_noise_lies_on_all_directions_with_positive_sign_anew_in_every_view():
    n, plain = 2000, replace(SIGNS, d=12, irrelevant_strength=(), noise=cldyn.OneHot(3.0))
    drawn, test = draw(plain, n, 2), sample_test(jax.random.key(0), plain, n)
    noise = np.array(drawn.x)
    noise[..., :2] -= codes(drawn)[:, None, :2]
    beside = np.array(test.x[:, 0])
    beside[:, :2] -= codes(test)[:, :2]
    for rows in (noise[:, 0], noise[:, 1], beside):
        np.testing.assert_allclose(np.sort(rows, axis=1), [[0.0] * 11 + [3.0]] * n, atol=1e-12)
        counts = rows.sum(axis=0) / 3
        assert np.abs(counts - n / 12).max() < 5 * np.sqrt(n / 12)
    same = (noise[:, 0] == noise[:, 1]).all(axis=1).mean()
    assert same == pytest.approx(1 / 12, abs=5 * np.sqrt(1 / 12 / n))


@pytest.mark.parametrize("rank", [0, 3])
def test_perturbed_noise_is_kept_but_for_a_change_of_its_rank(rank):
    noise = cldyn.Perturbed(2.0, change_length=1.5, change_rank=rank)
    x = np.array(draw(replace(SIGNS, d=30, noise=noise), 40, 50).x)
    apart = x - x.mean(axis=1, keepdims=True)
    assert np.linalg.matrix_rank(apart.reshape(-1, 30), tol=1e-9) == rank
    np.testing.assert_allclose(apart[..., : 30 - rank], 0, atol=1e-12)
    squares = (apart**2).sum(axis=-1).mean() * 50 / 49
    assert squares == pytest.approx(1.5**2 * (rank > 0), rel=0.15)


@pytest.mark.parametrize(("count", "most"), [(40, 1), (16, 1), (8, 2)])
@pytest.mark.parametrize("balanced", [True, False])
def test_own_features_are_dealt_to_all_examples_and_kept_by_their_views(count, most, balanced):
    model = replace(SIGNS, d=60, irrelevant="own", own_count=count, irrelevant_strength=(2.0,))
    drawn = draw(model, 16, 3, balanced=balanced)
    active = np.array(drawn.irrelevant)
    assert active.shape == (16, count) and (np.abs(active).sum(axis=1) == 1).all()
    assert np.abs(active).sum(axis=0).max() == most and len(np.unique(active.sum(axis=1))) == 2
    np.testing.assert_array_equal(drawn.x[..., 2 : 2 + count], np.repeat(2 * active[:, None], 3, 1))
    assert drawn.directions.shape == (2, 60)
    turned = draw(replace(model, rotated=True), 16, 3, balanced=balanced)
    rows, plain = (np.array(one.x).reshape(48, -1) for one in (turned, drawn))
    np.testing.assert_allclose(rows @ rows.T, plain @ plain.T, atol=1e-12)
    np.testing.assert_allclose(turned.x @ turned.directions.T, drawn.x[..., :2], atol=1e-12)


def test_noise_and_views_change_no_code():
    other = replace(PLAIN, d=28, class_keep=0.2, noise=DistinctBasis(5.0, 0.7))
    first, second = draw(PLAIN), draw(other, m=3)
    np.testing.assert_array_equal(codes(first), codes(second))
    assert (np.sign(second.x[..., 0] - 0.4) != np.array(second.label)[:, None]).any()


@pytest.mark.parametrize("kind", [Gaussian, Basis])
def test_first_views_stay_when_a_view_is_added(kind):
    keeps = {"class_keep": 0.5, "subclass_keep": 0.5, "irrelevant_keep": (0.5, 0.5)}
    model = replace(PLAIN, noise=kind(1.5, 0.5), rotated=True, **keeps)
    two, three = draw(model, m=2).x, draw(model, m=3).x
    np.testing.assert_allclose(two, three[:, :2], atol=1e-14)
    assert np.abs(three[:, 2] - three[:, 1]).max() > 0.1


def test_a_seed_decides_everything_and_another_changes_everything():
    np.testing.assert_array_equal(draw(PLAIN, 16, seed=3).x, draw(PLAIN, 16, seed=3).x)
    one, other = draw(PLAIN, 16, seed=3), draw(PLAIN, 16, seed=4)
    assert (one.label != other.label).any()
    assert np.abs(one.x[..., 4:] - other.x[..., 4:]).min() > 0


@given(SEEDS)
def test_rotation_keeps_lengths_angles_and_features(seed):
    kept = {"class_keep": 1.0, "subclass_keep": 1.0, "irrelevant_keep": ()}
    model = replace(random_model(seed), d=12, class_change=0.0, subclass_change=0.0, **kept)
    turned, straight = draw(replace(model, rotated=True), seed=seed), draw(model, seed=seed)
    v, (strengths, means, _) = np.array(turned.directions), model_numbers(model)
    np.testing.assert_allclose(v @ v.T, np.eye(4), atol=1e-13)
    expected = means + strengths * codes(turned)
    found = turned.x @ v.T
    np.testing.assert_allclose(found, np.repeat(expected[:, None], 2, axis=1), atol=1e-12)
    rows, plain = np.array(turned.x).reshape(16, -1), np.array(straight.x).reshape(16, -1)
    np.testing.assert_allclose(rows @ rows.T, plain @ plain.T, atol=1e-12)
    noise = rows - (rows @ v.T) @ v
    np.testing.assert_allclose(noise @ v.T, 0, atol=1e-12)
    np.testing.assert_allclose((noise**2).sum(axis=1), (plain[:, 4:] ** 2).sum(axis=1), rtol=1e-12)
    assert np.abs(v - np.eye(4, 12)).max() > 0.1


def test_rotated_directions_are_uniform():
    model = FeatureModel(d=4, irrelevant_strength=(1.0,), rotated=True)
    keys = jax.random.split(jax.random.key(0), 4000)
    v = np.array(jax.jit(jax.vmap(lambda key: sample(key, model, 4, 1).directions))(keys))
    np.testing.assert_allclose(v.mean(axis=0), 0, atol=5 / np.sqrt(4 * 4000))
    second = np.einsum("ski,skj->kij", v, v) / 4000
    np.testing.assert_allclose(second, np.broadcast_to(np.eye(4) / 4, (3, 4, 4)), atol=0.02)
    np.testing.assert_allclose((v**4).mean(axis=0), 3 / (4 * 6), atol=0.02)


@pytest.mark.parametrize("kind", [Gaussian, Basis])
def test_test_sample_shares_directions_and_nothing_else(kind):
    keeps = {"class_keep": 0.0, "subclass_keep": 0.0, "irrelevant_keep": (0.0, 0.0)}
    model = replace(PLAIN, d=204, noise=kind(1.5), rotated=True, **keeps)
    train, test = draw(model, 400, 1), sample_test(jax.random.key(0), model, 400)
    assert test.x.shape == (400, 1, 204)
    np.testing.assert_array_equal(train.directions, test.directions)
    strengths, means, _ = model_numbers(model)
    found = test.x[:, 0] @ test.directions.T
    np.testing.assert_allclose(found, means + strengths * codes(test), atol=1e-12)
    agree = (codes(train) * codes(test)).mean(axis=0)
    np.testing.assert_allclose(agree, 0, atol=5 / np.sqrt(400))
    v = np.array(train.directions)
    noise = [np.array(x - (x @ v.T) @ v) for x in (train.x[:, 0], test.x[:, 0])]
    length = (noise[1] ** 2).sum(axis=1).mean()
    assert length == pytest.approx(1.5**2, rel=5 * np.sqrt(2 / (200 * 400)))
    assert abs((noise[0] * noise[1]).sum(axis=1).mean()) / 1.5**2 < 5 / np.sqrt(200 * 400)


def assert_same_in_both_precisions(wide, narrow):
    assert (wide.x.dtype, narrow.x.dtype) == (jnp.float64, jnp.float32)
    np.testing.assert_array_equal(codes(wide), codes(narrow))
    np.testing.assert_allclose(wide.x, narrow.x, atol=1e-5)
    np.testing.assert_allclose(wide.directions, narrow.directions, atol=1e-6)


def test_both_precisions_draw_the_same_sample_where_asked_for():
    model = replace(PLAIN, class_keep=0.5, noise=Gaussian(1.5, 0.5))
    deal = {"balanced": True}
    assert_same_in_both_precisions(draw(model, **deal), draw(model, dtype=jnp.float32, **deal))


def test_both_precisions_of_jax_draw_the_same_sample():
    model = replace(PLAIN, d=28, class_keep=0.5, noise=DistinctBasis(1.5, 0.5), rotated=True)

    def both():
        return draw(model), sample_test(jax.random.key(0), model, 8)

    wide = both()
    with jax.enable_x64(False):
        narrow = both()
    for one, other in zip(wide, narrow, strict=True):
        assert_same_in_both_precisions(one, other)


def test_traced_leaves_under_jit_and_vmap_equal_a_loop():
    def drawn(length, keep):
        return draw(nouns.replaced(PLAIN, {"noise_length": length, "class_keep": keep})).x

    values = [(0.1, 0.9), (0.4, 0.2), (0.9, 0.5)]
    loop = np.stack([drawn(*pair) for pair in values])
    many = jax.jit(jax.vmap(drawn))(*jnp.array(values).T)
    np.testing.assert_allclose(many, loop, atol=1e-13)
    assert np.abs(loop[0] - loop[1])[..., 4:].min() > 0
    assert np.abs(loop[0] - loop[1])[..., 0].max() > 0.1


@cldyn.noun
class Corners(cldyn.Noise):
    """Every coordinate +-noise_length/sqrt(other): a kind of a user's own, of `draw` alone."""

    noise_length: float = 1.0

    def draw(self, key, n, other, dtype):
        signs = 2 * jax.random.bernoulli(key, 0.5, (n, other)) - 1
        return signs.astype(dtype) * self.noise_length / np.sqrt(other)


def test_a_noise_of_ones_own_with_draw_alone_is_fresh_in_every_view():
    """That its numbers are axes and that it trains, test_own_nouns tells."""
    n, other, model = 400, 200, replace(PLAIN, d=204, noise=Corners(3.0))
    drawn, test = draw(model, n, 2), sample_test(jax.random.key(0), model, n)
    noise = [np.array(x[:, view, 4:]) for x, view in ((drawn.x, 0), (drawn.x, 1), (test.x, 0))]
    for one in noise:
        np.testing.assert_allclose(np.abs(one), 3 / np.sqrt(other), rtol=1e-12)
    for one, two in ((0, 1), (0, 2), (1, 2)):  # of views, and of training and test
        assert abs((noise[one] * noise[two]).sum(axis=1).mean()) / 9 < 5 / np.sqrt(n * other)


@pytest.mark.parametrize("source", [cldyn.Population, cldyn.FreshViews])
def test_a_noise_of_ones_own_without_moments_is_for_stored_views(source):
    with pytest.raises(ValueError, match=r"noise: Corners.*exact moments"):
        cldyn.run(Experiment(source(replace(PLAIN, noise=Corners()))), [0, 1])


def test_a_noise_without_draw_says_what_it_needs():
    with pytest.raises(TypeError, match="draw"):
        draw(replace(PLAIN, noise=cldyn.noun(type("Silent", (cldyn.Noise,), {}))()))
