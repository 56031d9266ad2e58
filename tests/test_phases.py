import numpy as np
import pytest

from cldyn import phases

pytestmark = pytest.mark.quick

STEPS = np.arange(0.0, 401.0)
UP, DOWN, PEAK, TOP = 0.25, 0.07, 40, 0.8


def rise_and_fall(rate=DOWN, top=TOP):
    rising, falling = np.exp(UP * (STEPS - PEAK)), np.exp(-rate * (STEPS - PEAK))
    return top * np.where(STEPS <= PEAK, rising, falling)


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
    curve, late = rise_and_fall(), STEPS > PEAK + 100
    turn = curve[PEAK + 100]
    curve[late] = turn * np.exp(-0.01 * (STEPS[late] - PEAK - 100))
    fast = phases(STEPS, curve, fit_high=TOP / 2, fit_low=turn * 1.01)
    slow = phases(STEPS, curve, fit_high=turn, fit_low=1e-9)
    assert fast.decay_rate == pytest.approx(DOWN, rel=1e-10)
    assert slow.decay_rate == pytest.approx(0.01, rel=1e-10)
    learned = phases(STEPS, curve, threshold=0.4).learned
    assert learned == pytest.approx(PEAK + np.log(0.5) / UP, rel=1e-12)


def test_phases_keep_the_shape_of_the_curves():
    rates = np.array([[0.05, 0.1, 0.2], [0.3, 0.4, 0.5]])
    found = phases(STEPS, np.stack([[rise_and_fall(rate) for rate in row] for row in rates]))
    np.testing.assert_allclose(found.decay_rate, rates, rtol=1e-10)
    np.testing.assert_allclose(found.unlearned, PEAK + np.log(2) / rates, rtol=1e-12)
    assert all(part.shape == (2, 3) for part in found)


def test_phases_that_never_come_are_nan():
    rising = phases(STEPS, np.exp(UP * (STEPS - 400)) * 0.05)
    never = rising.learned, rising.unlearned, *rising[4:]
    assert np.isnan(never).all() and len(never) == 5
    assert (rising.peak, rising.peak_step) == (0.05, 400)
    settled = phases(STEPS, np.maximum(rise_and_fall(), 0.5))
    assert np.isnan(settled.unlearned) and np.isnan(settled.decay_rate) and settled.learned == 0


def test_phases_of_curves_that_diverge():
    diverged = rise_and_fall()
    diverged[STEPS > 150] = np.nan
    whole, cut = phases(STEPS, rise_and_fall()), phases(STEPS, diverged)
    for name in ("learned", "peak", "peak_step", "unlearned"):
        assert getattr(cut, name) == getattr(whole, name)
    assert cut.decay_rate == pytest.approx(DOWN, rel=1e-10)
    assert cut.decay_to == rise_and_fall()[150]
    assert np.isnan(phases(STEPS, np.full_like(STEPS, np.nan))).all()
