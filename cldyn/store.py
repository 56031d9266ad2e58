"""Results on disk: labelled datasets in one zarr store."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import xarray as xr


def save(path: Path, datasets: Mapping[str, xr.Dataset]) -> None:
    """Write datasets as groups of one store, the one named "" as its root, replacing an older store.

    The store is written beside its place and renamed last: it is there whole, or as it was.

    Raises:
        ValueError: the place holds something that is not a zarr store.
    """
    if path.exists() and not (path / "zarr.json").is_file():
        raise ValueError(f"out: {path}, allowed is a new place or an earlier zarr store")
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        for group, dataset in sorted(datasets.items()):
            dataset.to_zarr(scratch / "new", group=group or None, mode="a" if group else "w", zarr_format=3, consolidated=False)
        if path.exists():
            os.rename(path, scratch / "old")
        os.rename(scratch / "new", path)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def load(path: Path, group: str = "") -> xr.Dataset:
    """Read one group of a store."""
    return xr.open_zarr(path, group=group or None, consolidated=False, chunks=None)
