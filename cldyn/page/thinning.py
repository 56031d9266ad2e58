"""What of large sweeps is on a page: fewer records, fewer runs, evenly, and a word about it."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr

BYTES = 6_400_000  # of the measures of a page
CLOUD_BYTES = 1_500_000  # of its embeddings
_RECORDS = 400  # of a run
REPEATS = ("seed", "data_seed")
_FEW = 12  # runs that repeat each other, which are thinned first
TIMES = ("step", "time")
CLOUD = ("test", "output")
_INNER = ("feature", "level", "layer", *CLOUD, *TIMES)
_STATES = ("finite_steps", "finite", "step_size")  # one number of every run


class Thinned(NamedTuple):
    """A sweep as it is on the page.

    dataset: of it. picked: which places along an axis, where not all. notes: what is left out.
    """

    dataset: xr.Dataset
    picked: dict[str, np.ndarray]
    notes: list[str]


def axes_of(dataset: xr.Dataset) -> list[str]:
    """Dimensions along which runs differ."""
    states = [dataset[name].dims for name in _STATES if name in dataset]
    dims = states[0] if states else tuple(dim for dim in dataset.dims if dim in dataset.coords)
    return [str(dim) for dim in dims if dim not in _INNER]


def time_of(dataset: xr.Dataset) -> str | None:
    """The dimension of records."""
    return next((name for name in TIMES if name in dataset.dims and name in dataset.coords), None)


def thin(
    sweeps: Mapping[str, xr.Dataset], order: Iterable[str] | None = None
) -> dict[str, Thinned]:
    """Sweeps that together fit on a page; small ones leave their room to large ones."""
    recorded = {name: _fewer_records(one) for name, one in sweeps.items()}
    left, room = len(sweeps), BYTES
    found = {}
    for name in sorted(recorded, key=lambda name: _bytes(recorded[name].dataset)):
        found[name] = _fewer_runs(recorded[name], room // left)
        room -= _bytes(found[name].dataset)
        left -= 1
    return {name: found[name] for name in order or sweeps}


def evenly(count: int, most: int) -> np.ndarray:
    """At most so many of 0 .. count - 1, first and last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, max(most, 1))).round().astype(int))


def _bytes(dataset: xr.Dataset) -> int:
    """Of all runs, embeddings left out."""
    records = [one for one in dataset.data_vars.values() if not set(CLOUD) <= set(one.dims)]
    return sum(one.size * (8 if one.dtype == np.float64 else 4) for one in records)


def _fewer_records(dataset: xr.Dataset) -> Thinned:
    time = time_of(dataset)
    if time is None or dataset.sizes[time] <= _RECORDS:
        return Thinned(dataset, {}, [])
    count = dataset.sizes[time]
    chosen = evenly(count, _RECORDS)
    told = f"{chosen.size} of {count} records of a run are on this page."
    return Thinned(dataset.isel({time: chosen}), {}, [told])


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
