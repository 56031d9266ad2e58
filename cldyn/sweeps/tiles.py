"""Tiles: what a device trains at a time. All of one shape, so of one compilation."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import numpy as np

from cldyn import nouns, trajectory
from cldyn.encoders import is_linear, with_rows
from cldyn.experiment import Experiment
from cldyn.held import over
from cldyn.sweeps.grid import Grid
from cldyn.trajectory import Plan, needs_test

_CACHE = 128 * 1024  # bytes of parameters in a tile: what fits a core's cache with its gradient
_SHARING = 4  # trajectories of a tile whose parameters are larger
_MOST, _SHORT = 1024, 16  # trajectories of a tile, and of a row where short ones are better
_FEW, _CORES = 64, 8  # of a tile, however small they are, and cores that always get tiles
_MEMORY = 2**30  # bytes of inputs in preparation at a time
_LIMITS = ("embed_dim", "weight_decay")  # what a limit depends on beside problem and positives


class Shape(NamedTuple):
    """Shape of a tile: rows of one problem each.

    rows: how many. trajectories: of each row. limits: of each row, at most. one: whether all rows
    of a tile are of one problem.
    """

    rows: int
    trajectories: int
    limits: int = 1
    one: bool = False


def cached(parameters: int) -> int:
    """Trajectories, with parameters of so many bytes, that a core's cache holds: a power of two.

    What no cache holds, as large networks, is trained by a few that share batches and views.
    """
    fits = max(_SHARING, min(_MOST, _CACHE // parameters))
    return 1 << fits.bit_length() - 1


def tile_shape(counts: tuple[int, int], fits: int, inputs: int, apart: bool) -> Shape:
    """The shape of tiles, from sizes alone.

    Args:
        counts: number of problems, and of trajectories on each.
        fits: trajectories that fit, a power of two.
        inputs: bytes that the preparation of one problem takes.
        apart: whether short rows are better than long ones.

    Returns:
        Shape. Rows are filled up evenly, and never one by one: a
        batch of one would sum in another order, and XLA's products for a single row are half as
        fast as for two.
    """
    problems, trajectories = counts
    if apart and problems == 1:  # all rows are of it
        length = min(_SHORT, fits // 2, -(-trajectories // 2))
        rows = max(2, min(fits // length, trajectories // length))
        tiles = -(-trajectories // (rows * length))
        return Shape(rows, -(-trajectories // (tiles * rows)), one=True)
    most = min(_SHORT, fits) if apart else fits
    length = -(-trajectories // -(-trajectories // most))
    roomy = max(1, _MEMORY // inputs)
    most = min(max(1, fits // length), problems, roomy)
    rows = -(-problems // -(-problems // most))
    return Shape(rows, 2 if length * rows == 1 else length)


def _of_block(whole: Shape, counts: tuple[int, int], apart: bool) -> Shape:
    """The shape for a block of a sweep: with rows as long as of the whole, but no more than it has.

    Products of a row are sums in an order that its length decides, on some processors: so what is
    stored is bit for bit what memory holds.
    """
    (problems, trajectories), length = counts, whole.trajectories
    one = apart and problems == 1
    rows = min(whole.rows, -(-trajectories // length) if one else problems)
    return Shape(max(rows, 2 if length == 1 else 1), length, one=one)


def parameters_of(experiment: Experiment, plan: Plan, rows: int) -> int:
    """Bytes of the parameters of a trajectory. rows: of W."""
    encoder, item = experiment.training.encoder, np.dtype(experiment.precision).itemsize
    n, m, d = experiment.problem.shape
    wide = d + getattr(encoder, "bias", 0)
    if is_linear(encoder):
        stored = experiment.problem.has_rows and plan.in_frame
        beyond = rows if getattr(encoder, "window", ()) else 0
        return item * rows * (min(n * m, wide) if stored else wide + beyond)
    started = jax.eval_shape(lambda: encoder.init(jax.random.key(0), d))
    return item * sum(leaf.size for leaf in jax.tree.leaves(started))


def inputs_of(experiment: Experiment, plan: Plan) -> int:
    """Bytes that the preparation of a problem takes."""
    problem, item = experiment.problem, np.dtype(experiment.precision).itemsize
    n, m, d = problem.shape
    wide = d + getattr(experiment.training.encoder, "bias", 0)
    inputs = n * m * wide if problem.has_rows else wide * wide
    if needs_test(plan, experiment.training):
        inputs += getattr(problem, "test_size", 0) * wide
    return 8 * item * inputs


class Part(NamedTuple):
    """Some problems and some trajectories on each, whose records are wanted together.

    state: where these stand, as bytes [problems, trajectories, bytes]; None: at their start.
    """

    problems: np.ndarray
    trajectories: np.ndarray
    state: np.ndarray | None = None


class Tile(NamedTuple):
    """One tile, filled up with its own to the one shape.

    problems: of its rows [b]. trajectories: on each [b, l].
    size: how many, without what fills it up and what an earlier one has.
    problem: leaves [b, ...], but for what is held. training: leaves [b, l, ...].
    limits: a training for every limit that occurs, leaves [b, u, ...].
    limit: which of these is a trajectory's [b, l].
    first: whether it is the first with these problems, which are to be prepared.
    state: where its trajectories stand, as of `Part` [b, l, bytes].
    """

    problems: np.ndarray
    trajectories: np.ndarray
    size: int
    problem: Any
    training: Any
    limits: Any
    limit: np.ndarray
    first: bool
    state: np.ndarray | None


class Trajectories:
    """All trajectories of a sweep [problems, trajectories of each] and their tiles."""

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
        self.rows = self._widest(experiment)
        experiment = self.experiment = trajectory.within(
            experiment, self.rows, {*self.varied, *of_problem}
        )
        self.problem = _spread(experiment, "problem", of_problem, paths, counts[:1])
        experiment = nouns.put(
            experiment, ("training", "encoder"), with_rows(experiment.training.encoder, self.rows)
        )
        self.training = _spread(experiment, "training", self.varied, paths, counts)
        ends = [name for name in self.varied if name in _LIMITS or paths[name][1] == "positives"]
        self.alike = not any(name in shared for name in ends)
        self.limit, self.widest = _limits([self.varied[name] for name in ends], counts, self.alike)

    def first(self) -> tuple[Any, Any]:
        """Problem and training of the first one, for shapes."""
        return (
            over(lambda leaf: leaf[0], self.problem),
            jax.tree.map(lambda leaf: leaf[0, 0], self.training),
        )

    def _widest(self, experiment: Experiment) -> int:
        now = getattr(experiment.training.encoder, "embed_dim", 0)
        return int(np.max(self.varied.get("embed_dim", now)))

    def shape(
        self, fits: int, inputs: int, plan: Plan, counts: tuple[int, int] | None = None
    ) -> Shape:
        """The shape of tiles of so many problems and trajectories of each; None: of all."""
        if self.counts == (1, 1) and not is_linear(self.experiment.training.encoder):
            return Shape(1, 1)  # twice a network would take twice the time
        # Batches are shared along a row.
        on_cpu = jax.default_backend() == "cpu"
        apart = plan.in_frame and not plan.draws and on_cpu
        if on_cpu:  # a core's cache is no reason to leave other cores without a tile
            each = max(1, self.counts[0] * self.counts[1] // _CORES)
            fits = min(fits, max(_FEW, 1 << each.bit_length() - 1))
        shape = tile_shape(self.counts, fits, inputs, apart)
        if counts:
            shape = _of_block(shape, counts, apart)
        return shape._replace(limits=min(self.widest, (counts or self.counts)[1]))

    def cut(self, shape: Shape, part: Part) -> Iterator[Tile]:
        """The tiles of a part, all of one shape."""
        for rows, table in _rows(shape, part.problems.size, part.trajectories.size):
            problems = part.problems[rows]
            problem = over(lambda leaf, at=problems: leaf[at], self.problem)
            limit, chosen = self._ends(problems, part.trajectories, shape.limits)
            ends = problems[:, None], chosen
            limits = jax.tree.map(lambda leaf, at=ends: leaf[at], self.training)
            met: set[tuple[int, ...]] = set()
            for first in range(0, table.shape[1], shape.trajectories):
                filled = np.arange(first, first + shape.trajectories) % table.shape[1]
                inside = rows[:, None], table[:, filled]
                at = problems[:, None], part.trajectories[inside[1]]
                training = jax.tree.map(lambda leaf, at=at: leaf[at], self.training)
                new = {*zip(*map(np.ravel, np.broadcast_arrays(*at)), strict=True)} - met
                met |= new
                stands = None if part.state is None else part.state[inside]
                yield Tile(
                    problems, at[1], len(new), problem, training, limits,
                    np.take_along_axis(limit, inside[1], axis=1), first == 0, stands,
                )  # fmt: skip

    def _ends(
        self, rows: np.ndarray, trajectories: np.ndarray, most: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which limit is every trajectory's [b, l], and a trajectory for every limit [b, u]."""
        limit, chosen = [], []
        for row in rows[:1] if self.alike else rows:
            given = self.limit[row, trajectories]
            _, first, place = np.unique(given, return_index=True, return_inverse=True)
            limit.append(np.ravel(place).astype(np.int32))
            chosen.append(np.resize(trajectories[first], most))
        count = len(rows)
        return np.resize(limit, (count, trajectories.size)), np.resize(chosen, (count, most))


def _rows(shape: Shape, problems: int, trajectories: int) -> Iterator[tuple[Any, Any]]:
    """Problems of the rows of tiles [b], and all trajectories of these rows [b, ...], by place."""
    if shape.one:
        length = -(-trajectories // shape.rows)
        table = np.resize(np.arange(trajectories), (shape.rows, length))
        for problem in range(problems):
            yield np.full(shape.rows, problem), table
        return
    for start in range(0, problems, shape.rows):
        rows = np.resize(np.arange(start, min(start + shape.rows, problems)), shape.rows)
        yield rows, np.broadcast_to(np.arange(trajectories), (shape.rows, trajectories))


def _spread(experiment: Experiment, half: str, columns: Any, paths: Any, counts: Any) -> Any:
    """A half of the experiment with leaves over problems, or over all trajectories."""
    whole = nouns.cast(getattr(experiment, half), experiment.precision)
    shape = tuple(counts)
    whole = over(lambda leaf: np.broadcast_to(leaf, (*shape, *np.shape(leaf))), whole)
    for name, values in columns.items():
        extra = values.ndim - len(shape)
        column = tuple(np.moveaxis(values, -1, 0)) if extra else values
        whole = nouns.put(whole, paths[name][1:], column)
    return nouns.cast(whole, experiment.precision)


def _limits(
    varied: list[np.ndarray], counts: tuple[int, int], alike: bool
) -> tuple[np.ndarray, int]:
    """Which limit is every trajectory's, counted for each problem, and the most of one problem.

    Limits depend on a few numbers alone: there is one for each combination that occurs. alike:
    whether those of one problem are those of all.
    """
    limit, widest = np.zeros((1 if alike else counts[0], counts[1]), np.int32), 1
    for i, row in enumerate(limit) if varied else ():
        table = np.stack([np.asarray(one[i], float) for one in varied])
        found, place = np.unique(table, axis=1, return_inverse=True)
        row[:] = np.ravel(place)
        widest = max(widest, found.shape[1])
    return np.broadcast_to(limit, counts), widest
