"""Axes of a sweep: named values, zipped inside a group and multiplied between groups."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from cldyn.data import FeatureModel, Views
from cldyn.experiment import Experiment, Problem, Training, check, check_training
from cldyn.refusal import require

Group = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Grid:
    """Lanes as problems x trainings. dims: (name, {field: values}, touches data) in the user's order."""

    dims: tuple[tuple[str, dict[str, list[Any]], bool], ...]

    def shape(self, of_problem: bool) -> tuple[int, ...]:
        """Lengths of the dimensions that touch data, or of those that do not."""
        return tuple(len(next(iter(group.values()))) for _, group, touches in self.dims if touches == of_problem)

    def values(self, of_problem: bool) -> dict[str, np.ndarray]:
        """Every field of those dimensions, spread over their product and flattened."""
        shape = self.shape(of_problem)
        groups = [group for _, group, touches in self.dims if touches == of_problem]
        index = np.indices(shape).reshape(len(shape), math.prod(shape))
        return {name: np.asarray(values)[index[i]] for i, group in enumerate(groups) for name, values in group.items()}


def fields_of(*owners: type) -> list[str]:
    """Names of the numbers in these types."""
    return [field.name for owner in owners for field in fields(owner) if not field.metadata.get("static") and field.name != "data"]


def grid_of(experiment: Experiment, axes: Sequence[Group]) -> Grid:
    """The grid of checked axes, refused where they make no sense."""
    check(experiment)
    of_data = [] if isinstance(experiment.problem.data, Views) else fields_of(Problem, FeatureModel)
    allowed = of_data + fields_of(Training)
    shared = of_data + ["seed"] * (experiment.training.batch != "full")  # a seed's lanes share their batches
    seen: set[str] = set()
    dims = []
    require(isinstance(axes, (list, tuple)), "axes", axes, "a list of groups {field: [values]}")
    for group in axes:
        listed = isinstance(group, Mapping) and all(isinstance(values, (list, tuple, range)) or np.ndim(values) for values in group.values())
        require(listed, "axes", group, "a list of groups {field: [values]}")
        lengths = {name: len(values) for name, values in group.items()}
        for name in lengths:
            require(name in allowed, "axes", name, f"one of the numbers {', '.join(allowed)}; anything else needs a sweep of its own")
            require(name not in seen, "axes", name, "a field once")
        seen |= set(lengths)
        require(len({*lengths.values()}) == 1 and all(lengths.values()), "axes", lengths, "one length >= 1 in a group, whose fields are zipped")
        values = {name: [_value(experiment, name, value) for value in values] for name, values in group.items()}
        dims.append((next(iter(group)), values, any(name in shared for name in group)))
    grid = Grid(tuple(dims))
    for _, group, of_problem in dims:
        for i in range(len(next(iter(group.values())))):
            changed = replaced(experiment, {name: values[i] for name, values in group.items()})
            if of_problem:
                check(changed)
            else:
                check_training(changed.training, changed.problem.precision)
    return grid


def _value(experiment: Experiment, name: str, value: Any) -> Any:
    if np.ndim(value) == 0 and hasattr(value, "item"):
        value = value.item()
    if name.startswith("irrelevant_"):
        count = len(experiment.problem.data.irrelevant_strength)  # type: ignore[union-attr]
        value = tuple(value) if isinstance(value, tuple) or np.ndim(value) else (value,) * count
        require(count and len(value) == count, name, value, f"one number for all or one for each of {count} irrelevant features")
    return value


def replaced(experiment: Experiment, values: dict[str, Any]) -> Experiment:
    """The experiment with fields replaced, wherever they live."""
    problem, training = experiment.problem, experiment.training
    mine = {name: value for name, value in values.items() if name in fields_of(FeatureModel)}
    if mine:
        problem = replace(problem, data=replace(problem.data, **mine))
    problem = replace(problem, **{name: value for name, value in values.items() if name in fields_of(Problem)})
    training = replace(training, **{name: value for name, value in values.items() if name in fields_of(Training)})
    return Experiment(problem, training)


