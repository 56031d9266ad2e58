"""Words to experiments: `name=value` words and TOML files set fields by name. Nothing is evaluated.

A noun is known by its word in `experiment.NAMES`; every other field reads what it is declared to
take. Where no word says otherwise a noun has its own defaults.
"""

import textwrap
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from cldyn import experiment, nouns
from cldyn.checks import one_of, refuse, require
from cldyn.experiment import NAMES, Experiment
from cldyn.fields import part, size
from cldyn.nouns import noun, takes_of


@noun
class Asked:
    """What is trained, for how long and how often."""

    experiment: Any = part(Experiment(), "what is trained", {"experiment": Experiment})
    steps: int = size(400, "training steps")
    seeds: int = size(8, "how many seeds, of data, initialization and batches alike")


def asked(words: Iterable[str]) -> Asked:
    """What words ask for, checked.

    Args:
        words: `name=value` in any order, and at most one TOML file of the same names, which the
            words override.

    Returns:
        Asked.

    Raises:
        ValueError: one line, for a word that names no field or a value that makes no sense.

    Example:
        >>> from cldyn.words import asked
        >>> asked(["d=20", "problem=population", "steps=50"]).experiment.problem.model.d
        20
    """
    files, given = split(words)
    return made(Asked(), (table(files[0]) if files else {}) | given)


def split(words: Iterable[str]) -> tuple[list[str], dict[str, str]]:
    """Files, of which there may be one, and values by name."""
    files: list[str] = []
    given: dict[str, str] = {}
    for word in words:
        name, sign, value = word.partition("=")
        if not sign:
            files.append(word)
            continue
        require(name not in given, name, value, f"one value, and {given.get(name)!r} is given too")
        given[name] = value
    require(len(files) <= 1, "file", files, "one TOML file; every other word is name=value")
    return files, given


def made(owner: Any, given: Mapping[str, Any], beside: Iterable[str] = ()) -> Any:
    """What values by name make of `Asked` or the like, checked: nouns first, outer before inner.

    beside: names that mean something elsewhere.
    """
    first = [name for name in NAMES if name in given]
    for name in [*first, *(name for name in given if name not in NAMES)]:
        path = place(owner, name, given[name], beside)
        field, _ = nouns.declared(owner, path)
        owner = nouns.put(owner, path, value_of(field, given[name]))
    experiment.check(owner.experiment)
    nouns.check(owner, owner.experiment.precision)
    return owner


def value_of(field: Field, given: Any) -> Any:
    """What a word or a TOML value says to a field; what says nothing stays, to be refused."""
    takes = takes_of(field)
    if takes.kind == "noun":
        known = NAMES[field.name]
        require(isinstance(given, str) and given in known, field.name, given, takes.text)
        return known[given]()
    if not isinstance(given, str):
        return tuple(given) if isinstance(given, list) else given
    if takes.optional and given.lower() == "none":
        return None
    try:
        return _READ.get(takes.kind, str)(given)
    except ValueError:
        return given


def word_of(value: Any) -> str:
    """The word that says a value: what `value_of` reads back."""
    for known in NAMES.values():
        for word, kind in known.items():
            if type(value) is kind:
                return word
    if isinstance(value, tuple):
        return ",".join(map(word_of, value))
    return str(value).lower() if isinstance(value, bool) or value is None else str(value)


def listing(width: int = 100) -> str:
    """Every field that a word sets, by noun: its default, what it says and what it takes."""
    lines = []
    for title, kind in kinds():
        says = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
        lines += ["", *textwrap.wrap(f"{title}: {says}", width, subsequent_indent="  ")]
        for name, field in fields_of(kind).items():
            takes = takes_of(field)
            allowed = f"one of {', '.join(takes.choices)}" if takes.choices else takes.text
            told = f"{field.metadata['says']}; {allowed}"
            lines += entry(f"{name}={word_of(field.default)}", told, width)
    return "\n".join(lines[1:])


_COLUMN = 32  # where a listing says what a name is


def entry(name: str, told: str, width: int) -> list[str]:
    """Lines of a listing: a name, and beside it what it is."""
    start = f"  {name}".ljust(_COLUMN - 1)
    return textwrap.wrap(f"{start} {told}", width, subsequent_indent=" " * _COLUMN)


def _flag(given: str) -> Any:
    return {"true": True, "false": False}.get(given.lower(), given)


def _numbers(given: str) -> tuple[float, ...]:
    return tuple(float(one) for one in given.split(",")) if given else ()


def _sizes(given: str) -> tuple[int, ...]:
    return tuple(int(one) for one in given.split(",")) if given else ()


_READ: dict[str, Callable[[str], Any]] = {
    "flag": _flag,
    "whole": int,
    "size": int,
    "number": float,
    "numbers": _numbers,
    "sizes": _sizes,
}


def table(path: str) -> dict[str, Any]:
    """The flat table of a file."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = " ".join(str(getattr(error, "strerror", None) or error).split())
        refuse("file", path, f"name=value, or a TOML file that can be read ({why})")


def fields_of(kind: Any) -> dict[str, Field]:
    """Fields of a class that words set: none that holds an array, structure or an unnamed noun."""
    read = {one.name: one for one in fields(kind) if takes_of(one).kind not in ("array", "other")}
    return {
        name: one for name, one in read.items() if takes_of(one).kind != "noun" or name in NAMES
    }


def kinds(root: Any = Asked) -> list[tuple[str, Any]]:
    """Every class with words, told by what brings it in: its word, or the field it stands in."""
    found: list[tuple[str, Any]] = [("run", root)]
    for _, kind in found:  # which grows, so that the nouns of one role stay together
        for one in fields(kind):
            if takes_of(one).kind == "noun":
                for word, inner in takes_of(one).choices.items():  # type: ignore[union-attr]
                    title = f"{one.name}={word}" if one.name in NAMES else one.name
                    found += [] if (title, inner) in found else [(title, inner)]
    return found


def place(owner: Any, name: str, given: Any, beside: Iterable[str] = ()) -> nouns.Path:
    """The one place of a name; a name without one is told where it has one, or which names do."""
    there = nouns.named(owner)
    known = kinds(type(owner))
    homes = [title for title, kind in known if name in fields_of(kind)]
    if name not in there or not homes:
        require(not homes, name, given, f"only with {' or '.join(homes)}")
        names = {one for _, kind in known for one in fields_of(kind) if one in there}
        refuse("name", name, one_of(name, sorted(names | {*beside})))
    return nouns.place(owner, name)
