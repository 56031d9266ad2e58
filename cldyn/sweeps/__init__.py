"""Many trajectories: axes make a grid, a grid is cut into blocks, blocks are executed, and what
they record becomes one dataset.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr

from cldyn.checks import record_steps
from cldyn.experiment import Experiment, numerics
from cldyn.sweeps.blocks import Blocks, shape_of
from cldyn.sweeps.dataset import dataset_of
from cldyn.sweeps.execute import cores, forecast_work, run_blocks, training_work
from cldyn.sweeps.grid import Group, grid_of
from cldyn.trajectory import Measures, bounds_peak, forecast_plan, plan_of, without_batches

__all__ = ["Group", "cores", "forecast", "sweep"]


def sweep(
    experiment: Experiment,
    axes: Sequence[Group],
    record_at: Sequence[int] | np.ndarray,
    *,
    measure: Measures = None,
    progress: bool = True,
) -> xr.Dataset:
    """Train many trajectories in one compilation.

    Args:
        experiment: what they have in common.
        axes: groups {field: values}, zipped inside a group and multiplied between groups. Fields
            are the numbers of the experiment's nouns, your own included; a tuple field takes one
            number for all or a tuple. Trajectories that differ in their training alone share data.
        record_at: increasing steps >= 0.
        measure: names among `cldyn.MEASURES` or measures of your own; by default those that need
            no sample of embeddings (but gaps of a nonlinear encoder, which are of test rows).
        progress: a bar, on a terminal.

    Returns:
        Dataset: a dimension per group, named after its first field, then step and those of the
        measure (feature; test, output). Per trajectory, `finite_steps` is the number of steps
        before divergence, from which on records are NaN, and `step_size` the learning rate in use.

    Raises:
        ValueError: one line naming the field, the value and what is allowed.

    Example:
        >>> import cldyn
        >>> axes = [{"seed": range(4), "data_seed": range(4)}, {"learning_rate": [0.02, 0.05]}]
        >>> measured = cldyn.sweep(cldyn.Experiment(), axes, range(0, 101, 10))
        >>> dict(measured.feature_norms.sizes)
        {'seed': 4, 'learning_rate': 2, 'step': 11, 'feature': 2}
    """
    steps = record_steps(record_at)
    grid = grid_of(experiment, axes)
    blocks = Blocks(experiment, grid)
    plan = plan_of(experiment, measure, blocks.varied)
    shape = shape_of(experiment, blocks.counts, plan, blocks.rows)
    with numerics(experiment.precision):
        work = training_work(plan, steps)
        records = run_blocks(blocks, shape, plan, work, threads=cores(), progress=progress)
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
    blocks = Blocks(experiment, grid)
    blocks.training = without_batches(blocks.training)
    plan = forecast_plan(experiment, blocks.varied, critical=critical)
    shape = shape_of(experiment, blocks.counts, plan, blocks.rows)
    with numerics(experiment.precision):
        work = forecast_work(plan, bounds_peak(experiment))
        records = run_blocks(blocks, shape, plan, work, threads=1, progress=progress)
    return dataset_of(experiment, grid, plan, records, None)
