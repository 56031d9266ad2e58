"""Arms of a claim: its setting by other batches and optimizers, compared at equal flow time."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from cldyn.batches import Epochs, Iid
from cldyn.claims.table import Row, Subject, found, spread
from cldyn.experiment import Experiment
from cldyn.optimizers import duration
from cldyn.sweeps import Group, sweep


def sgd_arms(
    base: Experiment, sizes: Sequence[int], rates: Sequence[float], problems: Mapping[str, Any]
) -> dict[str, Experiment]:
    """Batch sizes x learning rates on problems by name: epochs of stored views, or new examples."""
    arms = {}
    for name, problem in problems.items():
        batch = Iid if problem.fresh else Epochs
        for size in sizes:
            for rate in rates:
                arms[f"SGD, {name}, b = {size}, rate {rate:g}"] = base.replace(
                    problem=problem, batch=batch(size), learning_rate=rate
                )
    return arms


def train_arms(
    arms: Mapping[str, Experiment],
    axis: Group,
    times: np.ndarray,
    measure: Sequence[str] = ("feature_norms", "excess_loss"),
) -> xr.Dataset:
    """Train every arm, and look at equal flow times.

    Args:
        arms: experiments by name.
        axis: of seeds, named after "seed".
        times: increasing flow times.
        measure: names of measures.

    Returns:
        Dataset of the measures over arm, seed and time; `finite` tells trajectories that did not
        diverge.
    """
    parts = [at_times(one, axis, times, measure) for one in arms.values()]
    names = xr.DataArray(np.array([*arms], object), dims="arm", name="arm")
    return xr.concat(parts, names, combine_attrs="drop_conflicts")


def at_times(one: Experiment, axis: Group, times: np.ndarray, measure: Sequence[str]) -> xr.Dataset:
    """Measures of an experiment at flow times, and which trajectories stayed finite."""
    steps = np.round(times / duration(one.training.optimizer)).astype(int)
    part = sweep(one, [axis], steps, measure=measure)
    finite = part.finite_steps == steps[-1]
    told = {"long_name": "flow time", "units": "learning rate x steps"}
    named = part[[*measure]].assign(finite=finite).drop_vars("step").rename(step="time")
    return named.assign_coords(time=("time", times, told))


def found_arms(
    arms: xr.Dataset, quantity: str, tell: Callable[[xr.Dataset], str | Mapping[str, object]]
) -> list[Row]:
    """A row for every arm, with what is told of its end: median (10 .. 90 % of the seeds)."""
    statistic = f"flow time {float(arms.time[-1]):g}, 10-90 %"
    return [
        found(Subject(name, quantity, statistic), tell(arms.sel(arm=name)))
        for name in arms.arm.values.tolist()
    ]


def ends(arm: xr.Dataset) -> dict[str, str]:
    """The last |W v_j| of the trajectories that stayed finite."""
    finite = arm.finite.values.astype(bool)
    if not finite.any():
        return {"diverged": "all"}
    last = arm.feature_norms.isel(time=-1, seed=finite)
    told = {name: spread(last.sel(feature=name)) for name in last.feature.values.tolist()}
    return told if finite.all() else told | {"diverged": f"{(~finite).sum()} of {finite.size}"}
