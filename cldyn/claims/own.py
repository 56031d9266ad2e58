"""A setting of one's own, told like a claim: what is measured of it beside what theory predicts."""

import math

import numpy as np
import xarray as xr

from cldyn import plots
from cldyn.axes import Group
from cldyn.claims.arms import spread
from cldyn.claims.table import Row, Study
from cldyn.experiment import Experiment
from cldyn.lanes import forecast, sweep
from cldyn.measures import phases

RECORDS = 200
THRESHOLD = 0.1  # of |W v|, what counts as learned


def study(experiment: Experiment, steps: int, seeds: int) -> Study:
    """Train some seeds, of data, initialization and batches alike.

    Args:
        experiment: a problem made of a FeatureModel, and a training. steps: to train. seeds: how many, from 0 on.
    """
    lanes: list[Group] = [{"seed": range(seeds), "data_seed": range(seeds)}]
    at = np.unique(np.linspace(0, steps, RECORDS + 1).astype(int)).tolist()
    measured = sweep(experiment, lanes, at, measure=("feature_norms", "excess_loss"))
    known = forecast(experiment, lanes, critical=False)
    return Study(_rows(measured, known), {"": measured}, _figure(measured))


def _rows(measured: xr.Dataset, known: xr.Dataset) -> list[Row]:
    curves = measured.feature_norms.transpose("feature", "seed", "step")
    timed, last = phases(measured.step, curves, threshold=THRESHOLD), int(measured.step[-1])
    rows = [_row("seeds that stayed finite", "", f"{int((measured.finite_steps == last).sum())} of {measured.sizes['seed']}")]
    for j, name in enumerate(measured.feature.values.tolist()):
        predicted = known.sel(feature=name)
        bound = _told(known.peak_bound, "<= ") if name == "subclass" else ""
        rows += [
            _row(f"{name}: step at which |W v| reaches {THRESHOLD}", _told(predicted.learning_step), _told(timed.learned[j])),
            _row(f"{name}: largest |W v|", bound, _told(timed.peak[j])),
            _row(f"{name}: |W v| after {last} steps; predicted is the minimum-norm limit", _told(predicted.feature_norms), _told(curves[j, :, -1])),
        ]
    return [*rows, _row(f"excess loss after {last} steps", "", _told(measured.excess_loss.isel(step=-1)))]


def _told(values: xr.DataArray | np.ndarray, mark: str = "") -> str:
    """Median (10 .. 90 %) of the seeds in which it is known and finite, and how many that are if not all."""
    values = np.ravel(np.asarray(values, float))
    there = np.isfinite(values)
    if not there.any():
        return ""
    return mark + spread(values[there]) + ("" if there.all() else f", {there.sum()} of {there.size} seeds")


def _row(quantity: str, predicted: str, measured: str) -> Row:
    return Row(quantity, predicted, measured, math.nan, "", "found")


def _figure(measured: xr.Dataset) -> plots.Figure:
    finite = measured.finite_steps == measured.step[-1]
    lanes = measured[["feature_norms"]].assign(finite=finite).rename(step="time").expand_dims(arm=[f"{finite.size} seeds"])
    return plots.arms(lanes, columns=1)
