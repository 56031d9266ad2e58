"""Execution: blocks are prepared one after the other, and trained by as many threads as cores."""

import os
import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from multiprocessing import parent_process
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg  # noqa: F401  its BLAS is what JAX calls, and is limited only once it is loaded
from jax import Array, lax
from rich.console import Console
from rich.progress import Progress
from threadpoolctl import threadpool_limits

from cldyn import trajectory
from cldyn.experiment import numerics
from cldyn.sweeps.blocks import Block, Blocks, Shape
from cldyn.trajectory import Limit, Plan, Prepared, Setting

Records = dict[str, np.ndarray]
Work = Callable[[Prepared, Limit | None, Block], dict[str, Array]]


def prepare_block(block: Block, plan: Plan) -> tuple[Prepared, Limit | None]:
    """What the problems of a block [b] share, and all their limits [b, u].

    One after the other, each waited for: two factorizations at a time wait for each other's threads
    on CPU, and can wait for ever. What fills the block up is not done again.
    """
    prepared, limits = [], []
    count, ends = np.shape(block.limits.weight_decay)
    for i in range(block.problems.size):
        problem = _at(block.problem, i)
        trainings = [_at(block.limits, (i, j)) for j in range(ends)]
        drawn = trajectory.draw(problem, trainings[0], plan)
        made = jax.block_until_ready(trajectory.prepare(problem, drawn, trainings[0], plan))
        found = [jax.block_until_ready(trajectory.settle(made, one, plan)) for one in trainings]
        prepared.append(made)
        limits.append(_stack(found))
    filled = [i % len(prepared) for i in range(count)]
    return jax.block_until_ready(
        tuple(_stack([of[i] for i in filled]) for of in (prepared, limits))
    )


def _at(tree: Any, i: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], tree)


@jax.jit
def _stack(trees: list[Any]) -> Any:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@partial(jax.jit, static_argnames="plan")
def train_block(
    prepared: Prepared, limits: Any, training: Any, limit: Array, record_at: Array, plan: Plan
) -> dict[str, Array]:
    """Prepared [b, ...], limits [b, u, ...], training and limit [b, l]: records [b, l, t, ...]."""

    def one(prepared: Prepared, limits: Any, training: Any, limit: Array) -> dict[str, Array]:
        chosen = jax.tree.map(lambda leaf: leaf[limit], limits)
        setting = trajectory.with_step(Setting(prepared, training, chosen))
        done, _ = trajectory.train(setting, plan, record_at)
        rate = trajectory.step_size(setting.training)
        return {**done.records, "finite_steps": done.state.finite_steps, "step_size": rate}

    return jax.vmap(jax.vmap(one, in_axes=(None, None, 0, 0)))(prepared, limits, training, limit)


@partial(jax.jit, static_argnames=("plan", "supervised"))
def forecast_block(
    prepared: Prepared, limits: Any, training: Any, limit: Array, plan: Plan, supervised: bool
) -> dict[str, Array]:
    """What theory says of the trajectories of `train_block` [b, l, ...]; factorizes, hence maps."""

    def problem(given: tuple[Any, ...]) -> dict[str, Array]:
        prepared, limits, training, limit = given

        def one(given: tuple[Any, Array]) -> dict[str, Array]:
            chosen = jax.tree.map(lambda leaf: leaf[given[1]], limits)
            setting = trajectory.with_step(Setting(prepared, given[0], chosen))
            return trajectory.forecast(setting, plan, supervised)

        return lax.map(one, (training, limit))

    return lax.map(problem, (prepared, limits, training, limit))


def training_work(plan: Plan, record_at: np.ndarray) -> Work:
    """What is done of a block: it is trained."""
    steps = jnp.asarray(record_at)
    return lambda prepared, limits, block: train_block(
        prepared, limits, block.training, block.limit, steps, plan
    )


def forecast_work(plan: Plan, supervised: bool) -> Work:
    """What is done of a block: theory speaks of it."""
    return lambda prepared, limits, block: forecast_block(
        prepared, limits, block.training, block.limit, plan, supervised
    )


def run_blocks(
    blocks: Blocks, shape: Shape, plan: Plan, work: Work, *, threads: int, progress: bool
) -> Records:
    """Records of all trajectories [problems, trajectories, ...].

    This thread prepares problems, the others do the work. LAPACK gets one thread meanwhile: its
    own would wait for each other while the cores are busy, at many times the cost of their help.

    Args:
        blocks: what there is.
        shape: of a block.
        plan: what is static.
        work: what is done of a block.
        threads: of the work; 1 where it factorizes too.
        progress: whether a terminal shows a bar.
    """
    results: Records = {}
    waiting: deque[tuple[Block, Future[Records]]] = deque()
    # Of processes side by side none has the terminal for itself.
    shown = progress and sys.stderr.isatty() and parent_process() is None
    bar = Progress(console=Console(stderr=True), transient=True, disable=not shown)

    def done(block: Block, prepared: Prepared, limits: Any) -> Records:
        with numerics(plan.precision):  # a context of the thread
            return jax.device_get(work(prepared, limits, block))

    with threadpool_limits(1, "blas"), bar, ThreadPoolExecutor(threads) as pool:
        task = bar.add_task("trajectories", total=blocks.counts[0] * blocks.counts[1])

        def keep() -> None:
            block, future = waiting.popleft()
            _keep(results, blocks.counts, block, future.result())
            bar.advance(task, block.problems.size * block.trajectories.size)

        for block in blocks.cut(shape):
            if block.first:
                while threads == 1 and waiting:
                    keep()
                prepared, limits = prepare_block(block, plan)
            waiting.append((block, pool.submit(done, block, prepared, limits)))
            if len(waiting) > 2 * threads:  # prepared problems must not pile up
                keep()
        while waiting:
            keep()
    return results


def _keep(results: Records, counts: tuple[int, int], block: Block, found: Records) -> None:
    for name, value in found.items():
        if name not in results:
            results[name] = np.empty((*counts, *value.shape[2:]), value.dtype)
        here = value[: block.problems.size, : block.trajectories.size]
        results[name][np.ix_(block.problems, block.trajectories)] = here


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
