import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cldyn.measures import contrasts, effective_rank, feature_norms, gap, gram_distance, phases, probe_accuracy, within_variance

SEEDS = st.integers(0, 2**31 - 1)


def dense_distance(w, limit):
    return np.linalg.norm(w.T @ w - limit.T @ limit) / np.linalg.norm(limit.T @ limit)


def random_rotation(rng, p):
    return np.linalg.qr(rng.normal(size=(p, p)))[0]


def test_feature_norms_are_lengths_along_the_last_axis():
    directions = np.array([[[3.0, 4.0], [0.0, -2.0]], [[5.0, 12.0], [0.0, 0.0]]])
    np.testing.assert_allclose(feature_norms(directions), [[5, 2], [13, 0]], rtol=1e-15)


def test_gap_of_two_groups_is_their_distance_and_of_three_a_root_mean_square():
    centres = np.array([[0.0, 0.0], [3.0, 4.0], [0.0, 1.0]])
    assert gap(centres[1:2] - centres[:1]) == pytest.approx(5, rel=1e-15)
    contrasts = np.stack([centres[0] - centres[1], centres[0] - centres[2], centres[1] - centres[2]])
    assert gap(contrasts) == pytest.approx(np.sqrt((25 + 1 + 18) / 3), rel=1e-15)
    np.testing.assert_allclose(gap(np.stack([contrasts, 2 * contrasts])), np.sqrt(44 / 3) * np.array([1, 2]), rtol=1e-15)


def test_gap_of_one_group_is_nan():
    assert np.isnan(gap(jnp.zeros((0, 3))))


@given(seed=SEEDS, p=st.sampled_from([1, 3, 6]), zero=st.sampled_from(["neither", "w", "limit", "both"]))
def test_gram_distance_is_the_dense_formula(seed, p, zero):
    rng = np.random.default_rng(seed)
    w, limit = rng.normal(size=(p, 4)), rng.normal(size=(p, 4))
    if p > 1:
        w[-1] *= zero not in ("w", "both")
        limit[-1] *= zero not in ("limit", "both")
    assert gram_distance(w, limit) == pytest.approx(dense_distance(w, limit), rel=1e-10)


def test_gram_distance_from_nothing_and_from_the_double():
    limit = np.random.default_rng(0).normal(size=(3, 5))
    assert gram_distance(np.zeros((3, 5)), limit) == pytest.approx(1, rel=1e-13)
    assert gram_distance(2 * limit, limit) == pytest.approx(3, rel=1e-13)


@given(seed=SEEDS, size=st.sampled_from([1e-4, 1e-8, 1e-12]), spare=st.booleans())
def test_gram_distance_keeps_relative_precision_near_the_limit(seed, size, spare):
    """w = R (limit + size delta): the difference of Gram matrices is linear in size, up to size squared."""
    rng = np.random.default_rng(seed)
    limit, delta = rng.normal(size=(3, 6)), rng.normal(size=(3, 6))
    if spare:
        limit[2] = 0
    w = random_rotation(rng, 3) @ (limit + size * delta)
    cross = limit.T @ delta
    expected = size * np.linalg.norm(cross + cross.T + size * delta.T @ delta) / np.linalg.norm(limit.T @ limit)
    assert gram_distance(w, limit) == pytest.approx(expected, rel=max(1e-9, 2e-15 / size))


def test_gram_distance_batches():
    rng = np.random.default_rng(0)
    w, limit = rng.normal(size=(4, 2, 5)), rng.normal(size=(4, 2, 5))
    expected = [dense_distance(*pair) for pair in zip(w, limit, strict=True)]
    np.testing.assert_allclose(jax.vmap(gram_distance)(w, limit), expected, rtol=1e-10)


STEPS = np.arange(0.0, 401.0)
UP, DOWN, PEAK, TOP = 0.25, 0.07, 40, 0.8


def rise_and_fall(rate=DOWN, top=TOP):
    return top * np.where(STEPS <= PEAK, np.exp(UP * (STEPS - PEAK)), np.exp(-rate * (STEPS - PEAK)))


@pytest.mark.parametrize("stride", [1, 4])
def test_phases_of_an_exponential_rise_and_fall_are_exact(stride):
    found = phases(STEPS[::stride], rise_and_fall()[::stride], threshold=0.1)
    assert found.learned == pytest.approx(PEAK + np.log(0.1 / TOP) / UP, rel=1e-12)
    assert (found.peak, found.peak_step) == (TOP, PEAK)
    assert found.unlearned == pytest.approx(PEAK + np.log(2) / DOWN, rel=1e-12)
    assert found.decay_rate == pytest.approx(DOWN, rel=1e-10)
    assert 1e-2 * np.exp(-DOWN * stride) < found.decay_from <= 1e-2
    assert 1e-7 <= found.decay_to < 1e-7 * np.exp(DOWN * stride)


def test_phases_use_the_window_and_the_threshold_given():
    curve = rise_and_fall()
    curve[STEPS > PEAK + 100] = curve[STEPS == PEAK + 100] * np.exp(-0.01 * (STEPS[STEPS > PEAK + 100] - PEAK - 100))
    turn = curve[PEAK + 100]
    assert phases(STEPS, curve, fit_high=TOP / 2, fit_low=turn * 1.01).decay_rate == pytest.approx(DOWN, rel=1e-10)
    assert phases(STEPS, curve, fit_high=turn, fit_low=1e-9).decay_rate == pytest.approx(0.01, rel=1e-10)
    assert phases(STEPS, curve, threshold=0.4).learned == pytest.approx(PEAK + np.log(0.5) / UP, rel=1e-12)


def test_phases_keep_the_shape_of_the_curves():
    rates = np.array([[0.05, 0.1, 0.2], [0.3, 0.4, 0.5]])
    found = phases(STEPS, np.stack([[rise_and_fall(rate) for rate in row] for row in rates]))
    np.testing.assert_allclose(found.decay_rate, rates, rtol=1e-10)
    np.testing.assert_allclose(found.unlearned, PEAK + np.log(2) / rates, rtol=1e-12)
    assert all(part.shape == (2, 3) for part in found)


def test_phases_that_never_come_are_nan():
    rising = phases(STEPS, np.exp(UP * (STEPS - 400)) * 0.05)
    assert np.isnan([rising.learned, rising.unlearned, rising.decay_rate, rising.decay_from, rising.decay_to]).all()
    assert (rising.peak, rising.peak_step) == (0.05, 400)
    settled = phases(STEPS, np.maximum(rise_and_fall(), 0.5))
    assert np.isnan(settled.unlearned) and np.isnan(settled.decay_rate) and settled.learned == 0


def test_phases_of_curves_that_diverge():
    diverged = rise_and_fall()
    diverged[STEPS > 150] = np.nan
    whole, cut, none = phases(STEPS, rise_and_fall()), phases(STEPS, diverged), phases(STEPS, np.full_like(STEPS, np.nan))
    for name in ("learned", "peak", "peak_step", "unlearned"):
        assert getattr(cut, name) == getattr(whole, name)
    assert cut.decay_rate == pytest.approx(DOWN, rel=1e-10) and cut.decay_to == rise_and_fall()[150]
    assert np.isnan(none).all()


def groups_of(rng, n=40):
    label, subclass = np.sign(rng.normal(size=(2, n)))
    return label, subclass, np.stack([label < 0, label > 0]).astype(float), np.stack([subclass < 0, subclass > 0]).astype(float)


@given(seed=SEEDS, p=st.integers(1, 5))
def test_variances_and_contrasts_equal_loops(seed, p):
    rng = np.random.default_rng(seed)
    label, _, classes, _ = groups_of(rng)
    f = rng.normal(size=(40, p))
    centre = {c: f[label == c].mean(axis=0) for c in (-1, 1)}
    expected = np.mean([np.sum((x - centre[c]) ** 2) for x, c in zip(f, label, strict=True)])
    assert float(within_variance(f, classes)) == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(contrasts(f, classes), [centre[-1] - centre[1]], rtol=1e-10)
    three = np.concatenate([classes, np.zeros((1, 40))])
    assert float(within_variance(f, three)) == pytest.approx(expected, rel=1e-12)


@given(seed=SEEDS, p=st.integers(1, 6), zero=st.booleans())
def test_probe_accuracy_is_that_of_least_squares(seed, p, zero):
    rng = np.random.default_rng(seed)
    sign = np.sign(rng.normal(size=60))
    f = rng.normal(size=(60, p)) * rng.uniform(0.1, 3, p) + 0.7 * sign[:, None] + 2
    test, test_sign = f[30:] + rng.normal(size=(30, p)), sign[30:]
    ridge = 1e-6 * np.mean(np.var(f[:30], axis=0))
    apart = f[:30] - f[:30].mean(axis=0)
    slope = np.linalg.solve(apart.T @ apart / 30 + ridge * np.eye(p), apart.T @ sign[:30] / 30)
    score = (test - f[:30].mean(axis=0)) @ slope + sign[:30].mean()
    pad = np.zeros((30, 2 * zero))
    found = probe_accuracy(np.hstack([f[:30], pad]), sign[:30], np.hstack([test, pad]), test_sign)
    assert float(found) == pytest.approx(np.mean(score * test_sign > 0), abs=1e-12)


def test_probe_of_a_constant_tells_nothing():
    sign = np.array([-1.0, 1, -1, 1])
    assert float(probe_accuracy(np.ones((4, 2)), sign, np.ones((4, 2)), sign)) == 0.5


@given(seed=SEEDS, p=st.sampled_from([1, 2, 5, 17]), zero=st.booleans())
def test_effective_rank_is_the_entropy_of_singular_values(seed, p, zero):
    rng = np.random.default_rng(seed)
    f = rng.normal(size=(30, p)) @ np.diag(np.geomspace(1, 10.0 ** -rng.integers(0, 5), p)) @ rng.normal(size=(p, p)) + 3
    values = np.linalg.svd(f - f.mean(axis=0), compute_uv=False) ** 2
    share = values / values.sum()
    expected = np.exp(-np.sum(share * np.log(share)))
    assert float(effective_rank(np.hstack([f, np.zeros((30, 3 * zero))]))) == pytest.approx(expected, rel=1e-8)
