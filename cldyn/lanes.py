"""Axes become lanes, lanes become blocks: the one place that maps over lanes."""

import math
import os
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jax import Array, lax
from rich.console import Console
from rich.progress import Progress

from cldyn import lane as lab
from cldyn.axes import Grid, Group, fields_of, grid_of, replaced
from cldyn.data import Views
from cldyn.experiment import Experiment, Problem, Training, cast, check, check_steps, describe, numerics
from cldyn.lane import Prepared, Structure, Target
from cldyn.measures import EXACT, MEASURES, TEST

_CACHE = 128 * 1024  # bytes of parameters in a block: what fits a core's cache with its gradient and moments
_MEMORY = 2**30  # bytes of inputs in preparation at a time


def sweep(
    experiment: Experiment,
    axes: Sequence[Group],
    record_at: Sequence[int],
    *,
    measure: Sequence[str] = EXACT,
    progress: bool = True,
) -> xr.Dataset:
    """Run many lanes in one compilation.

    Args:
        experiment: what lanes have in common.
        axes: groups {field: values}, zipped inside a group and multiplied between groups. Fields are the numbers of
            FeatureModel, Problem and Training that fix no shape, seeds and embed_dim included (for own arrays those of
            Training); a tuple field takes one number for all or a tuple. Lanes that differ in Training alone share their data.
        record_at: increasing steps >= 0. measure: names among `cldyn.MEASURES`. progress: a bar, on a terminal.

    Returns:
        Dataset: a dimension per group, named after its first field, then step and those of the measure (feature; test, output).
        Per lane, `finite_steps` is the number of steps before divergence, from which on records are NaN, and `step_size` the
        learning rate in use. Own arrays without directions have no feature_norms.

    Raises:
        ValueError: one line naming the field, the value and what is allowed.
    """
    steps = check_steps(record_at)
    return _lanes(experiment, axes, steps, measure, progress)


def forecast(experiment: Experiment, axes: Sequence[Group], *, critical: bool = True, progress: bool = True) -> xr.Dataset:
    """What theory predicts for every lane of a sweep.

    Args and errors: as `sweep`. critical: whether critical rates are wanted; wide embeddings spend most of the time on them.

    Returns:
        Dataset with the lanes of `sweep`: the minimum-norm limit of every exact measure but distance under its name, and
        learning_step and efold by feature, peak_bound, critical_learning_rate, smallest_second, largest_second and step_size.
    """
    check(experiment)
    return _lanes(experiment, axes, None, lab.predicted_measures(experiment.training), progress, critical)


def _lanes(
    experiment: Experiment, axes: Sequence[Group], steps: np.ndarray | None, measure: Sequence[str], progress: bool, critical: bool = False
) -> xr.Dataset:
    """Measured at `steps`, or predicted where there are none."""
    grid = grid_of(experiment, axes)
    problems, trainings = grid.values(True), grid.values(False)
    shared = {name: problems.pop(name) for name in list(problems) if name in fields_of(Training)}
    counts = (math.prod(grid.shape(True)), math.prod(grid.shape(False)))
    lanes = {name: np.broadcast_to(values[:, None], counts) for name, values in shared.items()}
    lanes |= {name: np.broadcast_to(values[None], counts) for name, values in trainings.items()}
    structure = lab.structure_of(experiment, measure, lanes)
    structure = structure._replace(critical=structure.critical or critical, batches=structure.batches and steps is not None)
    with numerics(experiment.problem.precision):
        batch = _Batch(experiment, problems, lanes, counts, structure)
        records = batch.run(None if steps is None else jnp.asarray(steps), progress)
    return _dataset(experiment, grid, steps, records)


# --- blocks ----------------------------------------------------------------------------------------------------------


@partial(jax.jit, static_argnames="structure")
def _prepare_block(problems: Problem, settings: Training, structure: Structure) -> tuple[Prepared, Target]:
    """problems [b, ...], settings [b, u, ...] -> prepared [b, ...], targets [b, u, ...]."""

    def one(given: tuple[Problem, Training]) -> tuple[Prepared, Target]:
        prepared = lab.prepare(given[0], jax.tree.map(lambda leaf: leaf[0], given[1]), structure)
        return prepared, lax.map(lambda training: lab.settle(prepared, training, structure), given[1])

    # One after the other: batched factorizations wait for each other's threads on CPU, and can wait for ever.
    return lax.map(one, (problems, settings))


@partial(jax.jit, static_argnames="structure")
def _train_block(
    prepared: Prepared, targets: Target, trainings: Training, setting: Array, record_at: Array, structure: Structure
) -> dict[str, Array]:
    """prepared [b, ...], targets [b, u, ...], trainings and setting [b, l, ...] -> records [b, l, t, ...]."""

    def lane(prepared: Prepared, targets: Target, training: Training, setting: Array) -> dict[str, Array]:
        target = jax.tree.map(lambda leaf: leaf[setting], targets)
        training = lab.with_step(training, target)
        trajectory, _ = lab.train(prepared, training, target, record_at, structure)
        return {**trajectory.records, "finite_steps": trajectory.state.finite_steps, "step_size": training.learning_rate}

    return jax.vmap(jax.vmap(lane, in_axes=(None, None, 0, 0)))(prepared, targets, trainings, setting)


@partial(jax.jit, static_argnames="structure")
def _forecast_block(prepared: Prepared, targets: Target, trainings: Training, setting: Array, structure: Structure) -> dict[str, Array]:
    """What theory says of the lanes of `_train_block` [b, l, ...]; factorizes, hence one lane after the other."""

    def problem(given: tuple[Prepared, Target, Training, Array]) -> dict[str, Array]:
        prepared, targets, trainings, setting = given

        def lane(given: tuple[Training, Array]) -> dict[str, Array]:
            target = jax.tree.map(lambda leaf: leaf[given[1]], targets)
            return lab.forecast(prepared, lab.with_step(given[0], target), target, structure)

        return lax.map(lane, (trainings, setting))

    return lax.map(problem, (prepared, targets, trainings, setting))


class _Batch:
    """All lanes of a sweep: [problems, lanes of each], cut into blocks of one shape."""

    def __init__(
        self, experiment: Experiment, problems: dict[str, np.ndarray], lanes: dict[str, np.ndarray], counts: tuple[int, int],
        structure: Structure,
    ) -> None:
        self.counts, self.structure = counts, structure
        self.precision = experiment.problem.precision
        count = counts[0]
        problem = cast(experiment.problem, self.precision)
        leaves = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (count, *np.shape(leaf))), problem)
        split = {
            name: tuple(column) if name.startswith("irrelevant_") else column
            for name, values in problems.items()
            for column in [np.moveaxis(values, -1, 0) if values.ndim > 1 else values]
        }
        self.problems = cast(replaced(Experiment(leaves), split).problem, self.precision)
        spread = jax.tree.map(lambda leaf: np.broadcast_to(leaf, counts), experiment.training)
        self.trainings = cast(replace(spread, **lanes), self.precision)
        # Predictions depend on these alone: one target for each combination that occurs.
        numbers = ("embed_dim", "beta", "weight_decay")
        keys = np.stack([np.asarray(getattr(self.trainings, name), float) for name in numbers])
        if experiment.training.loss != "joint":
            keys[1] = 0
        self.setting = np.zeros(counts, np.int32)
        widest = 1
        chosen = []
        for i in range(count):
            _, first, place = np.unique(keys[:, i], axis=1, return_index=True, return_inverse=True)
            self.setting[i] = np.ravel(place)
            chosen.append(first)
            widest = max(widest, len(first))
        self.chosen = np.array([np.resize(first, widest) for first in chosen])
        self._shape(experiment)

    def _shape(self, experiment: Experiment) -> None:
        problem = experiment.problem
        shape = problem.data.x.shape if isinstance(problem.data, Views) else (problem.n, problem.m, problem.data.d)
        size = np.dtype(problem.precision).itemsize
        wide = shape[2] + problem.bias
        reach = min(shape[0] * shape[1], wide) if problem.stored and self.structure.frame else wide
        fits = max(2, min(1024, _CACHE // (self.structure.rows * reach * size)))
        fits = 1 << fits.bit_length() - 1
        inputs = shape[0] * shape[1] * wide if problem.stored else wide * wide
        inputs += problem.test_size * wide if TEST & {*self.structure.measures} else 0
        roomy = max(1, _MEMORY // (8 * size * inputs))
        self.lanes = min(fits, self.counts[1])
        self.together = min(max(1, fits // self.lanes), self.counts[0], roomy)
        if self.lanes * self.together == 1:  # a batch of one sums in another order
            self.lanes = 2

    def run(self, record_at: Array | None, progress: bool) -> dict[str, np.ndarray]:
        """Records [problems, lanes, ...].

        This thread prepares problems, since LAPACK has threads of its own and two calls at a time hinder each other; the others train.
        """
        results: dict[str, np.ndarray] = {}
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        waiting: deque[tuple[np.ndarray, np.ndarray, Future[dict[str, np.ndarray]]]] = deque()
        bar = Progress(console=Console(stderr=True), transient=True, disable=not (progress and sys.stderr.isatty()))
        with bar, ThreadPoolExecutor(cores) as pool:
            task = bar.add_task("lanes", total=self.counts[0] * self.counts[1])

            def keep() -> None:
                rows, columns, future = waiting.popleft()
                for name, value in future.result().items():
                    if name not in results:
                        results[name] = np.empty((*self.counts, *value.shape[2:]), value.dtype)
                    results[name][np.ix_(rows, columns)] = value[: rows.size, : columns.size]
                bar.advance(task, rows.size * columns.size)

            for rows, columns, block in self._blocks():
                future = pool.submit(self._measure, block, record_at)
                if record_at is None:  # a forecast factorizes too
                    future.result()
                waiting.append((rows, columns, future))
                if len(waiting) > 2 * cores:  # prepared problems must not pile up
                    keep()
            while waiting:
                keep()
        return results

    def _blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray, tuple[Any, ...]]]:
        """Problems and lanes of every block, and the block itself, filled up with lanes of its own to the one shape."""
        for first in range(0, self.counts[0], self.together):
            present = np.arange(first, min(first + self.together, self.counts[0]))
            rows = np.arange(first, first + self.together) % self.counts[0]
            problems = jax.tree.map(lambda leaf, rows=rows: leaf[rows], self.problems)
            settings = jax.tree.map(lambda leaf, rows=rows: leaf[rows[:, None], self.chosen[rows]], self.trainings)
            prepared, targets = jax.block_until_ready(_prepare_block(problems, settings, self.structure))
            for start in range(0, self.counts[1], self.lanes):
                at = np.ix_(rows, np.arange(start, start + self.lanes) % self.counts[1])
                trainings = jax.tree.map(lambda leaf, at=at: leaf[at], self.trainings)
                columns = np.arange(start, min(start + self.lanes, self.counts[1]))
                yield present, columns, (prepared, targets, trainings, self.setting[at])

    def _measure(self, block: tuple[Any, ...], record_at: Array | None) -> dict[str, np.ndarray]:
        with numerics(self.precision):  # a context of the thread
            if record_at is None:
                return jax.device_get(_forecast_block(*block, self.structure))
            return jax.device_get(_train_block(*block, record_at, self.structure))


# --- the dataset -----------------------------------------------------------------------------------------------------

_DIMS = {"embeddings": ("test", "output"), **dict.fromkeys(("feature_norms", "first_layer_norms", "learning_step", "efold"), ("feature",))}
_NUMBERS = {  # one per lane (and feature): long name, units
    "finite_steps": ("steps before divergence", "steps"),
    "step_size": ("learning rate in use", "1"),
    "learning_step": ("predicted step at which |W v| reaches 0.1", "steps"),
    "efold": ("predicted e-folding time at that step", "steps"),
    "peak_bound": ("predicted upper bound of |W v_2|", "1"),
    "critical_learning_rate": ("predicted critical learning rate", "1"),
    "smallest_second": ("smallest non-zero eigenvalue of M", "1"),
    "largest_second": ("largest eigenvalue of M", "1"),
}


def _dataset(experiment: Experiment, grid: Grid, steps: np.ndarray | None, records: dict[str, np.ndarray]) -> xr.Dataset:
    order = [name for touches in (True, False) for name, _, touched in grid.dims if touched == touches]
    shape = grid.shape(True) + grid.shape(False)
    user_order = [name for name, _, _ in grid.dims]
    out: dict[str, xr.DataArray] = {}
    for name, value in records.items():
        time = () if name in _NUMBERS or steps is None else ("step",)
        inner = (*time, *_DIMS.get(name, ()))
        array = xr.DataArray(value.reshape((*shape, *value.shape[2:])), dims=(*order, *inner))
        long_name, units = _NUMBERS[name] if name in _NUMBERS else (MEASURES[name], "1")
        out[name] = array.transpose(*user_order, *inner).assign_attrs(long_name=long_name, units=units)
    dataset = xr.Dataset(out, attrs={"experiment": describe(experiment)})
    if steps is not None:
        dataset = dataset.assign_coords(step=("step", steps, {"long_name": "training step", "units": "steps"}))
    for name, group, _ in grid.dims:
        for field, values in group.items():
            labels = np.array([str(value) for value in values], object) if isinstance(values[0], tuple) else values
            dataset = dataset.assign_coords({field: (name, labels, {"long_name": field.replace("_", " "), "units": "1"})})
    if "feature" in dataset.dims:
        named = [] if isinstance(experiment.problem.data, Views) else ["class", "subclass"]
        count = dataset.sizes["feature"] - len(named)
        names = named + [f"{'irrelevant' if named else 'feature'}_{j + 1}" for j in range(count)]
        dataset = dataset.assign_coords(feature=np.array(names, object))
    return dataset
