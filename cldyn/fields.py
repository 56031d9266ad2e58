"""Fields of nouns: what a field takes is said once, where it is declared.

Checks, docstrings and the command line's help are made from it.
"""

import math
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, is_dataclass
from typing import Any

import numpy as np

from cldyn.checks import is_real, is_size, is_whole


def is_noun(value: Any) -> bool:
    """Whether the value can stand where a noun is expected: a pytree of a class, or a function."""
    return not isinstance(value, type) and (callable(value) or is_dataclass(value))


@dataclass(frozen=True)
class Takes:
    """What a field takes.

    kind: number, numbers (a tuple of them), whole, size, sizes (a tuple of them), choice, flag,
        text, noun, array or other.
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
        elif self.kind in ("flag", "text"):
            words = {"flag": "True or False", "text": "text"}[self.kind]
        elif self.kind in ("whole", "size"):
            words = f"a whole number from {self.low} to 2^31 - 1"
        elif self.kind == "sizes":
            words = f"a tuple of whole numbers from {self.low} to 2^31 - 1"
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
        if self.kind == "text":
            return isinstance(value, str)
        if self.kind == "noun":
            return is_noun(value)
        if self.kind == "size":
            return is_size(value, self.low)
        if self.kind == "sizes":
            return isinstance(value, tuple) and all(is_size(one, self.low) for one in value)
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


def sizes(default: tuple[int, ...], says: str, low: int = 1) -> Any:
    """A tuple of whole numbers that fixes shapes: static."""
    return _declared(default, says, Takes("sizes", low), True)


def choice(default: str, says: str, *allowed: str) -> Any:
    """One of some words: static."""
    return _declared(default, says, Takes("choice", choices=allowed), True)


def flag(default: bool, says: str) -> Any:
    """True or False: static."""
    return _declared(default, says, Takes("flag"), True)


def place(default: str, says: str) -> Any:
    """Where files are: text that is static, and no part of what an experiment is."""
    meta = {"says": says, "takes": Takes("text"), "static": True, "place": True}
    return field(default=default, metadata=meta)


def part(default: Any, says: str, names: Mapping[str, Any]) -> Any:
    """A noun inside a noun, one of these by name or a user's own."""
    return _declared(default, says, Takes("noun", choices=names))


def array(says: str, codes: bool = False, optional: bool = False) -> Any:
    """An array that is a leaf but no axis. codes: whether of whole numbers."""
    takes = Takes("array", low=0 if codes else -math.inf, optional=optional)
    return _declared(None if optional else MISSING, says, takes)


def internal(default: Any, leaf: bool = False) -> Any:
    """What the package itself fixes on the way to a program; no part of what an experiment is."""
    takes = Takes("other", optional=default is None)
    meta = {"says": "", "takes": takes, "static": not leaf, "internal": True}
    return field(default=default, metadata=meta, repr=False, kw_only=True)


def static(default: Any, says: str = "") -> Any:
    """Anything hashable that fixes a structure.

    Args:
        default: its default.
        says: what it is.

    Returns:
        A field of a noun.

    Example:
        >>> import cldyn
        >>> @cldyn.noun
        ... class Wide:
        ...     width: int = cldyn.static(64)
    """
    return _declared(default, says, Takes("other"), True)
