"""Words and TOML files to sweeps: an experiment, axes, and steps at which it is recorded.

What `words` says of a value holds here too; several values of a number are an axis.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from cldyn import nouns, words
from cldyn.checks import refuse, require
from cldyn.experiment import Experiment
from cldyn.fields import part, size
from cldyn.nouns import noun, takes_of

_APART = ("about", "axes", "measure", "record_at")  # of a file, beside names of fields
_OPTIONS = ("store", "states", "shard", "devices", "resume")  # of the command alone


@noun
class Trained:
    """What all trajectories of a sweep have in common."""

    experiment: Any = part(Experiment(), "what is trained", {"experiment": Experiment})
    steps: int = size(400, "training steps")
    records: int = size(20, "how often it is recorded, evenly, beside the start")


class Swept(NamedTuple):
    """The arguments of `cldyn.sweep`."""

    experiment: Experiment
    axes: list[dict[str, list[Any]]]
    record_at: list[int]
    measure: list[str] | None


def swept(given: Iterable[str]) -> Swept:
    """The sweep that words ask for, checked.

    A file has names like `cldyn run`, and beside them measure, record_at and [[axes]]: a table for
    every group, whose names are zipped; [about], remarks of any kind, is not read. A name with
    several values is a group of its own. Words add
    to the file or override it: name=a,b,c is an axis, and name,other=a,b,c zips two of the same
    values; of a tuple name=1,2;3,4 is one. Whole numbers may be said as first:last, without the
    last. measure=loss,feature_norms is no axis.

    Args:
        given: `name=value` in any order, and at most one TOML file.

    Returns:
        Swept.

    Raises:
        ValueError: one line, for a name or value that makes no sense.

    Example:
        >>> from cldyn.axes import swept
        >>> swept(["d=20", "learning_rate=0.01,0.02", "seed,data_seed=0:4"]).axes
        [{'learning_rate': [0.01, 0.02]}, {'seed': [0, 1, 2, 3], 'data_seed': [0, 1, 2, 3]}]
    """
    files, said = words.split(given)
    table = words.table(files[0]) if files else {}
    for name in _OPTIONS:
        require(name not in table | said, name, (table | said).get(name), f"an option, --{name}")
    for name in ("about", "axes", "record_at"):
        require(name not in said, name, said.get(name), "told in a file alone")
    extra = {name: table.pop(name) for name in _APART if name in table}
    if "measure" in said:
        extra["measure"] = said.pop("measure").split(",")
    groups = _tables(extra.get("axes", []))
    groups += [{name: table.pop(name)} for name in [*table] if _several(name, table[name])]
    for name, value in said.items():
        names = name.split(",")
        if len(names) > 1 or _several(name, value):
            _put(groups, names, value)
        else:
            for group in groups:
                group.pop(name, None)
            table[name] = value
    common = words.made(Trained(), table, _APART)
    axes = [
        {name: _values(common, name, values) for name, values in group.items()}
        for group in groups
        if group
    ]
    record_at = extra.get("record_at", _evenly(common.steps, common.records))
    return Swept(common.experiment, axes, record_at, extra.get("measure"))


def _evenly(steps: int, records: int) -> list[int]:
    return np.unique(np.linspace(0, steps, records + 1).astype(int)).tolist()


def _tables(given: Any) -> list[dict[str, Any]]:
    good = isinstance(given, list) and all(isinstance(one, dict) for one in given)
    require(good, "axes", given, "[[axes]], a table for every group of zipped names")
    return [dict(one) for one in given]


def _put(groups: list[dict[str, Any]], names: list[str], value: str) -> None:
    """An axis that words say: in the place of one of these names, else a group of its own."""
    for group in groups:
        if set(names) & set(group):
            group.update({name: value for name in names})
            return
    groups.append({name: value for name in names})


def _several(name: str, value: Any) -> bool:
    """Whether a value stands for several ones: an axis."""
    if (kind := _kind(name)) == "text":
        return False
    tuples = kind in ("numbers", "sizes")
    if isinstance(value, list):
        return not tuples or any(isinstance(one, list) for one in value)
    if not isinstance(value, str):
        return False
    return (";" if tuples else ",") in value or (":" in value and kind == "whole")


def _kind(name: str) -> str:
    """What fields of a name take."""
    for _, kind in words.kinds():
        for field in words.fields_of(kind).values():
            if field.name == name:
                return takes_of(field).kind
    return ""


def _values(common: Trained, name: str, given: Any) -> list[Any]:
    """Values along an axis."""
    experiment = common.experiment
    numbers = nouns.numbers_of(experiment)
    if name not in numbers:
        tables = isinstance(given, list) and any(isinstance(one, dict) for one in given)
        require(not tables, "name", name, "[[axes]] of tables, or one value")
        words.place(common, name, given, _APART)
        refuse(name, given, "one value in a sweep, in which numbers alone have several")
    field, _ = nouns.declared(experiment, numbers[name])
    parts = given
    if isinstance(given, str):
        parts = (
            _range(name, given)
            if ":" in given
            else given.split(";" if takes_of(field).kind == "numbers" else ",")
        )
    require(isinstance(parts, list) and parts, name, given, "a list of values")
    found = [words.value_of(field, one) for one in parts]
    if isinstance(given, str):  # one number of a tuple stands for all
        found = [one[0] if isinstance(one, tuple) and len(one) == 1 else one for one in found]
    takes = takes_of(field)
    for one in found:
        good = takes.contains(one, experiment.precision) or takes.kind == "numbers"
        require(good, name, one, takes.text)
    return found


def _range(name: str, given: str) -> list[int]:
    """first:last or first:last:step."""
    allowed = "whole numbers as first:last, without the last, or first:last:step"
    try:
        first, last, *step = (int(one) for one in given.split(":"))
        found = [*range(first, last, *step)]
    except (TypeError, ValueError):
        refuse(name, given, allowed)
    require(found, name, given, f"{allowed}; this range is empty")
    return found
