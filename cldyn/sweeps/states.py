"""States of trajectories as bytes: what a sweep keeps to go on from."""

from typing import Any

import jax
import numpy as np

STATE = "state"  # its name among the records


def bytes_of(tree: Any) -> int:
    """Bytes of all leaves, arrays or their shapes."""
    return sum(leaf.size * np.dtype(leaf.dtype).itemsize for leaf in jax.tree.leaves(tree))


def packed(state: Any) -> np.ndarray:
    """Leaves [b, l, ...] one after the other, as bytes [b, l, bytes]."""
    leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(state)]
    flat = (leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves)
    return np.concatenate([np.ascontiguousarray(leaf).view(np.uint8) for leaf in flat], axis=-1)


def unpacked(given: Any, like: Any) -> Any:
    """The state whose bytes these are [b, l, bytes]. like: shapes and types of one trajectory's."""
    leaves, shape = jax.tree.flatten(like)
    found, start = [], 0
    for leaf in leaves:
        stop = start + leaf.size * np.dtype(leaf.dtype).itemsize
        part = np.ascontiguousarray(given[..., start:stop]).view(leaf.dtype)
        found.append(part.reshape(*given.shape[:2], *leaf.shape))
        start = stop
    return jax.tree.unflatten(shape, found)
