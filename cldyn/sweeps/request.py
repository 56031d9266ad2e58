"""What a sweep is asked: in words, so that a store says it, and requests can be compared."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cldyn.checks import refuse, require
from cldyn.experiment import Experiment, describe
from cldyn.sweeps.grid import Grid, Group
from cldyn.trajectory import Measures, plan_of

_ELSE = "the same sweep's, or a new place"


@dataclass(frozen=True)
class Request:
    """What a sweep is asked, as its store has it.

    experiment: in one line of JSON. axes: labels by field, of every group.
    record_at: steps. measure: names. states: whether they are kept.
    """

    experiment: str
    axes: list[dict[str, list[Any]]]
    record_at: list[int]
    measure: list[str]
    states: bool

    def words(self) -> dict[str, Any]:
        """For JSON, which has no infinity."""
        axes = [
            {
                name: [str(one) if one in (np.inf, -np.inf) else one for one in labels]
                for name, labels in group.items()
            }
            for group in self.axes
        ]
        return vars(self) | {"axes": axes}

    def merged(self, old: "Request", path: Path) -> "Request":
        """This request and one that is in a store already, refused where they do not go together.

        Axes and steps may have become longer; values that are there stay in their places.
        """
        _check_axes(path, self.axes, old.axes)
        check_same(path, old.experiment, self.experiment)
        require(
            {*self.measure} == {*old.measure}, "store", str(path),
            f"{_ELSE}: its measures are {', '.join(old.measure)}",
        )  # fmt: skip
        axes = []
        for group, before in zip(self.axes, old.axes, strict=True):
            named = {name: _longer(path, name, group[name], before[name]) for name in group}
            require(
                len({len(values) for values in named.values()}) == 1, "store", str(path),
                f"{_ELSE}: its {', '.join(named)} have other lengths",
            )  # fmt: skip
            axes.append(named)
        require(
            old.states or not self.states, "states", True, "False as in the store, or a new place"
        )
        hint = _interval(self.record_at, old.record_at)
        steps = _longer(path, "record_at", self.record_at, old.record_at, hint)
        kept = old.states or len(steps) == len(old.record_at)
        allowed = f"{old.record_at[-1]} steps as in its store, which keeps no states to go on from"
        require(kept, "record_at", steps[-1], allowed)
        return replace(old, axes=axes, record_at=steps)


def check_same(path: Path, there: str, asked: str) -> None:
    """Refuse an experiment, in one line of JSON, that is not the one of a store."""
    for where, one, other in _differences(json.loads(there), json.loads(asked)):
        refuse("store", str(path), f"{_ELSE}: {where} is {one!r} there, here {other!r}")


def _check_axes(path: Path, asked: Sequence[Group], there: Sequence[Group]) -> None:
    """The same fields are axes, in the same groups."""
    here, old = ([name for group in groups for name in group] for groups in (asked, there))
    for name in old:
        why = f"{_ELSE}: {name} is an axis there, here one value"
        require(name in here, "store", str(path), why)
    for name in here:
        why = f"{_ELSE}: {name} is one value there, here an axis"
        require(name in old, "store", str(path), why)
    same = [*map(list, asked)] == [*map(list, there)]
    told = " and ".join(",".join(group) for group in there)
    require(same, "store", str(path), f"{_ELSE}: its axes are {told}, in this order")


def _interval(asked: Sequence[int], there: Sequence[int]) -> str:
    """How later steps are asked that go on from those that are there."""
    first, apart = there[0], {*np.diff(there).tolist()}
    if first == 0 and len(apart) == 1 and asked[-1] % (one := apart.pop()) == 0:
        return f"; every {one} steps, as there, are records={asked[-1] // one}"
    return ""


def _longer(
    path: Path, name: str, asked: Sequence[Any], there: Sequence[Any], hint: str = ""
) -> list[Any]:
    """The longer of two lists, of which the other must be the beginning."""
    short = min(len(asked), len(there))
    for i, (one, other) in enumerate(zip(asked[:short], there[:short], strict=True)):
        allowed = f"{_ELSE}: {name} has {other!r} there at place {i}, here {one!r}{hint}"
        require(one == other, "store", str(path), allowed)
    return [*max(asked, there, key=len)]


def _differences(one: Any, other: Any, where: str = "experiment") -> Iterator[tuple[str, Any, Any]]:
    """Where two trees of plain words and numbers differ."""
    if isinstance(one, dict) and isinstance(other, dict) and one["is"] == other["is"]:
        for name in one | other:  # another version may have other fields
            yield from _differences(one.get(name), other.get(name), name)
    elif one != other:
        shown = [some["is"] if isinstance(some, dict) else some for some in (one, other)]
        yield where, *shown


def request_of(
    experiment: Experiment, grid: Grid, measure: Measures, steps: np.ndarray, states: bool
) -> Request:
    """What a sweep is asked."""
    axes = [{name: [*labels] for name, labels in axis.labels.items()} for axis in grid.axes]
    names = sorted(one.name for one in plan_of(experiment, measure).measures)
    return Request(describe(experiment), axes, steps.tolist(), names, states)


def request_from(given: Mapping[str, Any]) -> Request:
    """A request as JSON has it; tuples among labels have become lists."""
    axes = [
        {name: [_plain(label) for label in labels] for name, labels in group.items()}
        for group in given["axes"]
    ]
    return Request(**{**given, "axes": axes})


def _plain(label: Any) -> Any:
    if isinstance(label, list):
        return tuple(map(_plain, label))
    return float(label) if label in ("inf", "-inf") else label
