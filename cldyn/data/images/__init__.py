"""Images: files of the usual formats, sets by name, superclasses, and augmentations."""

from cldyn.data.images.augment import Augment, Draw, augmented, recoloured, resampling
from cldyn.data.images.overlays import fitted, written_over
from cldyn.data.images.readers import Pictures, Split, checked, cifar, idx, npz
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
    "Draw",
    "Pictures",
    "Split",
    "augmented",
    "checked",
    "cifar",
    "digest",
    "digits",
    "factor",
    "fitted",
    "idx",
    "load",
    "npz",
    "recoloured",
    "resampling",
    "shapes",
    "stamp",
    "superclass",
    "written_over",
]
