"""What closed forms refuse: numbers and shapes that mean nothing to them, where they are known."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import Array

from cldyn import nouns
from cldyn.checks import require
from cldyn.data import FeatureModel

Number = float | Array | np.ndarray  # that a closed form takes, traced or not

_RULES: dict[str, Callable[[np.ndarray], Any]] = {
    "numbers": np.isfinite,
    "numbers > 0": lambda value: np.isfinite(value) & (value > 0),
    "numbers > 1": lambda value: np.isfinite(value) & (value > 1),
    "numbers >= 0": lambda value: np.isfinite(value) & (value >= 0),
    "numbers >= 0, or infinity": lambda value: value >= 0,
    "numbers in [0, 1]": lambda value: (value >= 0) & (value <= 1),
    "numbers in [0, 1)": lambda value: (value >= 0) & (value < 1),
    "1": lambda value: value == 1,
    "0 or 1": lambda value: (value == 0) | (value == 1),
    "whole numbers >= 1": lambda value: (value >= 1) & (value == np.round(value)),
    "whole numbers >= 2": lambda value: (value >= 2) & (value == np.round(value)),
}


def allow(rule: str, **values: Any) -> None:
    """Refuse arguments that break a rule.

    Args:
        rule: one of the keys of `_RULES`; the message repeats it.
        values: arguments by name, numbers or arrays; what is traced or None passes.

    Raises:
        ValueError: one line naming argument, value and what is allowed.
    """
    for name, value in values.items():
        if value is None or _traced(value):
            continue
        array = np.asarray(value)
        good = array.dtype.kind in "iuf" or jax.dtypes.issubdtype(array.dtype, np.floating)
        require(good and np.all(_RULES[rule](array)), name, value, rule)


def allow_shapes(**shapes: tuple[Any, str]) -> None:
    """Refuse arrays that do not fit each other, traced or not.

    Args:
        shapes: by name an array and its axes, a letter each; equal letters are equal lengths.

    Raises:
        ValueError: one line naming argument, shape and the axes it should have.
    """
    lengths: dict[str, int] = {}
    for name, (value, axes) in shapes.items():
        if value is None:
            continue
        shape = np.shape(value)
        good = len(shape) == len(axes)
        good = good and all(
            lengths.setdefault(axis, size) == size for axis, size in zip(axes, shape, strict=True)
        )
        told = ", ".join(f"{axis} = {lengths[axis]}" if axis in lengths else axis for axis in axes)
        require(good, f"shape of {name}", shape, f"[{told}]")


def allow_model(model: FeatureModel) -> None:
    """Refuse a model that makes no sense; one with a traced number passes."""
    if not _traced(model):
        nouns.check(model, "float64")


def allow_positives(positives: Any) -> None:
    """Refuse what is no kind of positive pairs; one with a traced number passes."""
    good = hasattr(positives, "by_class") and not isinstance(positives, type)
    require(good, "positives", positives, "Supervised(), Unsupervised() or Joint(beta)")
    if not _traced(positives):
        nouns.check(positives, "float64")


def _traced(value: Any) -> bool:
    return any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(value))


def allow_zero(allowed: str, **values: Any) -> None:
    """Refuse arguments, by name, that are not zero where a closed form leaves them out."""
    for name, value in values.items():
        if not _traced(value):
            require(not np.any(np.asarray(value)), name, value, allowed)
