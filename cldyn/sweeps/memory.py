"""Memory: how many trajectories are trained at a time."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import ShapeDtypeStruct

from cldyn import trajectory
from cldyn.experiment import numerics
from cldyn.held import over
from cldyn.sweeps.devices import local, on_cpu
from cldyn.sweeps.execute import train_tile
from cldyn.sweeps.tiles import Trajectories, cached, parameters_of
from cldyn.trajectory import Plan

_SHARE = 0.7  # of a device's memory that tiles take
_PROBE = 64  # trajectories of the smaller one of two tiles that are compiled to learn their size


def fit(trajectories: Trajectories, plan: Plan, records: int) -> int:
    """How many trajectories are trained at a time: a power of two."""
    if on_cpu():
        return cached(parameters_of(trajectories.experiment, plan, trajectories.rows))
    return room(trajectories, plan, records)


def room(trajectories: Trajectories, plan: Plan, records: int, memory: int | None = None) -> int:
    """How many trajectories of a sweep fit the memory of a device at a time.

    Args:
        trajectories: what there is.
        plan: what is static.
        records: how many.
        memory: bytes of a device; None: ask it.

    Returns:
        A power of two, at least 2. What one more takes is the difference of two compiled tiles.
    """
    if memory is None:
        stats = local()[0].memory_stats() or {}
        memory = int(stats.get("bytes_limit", 2**33))
    small, large = (_bytes(trajectories, plan, records, k * _PROBE) for k in (1, 2))
    each = max(1, (large - small) // _PROBE)
    left = int(_SHARE * memory) - (small - each * _PROBE)
    return 1 << max(1, (left // each).bit_length() - 1) if left > 0 else 2


def _bytes(trajectories: Trajectories, plan: Plan, records: int, count: int) -> int:
    """Memory of the program for a tile of one row."""

    def setting() -> Any:
        return trajectory.setting_of(*trajectories.first(), plan)

    def many(tree: Any, *counts: int) -> Any:
        return over(lambda one: ShapeDtypeStruct((*counts, *one.shape), one.dtype), tree)

    with numerics(plan.precision):
        one = jax.eval_shape(setting)
        limit, steps = (ShapeDtypeStruct(shape, jnp.int32) for shape in ((1, count), (records,)))
        given = many(one.prepared, 1), many(one.limit, 1, 1), many(one.training, 1, count)
        used = train_tile.lower(*given, limit, steps, plan=plan).compile().memory_analysis()
    return sum(getattr(used, f"{what}_size_in_bytes") for what in ("temp", "output", "argument"))
