"""Execution: tiles are prepared one after the other, and trained by as many threads as cores."""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg  # noqa: F401  its BLAS is what JAX calls, and is limited only once it is loaded
from jax import Array, lax
from threadpoolctl import threadpool_limits

from cldyn import trajectory
from cldyn.experiment import numerics
from cldyn.held import in_axes, over, placed
from cldyn.sweeps import devices, states
from cldyn.sweeps.states import STATE
from cldyn.sweeps.tiles import Part, Shape, Tile, Trajectories
from cldyn.trajectory import Limit, Plan, Prepared, Setting

Records = dict[str, np.ndarray]
Work = Callable[[Prepared, Limit | None, Tile], dict[str, Array]]


def prepare_tile(tile: Tile, plan: Plan) -> tuple[Prepared, Limit | None]:
    """What the problems of a tile [b] share, and all their limits [b, u].

    One after the other, each waited for: two factorizations at a time wait for each other's threads
    on CPU, and can wait for ever. What fills the tile up is not done again.
    """
    prepared, limits = [], []
    given = placed(tile.problem)
    ends = np.shape(tile.limits.weight_decay)[1]
    different = np.unique(tile.problems, return_index=True)[1]
    for i in different.tolist():
        problem = _at(given, i)
        trainings = [_at(tile.limits, (i, j)) for j in range(ends)]
        drawn = trajectory.draw(problem, trainings[0], plan)
        made = jax.block_until_ready(trajectory.prepare(problem, drawn, trainings[0], plan))
        found = [jax.block_until_ready(trajectory.settle(made, one, plan)) for one in trainings]
        prepared.append(made)
        limits.append(_stack(found))
    filled = np.searchsorted(tile.problems[different], tile.problems).tolist()
    return jax.block_until_ready(
        tuple(_stack([of[i] for i in filled]) for of in (prepared, limits))
    )


def _at(tree: Any, i: Any) -> Any:
    return over(lambda leaf: leaf[i], tree)


@jax.jit
def _stack(trees: list[Any]) -> Any:
    return over(lambda *leaves: jnp.stack(leaves), *trees)


def train_one(
    setting: Setting, record_at: Array, plan: Plan, state: Any = None, keep: bool = False
) -> dict[str, Any]:
    """What is recorded of one trajectory. Args: as `train_tile`."""
    setting = trajectory.with_step(setting)
    done, _ = trajectory.train(setting, plan, record_at, state)
    rate = trajectory.step_size(setting.training)
    last = {STATE: done.state} if keep else {}
    return {
        **done.records, "finite_steps": done.state.finite_steps, "step_size": rate, **last
    }  # fmt: skip


def _over_tile(
    one: Callable[..., Any], limit: Array, prepared: Prepared, limits: Any, *each: Any
) -> Any:
    """A function of one trajectory for all of a tile [b, l, ...].

    prepared, limits: of every row. limit, each: of every trajectory.
    """
    rows, length = limit.shape

    def row(prepared: Prepared, limits: Any, *each: Any) -> Any:
        return _vmap(partial(one, prepared, limits), length)(*each)

    return _vmap(row, rows)(prepared, limits, *each)


def _vmap(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """`jax.vmap`, but of a single one no loop of length one, which is traced and compiled twice."""

    def alone(*given: Any) -> Any:
        first = over(lambda leaf: leaf[0], given)
        return jax.tree.map(lambda leaf: leaf[None], function(*first))

    def all_of(*given: Any) -> Any:
        return jax.vmap(function, in_axes(given))(*given)

    return alone if count == 1 else all_of


@partial(jax.jit, static_argnames="plan")
def begin_tile(prepared: Prepared, limits: Any, training: Any, limit: Array, plan: Plan) -> Any:
    """States before the first step [b, l, ...]. Args: as `train_tile`."""

    def one(prepared: Prepared, limits: Any, training: Any, limit: Array) -> Any:
        chosen = jax.tree.map(lambda leaf: leaf[limit], limits)
        setting = trajectory.with_step(Setting(prepared, training, chosen))
        return trajectory.first_state(setting, plan)

    return _over_tile(one, limit, prepared, limits, training, limit)


@partial(jax.jit, static_argnames=("plan", "keep"), donate_argnames="state")
def train_tile(
    prepared: Prepared,
    limits: Any,
    training: Any,
    limit: Array,
    record_at: Array,
    plan: Plan,
    state: Any = None,
    keep: bool = False,
) -> dict[str, Any]:
    """Prepared [b, ...], limits [b, u, ...], training and limit [b, l]: records [b, l, t, ...].

    state: where each begins [b, l, ...]; None: at its start. keep: whether the last is returned.
    """

    def one(prepared: Prepared, limits: Any, training: Any, limit: Array, state: Any) -> Any:
        chosen = jax.tree.map(lambda leaf: leaf[limit], limits)
        return train_one(Setting(prepared, training, chosen), record_at, plan, state, keep)

    return _over_tile(one, limit, prepared, limits, training, limit, state)


@partial(jax.jit, static_argnames=("plan", "supervised"))
def forecast_tile(
    prepared: Prepared, limits: Any, training: Any, limit: Array, plan: Plan, supervised: bool
) -> dict[str, Array]:
    """What theory says of the trajectories of `train_tile` [b, l, ...]; factorizes, hence maps."""

    def problem(given: tuple[Any, ...]) -> dict[str, Array]:
        prepared, limits, training, limit = given

        def one(given: tuple[Any, Array]) -> dict[str, Array]:
            chosen = jax.tree.map(lambda leaf: leaf[given[1]], limits)
            setting = trajectory.with_step(Setting(prepared, given[0], chosen))
            return trajectory.forecast(setting, plan, supervised)

        return lax.map(one, (training, limit))

    return lax.map(problem, (prepared, limits, training, limit))


def training_work(plan: Plan, record_at: np.ndarray, keep: bool = False, like: Any = None) -> Work:
    """What is done of a tile: it is trained.

    Args:
        plan: what is static.
        record_at: steps [t].
        keep: whether the last states are wanted among the records, as bytes.
        like: a state; given where trajectories continue from those of their tile.
    """
    steps = jnp.asarray(record_at)

    def work(prepared: Prepared, limits: Any, tile: Tile) -> dict[str, Any]:
        given = prepared, limits, tile.training, tile.limit
        state = None if like is None else states.unpacked(tile.state, like)
        if keep and like is None:  # as those that go on, whose numbers are to be the same
            state = begin_tile(*given, plan)
        done = train_tile(*given, steps, plan, state=state, keep=keep)
        if keep:
            done[STATE] = states.packed(jax.device_get(done[STATE]))
        return done

    return work


def forecast_work(plan: Plan, supervised: bool) -> Work:
    """What is done of a tile: theory speaks of it."""
    return lambda prepared, limits, tile: forecast_tile(
        prepared, limits, tile.training, tile.limit, plan, supervised
    )


def run_parts(
    trajectories: Trajectories,
    parts: Iterable[Part],
    shape: Shape,
    plan: Plan,
    work: Work,
    *,
    on: Sequence[Any] | None = None,
    advance: Callable[[int], None] = lambda count: None,
) -> Iterator[tuple[Part, Records]]:
    """Parts with their records [problems, trajectories, ...], in their order, as they are done.

    This thread prepares problems, the others do the work. LAPACK gets one thread meanwhile: its
    own would wait for each other while the cores are busy, at many times the cost of their help.

    Args:
        trajectories: what there is.
        parts: what of it is wanted.
        shape: of a tile.
        plan: what is static.
        work: what is done of a tile.
        on: devices that take tiles in turn; None: the host alone, for work that factorizes too.
        advance: told how many trajectories are done.
    """
    waiting: deque[tuple[Part, Tile, Future[Records], bool]] = deque()
    records: Records = {}

    home = devices.host()
    chosen = itertools.cycle(on or [home])

    def done(tile: Tile, prepared: Prepared, limits: Any, device: Any) -> Records:
        with numerics(plan.precision), devices.at(device):  # contexts of the thread
            made, ends = jax.device_put((prepared, limits), device)
            return devices.halving(tile, lambda tile: work(made, ends, tile))

    def keep() -> Iterator[tuple[Part, Records]]:
        nonlocal records
        part, tile, future, last = waiting.popleft()
        _keep(records, part, tile, future.result())
        advance(tile.size)
        if last:
            yield part, records
            records = {}

    threads = devices.threads(on) if on else 1
    pool = ThreadPoolExecutor(threads)
    try:
        with threadpool_limits(1, "blas"):
            for part in parts:
                tiles = [*trajectories.cut(shape, part)]
                for tile in tiles:
                    if tile.first:
                        while threads == 1 and waiting:
                            yield from keep()
                        with numerics(plan.precision), devices.at(home):
                            prepared, limits = prepare_tile(tile, plan)
                    future = pool.submit(done, tile, prepared, limits, next(chosen))
                    waiting.append((part, tile, future, tile is tiles[-1]))
                    if len(waiting) > 2 * threads:  # prepared problems must not pile up
                        yield from keep()
            while waiting:
                yield from keep()
    finally:  # whoever interrupts does not wait for what is being trained
        pool.shutdown(wait=False, cancel_futures=True)


def _keep(records: Records, part: Part, tile: Tile, found: Records) -> None:
    rows = np.searchsorted(part.problems, tile.problems)[:, None]
    columns = np.searchsorted(part.trajectories, tile.trajectories)
    for name, value in found.items():
        if name not in records:
            counts = part.problems.size, part.trajectories.size
            records[name] = np.empty((*counts, *value.shape[2:]), value.dtype)
        records[name][rows, columns] = value  # what fills a tile up is the same once more
