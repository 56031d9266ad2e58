"""Sources: what is learned from. Stored rows, fresh views, fresh examples, images, own arrays.

A source draws (`draw`, and its `test` rows), knows the frame of what it draws (`frame`), and what
batches are made of (`units`).
"""

from cldyn.sources.arrays import Arrays, Augmented, augmented, views
from cldyn.sources.image_sets import (
    IMAGES,
    Cifar10,
    Cifar100,
    Digits,
    FashionMnist,
    Mnist,
    Shapes,
)
from cldyn.sources.images import Images, images
from cldyn.sources.models import FreshViews, Population, Stored
from cldyn.sources.units import Batch, Drawn, Rows, stored_units, unit_shape

SOURCES = {"stored": Stored, "fresh_views": FreshViews, "population": Population, **IMAGES}

__all__ = [
    "SOURCES",
    "Arrays",
    "Augmented",
    "Batch",
    "Cifar10",
    "Cifar100",
    "Digits",
    "Drawn",
    "FashionMnist",
    "FreshViews",
    "Images",
    "Mnist",
    "Population",
    "Rows",
    "Shapes",
    "Stored",
    "augmented",
    "images",
    "stored_units",
    "unit_shape",
    "views",
]
