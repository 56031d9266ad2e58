"""Nouns: small frozen pytrees. Their numbers are leaves, which axes sweep; what fixes a shape is static.

What a field takes is said once, where it is declared: checks, docstrings and the command line's help are made from it.
"""

import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np

from cldyn.checks import is_real, is_size, is_whole, require

Path = tuple[str, ...]
T = TypeVar("T")


@dataclass(frozen=True)
class Takes:
    """What a field takes.

    kind: number, numbers (a tuple of them), whole, size, choice, flag, noun, array or other.
    low, high: bounds. above, below: whether these are excluded. choices: of a choice, or names of
    the nouns there are. optional: whether None is allowed.
    """

    kind: str = "number"
    low: float = -math.inf
    high: float = math.inf
    above: bool = False
    below: bool = False
    choices: Mapping[str, Any] | tuple[str, ...] = ()
    optional: bool = False

    @property
    def text(self) -> str:
        """What is allowed, in words."""
        if self.kind in ("choice", "noun"):
            words = "one of " + ", ".join(repr(name) for name in self.choices)
        elif self.kind == "flag":
            words = "True or False"
        elif self.kind in ("whole", "size"):
            words = f"a whole number from {self.low} to 2^31 - 1"
        else:
            words = {"numbers": "a tuple of numbers, each ", "array": "an array of "}.get(
                self.kind, ""
            )
            words += self._interval()
        return words + (" or None" if self.optional else "")

    def _interval(self) -> str:
        if math.isfinite(self.low) and math.isfinite(self.high):
            ends = "(" if self.above else "[", ")" if self.below else "]"
            return f"a number in {ends[0]}{self.low:g}, {self.high:g}{ends[1]}"
        if math.isfinite(self.low):
            return f"a finite number {'>' if self.above else '>='} {self.low:g}"
        return "a finite number"

    def contains(self, value: Any, precision: str) -> bool:
        """Whether the value is allowed, and finite in this precision."""
        if value is None:
            return self.optional
        if self.kind == "flag":
            return isinstance(value, bool)
        if self.kind == "choice":
            return isinstance(value, str) and value in self.choices
        if self.kind == "noun":
            return is_noun(value)
        if self.kind == "size":
            return is_size(value) and value >= self.low
        if self.kind == "whole":
            return is_whole(value) and self.low <= int(value) < 2**31
        if self.kind == "numbers":
            return isinstance(value, (tuple, list)) and all(
                self._has(one, precision) for one in value
            )
        return self.kind in ("array", "other") or self._has(value, precision)

    def _has(self, value: Any, precision: str) -> bool:
        if not is_real(value):
            return False
        with np.errstate(over="ignore", under="ignore"):
            used = float(np.asarray(value, precision))
        if math.isinf(used) and self.optional and used > 0:
            return True  # of what is None by default infinity says the same
        low = used > self.low if self.above else used >= self.low
        high = used < self.high if self.below else used <= self.high
        return math.isfinite(used) and low and high


def _declared(default: Any, says: str, takes: Takes, fixed: bool = False) -> Any:
    given = {} if default is MISSING else {"default": default}
    return field(**given, metadata={"says": says, "takes": takes, "static": fixed})


def number(
    default: float | None, says: str, low: float = -math.inf, high: float = math.inf, **more: Any
) -> Any:
    """A number: a leaf and an axis."""
    return _declared(default, says, Takes("number", low, high, **more))


def numbers(says: str, low: float = -math.inf, high: float = math.inf) -> Any:
    """A tuple of numbers: leaves, and one axis."""
    return _declared((), says, Takes("numbers", low, high))


def whole(default: int, says: str, low: int = 0) -> Any:
    """A whole number that is a leaf and an axis."""
    return _declared(default, says, Takes("whole", low))


def size(default: int, says: str, low: int = 1) -> Any:
    """A whole number that fixes a shape: static."""
    return _declared(default, says, Takes("size", low), True)


def choice(default: str, says: str, *allowed: str) -> Any:
    """One of some words: static."""
    return _declared(default, says, Takes("choice", choices=allowed), True)


def flag(default: bool, says: str) -> Any:
    """True or False: static."""
    return _declared(default, says, Takes("flag"), True)


def part(default: Any, says: str, names: Mapping[str, Any]) -> Any:
    """A noun inside a noun, one of these by name or a user's own."""
    return _declared(default, says, Takes("noun", choices=names))


def array(says: str, codes: bool = False, optional: bool = False) -> Any:
    """An array that is a leaf but no axis. codes: whether of whole numbers."""
    takes = Takes("array", low=0 if codes else -math.inf, optional=optional)
    return _declared(None if optional else MISSING, says, takes)


def static(default: Any, says: str = "") -> Any:
    """Anything hashable that fixes a structure."""
    return _declared(default, says, Takes("other"), True)


@dataclass_transform(frozen_default=True)
def noun(cls: type[T]) -> type[T]:
    """Make a class a noun: a frozen dataclass and a pytree, whose docstring lists its fields.

    Args:
        cls: a class with annotated fields; those of `static`, `size`, `choice` and `flag` fix
            structure, all others are numbers (or nouns).

    Returns:
        The class.

    Example:
        >>> import cldyn
        >>> @cldyn.noun
        ... class Cooled:
        ...     half_life: float = 100.0
        ...     def __call__(self, step):
        ...         return 0.5 ** (step / self.half_life)
        >>> cldyn.Experiment().replace(schedule=Cooled(50.0)).replace(half_life=20.0)
        ... # and {"half_life": [20.0, 50.0]} is an axis of `cldyn.sweep`
    """
    made = dataclass(frozen=True)(cls)
    told = [f"    {one.name}: {_told(one)}" for one in fields(made) if one.metadata.get("says")]
    if told:
        made.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Args:", *told])
    return jax.tree_util.register_dataclass(made)


def _told(one: Field) -> str:
    takes = takes_of(one)
    shown = "" if takes.kind in ("array", "other") else f" ({takes.text})"
    return f"{one.metadata['says']}{shown}"


def is_noun(value: Any) -> bool:
    """Whether the value can stand where a noun is expected: a pytree of a class, or a function."""
    return callable(value) or (is_dataclass(value) and not isinstance(value, type))


def takes_of(one: Field) -> Takes:
    """What a field takes; a field of a plain annotation takes a number."""
    other = Takes("other") if one.metadata.get("static") else Takes()
    return one.metadata.get("takes", other)


def is_static(one: Field) -> bool:
    """Whether a field fixes structure."""
    return bool(one.metadata.get("static"))


def parts(owner: Any) -> Iterator[tuple[Field, Any]]:
    """Fields of a noun and their values; nothing of what is none."""
    if is_dataclass(owner) and not isinstance(owner, type):
        for one in fields(owner):
            yield one, getattr(owner, one.name)


def is_nested(value: Any) -> bool:
    """Whether a value has fields of its own."""
    return is_dataclass(value) and not isinstance(value, type)


def named(owner: Any, under: Path = ()) -> dict[str, list[Path]]:
    """Where every name of a field stands in a tree of nouns."""
    places: dict[str, list[Path]] = {}
    for one, value in parts(owner):
        places.setdefault(one.name, []).append((*under, one.name))
        for name, paths in named(value, (*under, one.name)).items():
            places.setdefault(name, []).extend(paths)
    return places


def declared(owner: Any, path: Path) -> tuple[Field, Any]:
    """The field at a path, and its value."""
    for name in path[:-1]:
        owner = getattr(owner, name)
    return next((one, value) for one, value in parts(owner) if one.name == path[-1])


def numbers_of(owner: Any) -> dict[str, Path]:
    """The numbers in a tree of nouns that one name tells: what can be an axis."""
    found = {}
    for name, paths in named(owner).items():
        one, value = declared(owner, paths[0])
        plain = takes_of(one).kind in ("number", "numbers", "whole") and not is_static(one)
        if len(paths) == 1 and plain and not is_nested(value):
            found[name] = paths[0]
    return found


def place(owner: Any, name: str) -> Path:
    """The one place of a name, refused where there is none or more than one."""
    places = named(owner)
    require(name in places, "name", name, f"one of {', '.join(sorted(places))}")
    paths = places[name]
    told = " and ".join(".".join(path) for path in paths)
    require(len(paths) == 1, "name", name, f"a name of one place, not of {told}")
    return paths[0]


def put(owner: Any, path: Path, value: Any) -> Any:
    """The noun with another value at a path."""
    first, *rest = path
    inner = put(getattr(owner, first), tuple(rest), value) if rest else value
    return replace(owner, **{first: inner})


def replaced(owner: Any, values: Mapping[str, Any]) -> Any:
    """The noun with other values of some fields, wherever they stand; nouns before their numbers."""
    waiting = dict(values)
    while waiting:
        places = named(owner)
        ready = [name for name in waiting if name in places] or [next(iter(waiting))]
        name = min(ready, key=lambda name: len(places.get(name, [()])[0]))
        owner = put(owner, place(owner, name), waiting.pop(name))
    return owner


def check(owner: Any, precision: str) -> None:
    """Refuse with one line, if a number of the noun or of one inside it makes no sense."""
    for one, value in parts(owner):
        takes = takes_of(one)
        require(
            takes.contains(value, precision),
            one.name,
            value,
            f"{takes.text} in {precision}" if takes.kind in ("number", "numbers") else takes.text,
        )
        if is_nested(value):
            check(value, precision)
    hook = getattr(owner, "check", None)
    if hook is not None and is_nested(owner):
        hook()


def cast(owner: Any, precision: str) -> Any:
    """Leaves as arrays of this precision; whole numbers and codes as int32."""
    changed: dict[str, Any] = {}
    for one, value in parts(owner):
        takes = takes_of(one)
        if is_static(one) or value is None:
            continue
        whole_number = takes.kind == "whole" or (takes.kind == "array" and takes.low == 0)
        kind = np.int32 if whole_number else precision
        if is_nested(value):
            changed[one.name] = cast(value, precision)
        else:
            changed[one.name] = jax.tree.map(lambda leaf, kind=kind: np.asarray(leaf, kind), value)
    return replace(owner, **changed) if changed else owner


def described(owner: Any) -> Any:
    """A tree of nouns as plain words, numbers and lists, for JSON; arrays by shape."""
    if is_nested(owner):
        name = type(owner).__name__
        return {"is": name} | {one.name: described(value) for one, value in parts(owner)}
    if callable(owner):
        return getattr(owner, "__qualname__", repr(owner))
    if isinstance(owner, (tuple, list)):
        return [described(one) for one in owner]
    if isinstance(owner, (str, bool)) or owner is None:
        return owner
    if np.ndim(owner):
        return f"array {np.shape(owner)}"
    plain = np.asarray(owner).item()
    return str(plain) if isinstance(plain, float) and not math.isfinite(plain) else plain
