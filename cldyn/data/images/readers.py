"""Image files of the usual formats, read in plain numpy: nothing is fetched, nothing is unpickled.

Every reader returns `Pictures`, or a `Split` of training and test ones, or refuses with one line.
"""

import gzip
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from cldyn.checks import Refused, refuse, require

_DIMENSIONS = {"labels": 1, "images": 3}  # of IDX files of unsigned bytes
_NAMES = ("x_train", "y_train", "x_test", "y_test")  # arrays of an npz file


class Pictures(NamedTuple):
    """Labelled images.

    x: [n, h, w, c], bytes or numbers in [0, 1]. label: class of every image [n].
    fine: subclass of every image [n], which is its label where there is no finer one.
    """

    x: Any
    label: Any
    fine: Any


class Split(NamedTuple):
    """Images to learn from, and images to test on; None where there are none of these."""

    train: Pictures
    test: Pictures | None


def files_of(name: str, folder: str) -> list[Path]:
    """Files of a set in a folder, refused where one is missing."""
    allowed = f"the folder that holds the files of {name}, as folder=DIR or --data DIR"
    require(folder, "folder", folder, allowed)
    try:
        place = Path(folder).expanduser()
    except RuntimeError:  # ~ of nobody
        refuse("folder", folder, "a folder that is there")
    require(place.is_dir(), "folder", folder, "a folder that is there")
    inner, wanted = _FILES[name]
    one = place / f"{name}.npz"
    if name in _NPZ and one.is_file():
        return [one]
    there = [place / inner, place] if inner else [place]
    told = f"a folder with {', '.join(wanted)} of {name}"
    for one in there:
        found = [_present(one / file) for file in wanted]
        missing = [file for file, path in zip(wanted, found, strict=True) if path is None]
        if len(missing) < len(wanted):
            require(not missing, "folder", folder, f"{told}: {', '.join(missing)} is missing")
            return [path for path in found if path is not None]
    refuse("folder", folder, told)


def _present(path: Path) -> Path | None:
    """The file, or its compressed kin."""
    for one in (path, path.with_name(path.name + ".gz")):
        if one.is_file():
            return one
    return None


def read(name: str, files: list[Path]) -> Split:
    """The set that files hold, as of `files_of`."""
    if files[0].suffix == ".npz":
        return npz(files[0])
    if name == "cifar10":
        return Split(cifar(files[:-1], coarse=False), cifar(files[-1:], coarse=False))
    if name == "cifar100":
        return Split(cifar(files[:1], coarse=True), cifar(files[1:], coarse=True))
    return Split(idx(*files[:2]), idx(*files[2:]))


def idx(images: Path, labels: Path) -> Pictures:
    """Images and labels of two IDX files, compressed or not (MNIST and its kin)."""
    x, label = _idx(images, "images"), _idx(labels, "labels").astype(np.int32)
    allowed = f"as many labels as images, {len(x)}"
    require(len(x) == len(label), str(labels), f"{len(label)} labels", allowed)
    return Pictures(x[..., None], label, label)


def _idx(path: Path, what: str) -> np.ndarray:
    found, dimensions = _bytes_of(path), _DIMENSIONS[what]
    start = 4 + 4 * dimensions
    magic = bytes([0, 0, 8, dimensions])
    allowed = f"{magic.hex()}, the magic number of IDX {what}"
    require(found[:4] == magic, str(path), found[:4].hex(), allowed)
    require(len(found) >= start, str(path), f"{len(found)} bytes", f"a header of {start} bytes")
    shape = tuple(np.frombuffer(found, ">u4", dimensions, 4).tolist())
    require(0 not in shape, str(path), shape, "a shape without an empty axis")
    wanted = start + int(np.prod(shape, dtype=object))
    told = f"{wanted} bytes for {what} {shape}"
    require(len(found) == wanted, str(path), f"{len(found)} bytes", told)
    return np.frombuffer(found, np.uint8, offset=start).reshape(shape)


def cifar(files: list[Path], coarse: bool) -> Pictures:
    """Images of CIFAR's binary files. coarse: whether a row begins with a superclass, too."""
    counts = (20, 100) if coarse else (10,)
    rows, ahead = [], len(counts)
    for path in files:
        found, width = _bytes_of(path), ahead + 3072
        allowed = f"a multiple of {width}, label and image"
        require(found and len(found) % width == 0, str(path), f"{len(found)} bytes", allowed)
        rows.append(np.frombuffer(found, np.uint8).reshape(-1, width))
        for column, count in enumerate(counts):
            largest = int(rows[-1][:, column].max())
            require(largest < count, str(path), largest, f"labels below {count}")
    table = np.concatenate(rows)
    x = table[:, ahead:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    label, fine = (table[:, i].astype(np.int32) for i in (0, ahead - 1))
    return Pictures(np.ascontiguousarray(x), label, fine)


def npz(path: Path) -> Split:
    """Images and labels of an npz file with arrays x_train, y_train, x_test, y_test."""
    try:
        with np.load(path, allow_pickle=False) as found:
            missing = [name for name in _NAMES if name not in found]
            told = f"a file with arrays {', '.join(_NAMES)}"
            require(not missing, str(path), sorted(found), told)
            arrays = [found[name] for name in _NAMES]
    except Refused:
        raise
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, TypeError, ValueError) as error:
        told = f"an npz file of plain arrays that can be read ({' '.join(str(error).split())})"
        refuse("file", str(path), told)
    parts = [
        checked(x, label, None, f"{path.name} {part}")
        for part, x, label in (("train", *arrays[:2]), ("test", *arrays[2:]))
    ]
    return Split(*parts)


def checked(x: Any, label: Any, fine: Any, of: str = "") -> Pictures:
    """Images and labels that fit each other, refused where they do not.

    Args:
        x: bytes, or numbers in [0, 1], [n, h, w, c] or [n, h, w].
        label: classes, integers [n] (or [n, 1]).
        fine: subclasses, integers [n], or None: those of label.
        of: whose they are.
    """
    before = f"{of} " if of else ""
    x = _array(x, f"{before}x")
    good = x.ndim in (3, 4) and 0 not in x.shape
    require(good, f"{before}x", x.shape, "images [n, h, w] or [n, h, w, c] with no empty axis")
    x = x[..., None] if x.ndim == 3 else x
    allowed = "bytes (uint8), or floats in [0, 1]"
    require(x.dtype == np.uint8 or x.dtype.kind == "f", f"{before}x", x.dtype, allowed)
    if x.dtype.kind == "f":
        outside = x[~((x >= 0) & (x <= 1))].flat[:1]
        require(not outside.size, f"{before}x", outside, allowed)
        x = x.astype(np.float32)
    codes = []
    for name, code in (("label", label), ("subclass", label if fine is None else fine)):
        code = _array(code, before + name)
        code = code[:, 0] if code.ndim == 2 and code.shape[1] == 1 else code
        good = code.shape == (len(x),) and np.issubdtype(code.dtype, np.integer)
        shown = f"{code.dtype} of shape {code.shape}"
        require(good, before + name, shown, f"integers of shape ({len(x)},), one for each image")
        largest = code[np.abs(code.astype(float)).argmax()]
        require(abs(int(largest)) < 2**31, before + name, largest, "integers of 32 bits")
        codes.append(code.astype(np.int32))
    return Pictures(x, *codes)


def _array(given: Any, name: str) -> np.ndarray:
    try:
        return np.asarray(given)
    except ValueError:
        refuse(name, type(given).__name__, "an array")


def _bytes_of(path: Path) -> bytes:
    """What a file holds, uncompressed."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        refuse("file", str(path), f"a file that can be read ({' '.join(str(error).split())})")


_MNIST = tuple(
    f"{part}-{what}-idx{_DIMENSIONS[what]}-ubyte"
    for part in ("train", "t10k")
    for what in ("images", "labels")
)
# The folder that an archive has, and its files.
_FILES = {
    "mnist": ("", _MNIST),
    "fashion_mnist": ("", _MNIST),
    "cifar10": (
        "cifar-10-batches-bin",
        (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"),
    ),
    "cifar100": ("cifar-100-binary", ("train.bin", "test.bin")),
}
_NPZ = ("mnist", "fashion_mnist", "cifar10")  # those whose one label a row tells everything
