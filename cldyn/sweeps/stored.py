"""Sweeps into a store: which blocks are missing, and who does them."""

import math
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from cldyn.checks import require
from cldyn.experiment import Experiment
from cldyn.sweeps import store as stores
from cldyn.sweeps.asked import Asked, ready
from cldyn.sweeps.blocks import Box
from cldyn.sweeps.dataset import coordinates
from cldyn.sweeps.devices import local
from cldyn.sweeps.execute import run_parts, training_work
from cldyn.sweeps.locks import Locks
from cldyn.sweeps.progress import bar
from cldyn.sweeps.request import Request
from cldyn.sweeps.states import STATE
from cldyn.sweeps.store import RECORDED, Store
from cldyn.sweeps.tiles import Part
from cldyn.trajectory import Measures

SHARDS = "shards"  # a folder beside the lock, which says in how many parts it is done
_PARTS = 64  # of a sweep that an executor gets, at most
_PATIENCE = 0.2  # seconds between looks at blocks that another process is at work on


def sweep_into(
    path: Path,
    experiment: Experiment,
    request: Request,
    measure: Measures,
    *,
    shard: tuple[int, int],
    executor: Executor | None,
    devices: int | None,
    progress: bool,
) -> xr.Dataset:
    """Bring a store to what is asked, and open it.

    Args:
        path: of the store, which is made where there is none.
        experiment: what the trajectories have in common.
        request: what is asked.
        measure: as of `sweep`.
        shard: which of how many equal parts of all blocks is done, from 1 on.
        executor: of processes that share the work; None: this process does it.
        devices: how many of this process's share the work; None: all.
        progress: whether it is shown.
    """
    locks = Locks(_place(path) / RECORDED / "lock")
    asked = _open(path, experiment, request, measure, locks)
    try:
        mine = blocks_of(len(asked.blocks), shard)
        if shard != (1, 1):
            (path / RECORDED / SHARDS).mkdir(exist_ok=True)
            (path / RECORDED / SHARDS / "{}-{}".format(*shard)).touch()
        if executor is None:
            on = local(devices)
            _work(Store(path, writable=True), asked, mine, locks, on, progress)
        else:
            _send(path, experiment, measure, asked, mine, executor, progress)
    except OSError as error:
        told = f"{error.strerror or error}; what is done is kept, the same call goes on from there"
        raise OSError(error.errno, told, str(path)) from error
    finally:
        locks.leave()
    return Store(path).dataset()


def blocks_of(count: int, shard: tuple[int, int]) -> list[int]:
    """The blocks of a shard; those of the same problems stay together."""
    return np.array_split(np.arange(count), shard[1])[shard[0] - 1].tolist()


def _place(path: Path) -> Path:
    """A place for a store: new, empty, or one that a sweep has begun."""
    begun = (path / RECORDED / "lock").is_file()
    free = not path.exists() or (path.is_dir() and (begun or not any(path.iterdir())))
    require(free, "store", str(path), "a new place or a store of cldyn.sweep")
    return path


def _open(
    path: Path, experiment: Experiment, request: Request, measure: Measures, locks: Locks
) -> Asked:
    """The store as asked: made or made larger where need be, by this process alone."""
    if not _complete(path):
        locks.alone(wait=True)
    if not _complete(path):
        stores.clear(path)
        asked = ready(experiment, request, measure, None)
    else:
        store = Store(path)
        merged = request.merged(store.request, path)
        asked = ready(experiment, merged, measure, store.lengths)
        if merged == store.request and _shapes(store) == _wanted(asked):
            locks.together()
            return asked
        allowed = "one that no other process is at work on, to be made larger"
        require(locks.alone(wait=False), "store", str(path), allowed)
    features = asked.like["feature_norms"].shape[-1] if "feature_norms" in asked.like else 0
    steps = np.asarray(asked.request.record_at)
    names = coordinates(experiment, asked.blocks.grid, features, steps)
    stores.arrange(path, asked.request, asked.blocks, asked.shaped, names)
    locks.together()
    return asked


def _complete(path: Path) -> bool:
    """Whether there is a store, not only the beginning of one."""
    try:
        return '"sha256"' in (path / "zarr.json").read_text()
    except (OSError, UnicodeDecodeError):
        return (path / "zarr.json").exists()


def _shapes(store: Store) -> dict[str, tuple[int, ...]]:
    return {name: one.shape for name, one in store.arrays.items()}


def _wanted(asked: Asked) -> dict[str, tuple[int, ...]]:
    grid = tuple(axis.size for axis in asked.blocks.grid.axes)
    return {name: (*grid, *one.shape) for name, one in asked.shaped.items()}


def _work(
    store: Store, asked: Asked, mine: Sequence[int], locks: Locks, on: Any, progress: bool
) -> None:
    """Do the missing ones of some blocks, until all are there."""
    _mend(store, asked, mine, locks)
    said = False
    while missing := _missing(store, asked, mine):
        count = 0
        for start in sorted({lack.start for lack in missing.values()}):
            some = [i for i, lack in missing.items() if lack.start == start]
            count += _train(store, asked, some, start, locks, on, progress)
        if not count:
            told = f"store: another process is at work on {len(missing)} blocks of {store.path}"
            if not said:
                warnings.warn(told, stacklevel=2)
            said = True
            time.sleep(_PATIENCE)


class Lack(NamedTuple):
    """What a block lacks. box: where. start: how many of the steps are there."""

    box: Box
    start: int


def lack_of(recorded: np.ndarray, box: Box, last: int) -> Lack | None:
    """What is to be done next of a block, None where all steps of all trajectories are there.

    Args:
        recorded: how many of the steps are there, of the block's trajectories.
        box: of the block.
        last: how many are wanted.
    """
    if (recorded >= last).all():
        return None
    start = int(recorded.min())
    inner = _around(recorded == start)
    if (recorded[inner] != start).any():  # no box: again from the start, whatever is there
        start, inner = 0, _around(recorded < last)
    moved = [
        slice(side.start + part.start, side.start + part.stop)
        for side, part in zip(box, inner, strict=True)
    ]
    return Lack(tuple(moved), start)


def _around(mask: np.ndarray) -> Box:
    """The smallest box around what is true."""
    return tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.argwhere(mask).T)


def _missing(store: Store, asked: Asked, mine: Sequence[int]) -> dict[int, Lack]:
    recorded, last = store.recorded(asked.blocks), len(asked.request.record_at)
    boxes = {i: asked.blocks.box(i) for i in mine}
    lacks = {i: lack_of(recorded[box], box, last) for i, box in boxes.items()}
    return {i: lack for i, lack in lacks.items() if lack is not None}


def _mend(store: Store, asked: Asked, mine: Sequence[int], locks: Locks) -> None:
    """Blocks that cannot be read as they were written are missing again."""
    recorded = store.recorded(asked.blocks)
    for i in mine:
        box = asked.blocks.box(i)
        if not locks.take(i):
            continue
        try:
            steps = int(recorded[box].max())
            if file := store.damaged(box, asked.blocks, steps):
                store.forget(box, asked.blocks)
                told = f"store: {file} is damaged or missing; its block is done again"
                warnings.warn(told, stacklevel=2)
            elif not steps:
                store.sweep_up(box, asked.blocks)
        finally:
            locks.give(i)


def _train(
    store: Store,
    asked: Asked,
    missing: list[int],
    start: int,
    locks: Locks,
    on: Any,
    progress: bool,
) -> int:
    """Train what blocks lack from a place among the steps on; how many no other process had."""
    blocks, request, count = asked.blocks, asked.request, 0
    steps = np.asarray(request.record_at, np.int32)[start:]
    like = asked.like[STATE] if start else None
    work = training_work(asked.plan, steps, keep=request.states, like=like)
    taken: deque[tuple[int, Box]] = deque()
    with locks.held() as held:

        def parts() -> Iterator[Part]:
            for i in missing:
                if locks.take(i):
                    held.add(i)
                    lack = _missing(store, asked, [i]).get(i)
                    if lack is not None and lack.start == start:
                        taken.append((i, lack.box))
                        yield blocks.part(lack.box, store.state(lack.box) if start else None)

        total = len(missing) * math.prod(blocks.counts())
        with bar(total, progress) as advance:
            for _, records in run_parts(
                asked.trajectories, parts(), asked.shape, asked.plan, work,
                on=on, advance=advance,
            ):  # fmt: skip
                i, box = taken.popleft()
                ordered = {name: blocks.ordered(one, box) for name, one in records.items()}
                store.write(box, ordered, start)
                held.discard(i)
                locks.give(i)
                count += 1
    return count


def _send(
    path: Path, experiment: Experiment, measure: Measures, asked: Asked, mine: Sequence[int],
    executor: Executor, progress: bool,
) -> None:  # fmt: skip
    """Have the processes of an executor do blocks."""
    missing = [*_missing(Store(path), asked, mine)]
    parts = np.array_split(missing, min(len(missing), _PARTS) or 1)
    waiting: dict[Future[None], int] = {}
    with bar(len(missing), progress) as advance:
        try:
            for part in parts:
                future = executor.submit(_remote, str(path), experiment, measure, part.tolist())
                waiting[future] = part.size
            for future in as_completed(waiting):
                future.result()
                advance(waiting[future])
        except BaseException as error:
            for future in waiting:
                future.cancel()
            error.add_note(f"What is done is kept in {path}; the same call goes on from there.")
            raise


def _remote(path: str, experiment: Experiment, measure: Measures, mine: list[int]) -> None:
    """What a process of an executor does."""
    store = Store(Path(path), writable=True)
    locks = Locks(store.path / RECORDED / "lock")
    locks.together()
    try:
        asked = ready(experiment, store.request, measure, store.lengths)
        _work(store, asked, mine, locks, local(), progress=False)
    finally:
        locks.leave()
