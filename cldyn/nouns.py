"""Nouns: small frozen pytrees. Numbers are leaves and axes, what fixes a shape is static."""

import hashlib
import inspect
import math
from collections.abc import Iterator, Mapping
from dataclasses import Field, dataclass, fields, is_dataclass, replace
from typing import Any, TypeVar, dataclass_transform

import jax
import numpy as np

from cldyn.checks import one_of, require
from cldyn.fields import Takes, is_noun, static
from cldyn.held import is_held

Path = tuple[str, ...]
T = TypeVar("T")


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
    made: Any = dataclass(frozen=True)(cls)
    told = [f"    {one.name}: {_told(one)}" for one in fields(made) if one.metadata.get("says")]
    if told:
        made.__doc__ = "\n".join([inspect.cleandoc(cls.__doc__ or ""), "", "Args:", *told])
    return _registered(made)


def _registered(cls: Any) -> Any:
    """The class as a pytree.

    Not by jax.tree_util.register_dataclass: two classes of the same fields are one structure to
    it (jaxlib 0.10), and `jit` may then run the program that it compiled for the other one.
    """
    leaves = [one.name for one in fields(cls) if not is_static(one)]
    fixed = [one.name for one in fields(cls) if is_static(one)]

    def flat(owner: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(owner, name) for name in leaves], tuple(getattr(owner, n) for n in fixed)

    def with_keys(owner: Any) -> tuple[list[Any], tuple[Any, ...]]:
        values, aux = flat(owner)
        keys = map(jax.tree_util.GetAttrKey, leaves)
        return list(zip(keys, values, strict=True)), aux

    def whole(aux: Any, values: Any) -> Any:
        return cls(**dict(zip(fixed, aux, strict=True)), **dict(zip(leaves, values, strict=True)))

    jax.tree_util.register_pytree_with_keys(cls, with_keys, whole, flat)
    return cls


def _told(one: Field) -> str:
    takes = takes_of(one)
    shown = "" if takes.kind in ("array", "other") else f" ({takes.text})"
    return f"{one.metadata['says']}{shown}"


def takes_of(one: Field) -> Takes:
    """What a field takes; a field of a plain annotation takes a number."""
    other = Takes("other") if one.metadata.get("static") else Takes()
    return one.metadata.get("takes", other)


def is_internal(one: Field) -> bool:
    """Whether the field is set by the package alone."""
    return bool(one.metadata.get("internal"))


def is_told(one: Field) -> bool:
    """Whether the field is part of what an experiment is: not set by the package, and no place."""
    return not is_internal(one) and not one.metadata.get("place")


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
        if is_internal(one):
            continue
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
        if len(paths) == 1 and plain and not is_noun(value):
            found[name] = paths[0]
    return found


def place(owner: Any, name: str) -> Path:
    """The one place of a name, refused where there is none or more than one."""
    places = named(owner)
    require(name in places, "name", name, one_of(name, sorted(places)))
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
    """The noun with other values of some fields, wherever they are; nouns before their numbers."""
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
        mine = is_internal(one) and value != one.default
        require(not mine, one.name, value, f"{one.default!r}: the package alone sets it")
        require(
            takes.contains(value, precision) or ("takes" not in one.metadata and is_noun(value)),
            one.name,
            value,
            f"{takes.text} in {precision}" if takes.kind in ("number", "numbers") else takes.text,
        )
        if is_nested(value):
            check(value, precision)
    hook = getattr(owner, "check", None)
    if hook is not None and is_nested(owner):
        hook()


@noun
class Function:
    """A plain function where a noun is expected."""

    function: Any = static(None)

    def __call__(self, *given: Any) -> Any:
        """What the function returns."""
        return self.function(*given)


def cast(owner: Any, precision: str) -> Any:
    """Leaves as arrays of this precision; whole numbers as int32, plain functions as nouns.

    A noun that names files is `opened`: it then holds what is in them.
    """
    owner = owner.opened() if hasattr(owner, "opened") else owner
    changed: dict[str, Any] = {}
    for one, value in parts(owner):
        takes = takes_of(one)
        if is_static(one) or value is None or is_held(value):
            continue
        whole_number = takes.kind == "whole" or (takes.kind == "array" and takes.low == 0)
        kind = np.int32 if whole_number else precision
        if is_nested(value):
            changed[one.name] = cast(value, precision)
        elif callable(value):
            changed[one.name] = Function(value)
        else:
            changed[one.name] = jax.tree.map(lambda leaf, kind=kind: np.asarray(leaf, kind), value)
    return replace(owner, **changed) if changed else owner


def described(owner: Any) -> Any:
    """A tree of nouns as plain words, numbers and lists, for JSON; arrays by shape and digest.

    A class or function of one's own is told with its module, so that it is not taken for one here.
    What a noun reads from files is told by its `digest`, wherever they are.
    """
    if is_nested(owner):
        told = [(one.name, value) for one, value in parts(owner) if is_told(one)]
        told += [("digest", owner.digest)] if hasattr(owner, "digest") else []
        return {"is": _name(type(owner))} | {name: described(value) for name, value in told}
    if is_held(owner):
        return [described(np.asarray(leaf)) for leaf in jax.tree.leaves(owner)]
    if callable(owner):
        return _name(owner) if hasattr(owner, "__qualname__") else repr(owner)
    if isinstance(owner, (tuple, list)):
        return [described(one) for one in owner]
    if isinstance(owner, (str, bool)) or owner is None:
        return owner
    if np.ndim(owner):
        values = np.ascontiguousarray(owner)
        digest = hashlib.sha256(values.tobytes()).hexdigest()[:16]
        return f"array {values.shape} {values.dtype} {digest}"
    plain = np.asarray(owner).item()
    return str(plain) if isinstance(plain, float) and not math.isfinite(plain) else plain


def _name(kind: Any) -> str:
    ours = kind.__module__.partition(".")[0] == __name__.partition(".")[0]
    return kind.__name__ if ours else f"{kind.__module__}.{kind.__qualname__}"


def rebuilt(told: Any, kinds: Mapping[str, Any]) -> Any:
    """The tree of nouns that `described` told, of these classes by name.

    Raises:
        ValueError: it holds a class, a function or an array of one's own.
    """
    name = told["is"]
    require(name in kinds, "experiment", name, f"one of {', '.join(kinds)}, to be made again")
    values: dict[str, Any] = {}
    for one in (one for one in fields(kinds[name]) if is_told(one)):
        allowed = f"one of a version that knows {one.name}, to be made again"
        require(one.name in told, "experiment", name, allowed)
        value, takes = told[one.name], takes_of(one)
        if isinstance(value, dict):
            value = rebuilt(value, kinds)
        elif takes.kind == "numbers":
            value = tuple(float(number) for number in value)
        elif takes.kind == "number" and isinstance(value, str):
            value = float(value)  # infinity
        own = takes.kind in ("array", "other", "noun") and isinstance(value, (str, list))
        require(not own, one.name, value, "no array or function, which cannot be made again")
        values[one.name] = value
    return kinds[name](**values)
