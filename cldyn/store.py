"""Results on disk: labelled datasets in one zarr store."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

import xarray as xr

from cldyn.checks import require


def save(path: Path, datasets: Mapping[str, xr.Dataset]) -> None:
    """Write datasets as groups of one store, "" as its root, replacing an older store.

    The store is written beside its place and renamed last: it is there whole, or as it was.

    Raises:
        ValueError: the place holds something that is not a zarr store.
    """
    check_place(path)
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        for group, dataset in sorted(datasets.items()):
            dataset.to_zarr(
                scratch / "new",
                group=group or None,
                mode="a" if group else "w",
                zarr_format=3,
                consolidated=False,
            )
        if path.exists():
            os.rename(path, scratch / "old")
        try:
            os.rename(scratch / "new", path)
        except OSError:
            if (scratch / "old").exists():
                os.rename(scratch / "old", path)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def check_place(path: Path) -> None:
    """Refuse a place that holds something that is not a zarr store."""
    require(
        not path.exists() or (path / "zarr.json").is_file(),
        "out",
        str(path),
        "a new place or an earlier zarr store",
    )


def load(path: Path, group: str = "") -> xr.Dataset:
    """Read one group of a store."""
    return xr.open_zarr(path, group=group or None, consolidated=False, chunks=None)
