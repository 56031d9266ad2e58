"""Sets of images by name: a closed table, and what they hold."""

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any

import jax
import numpy as np

from cldyn.checks import one_of, refuse, require
from cldyn.data.images.readers import Pictures, Split, checked, files_of, read
from cldyn.data.images.shapes import COUNTS, shapes

FILES = ("mnist", "fashion_mnist", "cifar10", "cifar100")  # sets that are in files
NAMES = ("digits", *FILES, "shapes")
_TRAIN = 1200  # of the digits
_SHAPES = 2000, 1000  # training and test images


def digits() -> Pictures:
    """The digits that come with scikit-learn: 1797 images of 8 x 8.

    Returns:
        Pictures, x [1797, 8, 8, 1] in [0, 1].

    Raises:
        ValueError: scikit-learn is not installed.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI (1998).

    Example:
        >>> from cldyn.data import images
        >>> images.digits().x.shape
        (1797, 8, 8, 1)
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        refuse("digits", "no scikit-learn", 'a machine that has it: pip install "cldyn[data]"')
    found = load_digits()
    return checked(found.images / 16, found.target, None, "digits")


def load(name: str, folder: str = "", side: int = 16) -> Split:
    """A set of images by name, to learn from and to test on.

    Args:
        name: digits, mnist, fashion_mnist, cifar10, cifar100 or shapes.
        folder: where the files of the set are: IDX files of mnist and fashion_mnist, also as .gz,
            binary files of cifar10 and cifar100, or mnist.npz and the like with arrays x_train,
            y_train, x_test, y_test; of digits and shapes none.
        side: pixels of the shapes.

    Returns:
        Split. Of the digits 1200 chosen once are to learn from; of the shapes fine labels count
        shape, texture and colour; labels of cifar100 are its 20 superclasses.

    Raises:
        ValueError: a file that is missing, or is not what it should be.

    Example:
        >>> from cldyn.data import images
        >>> images.load("digits").test.x.shape
        (597, 8, 8, 1)
    """
    require(name in NAMES, "name", name, one_of(name, NAMES))
    return _known(name, side, stamp(name, folder))[0]


def digest(name: str, folder: str = "", side: int = 16) -> str:
    """A digest of what a set holds."""
    return _known(name, side, stamp(name, folder))[1]


def stamp(name: str, folder: str) -> tuple[tuple[str, int, int], ...]:
    """Files of a set with their sizes and times, which change when these do."""
    if name not in FILES:
        require(folder == "", "folder", folder, f"none for {name}, which is in no file")
        return ()
    found = [(str(path), path.stat()) for path in files_of(name, folder)]
    return tuple((path, stat.st_size, stat.st_mtime_ns) for path, stat in found)


@lru_cache(maxsize=8)
def _known(name: str, side: int, files: tuple[tuple[str, int, int], ...]) -> tuple[Split, str]:
    """A set and its digest, read once in a process."""
    if name in FILES:
        split = read(name, [Path(path) for path, *_ in files])
    else:
        split = _digits() if name == "digits" else _shapes(side)
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(split):
        found.update(f"{leaf.shape} {leaf.dtype}".encode())
        found.update(np.ascontiguousarray(leaf).data)
    return split, found.hexdigest()[:16]


def _digits() -> Split:
    found = digits()
    # In their own order the last digits are of other writers than the first: another task.
    marks = jax.random.bits(jax.random.key(0), (len(found.x),), np.uint32)
    order = np.argsort(marks, kind="stable")
    parts = np.split(order, [_TRAIN])
    return Split(*(Pictures(*(leaf[at] for leaf in found)) for at in parts))


def _shapes(side: int) -> Split:
    x, factors = jax.device_get(shapes(jax.random.key(0), sum(_SHAPES), side))
    fine = np.ravel_multi_index(factors.T, tuple(COUNTS.values())).astype(np.int32)
    parts = (slice(_SHAPES[0]), slice(_SHAPES[0], None))
    return Split(*(Pictures(x[at], fine[at], fine[at]) for at in parts))


def factor(name: str, fine: Any) -> np.ndarray:
    """One of the three factors of the shapes, from fine labels that count all three."""
    places = np.unravel_index(np.asarray(fine), tuple(COUNTS.values()))
    return places[[*COUNTS].index(name)].astype(np.int32)
