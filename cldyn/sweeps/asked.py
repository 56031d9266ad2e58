"""What a sweep into a store is asked, made ready: trajectories, plan, blocks, tiles, records."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from cldyn import trajectory
from cldyn.experiment import Experiment, numerics
from cldyn.sweeps import store as stores
from cldyn.sweeps.blocks import Blocks, lengths_of, most_of
from cldyn.sweeps.devices import strided
from cldyn.sweeps.execute import train_one
from cldyn.sweeps.grid import grid_of
from cldyn.sweeps.memory import fit
from cldyn.sweeps.request import Request
from cldyn.sweeps.states import bytes_of
from cldyn.sweeps.store import Shaped
from cldyn.sweeps.tiles import Shape, Trajectories, inputs_of, parameters_of
from cldyn.trajectory import Measures, Plan, plan_of


class Asked(NamedTuple):
    """A request made ready: its trajectories, their plan, and shapes of what each records."""

    request: Request
    trajectories: Trajectories
    plan: Plan
    blocks: Blocks
    shape: Shape
    like: dict[str, Any]

    @property
    def shaped(self) -> dict[str, Shaped]:
        """What is stored of a trajectory."""
        return stores.shaped(self.plan, self.like)


def ready(
    experiment: Experiment, request: Request, measure: Measures, lengths: Sequence[int] | None
) -> Asked:
    """A request made ready. lengths: of blocks; None: of new ones."""
    grid = grid_of(experiment, request.axes)
    trajectories = Trajectories(experiment, grid)
    steps = np.asarray(request.record_at, np.int32)
    plan = strided(plan_of(experiment, measure, trajectories.varied), steps)
    like = _like(trajectories, plan, steps, request.states)
    fits, inputs = fit(trajectories, plan, len(steps)), inputs_of(trajectories.experiment, plan)
    if lengths is None:
        tile = trajectories.shape(fits, inputs, plan)
        parameters = parameters_of(trajectories.experiment, plan, trajectories.rows)
        work = request.record_at[-1] * parameters * _met(experiment, plan)
        most = most_of(work, bytes_of(like), tile.rows * tile.trajectories)
        lengths = lengths_of(grid, most, 1 if tile.one else tile.rows)
    blocks = Blocks(grid, tuple(lengths))
    shape = trajectories.shape(fits, inputs, plan, blocks.counts())
    return Asked(request, trajectories, plan, blocks, shape, like)


def _met(experiment: Experiment, plan: Plan) -> int:
    """Inputs that a step of a trajectory meets; moments are as one."""
    n, m, _ = experiment.problem.shape
    if plan.draws:
        return experiment.training.batch.batch_size * m
    return 1 if plan.in_frame else n * m


def _like(
    trajectories: Trajectories, plan: Plan, record_at: np.ndarray, states: bool
) -> dict[str, Any]:
    """Shapes of what a trajectory records, and of its last state."""

    def one() -> dict[str, Any]:
        setting = trajectory.setting_of(*trajectories.first(), plan)
        return train_one(setting, jnp.asarray(record_at), plan, keep=states)

    with numerics(plan.precision):
        return jax.eval_shape(one)
