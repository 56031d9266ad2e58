"""Sets of images by name as sources: a closed table of what words may ask for."""

import os
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax

from cldyn.checks import require
from cldyn.data import images as pictures
from cldyn.data.images import Pictures
from cldyn.fields import choice, internal, place, size
from cldyn.held import Held
from cldyn.nouns import noun
from cldyn.sources.images import Contents, Pictured, evenly, groups_of

_MARKS = ("none", "digits", "mnist", "fashion_mnist")
_FOLDER = "folder of the files; where none is told, that of the environment's CLDYN_DATA"


@noun
class _Named(Pictured):
    """A set of images by its name."""

    n: int = size(0, "n, training images, evenly chosen; 0: all", 0)
    held: Any = internal(None, leaf=True)
    classes: Any = internal(())
    subclasses: Any = internal(())

    name, side, folder, subclass, overlay = "", 16, "", "none", "none"
    superclass = "none"

    def opened(self) -> Any:
        """The source with its images, which are read once in a process."""
        if self.held is not None:
            return self
        held, classes, subclasses = _held(*self._asked())
        return replace(self, held=held, classes=classes, subclasses=subclasses)

    @property
    def digest(self) -> str:
        """Of what is in the files, also of the overlay; none where no folder is told yet."""
        if self.name in pictures.FILES and not self._folder(self.name):
            return ""
        names = [name for name in (self.name, self.overlay) if name != "none"]
        return " ".join(pictures.digest(one, self._folder(one), self.side) for one in names)

    def _folder(self, name: str) -> str:
        told = self.folder or os.environ.get("CLDYN_DATA", "")
        return told if name in pictures.FILES else ""

    def _asked(self) -> tuple[Any, ...]:
        stamps = tuple(
            pictures.stamp(name, self._folder(name))
            for name in (self.name, self.overlay)
            if name != "none"
        )
        of = self.name, self._folder(self.name), self.side, self.n, self.superclass, self.subclass
        return *of, self.overlay, stamps

    def check(self) -> None:
        """Refuse numbers that do not fit each other, and files that are not there."""
        super().check()
        count = len(pictures.load(self.name, self._folder(self.name), self.side).train.x)
        require(self.n <= count, "n", self.n, f"at most {count}, the images there are")
        self.opened()


@lru_cache(maxsize=8)
def _held(
    name: str, folder: str, side: int, n: int, superclass: str, subclass: str, overlay: str, _: Any
) -> tuple[Held, tuple[int, ...], tuple[int, ...]]:
    """What a set holds, and its classes and subclasses; the last argument changes with files."""

    def of(name: str) -> pictures.Split:
        return pictures.load(name, folder if name in pictures.FILES else "", side)

    train, test = of(name)
    assert test is not None
    if n:
        train = jax.tree.map(lambda leaf: leaf[evenly(len(train.x), n)], train)
    train, test = (_labelled(one, superclass, subclass) for one in (train, test))
    marks: tuple[Any, ...] = ()
    if overlay != "none":
        marks = tuple(pictures.fitted(one.x, *train.x.shape[1:]) for one in of(overlay) if one)
    classes, subclasses = groups_of(train, test)
    return Held(Contents(train, test, *marks)), classes, subclasses


def _labelled(given: Pictures, superclass: str, subclass: str) -> Pictures:
    """Images with the classes and subclasses that are asked for."""

    def code(name: str) -> Any:
        if name in ("shape", "texture", "colour"):
            return pictures.factor(name, given.fine)
        return given.label if name == "coarse" else pictures.superclass(name, given.fine)

    return Pictures(given.x, code(superclass), code(subclass))


def _superclass(*names: str) -> Any:
    return choice("none", "classes of the labels; none: the labels themselves", "none", *names)


def _overlay() -> Any:
    return choice("none", "set whose images are written over, files in the same folder", *_MARKS)


@noun
class Digits(_Named):
    """The digits of scikit-learn, 8 x 8, as views of originals.

    Example:
        >>> import cldyn
        >>> experiment = cldyn.Experiment().replace(problem=cldyn.sources.Digits(bits=8))
        >>> experiment.problem.shape
        (1200, 2, 80)
    """

    superclass: str = _superclass("parity", "below_five")

    name = "digits"


@noun
class _InFiles(_Named):
    """A set of images that is in files."""

    folder: str = place("", _FOLDER)


@noun
class Mnist(_InFiles):
    """MNIST, 28 x 28, from its IDX files or from mnist.npz."""

    superclass: str = _superclass("parity", "below_five")

    name = "mnist"


@noun
class FashionMnist(_InFiles):
    """Fashion-MNIST, 28 x 28, from its IDX files or from fashion_mnist.npz."""

    name = "fashion_mnist"


@noun
class Cifar10(_InFiles):
    """CIFAR-10, 32 x 32 x 3, from its binary files or from cifar10.npz."""

    superclass: str = _superclass("animals")
    overlay: str = _overlay()

    name = "cifar10"


@noun
class Cifar100(_InFiles):
    """CIFAR-100, 32 x 32 x 3, from its binary files; coarse: its 20 superclasses."""

    superclass: str = _superclass("coarse")
    overlay: str = _overlay()

    name = "cifar100"


@noun
class Shapes(_Named):
    """Shapes in textures and colours, made and not read: 48 kinds of images in three channels."""

    side: int = size(16, "height and width in pixels", 8)
    superclass: str = choice(
        "shape",
        "factor that is the class; none: all",
        "none",
        "shape",
        "texture",
        "colour",
    )
    subclass: str = choice(
        "none", "factor that is the subclass; none: all", "none", "shape", "texture", "colour"
    )
    overlay: str = choice("none", "set whose images are written over", "none", "digits")

    name = "shapes"


IMAGES: dict[str, Any] = {
    "digits": Digits,
    "mnist": Mnist,
    "fashion_mnist": FashionMnist,
    "cifar10": Cifar10,
    "cifar100": Cifar100,
    "shapes": Shapes,
}
