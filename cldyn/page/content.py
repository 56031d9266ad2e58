"""What a page holds of a sweep, as JSON and typed arrays."""

import base64
import itertools
import json
import math
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from cldyn.experiment import Experiment, rebuild
from cldyn.page.cloud import cloud_of
from cldyn.page.thinning import CLOUD, MOST_PARTS, STATES, Thinned, axes_of, parts_of, time_of
from cldyn.sweeps.dataset import NUMBERS, PREDICTED

# Numbers that keep their type; all others have room in a float64.
_TYPES = {name: name for name in ("float32", "float64", "int32", "int16")} | {"bool": "int16"}


class Arrays:
    """Arrays of a page in order.

    Each is text: base64 of zlib's compression of its bytes, the first ones of all numbers before
    the second ones, lowest first. Neighbours' bytes are alike, and take two thirds of the room.
    """

    def __init__(self) -> None:
        self.told: list[dict[str, str]] = []

    def add(self, values: np.ndarray) -> int:
        """The place of an array; floats keep their precision."""
        dtype = _TYPES.get(str(values.dtype), "float64")
        little = np.ascontiguousarray(values, np.dtype(dtype).newbyteorder("<")).reshape(-1, 1)
        planes = np.ascontiguousarray(little.view(np.uint8).T)
        packed = base64.b64encode(zlib.compress(planes.tobytes(), 6))
        self.told.append({"dtype": dtype, "text": packed.decode()})
        return len(self.told) - 1


def group_of(
    name: str, thinned: Thinned, arrays: Arrays, experiment: Experiment | None
) -> dict[str, Any]:
    """All that the page knows of one sweep.

    Args:
        name: of its group, "" for the main one.
        thinned: its dataset.
        arrays: which its records are added to.
        experiment: of it, where it is known to be at hand; else made from what the dataset says.
    """
    dataset, _, notes = thinned
    axes, time, notes = axes_of(dataset), time_of(dataset), [*notes]
    found: dict[str, list[dict[str, Any]]] = {"measures": [], "predicted": [], "numbers": []}
    for key in sorted(map(str, dataset.data_vars)):
        one, told = dataset[key], key.removeprefix(PREDICTED)
        if one.dtype.kind not in "fib" or set(CLOUD) <= set(one.dims):
            continue
        if (parts := parts_of(dataset, key)) > MOST_PARTS:
            notes.append(f"{key} is not on this page: it has {parts} numbers at a time.")
            continue
        # A prediction has the parts of what it predicts, whether it differs between them or not.
        like = dataset.get(told, one)
        inner = [str(dim) for dim in like.dims if dim not in (*axes, time)]
        if extra := {*map(str, one.dims)} - {*axes, str(time), *inner}:
            notes.append(f"{key} is not on this page: {told} has no {', '.join(sorted(extra))}.")
            continue
        kind = _kind(key, "step" in dataset.dims)
        found[kind].append(_record(told, one, dataset, axes, time, inner, arrays))
    experiment = experiment or _rebuilt(dataset)
    return {
        "name": name,
        "title": name.replace("-", " ").replace("_", " ") or "main",
        "settings": [*_settings(dataset.attrs.get("experiment"))],
        "notes": notes,
        "axes": [_axis(dataset, axis) for axis in axes],
        "time": _time(dataset, time),
        "embeddings": cloud_of(dataset, axes, time, arrays.add, experiment),
        **found,
    }


def _kind(name: str, timed: bool) -> str:
    """Where a record goes: what is predicted, what tells of a run, or what is measured."""
    if name.startswith(PREDICTED):
        return "predicted"
    return "numbers" if name in ("recorded", *STATES) or (timed and name in NUMBERS) else "measures"


def _record(
    name: str, one: xr.DataArray, dataset: xr.Dataset, axes: list[str], time: str | None,
    inner: list[str], arrays: Arrays,
) -> dict[str, Any]:  # fmt: skip
    timed = time is not None and time in one.dims
    missing = {dim: dataset.sizes[dim] for dim in (*axes, *inner) if dim not in one.dims}
    ordered = one.expand_dims(missing).transpose(*axes, *([time] if timed else []), *inner)
    return {
        "name": name,
        "says": str(one.attrs.get("long_name", name.replace("_", " "))),
        "units": str(one.attrs.get("units", "1")),
        "timed": timed,
        "dim": inner[0] if inner else "",
        "labels": [*_labels(dataset, inner)],
        "array": arrays.add(ordered.values),
    }


def _labels(dataset: xr.Dataset, inner: list[str]) -> Iterator[str]:
    """A name of every part of a measure."""
    values = [_values(dataset, dim) for dim in inner]
    for some in itertools.product(*values):
        told = (
            one if isinstance(one, str) else f"{dim} {one}"
            for dim, one in zip(inner, some, strict=True)
        )
        yield ", ".join(told)


def _values(dataset: xr.Dataset, name: str) -> list[Any]:
    """Values of a coordinate as JSON has them; places where there is none."""
    if name not in dataset.coords:
        return [*range(dataset.sizes[name])]
    return [_plain(one) for one in dataset[name].values.tolist()]


def _plain(value: Any) -> Any:
    if isinstance(value, (bool, str)):
        return str(value)
    return value if isinstance(value, (int, float)) and math.isfinite(value) else str(value)


def _axis(dataset: xr.Dataset, axis: str) -> dict[str, Any]:
    """An axis with a column for each of its coordinates."""
    names = [str(name) for name, one in dataset.coords.items() if one.dims == (axis,)]
    names = sorted(names, key=lambda name: (name != axis, name)) or [axis]
    says = {name: dataset[name].attrs if name in dataset.coords else {} for name in names}
    columns = [
        {
            "name": name,
            "says": str(says[name].get("long_name", name)),
            "values": _values(dataset, name),
        }
        for name in names
    ]
    return {"name": axis, "size": dataset.sizes[axis], "columns": columns}


def _time(dataset: xr.Dataset, time: str | None) -> dict[str, Any] | None:
    if time is None:
        return None
    label = str(dataset[time].attrs.get("long_name", "flow time" if time == "time" else time))
    return {"name": time, "label": label, "values": dataset[time].values.tolist()}


def _settings(described: Any) -> Iterator[tuple[str, str]]:
    """Names and values of all settings of an experiment."""
    if isinstance(described, str):
        yield from _flat(json.loads(described))


def _flat(told: Any, name: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(told, dict) and "is" in told:
        if name:
            yield name, str(told["is"])
        for key, value in told.items():
            if key != "is":
                yield from _flat(value, key)
    else:
        yield name, "none" if told is None else str(told).strip("[]") or "none"


def _rebuilt(dataset: xr.Dataset) -> Experiment | None:
    """The experiment that a dataset tells; None for one with nouns or arrays of its user's."""
    try:
        return rebuild(str(dataset.attrs["experiment"]))
    except (KeyError, ValueError):
        return None
