"""Images: files of the usual formats, sets by name, superclasses, and augmentations."""

from cldyn.data.images.augment import Augment
from cldyn.data.images.overlays import fitted, written_over
from cldyn.data.images.readers import Pictures, Split, checked, npz
from cldyn.data.images.sets import FILES, digest, digits, factor, load, stamp
from cldyn.data.images.shapes import COLOURS, SHAPES, TEXTURES, shapes
from cldyn.data.images.superclasses import SUPERCLASSES, superclass

__all__ = [
    "COLOURS",
    "FILES",
    "SHAPES",
    "SUPERCLASSES",
    "TEXTURES",
    "Augment",
    "Pictures",
    "Split",
    "checked",
    "digest",
    "digits",
    "factor",
    "fitted",
    "load",
    "npz",
    "shapes",
    "stamp",
    "superclass",
    "written_over",
]
