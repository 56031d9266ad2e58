"""Arrays on disk: zarr stores in which every chunk has a checksum, and that xarray just opens."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
import zarr
from zarr.codecs import Crc32cCodec, ZstdCodec

_CODECS = (ZstdCodec(level=1), Crc32cCodec())


def new_array(
    root: Any,
    name: str,
    shape: Sequence[int],
    chunks: Sequence[int],
    dtype: Any,
    dims: Sequence[str],
    told: Mapping[str, Any],
) -> Any:
    """A new array of a group, NaN or 0 wherever nothing has been written.

    Args:
        root: zarr group.
        name: of the array.
        shape: its own.
        chunks: lengths of chunks, at least 1.
        dtype: of numbers; objects and words are strings.
        dims: names of its dimensions.
        told: attributes.
    """
    dtype = np.dtype(dtype)
    text = dtype.kind in "OUST"
    empty: Any = "" if text else np.nan if dtype.kind == "f" else 0
    return root.create_array(
        name, shape=tuple(shape), chunks=tuple(max(1, one) for one in chunks),
        dtype="string" if text else dtype, fill_value=empty, dimension_names=tuple(dims),
        attributes=dict(told), compressors=_CODECS, config={"write_empty_chunks": True},
    )  # fmt: skip


def put(array: Any, values: Any) -> None:
    """Write all of an array."""
    values = np.asarray(values)
    array[...] = values.astype(object) if values.dtype.kind in "US" else values


def finish(root: Any) -> None:
    """Tell readers of all arrays at once, where they look first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the format does not name it, xarray misses it
        zarr.consolidate_metadata(root.store)


def save(path: Path, datasets: Mapping[str, xr.Dataset]) -> None:
    """Write datasets as groups of a new store, "" as its root."""
    root = zarr.create_group(path, zarr_format=3)
    for group, dataset in sorted(datasets.items()):
        place = root.create_group(group) if group else root
        place.attrs.update(dataset.attrs | _zipped(dataset))
        for name, one in dataset.variables.items():
            values, dims = np.asarray(one.values), [str(dim) for dim in one.dims]
            shape, dtype = values.shape, values.dtype
            put(new_array(place, str(name), shape, shape, dtype, dims, one.attrs), values)
    finish(root)


def _zipped(dataset: xr.Dataset) -> dict[str, str]:
    """What xarray looks for, to know coordinates that name no dimension."""
    names = [str(name) for name in dataset.coords if name not in dataset.dims]
    return {"coordinates": " ".join(names)} if names else {}


def load(path: Path, group: str = "") -> xr.Dataset:
    """One group of a store, read when it is looked at."""
    return xr.open_zarr(path, group=group or None, consolidated=False, chunks=None)
