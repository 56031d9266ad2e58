"""Records of a sweep as one labelled dataset."""

from typing import Any

import numpy as np
import xarray as xr

from cldyn.experiment import Experiment, describe
from cldyn.sweeps.execute import Records
from cldyn.sweeps.grid import Axis, Grid
from cldyn.trajectory import Plan

# One value per trajectory (and feature), whatever the step: long name, units, axes.
NUMBERS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "finite_steps": ("steps before divergence", "steps", ()),
    "step_size": ("learning rate in use", "1", ()),
    "learning_step": ("predicted step at which |W v| reaches 0.1", "steps", ("feature",)),
    "efold": ("predicted e-folding time at that step", "steps", ("feature",)),
    "peak_bound": ("predicted upper bound of |W v_2|", "1", ()),
    "critical_learning_rate": ("predicted critical learning rate", "1", ()),
    "smallest_second": ("smallest non-zero eigenvalue of M", "1", ()),
    "largest_second": ("largest eigenvalue of M", "1", ()),
}


PREDICTED = "predicted_"  # before the name of what is predicted
_CRITICAL = "critical_learning_rate"
_GIVEN = ("step_size", "smallest_second", "largest_second")  # no predictions


def with_predictions(measured: xr.Dataset, known: xr.Dataset) -> xr.Dataset:
    """Trajectories with what theory says of them beside, as variables predicted_NAME.

    Args:
        measured: of `sweep`.
        known: of `forecast`, or predictions by name over some of its axes.

    Returns:
        Dataset; NaN where nothing is known of a trajectory, or where its learning rate is above the
        critical one, so that it ends nowhere.
    """
    beside = {}
    for name, one in known.drop_vars(_GIVEN, errors="ignore").data_vars.items():
        says = str(one.attrs.get("long_name", name)).removeprefix("predicted ")
        if "step_size" in measured and _CRITICAL in known and name != _CRITICAL:
            one = one.where(~(measured.step_size > known[_CRITICAL])).assign_attrs(one.attrs)
        plain = one.reset_coords(drop=True).assign_attrs(long_name=f"predicted {says}")
        beside[f"{PREDICTED}{name}"] = plain
    return measured.assign(beside)


def dataset_of(
    experiment: Experiment, grid: Grid, plan: Plan, records: Records, steps: np.ndarray | None
) -> xr.Dataset:
    """Records [problems, trajectories, ...] in the user's order of axes.

    Args:
        experiment: what the trajectories have in common.
        grid: their axes.
        plan: what was measured of them.
        records: by name.
        steps: recorded steps; None for what has no time, a forecast.
    """
    out: dict[str, xr.DataArray] = {}
    sizes = [axis.size for axis in grid.axes]
    for name, value in records.items():
        long_name, units, inner = told(plan, name, value.ndim - 2, steps is not None)
        array = xr.DataArray(grid.ordered(value, sizes), dims=(*grid.names, *inner))
        out[name] = array.assign_attrs(long_name=long_name, units=units)
    dataset = xr.Dataset(out, attrs={"experiment": describe(experiment)})
    return dataset.assign_coords(
        coordinates(experiment, grid, dataset.sizes.get("feature", 0), steps)
    )


def told(plan: Plan, name: str, inner: int, timed: bool) -> tuple[str, str, tuple[str, ...]]:
    """Long name, units and inner dimensions of a record with so many of them."""
    measures = {measure.name: measure for measure in plan.measures}
    if name in measures:
        long_name, units = measures[name].says, "1"
        dims = (*(("step",) if timed else ()), *measures[name].dims)
    else:
        long_name, units, dims = NUMBERS[name]
    return long_name, units, (*dims, *(f"{name}_{i}" for i in range(inner - len(dims))))


def coordinates(
    experiment: Experiment, grid: Grid, features: int, steps: np.ndarray | None
) -> dict[str, Any]:
    """Coordinates {name: (dimension, values, attributes)} of a dataset with so many features."""
    found: dict[str, Any] = {}
    if steps is not None:
        found["step"] = "step", steps, {"long_name": "training step", "units": "steps"}
    for axis in grid.axes:
        found |= _coordinates(axis)
    if features:
        named = ["class", "subclass"] if hasattr(experiment.problem, "model") else []
        kind, count = "irrelevant" if named else "feature", features - len(named)
        names = named + [f"{kind}_{j + 1}" for j in range(count)]
        found["feature"] = "feature", np.array(names, object), {}
    return found


def _coordinates(axis: Axis) -> dict[str, Any]:
    found = {}
    for field, labels in axis.labels.items():
        if any(isinstance(label, tuple) for label in labels):
            values = np.array([str(value) for value in axis.values[field]], object)
        else:
            values = np.asarray(labels)
        told = {"long_name": field.replace("_", " "), "units": "1"}
        found[field] = (axis.name, values, told)
    return found
