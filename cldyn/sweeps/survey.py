"""What a sweep would take, and how far one is."""

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cldyn.checks import record_steps
from cldyn.experiment import Experiment
from cldyn.sweeps.asked import Asked, ready
from cldyn.sweeps.devices import cores, local, strided
from cldyn.sweeps.execute import run_parts, training_work
from cldyn.sweeps.grid import Group, grid_of
from cldyn.sweeps.locks import Locks
from cldyn.sweeps.opening import complete, place
from cldyn.sweeps.request import request_of
from cldyn.sweeps.states import bytes_of
from cldyn.sweeps.store import RECORDED, Store
from cldyn.sweeps.stored import SHARDS, blocks_of
from cldyn.sweeps.tiles import inputs_of, parameters_of
from cldyn.trajectory import Measures

_ENOUGH = 20.0  # seconds; a block that takes longer is timed once, with its compilation
_LONG = 1000  # steps of inputs as they are; of a block that takes more, a few are timed
_FEW, _MORE = (0, 8, 16), (0, 8, 136)  # with one program


def plan(
    experiment: Experiment,
    axes: Sequence[Group],
    record_at: Sequence[int],
    measure: Measures,
    states: bool,
    store: Path | None = None,
    devices: int | None = None,
) -> str:
    """What a sweep would take, in words; a block of it, or a few of its steps, are timed.

    Args: as `sweep`; of a store that is there, what it lacks is told.
    """
    grid, steps, on = grid_of(experiment, axes), record_steps(record_at), local(devices)
    request, lengths, there = request_of(experiment, grid, measure, steps, states), None, 0.0
    if store is not None and complete(place(store)):
        kept = Store(store)
        request, lengths = request.merged(kept.request, store), kept.lengths
        there = kept.recorded().sum() / len(request.record_at)
    asked = ready(experiment, request, measure, lengths)
    small = asked.trajectories.experiment
    problems, each = asked.trajectories.counts
    total, count, size = problems * each, len(asked.blocks), int(np.prod(asked.blocks.counts()))
    record = bytes_of(asked.like)
    parameters = parameters_of(small, asked.plan, asked.trajectories.rows)
    inputs = inputs_of(small, asked.plan)
    rows, length = asked.shape.rows, asked.shape.trajectories
    tile = rows * (inputs + length * (4 * parameters + record))
    memory = (2 * cores() + 1) * tile + 2 * size * record
    first, seconds = _timed(asked, on)
    left = 1 - there / total
    lines = {
        "trajectories": f"{total:,}: {problems:,} problems x {each:,} trainings",
        "steps": f"{request.record_at[-1]:,}, recorded {len(request.record_at):,} times",
        "blocks": f"{count:,} of up to {size:,} trajectories, tiles of {rows} x {length}",
        "memory": f"about {_bytes(memory)} beside what JAX takes",
        "disk": f"at most {_bytes(total * record)}",
        "time": f"about {_time(seconds * count * left + first)} here, on {cores()} cores; a block "
        f"{seconds:.2g} s, compilation {first:.2g} s",
    }
    if there:
        lines["missing"] = f"{left:.0%} of the work; the time is for that"
    return _table(lines)


def _timed(asked: Asked, on: Sequence[Any]) -> tuple[float, float]:
    """Seconds of compilation, and of a block; those of a long block are not told apart."""
    steps = asked.request.record_at
    if not asked.plan.in_frame and steps[-1] > _LONG:
        first, few, more = (_seconds(asked, on, some) for some in (_FEW, _FEW, _MORE))
        each = max(0.0, more - few) / (_MORE[-1] - _FEW[-1])
        return max(0.0, first - few), few * len(steps) / len(_FEW) + each * steps[-1]
    taken: list[float] = []
    while len(taken) < 2 and sum(taken) < _ENOUGH:
        taken.append(_seconds(asked, on, steps))
    return max(0.0, taken[0] - taken[-1]), taken[-1]


def _seconds(asked: Asked, on: Sequence[Any], record_at: Sequence[int]) -> float:
    """Seconds of a block that is trained to these steps."""
    steps, begin = np.asarray(record_at, np.int32), time.perf_counter()
    plan, part = strided(asked.plan, steps), asked.blocks.part(asked.blocks.box(0))
    work = training_work(plan, steps)
    deque(run_parts(asked.trajectories, [part], asked.shape, plan, work, on=on), maxlen=0)
    return time.perf_counter() - begin


def status(path: Path) -> str:
    """How far the sweep of a store is, in words."""
    store = Store(path)
    blocks, last = store.blocks(), len(store.request.record_at)
    recorded = store.recorded()
    missing = [i for i in range(len(blocks)) if (recorded[blocks.box(i)] < last).any()]
    running = _running(path, missing)
    there = recorded == last
    try:
        finite = np.asarray(store.arrays["finite_steps"][...])
        lost = (there & (finite < store.request.record_at[-1])).sum()
        diverged = f"{lost:,} of what is done"
    except ValueError:
        diverged = "unknown, a chunk is damaged; the same sweep again mends it"
    done = len(blocks) - len(missing)
    counted = f"{there.sum():,} of {there.size:,} trajectories"
    lines = {
        "done": f"{counted}, {done:,} of {len(blocks):,} blocks",
        "running": f"{len(running):,} blocks",
        "missing": f"{len(missing) - len(running):,} blocks",
        "diverged": diverged,
    }
    if lost := store.lost():
        named = ", ".join(file.name for file in lost)
        lines["damaged"] = f"coordinates: {named}; the same sweep again writes them anew"
    if missing:
        lines["time left"] = _left(store, done, len(missing)) if running else "nobody is at work"
    for file in sorted((path / RECORDED / SHARDS).glob("*-*")):
        first, count = map(int, file.name.split("-"))
        mine = {*blocks_of(len(blocks), (first, count))}
        lacks = mine & {*missing}
        at_work = "" if not lacks else ", running" if lacks & {*running} else ", nobody at work"
        lines[f"shard {first}/{count}"] = f"{len(mine - lacks)} of {len(mine)} blocks{at_work}"
    return _table(lines)


def _running(path: Path, missing: Sequence[int]) -> list[int]:
    """Blocks that a process is at work on; whoever wants one meanwhile looks again."""
    locks, found = Locks(path / RECORDED / "lock"), []
    for i in missing:
        if locks.take(i):
            locks.give(i)
        else:
            found.append(i)
    return found


def _left(store: Store, done: int, missing: int) -> str:
    """Time until all is done, at the pace of the latest blocks."""
    files = (one for one in (store.path / RECORDED / "c").rglob("*") if one.suffix != ".partial")
    times = sorted(one.stat().st_mtime for one in files if one.is_file())[-50:]
    if done < 2 or times[-1] == times[0]:
        return "unknown yet"
    return f"about {_time(missing * (times[-1] - times[0]) / (len(times) - 1))}"


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


def _time(seconds: float) -> str:
    for unit, size in (("s", 60), ("min", 60), ("h", 48)):
        if seconds < 2 * size:
            return f"{seconds:.2g} {unit}" if seconds < 10 else f"{seconds:.0f} {unit}"
        seconds /= size if unit != "h" else 24
    return f"{seconds:.0f} days"


def _table(lines: dict[str, Any]) -> str:
    wide = max(map(len, lines))
    return "\n".join(f"{name:<{wide}}  {told}" for name, told in lines.items())
