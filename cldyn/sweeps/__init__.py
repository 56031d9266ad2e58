"""Many trajectories: axes make a grid, a grid is cut into tiles, tiles are executed, and what
they record becomes one dataset.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from cldyn.checks import is_size, record_steps, require
from cldyn.experiment import Experiment
from cldyn.sweeps.dataset import dataset_of, with_predictions
from cldyn.sweeps.devices import cores, local, strided
from cldyn.sweeps.diagram import phase_diagram
from cldyn.sweeps.execute import (
    Records,
    Work,
    forecast_work,
    run_parts,
    training_work,
)
from cldyn.sweeps.grid import Group, grid_of
from cldyn.sweeps.memory import fit
from cldyn.sweeps.progress import bar
from cldyn.sweeps.request import request_of
from cldyn.sweeps.stored import sweep_into
from cldyn.sweeps.tiles import Part, Trajectories, cached, inputs_of, parameters_of
from cldyn.trajectory import Measures, Plan, bounds_peak, forecast_plan, plan_of, without_batches

__all__ = ["Group", "cores", "forecast", "phase_diagram", "sweep", "with_predictions"]


def sweep(
    experiment: Experiment,
    axes: Sequence[Group],
    record_at: Sequence[int] | np.ndarray,
    *,
    measure: Measures = None,
    store: str | Path | None = None,
    states: bool = False,
    shard: tuple[int, int] = (1, 1),
    executor: Executor | None = None,
    devices: int | None = None,
    progress: bool = True,
) -> xr.Dataset:
    """Train many trajectories in one compilation.

    With a store every block of trajectories is on disk as soon as it is done. The same call again
    computes what is missing and nothing else, whatever has ended the one before; with more values
    at the end of an axis, or with later steps where states are kept, what is new.

    Args:
        experiment: what they have in common.
        axes: groups {field: values}, zipped inside a group and multiplied between groups. Fields
            are the numbers of the experiment's nouns, your own included; a tuple field takes one
            number for all or a tuple. Trajectories that differ in their training alone share data.
        record_at: increasing steps >= 0.
        measure: names among `cldyn.MEASURES` or measures of your own; by default those that need
            no sample of embeddings (but gaps of a nonlinear encoder, which are of test rows).
        store: folder of a zarr store, which plain xarray opens at any time; None: memory.
        states: whether the store keeps where trajectories stand, to go on to later steps.
        shard: (i, n), the i-th of n parts of a store's blocks, from 1 on. Parts need nothing of
            each other: they are done by any processes, at once or not, in any order.
        executor: a `concurrent.futures.Executor` whose processes share the work on a store; code
            and nouns of your own must be importable there.
        devices: how many of this process's devices share the work; None: all.
        progress: a bar, on a terminal.

    Returns:
        Dataset: a dimension per group, named after its first field, then step and those of the
        measure (feature; test, output). Per trajectory, `finite_steps` is the number of steps
        before divergence, from which on records are NaN, and `step_size` the learning rate in use.
        That of a store is read when it is looked at; `recorded` tells how many steps are there.

    Raises:
        ValueError: one line naming the field, the value and what is allowed; also for a store of
            something else, or one that is damaged where it says what it holds.
        OSError: one line, for a disk that is full or cannot be written. What is done is kept.

    Example:
        >>> import cldyn
        >>> axes = [{"seed": range(4), "data_seed": range(4)}, {"learning_rate": [0.02, 0.05]}]
        >>> measured = cldyn.sweep(cldyn.Experiment(), axes, range(0, 101, 10))
        >>> dict(measured.feature_norms.sizes)
        {'seed': 4, 'learning_rate': 2, 'step': 11, 'feature': 2}
    """
    steps = record_steps(record_at)
    grid = grid_of(experiment, axes)
    on = local(devices)
    if store is not None:
        request = request_of(experiment, grid, measure, steps, states)
        return sweep_into(
            Path(store), experiment, request, measure,
            shard=_checked(shard), executor=_spawning(executor), devices=devices, progress=progress,
        )  # fmt: skip
    for name, value, off in (
        ("states", states, False),
        ("shard", shard, (1, 1)),
        ("executor", executor, None),
    ):
        require(value == off, name, value, "only with a store")
    trajectories = Trajectories(experiment, grid)
    plan = strided(plan_of(experiment, measure, trajectories.varied), steps)
    work, fits = training_work(plan, steps), fit(trajectories, plan, len(steps))
    records = _all(trajectories, plan, work, fits, on, progress)
    return dataset_of(experiment, grid, plan, records, steps)


def forecast(
    experiment: Experiment, axes: Sequence[Group], *, critical: bool = True, progress: bool = True
) -> xr.Dataset:
    """What theory predicts for every trajectory of a sweep.

    Args:
        experiment: as `sweep`, of a linear encoder with the spectral loss.
        axes: as `sweep`.
        critical: whether critical rates are wanted; wide embeddings spend most time on them.
        progress: a bar, on a terminal.

    Returns:
        Dataset with the trajectories of `sweep`: the minimum-norm limit of every exact measure but
        distance under its name, and learning_step and efold by feature, peak_bound,
        critical_learning_rate, smallest_second, largest_second and step_size. NaN wherever the
        condition of a prediction fails.

    Raises:
        ValueError: as `sweep`.

    Example:
        >>> import cldyn
        >>> known = cldyn.forecast(cldyn.Experiment(), [{"learning_rate": [0.02, 0.05]}])
        >>> known.learning_step.sel(feature="subclass").dims
        ('learning_rate',)
    """
    grid = grid_of(experiment, axes)
    trajectories = Trajectories(experiment, grid)
    trajectories.training = without_batches(trajectories.training)
    plan = forecast_plan(experiment, trajectories.varied, critical=critical)
    work = forecast_work(plan, bounds_peak(experiment))
    fits = cached(parameters_of(trajectories.experiment, plan, trajectories.rows))
    records = _all(trajectories, plan, work, fits, None, progress)
    return dataset_of(experiment, grid, plan, records, None)


def _checked(shard: tuple[int, int]) -> tuple[int, int]:
    """A shard that makes sense."""
    good = isinstance(shard, (tuple, list)) and len(shard) == 2 and all(map(is_size, shard))
    require(good and shard[0] <= shard[1], "shard", shard, "(i, n), the i-th of n, from 1 on")
    return shard[0], shard[1]


def _spawning(executor: Executor | None) -> Executor | None:
    """An executor whose processes are no forks of this one: those would wait for its threads."""
    start = getattr(getattr(executor, "_mp_context", None), "get_start_method", lambda: "")()
    allowed = "a ProcessPoolExecutor of mp_context=multiprocessing.get_context('spawn')"
    require(start != "fork", "executor", executor, allowed)
    return executor


def _all(
    trajectories: Trajectories,
    plan: Plan,
    work: Work,
    fits: int,
    on: Sequence[Any] | None,
    progress: bool,
) -> Records:
    """Records of all trajectories, in memory."""
    everything = Part(*(np.arange(count) for count in trajectories.counts))
    shape = trajectories.shape(fits, inputs_of(trajectories.experiment, plan), plan)
    with bar(trajectories.counts[0] * trajectories.counts[1], progress) as advance:
        parts = run_parts(trajectories, [everything], shape, plan, work, on=on, advance=advance)
        ((_, records),) = parts
    return records
