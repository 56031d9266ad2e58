"""A setting of one's own, told like a claim: what is measured of it beside what theory predicts."""

import numpy as np
import xarray as xr

from cldyn import plots
from cldyn.axes import Group
from cldyn.claims.arms import spread
from cldyn.claims.table import Row, Study, found
from cldyn.experiment import Experiment
from cldyn.lanes import forecast, sweep
from cldyn.measures import phases

RECORDS = 200


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
    timed, last = phases(measured.step, curves), int(measured.step[-1])
    rows = [
        found(
            "seeds that stayed finite",
            f"{int((measured.finite_steps == last).sum())} of {measured.sizes['seed']}",
        )
    ]
    for j, name in enumerate(measured.feature.values.tolist()):
        predicted = known.sel(feature=name)
        bound = _told(known.peak_bound, "<= ") if name == "subclass" else ""
        rows += [
            found(
                f"{name}: step at which |W v| reaches 0.1",
                _told(timed.learned[j]),
                _told(predicted.learning_step),
            ),
            found(f"{name}: largest |W v|", _told(timed.peak[j]), bound),
            found(
                f"{name}: |W v| after {last} steps; predicted is the minimum-norm limit",
                _told(curves[j, :, -1]),
                _told(predicted.feature_norms),
            ),
        ]
    return [
        *rows,
        found(f"excess loss after {last} steps", _told(measured.excess_loss.isel(step=-1))),
    ]


def _told(values: xr.DataArray | np.ndarray, mark: str = "") -> str:
    """Median (10 .. 90 %) of the seeds in which it is known and finite, and how many that are if not all."""
    values = np.ravel(np.asarray(values, float))
    there = np.isfinite(values)
    if not there.any():
        return ""
    return (
        mark
        + spread(values[there])
        + ("" if there.all() else f", {there.sum()} of {there.size} seeds")
    )


def _figure(measured: xr.Dataset) -> plots.Figure:
    finite = measured.finite_steps == measured.step[-1]
    lanes = (
        measured[["feature_norms"]]
        .assign(finite=finite)
        .rename(step="time")
        .expand_dims(arm=[f"{finite.size} seeds"])
    )
    return plots.arms(lanes, columns=1)
