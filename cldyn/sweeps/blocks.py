"""Blocks: some problems x some trajectories on each, all of one shape, so of one compilation."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from cldyn import nouns
from cldyn.encoders import is_linear, with_rows
from cldyn.experiment import Experiment
from cldyn.sweeps.grid import Grid
from cldyn.trajectory import Plan, needs_test

_CACHE = 128 * 1024  # bytes of parameters in a block: what fits a core's cache with its gradient
_MEMORY = 2**30  # bytes of inputs in preparation at a time
_LIMITS = ("embed_dim", "weight_decay")  # what a limit depends on beside problem and positives


class Shape(NamedTuple):
    """Shape of a block. problems: how many. trajectories: on each."""

    problems: int
    trajectories: int


def block_shape(counts: tuple[int, int], parameters: int, inputs: int) -> Shape:
    """The shape of blocks, from sizes alone.

    Args:
        counts: number of problems, and of trajectories on each.
        parameters: bytes of the parameters of one trajectory.
        inputs: bytes that the preparation of one problem takes.

    Returns:
        Shape. On a CPU a core's cache decides; a batch of one would sum in another order.
    """
    fits = max(2, min(1024, _CACHE // parameters))
    fits = 1 << fits.bit_length() - 1
    roomy = max(1, _MEMORY // inputs)
    trajectories = min(fits, counts[1])
    problems = min(max(1, fits // trajectories), counts[0], roomy)
    return Shape(problems, 2 if trajectories * problems == 1 else trajectories)


def shape_of(experiment: Experiment, counts: tuple[int, int], plan: Plan, rows: int) -> Shape:
    """The shape of an experiment's blocks. rows: of W."""
    problem, encoder = experiment.problem, experiment.training.encoder
    n, m, d = problem.shape
    item = np.dtype(experiment.precision).itemsize
    wide = d + getattr(encoder, "bias", 0)
    if is_linear(encoder):
        stored = problem.has_rows and plan.in_frame
        parameters = rows * (min(n * m, wide) if stored else wide)
    else:
        started = jax.eval_shape(lambda: encoder.init(jax.random.key(0), d))
        parameters = sum(leaf.size for leaf in jax.tree.leaves(started))
    inputs = n * m * wide if problem.has_rows else wide * wide
    if needs_test(plan, experiment.training):
        inputs += getattr(problem, "test_size", 0) * wide
    return block_shape(counts, parameters * item, 8 * item * inputs)


class Block(NamedTuple):
    """One block, filled up with its own to the one shape.

    problems, trajectories: which they are, without what fills it up.
    problem: leaves [b, ...]. training: leaves [b, l, ...].
    limits: a training for every limit that occurs, leaves [b, u, ...].
    limit: which of these is a trajectory's [b, l].
    first: whether it is the first with these problems, which are to be prepared.
    """

    problems: np.ndarray
    trajectories: np.ndarray
    problem: Any
    training: Any
    limits: Any
    limit: np.ndarray
    first: bool


class Blocks:
    """All trajectories of a sweep [problems, trajectories of each] and their blocks."""

    def __init__(self, experiment: Experiment, grid: Grid) -> None:
        counts, paths = grid.counts(), nouns.numbers_of(experiment)
        of_problem, of_training = grid.columns(True), grid.columns(False)
        shared = {
            name: of_problem.pop(name) for name in [*of_problem] if paths[name][0] != "problem"
        }
        self.counts = counts
        self.varied = {name: np.broadcast_to(one[:, None], counts) for name, one in shared.items()}
        self.varied |= {
            name: np.broadcast_to(one[None], counts) for name, one in of_training.items()
        }
        self.rows = self._rows(experiment)
        self.problem = _spread(experiment, "problem", of_problem, paths, counts[:1])
        experiment = nouns.put(
            experiment, ("training", "encoder"), with_rows(experiment.training.encoder, self.rows)
        )
        self.training = _spread(experiment, "training", self.varied, paths, counts)
        ends = [name for name in self.varied if name in _LIMITS or paths[name][1] == "positives"]
        self.limit, self.chosen = _limits([self.varied[name] for name in ends], counts)

    def _rows(self, experiment: Experiment) -> int:
        now = getattr(experiment.training.encoder, "embed_dim", 0)
        return int(np.max(self.varied.get("embed_dim", now)))

    def cut(self, shape: Shape) -> Iterator[Block]:
        """The blocks, all of one shape."""
        problems, trajectories = self.counts
        for start in range(0, problems, shape.problems):
            present = np.arange(start, min(start + shape.problems, problems))
            rows = np.resize(present, shape.problems)
            problem = jax.tree.map(lambda leaf, rows=rows: leaf[rows], self.problem)
            ends = rows[:, None], self.chosen[rows]
            limits = jax.tree.map(lambda leaf, at=ends: leaf[at], self.training)
            for first in range(0, trajectories, shape.trajectories):
                columns = np.arange(first, min(first + shape.trajectories, trajectories))
                filled = np.arange(first, first + shape.trajectories) % trajectories
                at = np.ix_(rows, filled)
                training = jax.tree.map(lambda leaf, at=at: leaf[at], self.training)
                yield Block(present, columns, problem, training, limits, self.limit[at], first == 0)


def _spread(experiment: Experiment, half: str, columns: Any, paths: Any, counts: Any) -> Any:
    """A half of the experiment with leaves over problems, or over all trajectories."""
    whole = nouns.cast(getattr(experiment, half), experiment.precision)
    shape = tuple(counts)
    whole = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (*shape, *np.shape(leaf))), whole)
    for name, values in columns.items():
        extra = values.ndim - len(shape)
        column = tuple(np.moveaxis(values, -1, 0)) if extra else values
        whole = nouns.put(whole, paths[name][1:], column)
    return nouns.cast(whole, experiment.precision)


def _limits(varied: list[np.ndarray], counts: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Which limit is every trajectory's, and a trajectory for every limit of a problem [b, u].

    Limits depend on a few numbers alone: there is one for each combination that occurs.
    """
    table = np.stack([np.zeros(counts), *(np.asarray(one, float) for one in varied)])
    limit, chosen, widest = np.zeros(counts, np.int32), [], 1
    for i in range(counts[0]):
        _, first, place = np.unique(table[:, i], axis=1, return_index=True, return_inverse=True)
        limit[i] = np.ravel(place)
        chosen.append(first)
        widest = max(widest, len(first))
    return limit, np.array([np.resize(first, widest) for first in chosen])
