"""How requests that make no sense are refused: one line naming field, value and what is allowed."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Any, NoReturn

import jax
import numpy as np

_SHOWN = 200  # characters of a value


class Refused(ValueError):
    """A request that makes no sense; its message is one line for the user."""


def refuse(name: str, value: Any, allowed: str) -> NoReturn:
    """Raise Refused: "name: value, allowed is ..."."""
    shown = " ".join(repr(value).split())
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + " ..."
    raise Refused(f"{name}: {shown}, allowed is {allowed}")


def require(good: Any, name: str, value: Any, allowed: str) -> None:
    """Refuse unless good."""
    if not good:
        refuse(name, value, allowed)


def one_of(name: Any, known: Iterable[str]) -> str:
    """What is allowed where a name is not known: the nearest one, or all where none is near."""
    near = get_close_matches(str(name), names := [*known], 1)
    return f"{near[0]}, perhaps" if near else f"one of {', '.join(names)}"


def is_whole(value: Any) -> bool:
    """A Python, numpy or JAX integer."""
    return _kind(value) in ("i", "u")


def is_size(value: Any, low: float = 1) -> bool:
    """A whole number >= low that can name a shape: no array."""
    return is_whole(value) and isinstance(value, (int, np.integer)) and bool(low <= value < 2**31)


def is_real(value: Any) -> bool:
    """A Python, numpy or JAX number, but no complex one."""
    return _kind(value) in ("i", "u", "f")


def is_key(value: Any) -> bool:
    """A JAX key, typed or as two words."""
    if not isinstance(value, jax.Array):
        return False
    typed = jax.dtypes.issubdtype(value.dtype, jax.dtypes.prng_key)
    return value.shape == () if typed else value.shape == (2,) and value.dtype == np.uint32


def _kind(value: Any) -> str:
    if isinstance(value, (list, tuple, str)) or value is None or np.ndim(value):
        return ""
    return np.asarray(value).dtype.kind


def record_steps(record_at: Sequence[int] | np.ndarray) -> np.ndarray:
    """Record steps as int32 [t]."""
    try:
        steps = np.asarray(record_at)
    except ValueError:
        steps = np.empty(0)
    whole = steps.ndim == 1 and steps.size > 0 and np.issubdtype(steps.dtype, np.integer)
    good = whole and steps[0] >= 0 and (steps[1:] > steps[:-1]).all() and steps[-1] < 2**31
    allowed = "a list of increasing whole numbers from 0 to 2^31 - 1"
    require(good, "record_at", record_at, allowed)
    return steps.astype(np.int32)
