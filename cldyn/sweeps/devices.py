"""Devices: which there are, how long one runs by itself, and halves where a whole does not fit."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from cldyn.checks import is_size, require
from cldyn.sweeps.tiles import Tile
from cldyn.trajectory import Plan

_STRIDE = 64  # steps between questions to the host, where records leave it open


def local(count: int | None = None) -> list[Any]:
    """Devices of this process, so many of them or all."""
    there = jax.local_devices()
    good = count is None or (is_size(count) and count <= len(there))
    require(good, "devices", count, f"a whole number from 1 to {len(there)}, or None for all")
    return there[:count]


def on_cpu() -> bool:
    """Whether they are cores of a CPU, whose cache decides about tiles, not its memory."""
    return jax.default_backend() == "cpu"


@contextmanager
def at(device: Any) -> Iterator[None]:
    """A device as the place of arrays; programs of the first one are those of everybody else."""
    if device == jax.local_devices()[0]:
        yield
    else:
        with jax.default_device(device):
            yield


def host() -> Any:
    """Where problems are prepared, and what factorizes is done."""
    return jax.local_devices(backend="cpu")[0]


def threads(devices: Sequence[Any]) -> int:
    """Of a sweep: a CPU's cores train side by side, an accelerator always has the next tile."""
    return max(cores(), len(devices)) if on_cpu() else 2 * len(devices)


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def strided(plan: Plan, record_at: np.ndarray) -> Plan:
    """A plan whose steps do not wait for the host on an accelerator."""
    if on_cpu():
        return plan
    gaps = int(np.gcd.reduce(np.diff(record_at, prepend=0)))
    return replace(plan, stride=gaps if gaps >= 8 else _STRIDE)


def halving(tile: Tile, work: Callable[[Tile], dict[str, Any]]) -> dict[str, Any]:
    """Records of a tile [b, l, ...], in halves where it does not fit the device's memory."""
    try:
        return jax.device_get(work(tile))
    except jax.errors.JaxRuntimeError as error:
        length = tile.trajectories.shape[1]
        if "RESOURCE_EXHAUSTED" not in str(error) or length < 2:
            raise
    halves = [halving(_part(tile, some), work) for some in np.array_split(range(length), 2)]
    return jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *halves)


def _part(tile: Tile, at: np.ndarray) -> Tile:
    """Some trajectories of every row."""
    return tile._replace(
        trajectories=tile.trajectories[:, at],
        training=jax.tree.map(lambda leaf: leaf[:, at], tile.training),
        limit=tile.limit[:, at],
        state=None if tile.state is None else tile.state[:, at],
    )
