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
    told = {measure.name: measure for measure in plan.measures}
    order = [
        axis.name
        for of_problem in (True, False)
        for axis in grid.axes
        if axis.of_problem == of_problem
    ]
    shape = grid.shape(True) + grid.shape(False)
    out: dict[str, xr.DataArray] = {}
    for name, value in records.items():
        if name in told:
            long_name, units = told[name].says, "1"
            inner = (*(() if steps is None else ("step",)), *told[name].dims)
        else:
            long_name, units, inner = NUMBERS[name]
        extra = value.ndim - 2 - len(inner)
        inner = (*inner, *(f"{name}_{i}" for i in range(extra)))
        array = xr.DataArray(value.reshape((*shape, *value.shape[2:])), dims=(*order, *inner))
        array = array.transpose(*(axis.name for axis in grid.axes), *inner)
        out[name] = array.assign_attrs(long_name=long_name, units=units)
    dataset = xr.Dataset(out, attrs={"experiment": describe(experiment)})
    if steps is not None:
        told_step = {"long_name": "training step", "units": "steps"}
        dataset = dataset.assign_coords(step=("step", steps, told_step))
    for axis in grid.axes:
        dataset = dataset.assign_coords(_coordinates(axis))
    return _with_features(dataset, experiment)


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


def _with_features(dataset: xr.Dataset, experiment: Experiment) -> xr.Dataset:
    if "feature" not in dataset.dims:
        return dataset
    named = ["class", "subclass"] if hasattr(experiment.problem, "model") else []
    kind, count = "irrelevant" if named else "feature", dataset.sizes["feature"] - len(named)
    names = named + [f"{kind}_{j + 1}" for j in range(count)]
    return dataset.assign_coords(feature=np.array(names, object))
