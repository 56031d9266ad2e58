"""Axes of a sweep: named values, zipped inside a group and multiplied between groups."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cldyn import nouns
from cldyn.checks import one_of, require
from cldyn.experiment import Experiment, check, check_training

Group = Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    """A dimension of a sweep.

    name: its first field.
    values: {field: values}, zipped.
    labels: the values as they were given.
    of_problem: whether it touches data, so that its trajectories share none.
    """

    name: str
    values: dict[str, list[Any]]
    labels: dict[str, list[Any]]
    of_problem: bool

    @property
    def size(self) -> int:
        """Its length."""
        return len(self.values[self.name])


@dataclass(frozen=True)
class Grid:
    """Trajectories as problems x trainings; axes in the user's order."""

    axes: tuple[Axis, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the axes."""
        return tuple(axis.name for axis in self.axes)

    def shape(self, of_problem: bool) -> tuple[int, ...]:
        """Lengths of the axes that touch data, or of those that do not."""
        return tuple(axis.size for axis in self.axes if axis.of_problem == of_problem)

    def counts(self) -> tuple[int, int]:
        """Number of problems, and of trajectories on each."""
        return math.prod(self.shape(True)), math.prod(self.shape(False))

    def order(self) -> list[int]:
        """Places of the axes in the user's order, those that touch data first."""
        count = range(len(self.axes))
        return [i for flag in (True, False) for i in count if self.axes[i].of_problem == flag]

    def ordered(self, values: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
        """Values [problems, trajectories, ...] of a box in the user's order of axes.

        sizes: of the box, in that order.
        """
        order = self.order()
        shaped = values.reshape((*(sizes[i] for i in order), *values.shape[2:]))
        return np.moveaxis(shaped, range(len(order)), order)

    def columns(self, of_problem: bool) -> dict[str, np.ndarray]:
        """Every field of those axes, spread over their product and flattened."""
        shape = self.shape(of_problem)
        axes = [axis for axis in self.axes if axis.of_problem == of_problem]
        index = np.indices(shape).reshape(len(shape), math.prod(shape))
        return {
            name: np.asarray(values)[index[i]]
            for i, axis in enumerate(axes)
            for name, values in axis.values.items()
        }


def grid_of(experiment: Experiment, axes: Sequence[Group]) -> Grid:
    """The grid of checked axes of a checked experiment, refused where they make no sense."""
    check(experiment)
    allowed = nouns.numbers_of(experiment)
    seen: set[str] = set()
    listed = isinstance(axes, (list, tuple))
    require(listed, "axes", axes, "a list of groups {field: [values]}")
    found = []
    for group in axes:
        _check_group(group, allowed, seen)
        seen |= set(group)
        found.append(_axis(experiment, group, allowed))
    return Grid(tuple(found))


def _check_group(group: Any, allowed: Mapping[str, Any], seen: set[str]) -> None:
    listed = isinstance(group, Mapping) and all(
        isinstance(values, (list, tuple, range)) or np.ndim(values) for values in group.values()
    )
    require(listed, "axes", group, "a list of groups {field: [values]}")
    lengths = {name: len(values) for name, values in group.items()}
    for name in lengths:
        names = f"{one_of(name, allowed)}; what is no number needs a sweep of its own"
        require(name in allowed, "axes", name, names)
        require(name not in seen, "axes", name, "a field once")
    good = len({*lengths.values()}) == 1 and all(lengths.values())
    require(good, "axes", lengths, "one length >= 1 in a group, whose fields are zipped")


def _axis(experiment: Experiment, group: Group, allowed: Mapping[str, nouns.Path]) -> Axis:
    shared = experiment.training.batch.draws  # trajectories of a seed share their batches
    touches = any(allowed[name][0] == "problem" or (name == "seed" and shared) for name in group)
    labels = {
        name: [_label(experiment, allowed[name], value) for value in values]
        for name, values in group.items()
    }
    values = {
        name: [_spread(experiment, allowed[name], value) for value in given]
        for name, given in labels.items()
    }
    axis = Axis(next(iter(group)), values, labels, touches)
    seen: set[Any] = set()
    for i in range(axis.size):
        changed = experiment
        for name, column in values.items():
            changed = nouns.put(changed, allowed[name], column[i])
        if touches:
            check(changed)
        else:
            check_training(changed.training, changed.precision)
        one = tuple(column[i] for column in values.values())
        shown = {name: column[i] for name, column in labels.items()}
        require(one not in seen, "axes", shown, "different values along an axis")
        seen.add(one)
    return axis


def _label(experiment: Experiment, path: nouns.Path, value: Any) -> Any:
    """A value as a plain one; infinity for None, where a number may be that."""
    optional = nouns.takes_of(nouns.declared(experiment, path)[0]).optional
    return math.inf if value is None and optional else _plain(value)


def _plain(value: Any) -> Any:
    if np.ndim(value) == 0 and hasattr(value, "item"):
        return value.item()
    return tuple(_plain(one) for one in value) if np.ndim(value) else value


def _spread(experiment: Experiment, path: nouns.Path, value: Any) -> Any:
    """A value as its field takes it: one number stands for all of a tuple."""
    field, now = nouns.declared(experiment, path)
    if nouns.takes_of(field).kind != "numbers":
        return value
    count = len(now) or len(getattr(experiment.problem.model, "irrelevant_strength", ()))
    value = value if isinstance(value, tuple) else (value,) * count
    allowed = f"one number for all or one for each of {count}"
    require(count and len(value) == count, field.name, value, allowed)
    return value
