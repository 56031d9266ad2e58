"""What of large sweeps is on a page: fewer records, fewer runs, evenly, and a word about it."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

from cldyn.checks import require

BYTES = 6_400_000  # of the measures of a page
CLOUD_BYTES = 1_500_000  # of its embeddings
_RECORDS = 400  # of a run
REPEATS = ("seed", "data_seed")
_FEW = 12  # runs that repeat each other, which are thinned first
TIMES = ("step", "time")
CLOUD = ("test", "output")
_INNER = ("feature", "level", "layer", *CLOUD, *TIMES)
STATES = ("finite_steps", "finite", "step_size")  # one number of every run
MOST_PARTS = 64  # numbers of a measure at a time


class Thinned(NamedTuple):
    """A sweep as it is on the page.

    dataset: of it. picked: which places along an axis, where not all. notes: what is left out.
    """

    dataset: xr.Dataset
    picked: dict[str, np.ndarray]
    notes: list[str]


def axes_of(dataset: xr.Dataset) -> list[str]:
    """Dimensions along which runs differ."""
    states = [dataset[name].dims for name in STATES if name in dataset]
    dims = states[0] if states else tuple(dim for dim in dataset.dims if dim in dataset.coords)
    return [str(dim) for dim in dims if dim not in _INNER]


def time_of(dataset: xr.Dataset) -> str | None:
    """The dimension of records."""
    return next((name for name in TIMES if name in dataset.dims and name in dataset.coords), None)


def parts_of(dataset: xr.Dataset, name: str) -> int:
    """How many numbers a record of one run has at a time."""
    outer = {*axes_of(dataset), time_of(dataset)}
    sizes = dataset[name].sizes
    return math.prod(size for dim, size in sizes.items() if dim not in outer)


def thin(sweeps: Mapping[str, xr.Dataset]) -> dict[str, Thinned]:
    """Sweeps that together fit on a page; small ones leave their room to large ones.

    Raises:
        ValueError: one line, for a dataset without runs or with times that are not numbers.
    """
    for name, one in sweeps.items():
        _check(name, one)
    recorded = {name: _fewer_records(one) for name, one in sweeps.items()}
    left, room = len(sweeps), BYTES
    found = {}
    for name in sorted(recorded, key=lambda name: _bytes(recorded[name].dataset)):
        found[name] = _fewer_runs(recorded[name], room // left)
        room -= _bytes(found[name].dataset)
        left -= 1
    return {name: found[name] for name in sweeps}


def _check(name: str, dataset: xr.Dataset) -> None:
    allowed, time = "datasets with runs, and with finite times if any", time_of(dataset)
    empty = [dim for dim in axes_of(dataset) if not dataset.sizes[dim]]
    require(not empty, "sweeps", f"{name or 'the main one'}: nothing along {empty}", allowed)
    if time is not None:
        times = dataset[time].values
        good = times.size and times.dtype.kind in "fiu" and np.isfinite(times).all()
        require(good, "sweeps", f"{name or 'the main one'}: {time} is {times}", allowed)


def evenly(count: int, most: int) -> np.ndarray:
    """At most so many of 0 .. count - 1, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, max(most, 1))).round().astype(int))


def _bytes(dataset: xr.Dataset) -> int:
    """Of all that is on a page, embeddings left out."""
    names = [name for name in map(str, dataset.data_vars) if parts_of(dataset, name) <= MOST_PARTS]
    records = [dataset[name] for name in names if not set(CLOUD) <= set(dataset[name].dims)]
    return sum(one.size * (8 if one.dtype == np.float64 else 4) for one in records)


def _fewer_records(dataset: xr.Dataset) -> Thinned:
    time = time_of(dataset)
    if time is None or dataset.sizes[time] <= _RECORDS:
        return Thinned(dataset, {}, [])
    count = dataset.sizes[time]
    chosen = evenly(count, _RECORDS)
    told = f"{chosen.size} of {count} records of a run are on this page."
    fewer = dataset.isel({time: chosen})
    if "recorded" in fewer:  # how many of the chosen ones
        there = np.searchsorted(chosen, fewer.recorded.values)
        fewer = fewer.assign(recorded=fewer.recorded.copy(data=there))
    return Thinned(fewer, {}, [told])


def _fewer_runs(thinned: Thinned, room: int) -> Thinned:
    dataset, _, notes = thinned
    axes = axes_of(dataset)
    before = {axis: dataset.sizes[axis] for axis in axes}
    picked: dict[str, np.ndarray] = {}
    repeats = [axis for axis in axes if axis in REPEATS]
    others = sorted((axis for axis in axes if axis not in repeats), key=lambda axis: -before[axis])
    for least, some in ((_FEW, repeats), (3, others), (1, repeats + others)):
        for axis in some:
            share = room / max(_bytes(dataset), 1)
            size = dataset.sizes[axis]
            if share >= 1 or size <= least:
                continue
            chosen = evenly(size, max(least, int(size * share)))
            picked[axis] = picked[axis][chosen] if axis in picked else chosen
            dataset = dataset.isel({axis: chosen})
    if not picked:
        return thinned
    count, kept = (
        int(np.prod([*of.values()])) for of in (before, {a: dataset.sizes[a] for a in axes})
    )
    told = ", ".join(
        f"{places.size} of {before[axis]} along {axis}" for axis, places in picked.items()
    )
    return Thinned(dataset, picked, [*notes, f"{kept} of {count} runs are on this page: {told}."])
