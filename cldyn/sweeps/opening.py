"""Opening a store: it is made or made larger by one process alone, and used by many."""

import shutil
import time
import warnings
from pathlib import Path

import numpy as np

from cldyn.checks import refuse, require
from cldyn.experiment import Experiment
from cldyn.sweeps import store as stores
from cldyn.sweeps.asked import Asked, ready
from cldyn.sweeps.dataset import coordinates
from cldyn.sweeps.locks import Locks
from cldyn.sweeps.request import Request
from cldyn.sweeps.store import RECORDED, Store
from cldyn.trajectory import Measures

PATIENCE = 0.2  # seconds between looks at what another process is at work on
_TRIES = 100  # looks at a store that is to be made larger


def place(path: Path) -> Path:
    """A place for a store: new, empty, or one that a sweep has begun."""
    begun = (path / RECORDED / "lock").is_file()
    free = not path.exists() or (path.is_dir() and (begun or not any(path.iterdir())))
    require(free, "store", str(path), "a new place or a store of cldyn.sweep")
    return path


def opened(
    path: Path, experiment: Experiment, request: Request, measure: Measures, locks: Locks
) -> Asked:
    """The store as asked: made or made larger where need be, by one process alone."""
    for _ in range(_TRIES):
        if complete(path):
            locks.together()  # waits for whoever is making it larger
            if asked := _as_asked(path, experiment, request, measure):
                return asked
            locks.leave()
        if locks.alone():
            if not complete(path):
                stores.clear(path)
                asked = ready(experiment, request, measure, None)
            elif asked := _as_asked(path, experiment, request, measure):
                locks.together()  # another process has been faster
                return asked
            else:
                store = Store(path)
                merged = request.merged(store.request, path)
                asked = ready(experiment, merged, measure, store.lengths)
                _clear_lost(store)
            _arrange(path, experiment, asked)
            locks.together()
            return asked
        time.sleep(PATIENCE)
    refuse(
        "store", str(path), "one that no other process is at work on, to be made larger or mended"
    )


def _as_asked(
    path: Path, experiment: Experiment, request: Request, measure: Measures
) -> Asked | None:
    """The request made ready if the store holds it already; a store of another sweep is refused."""
    store = Store(path)
    merged = request.merged(store.request, path)
    if merged != store.request or not _told_at_once(path) or store.lost():
        return None
    asked = ready(experiment, merged, measure, store.lengths)
    return asked if _shapes(store) == _wanted(asked) else None


def _clear_lost(store: Store) -> None:
    """What is left of coordinates that cannot be read; they are known, and written anew."""
    for file in store.lost():
        warnings.warn(f"store: {file} is damaged or missing; it is written again", stacklevel=2)
        shutil.rmtree(file, ignore_errors=True)


def _arrange(path: Path, experiment: Experiment, asked: Asked) -> None:
    sizes: dict[str, int] = {}
    for one in asked.shaped.values():
        sizes |= zip(one.dims, one.shape, strict=True)
    steps = np.asarray(asked.request.record_at)
    names = coordinates(experiment, asked.blocks.grid, sizes.get("feature", 0), steps)
    stores.arrange(path, asked.request, asked.blocks, asked.shaped, names)


def complete(path: Path) -> bool:
    """Whether there is a store, not only the beginning of one."""
    try:
        return '"sha256"' in (path / "zarr.json").read_text()
    except (OSError, UnicodeDecodeError):
        return False


def _told_at_once(path: Path) -> bool:
    """Whether readers are told of all arrays, the last thing that is done to a new store."""
    return '"consolidated_metadata": {' in (path / "zarr.json").read_text()


def _shapes(store: Store) -> dict[str, tuple[int, ...]]:
    return {name: one.shape for name, one in store.arrays.items()}


def _wanted(asked: Asked) -> dict[str, tuple[int, ...]]:
    grid = tuple(axis.size for axis in asked.blocks.grid.axes)
    return {name: (*grid, *one.shape) for name, one in asked.shaped.items()}
