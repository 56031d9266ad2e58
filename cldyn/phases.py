"""The phases of a recorded curve: learned, at its peak, unlearned."""

from typing import Any, NamedTuple

import numpy as np


class Phases(NamedTuple):
    """When a curve is learned, peaks and is unlearned, in the unit of its steps; NaN if never.

    learned: first crossing of the threshold, log-linear between records.
    peak, peak_step: the maximum and where it is.
    unlearned: first time after the peak below half of it, log-linear.
    decay_rate: minus the least-squares slope of the logarithm over the records after the peak
        between `fit_high` and `fit_low`.
    decay_from, decay_to: the values that the fit in fact spans.
    """

    learned: np.ndarray
    peak: np.ndarray
    peak_step: np.ndarray
    unlearned: np.ndarray
    decay_rate: np.ndarray
    decay_from: np.ndarray
    decay_to: np.ndarray


def phases(
    steps: Any, curve: Any, *, threshold: float = 0.1, fit_high: float = 1e-2, fit_low: float = 1e-7
) -> Phases:
    """Phases of recorded curves.

    Args:
        steps: increasing record steps or times [t].
        curve: positive values [..., t]; NaN after divergence.
        threshold: what counts as learned.
        fit_high: upper end of the window of the decay fit.
        fit_low: its lower end.

    Returns:
        Phases of shape [...].

    Source: definitions of this project.

    Example:
        >>> import cldyn
        >>> run = cldyn.run(cldyn.Experiment(), range(0, 101, 5))
        >>> timed = cldyn.phases(range(0, 101, 5), run.records["feature_norms"][:, 1])
        >>> bool(timed.learned < timed.peak_step < timed.unlearned)
        True
    """
    steps = np.asarray(steps, float)
    curve = np.asarray(curve, float)
    found = [
        _phases(steps, one, threshold, fit_high, fit_low) for one in curve.reshape(-1, steps.size)
    ]
    return Phases(
        *(np.reshape(part, curve.shape[:-1]) for part in np.array(found).reshape(-1, 7).T)
    )


def _phases(
    steps: np.ndarray, curve: np.ndarray, threshold: float, high: float, low: float
) -> tuple[float, ...]:
    nan = float("nan")
    if not np.isfinite(curve).any():
        return (nan,) * 7
    top = int(np.nanargmax(curve))
    learned = _crossing(steps, curve, np.flatnonzero(curve >= threshold), threshold)
    after = np.flatnonzero(curve[top:] < curve[top] / 2) + top
    unlearned = _crossing(steps, curve, after, curve[top] / 2)
    below = np.flatnonzero(curve[top:] < low)
    end = top + int(below[0]) if below.size else curve.size
    inside = np.arange(top, end)
    inside = inside[(curve[inside] <= high) & (curve[inside] >= low)]
    if inside.size < 3:
        return learned, curve[top], steps[top], unlearned, nan, nan, nan
    slope = np.polyfit(steps[inside], np.log(curve[inside]), 1)[0]
    return (
        learned,
        curve[top],
        steps[top],
        unlearned,
        -slope,
        curve[inside].max(),
        curve[inside].min(),
    )


def _crossing(steps: np.ndarray, curve: np.ndarray, beyond: np.ndarray, level: float) -> float:
    """Where the curve passes the level just before record beyond[0], log-linear between records."""
    if not beyond.size:
        return float("nan")
    i = int(beyond[0])
    if i == 0 or curve[i - 1] <= 0 or curve[i] <= 0:
        return float(steps[i])
    share = np.log(level / curve[i - 1]) / np.log(curve[i] / curve[i - 1])
    return float(steps[i - 1] + share * (steps[i] - steps[i - 1]))
