"""Sources: what is learned from. Stored rows, fresh views, fresh examples, or one's own arrays.

A source draws (`draw`, and its `test` rows), knows the frame of what it draws (`frame`), and what
batches are made of (`units`).
"""

from cldyn.sources.arrays import Arrays, Augmented, augmented, views
from cldyn.sources.models import SOURCES, FreshViews, Population, Stored
from cldyn.sources.units import Batch, Drawn, Rows, stored_units, unit_shape

__all__ = [
    "SOURCES",
    "Arrays",
    "Augmented",
    "Batch",
    "Drawn",
    "FreshViews",
    "Population",
    "Rows",
    "Stored",
    "augmented",
    "stored_units",
    "unit_shape",
    "views",
]
