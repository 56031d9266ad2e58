"""A sweep on disk: one zarr store, which says of itself what was asked.

    STORE/zarr.json        the experiment, the axes and all that a sweep is asked
    STORE/NAME/c/...       records, a chunk of every block, with a checksum
    STORE/states/packed    where trajectories stand, if that is kept
    STORE/recorded/c/...   how many steps of a trajectory are there, written after all else
    STORE/recorded/lock    bytes that processes lock: who is at work on which block

A chunk is written beside its place and renamed, by one process at a time. Killed at any moment, a
block is there as a whole, or counts as missing.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
import zarr

from cldyn.checks import refuse, require
from cldyn.experiment import Experiment, check, describe, rebuild
from cldyn.store import finish, new_array, put
from cldyn.sweeps.blocks import Blocks, Box, sides_of
from cldyn.sweeps.dataset import told
from cldyn.sweeps.grid import Axis, Grid
from cldyn.sweeps.request import Request, check_same, request_from
from cldyn.sweeps.states import STATE, bytes_of
from cldyn.trajectory import Plan

FORMAT = 2
RECORDED, PACKED = "recorded", "states/packed"


class Shaped(NamedTuple):
    """A record of one trajectory. shape, dtype: its own. dims: its inner dimensions."""

    shape: tuple[int, ...]
    dtype: np.dtype
    dims: tuple[str, ...]
    told: dict[str, str]


class Store:
    """The store of a sweep, open. path: where. request: what it holds. lengths: of its blocks."""

    def __init__(self, path: Path, writable: bool = False) -> None:
        self.path = path
        try:
            self.root: Any = zarr.open_group(
                path, mode="r+" if writable else "r", use_consolidated=False
            )
            said = self.root.attrs["cldyn"]
        except (FileNotFoundError, KeyError, ValueError, zarr.errors.GroupNotFoundError):
            refuse("store", str(path), "a folder that cldyn.sweep has written")
        whole = isinstance(said, str) and self.root.attrs.get("sha256") == _digest(said)
        require(whole, "store", str(path), "one whose zarr.json is as it was written")
        self.made = json.loads(str(said))
        require(self.made["format"] == FORMAT, "store", str(path), f"one of format {FORMAT}")
        self.request = request_from(self.made["request"])
        self.lengths = tuple(self.made["lengths"])
        with zarr.config.set({"array.write_empty_chunks": True}):  # what is empty is not missing
            self.arrays = {name: self._array(name) for name in self.made["arrays"]}

    def _array(self, name: str) -> Any:
        axes = tuple(next(iter(group)) for group in self.request.axes)
        try:
            array = self.root[name]
            whole = (array.metadata.dimension_names or ())[: len(axes)] == axes
        except (KeyError, ValueError, AttributeError):
            whole = False
        require(whole, "store", str(self.path / name), "one whose zarr.json is as it was written")
        return array

    @property
    def experiment(self) -> Experiment:
        """Made again from the store alone."""
        return rebuild(self.request.experiment)

    def located(self, data: str) -> Experiment:
        """The experiment, whose files are in this folder if any; refused if they hold others."""
        made = self.experiment.replace(folder=data) if data else self.experiment
        check(made)
        check_same(self.path, self.request.experiment, describe(made))
        return made

    def blocks(self) -> Blocks:
        """Its blocks, known without the experiment."""
        flags = zip(self.request.axes, self.made["of_problem"], strict=True)
        axes = (Axis(next(iter(group)), group, group, flag) for group, flag in flags)
        return Blocks(Grid(tuple(axes)), self.lengths)

    @property
    def records(self) -> dict[str, Any]:
        """Arrays of records and states, all but what says that they are there."""
        return {name: one for name, one in self.arrays.items() if name != RECORDED}

    def dataset(self) -> xr.Dataset:
        """The records, read when they are looked at."""
        for file in self.lost()[:1]:
            refuse("store", str(file), "as it was written; the same sweep again writes it anew")
        return xr.open_zarr(self.path, consolidated=False, chunks=None)

    def lost(self) -> list[Path]:
        """Coordinates that are not as they were written: records would lose their steps or axes."""
        sizes: dict[str, int] = {}
        for array in self.arrays.values():
            sizes |= dict(zip(array.metadata.dimension_names or (), array.shape, strict=True))
        dims = {name: next(iter(group)) for group in self.request.axes for name in group}
        dims |= {name: name for name in ("step", "feature") if name in sizes}
        return [self.path / one for one, dim in dims.items() if not self._whole(one, dim, sizes)]

    def _whole(self, name: str, dim: str, sizes: Mapping[str, int]) -> bool:
        """Whether a coordinate can be read, and all of it is there."""
        try:
            array = self.root[name]
            keys = map(array.metadata.encode_chunk_key, np.ndindex(array.cdata_shape))
            there = all((self.path / name / key).is_file() for key in keys)
            told = array.metadata.dimension_names, array.shape
            return there and told == ((dim,), (sizes[dim],)) and array[...] is not None
        except (KeyError, ValueError, TypeError, AttributeError):
            return False

    def recorded(self) -> np.ndarray:
        """How many steps are there of every trajectory; none in a block that cannot be read."""
        array = self.arrays[RECORDED]
        try:
            return np.asarray(array[...])
        except ValueError:
            found, blocks = np.zeros(array.shape, np.int32), self.blocks()
            for box in map(blocks.box, range(len(blocks))):
                found[box] = self.recorded_in(box)
            return found

    def recorded_in(self, box: Box) -> np.ndarray:
        """As `recorded`, of one block."""
        try:
            return np.asarray(self.arrays[RECORDED][box])
        except ValueError:
            return np.zeros(sides_of(box), np.int32)

    def damaged(self, box: Box, steps: int) -> str:
        """The file of a block that is not as it was written, "" if there is none.

        steps: how many of them are there.
        """
        for name in (RECORDED, *(self.records if steps else ())):
            files = [*self._files(name, box, steps)]
            lost = [file for file in files if steps and not file.is_file()]
            try:
                self.arrays[name][box]
            except ValueError:
                lost = lost or files
            if lost:
                return str(lost[0])
        return ""

    def absent(self) -> str:
        """A file that should be there and is not, "" if there is none; nothing is read."""
        recorded, blocks = self.recorded(), self.blocks()
        for box in map(blocks.box, range(len(blocks))):
            if steps := int(recorded[box].max()):
                for name in self.records:
                    for file in self._files(name, box, steps):
                        if not file.is_file():
                            return str(file)
        return ""

    def forget(self, box: Box) -> None:
        """A block is missing again; also what a killed process left beside its chunks."""
        for name in (RECORDED, *self.records):
            for file in self._files(name, box):
                file.unlink(missing_ok=True)
        self.sweep_up(box)

    def sweep_up(self, box: Box) -> None:
        """Remove what a process that was killed while it wrote has left beside a block's chunks."""
        for name in self.arrays:
            for file in self._files(name, box):
                for left in file.parent.glob(f"{file.name}.*.partial"):
                    left.unlink(missing_ok=True)

    def _files(self, name: str, box: Box, steps: int | None = None) -> Iterator[Path]:
        """Files of the chunks of a block, along so many steps or all."""
        array = self.arrays[name]
        sizes = dict(zip(array.metadata.dimension_names or (), array.shape, strict=True))
        if steps is not None and "step" in sizes:
            sizes["step"] = steps
        counts = [-(-n // c) for n, c in zip(sizes.values(), array.chunks, strict=True)]
        at = [side.start // length for side, length in zip(box, self.lengths, strict=True)]
        for more in np.ndindex(*counts[len(at) :]):
            yield self.path / name / array.metadata.encode_chunk_key((*at, *more))

    def state(self, box: Box) -> np.ndarray:
        """Where the trajectories of a box stand, as bytes."""
        return np.asarray(self.arrays[PACKED][box])

    def write(self, box: Box, records: Mapping[str, np.ndarray], start: int) -> None:
        """Records of a box in the user's order of axes, those over time from a place on."""
        stop, sizes = len(self.request.record_at), sides_of(box)
        if start:  # states and records must not be of different steps: killed, it begins anew
            self.arrays[RECORDED][box] = np.zeros(sizes, np.int32)
        for name, values in records.items():
            name = PACKED if name == STATE else name
            timed = "step" in (self.arrays[name].metadata.dimension_names or ())
            region = (*box, slice(start, stop)) if timed else box
            self.arrays[name][region] = values
        self.arrays[RECORDED][box] = np.full(sizes, stop, np.int32)


def _digest(said: str) -> str:
    return hashlib.sha256(said.encode()).hexdigest()


def shaped(plan: Plan, records: Mapping[str, Any]) -> dict[str, Shaped]:
    """What records of one trajectory look like, from arrays or their shapes [...]."""
    found = {}
    for name, one in records.items():
        if name == STATE:
            found[PACKED] = Shaped((bytes_of(one),), np.dtype(np.uint8), ("byte",), {})
            continue
        long_name, units, dims = told(plan, name, one.ndim, True)
        about = {"long_name": long_name, "units": units}
        found[name] = Shaped(one.shape, np.dtype(one.dtype), dims, about)
    about = {"long_name": "how many of the steps are there", "units": "1"}
    return found | {RECORDED: Shaped((), np.dtype(np.int32), (), about)}


def arrange(
    path: Path, request: Request, blocks: Blocks, records: Mapping[str, Shaped], names: Any
) -> None:
    """Make a store, or bring one to what is asked; by one process alone, again if it was killed.

    Args:
        path: a folder, which may hold an unfinished or an older store of the same sweep.
        request: what is asked.
        blocks: of it.
        records: what each looks like.
        names: coordinates.
    """
    root: Any = zarr.open_group(path, mode="a", zarr_format=3, use_consolidated=False)
    grid = tuple(axis.size for axis in blocks.grid.axes)
    for name, one in records.items():
        dims = *blocks.grid.names, *one.dims
        _sized(root, path, name, (*grid, *one.shape), (*blocks.lengths, *one.shape), one, dims)
    for name, (dim, values, about) in names.items():
        values = np.asarray(values)
        one = Shaped((), values.dtype, (), about)
        put(_sized(root, path, name, values.shape, values.shape, one, (dim,)), values)
    said = json.dumps(
        {
            "format": FORMAT,
            "request": request.words(),
            "lengths": blocks.lengths,
            "of_problem": [axis.of_problem for axis in blocks.grid.axes],
            "arrays": [*records],
            "made": {name: version(name) for name in ("cldyn", "jax", "jaxlib", "numpy")}
            | {"platform": jax.default_backend()},
        }
    )
    about = {"experiment": request.experiment, "cldyn": said, "sha256": _digest(said)}
    if zipped := [name for name, (dim, *_) in names.items() if name != dim]:
        about["coordinates"] = " ".join(zipped)  # so xarray knows those that name no dimension
    root.attrs.update(about)
    finish(root)


def _sized(
    root: Any, path: Path, name: str, shape: Any, chunks: Any, one: Shaped, dims: Any
) -> Any:
    """An array of this shape, made or resized."""
    if not (path / name / "zarr.json").is_file():
        return new_array(root, name, shape, chunks, one.dtype, dims, one.told)
    if root[name].shape != shape:
        root[name].resize(shape)
    return root[name]


def clear(path: Path) -> None:
    """Remove what an unfinished `arrange` has left, all but the lock.

    Raises:
        ValueError: there are records, of a store that does not say any more what it holds.
    """
    records = (path / RECORDED / "c").exists()
    require(not records, "store", str(path), "one whose zarr.json is as it was written")
    for inside in [*path.iterdir(), *(path / RECORDED).glob("*")]:
        if inside.name in (RECORDED, "lock"):
            continue
        shutil.rmtree(inside) if inside.is_dir() else inside.unlink()
