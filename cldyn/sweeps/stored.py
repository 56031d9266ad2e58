"""Sweeps into a store: which blocks are missing, and who does them."""

import math
import time
import warnings
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from cldyn.experiment import Experiment
from cldyn.sweeps.asked import Asked, ready
from cldyn.sweeps.blocks import Box, sides_of
from cldyn.sweeps.devices import local
from cldyn.sweeps.execute import run_parts, training_work
from cldyn.sweeps.locks import Locks
from cldyn.sweeps.opening import PATIENCE, opened, place
from cldyn.sweeps.progress import bar
from cldyn.sweeps.request import Request
from cldyn.sweeps.states import STATE
from cldyn.sweeps.store import RECORDED, Store
from cldyn.sweeps.tiles import Part
from cldyn.trajectory import Measures

SHARDS = "shards"  # a folder beside the lock, which says in how many parts it is done
_PARTS = 64  # of a sweep that an executor gets, at most


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
    locks = Locks(place(path) / RECORDED / "lock")
    try:
        asked = opened(path, experiment, request, measure, locks)
        mine = blocks_of(len(asked.blocks), shard)
        if shard != (1, 1):
            (path / RECORDED / SHARDS).mkdir(exist_ok=True)
            (path / RECORDED / SHARDS / "{}-{}".format(*shard)).touch()
        store = Store(path, writable=True)
        _mend(store, asked, mine, locks)
        if _missing(store, asked, mine):
            locks.check_writable()
        if executor is None:
            _work(store, asked, mine, locks, local(devices), progress)
        else:
            _send(store, experiment, measure, asked, mine, executor, progress)
    except OSError as error:
        told = f"{error.strerror or error}; what is done is kept, the same call goes on from there"
        raise OSError(error.errno, told, str(path)) from error
    finally:
        locks.leave()
    return Store(path).dataset()


def blocks_of(count: int, shard: tuple[int, int]) -> list[int]:
    """The blocks of a shard; those of the same problems stay together."""
    return np.array_split(np.arange(count), shard[1])[shard[0] - 1].tolist()


def _work(
    store: Store, asked: Asked, mine: Sequence[int], locks: Locks, on: Any, progress: bool
) -> None:
    """Do the missing ones of some blocks, until all are there."""
    said = False
    while missing := _missing(store, asked, mine):
        count = 0
        for start in sorted({lack.start for lack in missing.values()}):
            some = {i: lack for i, lack in missing.items() if lack.start == start}
            count += _train(store, asked, some, start, locks, on, progress)
        if not count:
            told = f"store: another process is at work on {len(missing)} blocks of {store.path}"
            if not said:
                warnings.warn(told, stacklevel=2)
            said = True
            time.sleep(PATIENCE)


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
    recorded = store.recorded()
    boxes = {i: asked.blocks.box(i) for i in mine}
    lacks = {i: _lack(asked, recorded[box], box) for i, box in boxes.items()}
    return {i: lack for i, lack in lacks.items() if lack is not None}


def _lack(asked: Asked, recorded: np.ndarray, box: Box) -> Lack | None:
    return lack_of(recorded, box, len(asked.request.record_at))


def _mend(store: Store, asked: Asked, mine: Sequence[int], locks: Locks) -> None:
    """Blocks that cannot be read as they were written are missing again."""
    recorded = store.recorded()
    for i in mine:
        box = asked.blocks.box(i)
        if not locks.take(i):
            continue
        try:
            steps = int(recorded[box].max())
            if file := store.damaged(box, steps):
                store.forget(box)
                told = f"store: {file} is damaged or missing; its block is done again"
                warnings.warn(told, stacklevel=2)
            elif _lack(asked, recorded[box], box):
                store.sweep_up(box)
        finally:
            locks.give(i)


def _train(
    store: Store,
    asked: Asked,
    missing: Mapping[int, Lack],
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
                if not locks.take(i):
                    continue
                box = blocks.box(i)
                lack = _lack(asked, store.recorded_in(box), box)  # as it is by now
                if lack is None or lack.start != start:
                    locks.give(i)
                    continue
                held.add(i)
                taken.append((i, lack.box))
                yield blocks.part(lack.box, store.state(lack.box) if start else None)

        total = sum(_size(lack.box) for lack in missing.values())
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


def _size(box: Box) -> int:
    return math.prod(sides_of(box))


def _send(
    store: Store, experiment: Experiment, measure: Measures, asked: Asked, mine: Sequence[int],
    executor: Executor, progress: bool,
) -> None:  # fmt: skip
    """Have the processes of an executor do blocks."""
    missing, path = _missing(store, asked, mine), store.path.resolve()
    sizes = {i: _size(lack.box) for i, lack in missing.items()}
    count = min(len(missing), _PARTS)
    waiting: dict[Future[None], int] = {}
    with bar(sum(sizes.values()), progress) as advance:
        try:
            for part in np.array_split([*missing], count) if count else ():
                given = str(path), experiment, measure, part.tolist()
                waiting[executor.submit(_remote, *given)] = sum(sizes[i] for i in part.tolist())
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
    locks = Locks(Path(path) / RECORDED / "lock")
    locks.together()
    try:
        store = Store(Path(path), writable=True)
        asked = ready(experiment, store.request, measure, store.lengths)
        _work(store, asked, mine, locks, local(), progress=False)
    finally:
        locks.leave()
