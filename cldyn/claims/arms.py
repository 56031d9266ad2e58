"""Arms of a claim: its setting by other batches and optimizers, compared at equal flow time."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from cldyn.axes import Group
from cldyn.claims.table import Row, found
from cldyn.experiment import Experiment, Training
from cldyn.lanes import sweep

ARM_SEEDS = {"seed": range(16), "data_seed": range(16)}
_ORIGINS: dict[str, tuple[dict[str, Any], str]] = {
    "stored": ({}, "epochs"),
    "online": ({"population": True}, "iid"),
}


def setting(base: Experiment, problem: dict[str, Any] | None = None, **training: Any) -> Experiment:
    """The base with other fields of its problem and training."""
    return Experiment(replace(base.problem, **(problem or {})), replace(base.training, **training))


def sgd_arms(
    base: Experiment,
    sizes: tuple[int, ...],
    rates: tuple[float, ...],
    origins: tuple[str, ...] = ("stored", "online"),
) -> dict[str, Experiment]:
    """Batch sizes x learning rates, from stored views in epochs and from fresh examples."""
    arms = {}
    for origin in origins:
        problem, batch = _ORIGINS[origin]
        for size in sizes:
            for rate in rates:
                arms[f"SGD, {origin}, b = {size}, rate {rate:g}"] = setting(
                    base, problem, batch=batch, batch_size=size, learning_rate=rate
                )
    return arms


def duration(training: Training) -> float:
    """Flow time of a step: the learning rate, over 1 - momentum where momentum adds up steps. For Adam and its kin a sum of rates only."""
    sums = training.optimizer in ("momentum", "nesterov")
    return training.learning_rate / (1 - training.momentum if sums else 1)


def train_arms(
    arms: dict[str, Experiment],
    seeds: Group,
    times: np.ndarray,
    measure: tuple[str, ...] = ("feature_norms", "excess_loss"),
) -> xr.Dataset:
    """Measures of every arm at equal flow times [arm, seed, time, ...]; `finite` tells lanes that did not diverge."""
    parts = []
    for one in arms.values():
        steps = np.round(times / duration(one.training)).astype(int).tolist()
        part = sweep(one, [seeds], steps, measure=measure)
        finite = (part.finite_steps == steps[-1]).rename("finite")
        parts.append(
            part[list(measure)].assign(finite=finite).drop_vars("step").rename(step="time")
        )
    named = xr.concat(
        parts,
        xr.DataArray(np.array([*arms], object), dims="arm", name="arm"),
        combine_attrs="drop_conflicts",
    )
    return named.assign_coords(
        time=("time", times, {"long_name": "flow time", "units": "learning rate x steps"})
    )


def spread(values: xr.DataArray | np.ndarray) -> str:
    """Median and 10 to 90 % interval over seeds."""
    low, middle, high = np.quantile(np.asarray(values, float), (0.1, 0.5, 0.9))
    return f"{middle:.3g} ({low:.3g} .. {high:.3g})"


def found_arms(arms: xr.Dataset, what: str, tell: Callable[[xr.Dataset], str]) -> list[Row]:
    """A row for every arm, with what is told of it: median (10 .. 90 % of the seeds)."""
    return [found(f"{name}: {what}", tell(arms.sel(arm=name))) for name in arms.arm.values.tolist()]


def ends(*features: str) -> Callable[[xr.Dataset], str]:
    """Tells the last |W v_j| of some features, and how many lanes diverged if any did."""

    def tell(arm: xr.Dataset) -> str:
        finite = arm.finite.values.astype(bool)
        norms = arm.feature_norms.isel(time=-1).transpose("seed", "feature")[finite]
        lost = "" if finite.all() else f"; {int((~finite).sum())} of {finite.size} diverged"
        return (
            "; ".join(spread(norms.sel(feature=name)) for name in features) + lost
            if finite.any()
            else "all diverged"
        )

    return tell
