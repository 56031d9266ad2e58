"""What is there once: large arrays of a problem, which all problems of a sweep share."""

from typing import Any

import jax


@jax.tree_util.register_pytree_node_class
class Held:
    """Large arrays in a tree, themselves any pytree: leaves that are there once, as they are.

    They are not cast, and problems of a sweep share them: `over` and `in_axes` pass them by.
    """

    def __init__(self, value: Any) -> None:
        self.value = value

    def tree_flatten(self) -> tuple[tuple[Any], None]:
        """As a pytree."""
        return (self.value,), None

    @classmethod
    def tree_unflatten(cls, _: None, leaves: tuple[Any]) -> "Held":
        """From one."""
        return cls(*leaves)


def is_held(value: Any) -> bool:
    """Whether a value is there once."""
    return isinstance(value, Held)


def over(function: Any, *trees: Any) -> Any:
    """`jax.tree.map` of what has axes of a sweep; of what is held the first."""

    def one(first: Any, *others: Any) -> Any:
        return first if is_held(first) else function(first, *others)

    return jax.tree.map(one, *trees, is_leaf=is_held)


def placed(tree: Any) -> Any:
    """The tree with what is held on the device, which it then reaches once."""
    return jax.tree.map(
        lambda leaf: jax.device_put(leaf) if is_held(leaf) else leaf, tree, is_leaf=is_held
    )


def in_axes(tree: Any) -> Any:
    """`in_axes` of `jax.vmap` for a tree whose leaves have an axis first, but for what is held."""
    return jax.tree.map(lambda leaf: None if is_held(leaf) else 0, tree, is_leaf=is_held)
