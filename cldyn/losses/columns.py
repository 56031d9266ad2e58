"""Embeddings as columns, ordered by view: what steps of batches have, and its gradient."""

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from cldyn.losses.pairs import Pairs


def columns_of(rows: Array, pairs: Pairs) -> Array:
    """Rows [b m, p], ordered by unit, as columns [p, m b]: all first views, then all second ones.

    pairs: of b units with m views.
    """
    units = rows.reshape(pairs.member.shape[1], pairs.within.shape[0], -1)
    return jnp.transpose(units, (2, 1, 0)).reshape(-1, len(rows))


def rows_of(columns: Array, pairs: Pairs) -> Array:
    """What `columns_of` makes such columns of."""
    views = columns.reshape(-1, pairs.within.shape[0], pairs.member.shape[1])
    return jnp.transpose(views, (2, 1, 0)).reshape(-1, len(columns))


def slope(loss: Any, columns: Array, pairs: Pairs) -> Array:
    """Gradient of a loss in embeddings, by its own `slope`, if it has one.

    Args:
        loss: a noun.
        columns: embeddings [p, m b], all first views, then all second ones and so on.
        pairs: of b units with m views.

    Returns:
        [p, m b].
    """
    known = getattr(loss, "slope", None)
    if known:
        return known(columns, pairs)
    return columns_of(jax.grad(loss)(rows_of(columns, pairs), pairs), pairs)
