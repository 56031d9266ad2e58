"""Blocks: boxes of trajectories that are stored together, each as a whole or not at all."""

import math
from dataclasses import dataclass

import numpy as np

from cldyn.sweeps.grid import Grid
from cldyn.sweeps.tiles import Part

WORK = 2**31  # of a block: less than a second of work to lose, and few files
BYTES = 2**25  # of a block's records

Box = tuple[slice, ...]


def sides_of(box: Box) -> list[int]:
    """How many trajectories a box has along every axis."""
    return [side.stop - side.start for side in box]


@dataclass(frozen=True)
class Blocks:
    """All blocks of a grid.

    grid: whose trajectories they hold.
    lengths: of a block along every axis, in the user's order; the last may be shorter.
    """

    grid: Grid
    lengths: tuple[int, ...]

    def __len__(self) -> int:
        return math.prod(self._counts())

    def counts(self) -> tuple[int, int]:
        """Problems of a block, and trajectories on each."""
        sides = [*zip(self.grid.axes, self.lengths, strict=True)]
        problems, trajectories = (
            math.prod(length for axis, length in sides if axis.of_problem == flag)
            for flag in (True, False)
        )
        return problems, trajectories

    def box(self, index: int) -> Box:
        """Where a block lies; those of the same problems come one after the other."""
        order = self.grid.order()
        sizes = [self._counts()[i] for i in order]
        place = dict(zip(order, np.unravel_index(index, sizes), strict=True)) if order else {}
        return tuple(
            slice(place[i] * length, min((place[i] + 1) * length, axis.size))
            for i, (axis, length) in enumerate(zip(self.grid.axes, self.lengths, strict=True))
        )

    def part(self, box: Box, state: np.ndarray | None = None) -> Part:
        """The problems and trajectories of a box. state: of the box, in the user's order."""
        problems, trajectories = (self._flat(box, flag) for flag in (True, False))
        if state is not None:
            state = np.transpose(state, (*self.grid.order(), len(box)))
            state = state.reshape(problems.size, trajectories.size, -1)
        return Part(problems, trajectories, state)

    def ordered(self, values: np.ndarray, box: Box) -> np.ndarray:
        """Records [problems, trajectories, ...] of a box in the user's order of axes."""
        return self.grid.ordered(values, sides_of(box))

    def _counts(self) -> list[int]:
        return [
            -(-axis.size // length)
            for axis, length in zip(self.grid.axes, self.lengths, strict=True)
        ]

    def _flat(self, box: Box, of_problem: bool) -> np.ndarray:
        """Places of a box's problems, or of its trajectories, among all."""
        shape = self.grid.shape(of_problem)
        sides = [
            np.arange(side.start, side.stop)
            for axis, side in zip(self.grid.axes, box, strict=True)
            if axis.of_problem == of_problem
        ]
        if not sides:
            return np.zeros(1, int)
        return np.ravel_multi_index(np.ix_(*sides), shape).ravel()


def lengths_of(grid: Grid, most: int, rows: int = 1) -> tuple[int, ...]:
    """Lengths of blocks of at most so many trajectories along every axis, in the user's order.

    What shares a problem comes first, and no block is much smaller than the others. rows: problems
    of a tile, of which a block has a multiple.
    """
    lengths, room = {}, most
    for flag in (False, True):
        for i in reversed(range(len(grid.axes))):
            axis = grid.axes[i]
            if axis.of_problem == flag:
                count = -(-axis.size // max(1, room))
                length = -(-axis.size // count)
                if flag and count > 1 and length > rows:
                    length -= length % rows
                lengths[i], room = length, room // axis.size if count == 1 else 1
    return tuple(lengths[i] for i in range(len(grid.axes)))


def most_of(work: int, record_bytes: int, least: int) -> int:
    """Trajectories of a block.

    Args:
        work: of each, as bytes of parameters x inputs that they meet.
        record_bytes: of each.
        least: of a tile.
    """
    return max(least, min(WORK // max(1, work), BYTES // max(1, record_bytes)))
