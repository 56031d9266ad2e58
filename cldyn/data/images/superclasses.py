"""Superclasses: coarse classes of known sets, whose subclasses are the labels."""

from typing import Any

import numpy as np

from cldyn.checks import one_of, require

_ANIMALS = (0, 0, 1, 1, 1, 1, 1, 1, 0, 0)  # among airplane, automobile, bird, cat, ..., truck
# What a label belongs to, by place; 'none' and 'coarse' are those that a set has itself.
SUPERCLASSES: dict[str, tuple[int, ...]] = {
    "parity": tuple(digit % 2 for digit in range(10)),
    "below_five": tuple(int(digit < 5) for digit in range(10)),
    "animals": _ANIMALS,
}


def superclass(name: str, label: Any) -> np.ndarray:
    """The superclass of every label.

    Args:
        name: parity or below_five, of digits; animals, of CIFAR-10 (the others are vehicles);
            none: every label is its own.
        label: integers [n], from 0 to 9 but for none.

    Returns:
        Integers [n].

    Raises:
        ValueError: a name or a label that is not known.

    Source: Xue et al. (2023), whose MNIST is below five or not and whose CIFAR-10 is vehicles and
    animals; the parity of digits is this project's.

    Example:
        >>> from cldyn.data import images
        >>> images.superclass("parity", [3, 4]).tolist()
        [1, 0]
    """
    label = np.asarray(label)
    if name == "none":
        return label
    require(name in SUPERCLASSES, "superclass", name, one_of(name, ["none", *SUPERCLASSES]))
    table = np.array(SUPERCLASSES[name], np.int32)
    require(label.dtype.kind in "iu", "label", label.dtype, "integers")
    wrong = label[(label < 0) | (label >= len(table))].flat[:1]
    require(not wrong.size, "label", wrong, f"labels from 0 to {len(table) - 1} for {name}")
    return table[label]
