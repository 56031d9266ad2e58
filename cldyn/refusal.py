"""How requests that make no sense are refused: one line naming the field, the value and what is allowed."""

from typing import Any, NoReturn

import numpy as np

_SHOWN = 200  # characters of a value


class Refused(ValueError):
    """A request that makes no sense; its message is one line for the user."""


def refuse(name: str, value: Any, allowed: str) -> NoReturn:
    """Raise Refused: "name: value, allowed is ..."."""
    shown = " ".join(repr(value).split())
    raise Refused(f"{name}: {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + ' ...'}, allowed is {allowed}")


def require(good: Any, name: str, value: Any, allowed: str) -> None:
    """Refuse unless good."""
    if not good:
        refuse(name, value, allowed)


def is_whole(value: Any) -> bool:
    """A Python, numpy or JAX integer."""
    return _kind(value) in ("i", "u")


def is_size(value: Any) -> bool:
    """A whole number >= 1 that can name a shape: no array."""
    return is_whole(value) and isinstance(value, (int, np.integer)) and bool(1 <= value < 2**31)


def is_real(value: Any) -> bool:
    """A Python, numpy or JAX number, but no complex one."""
    return _kind(value) in ("i", "u", "f")


def _kind(value: Any) -> str:
    if isinstance(value, (list, tuple, str)) or value is None or np.ndim(value):
        return ""
    return np.asarray(value).dtype.kind
