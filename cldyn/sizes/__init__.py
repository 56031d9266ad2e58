"""The paper's experiments on images at its own sizes: sweep files by name, beside its numbers."""

import textwrap
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from cldyn.checks import one_of, refuse


class Number(NamedTuple):
    """A reported number. at: fields by name, where it is. measure: what. value: how much."""

    at: Mapping[str, float]
    measure: str
    value: float

    @property
    def where(self) -> str:
        """Where it is, in words."""
        return " ".join(f"{name}={value:g}" for name, value in self.at.items())


@dataclass(frozen=True)
class Size:
    """A sweep file, and what its table [about] says.

    name: of the file, which `cldyn sweep` takes. path: of the file. shows: statements of the paper.
    needs: files and machine. cost: roughly. each: words of every sweep, where what differs is no
    axis; one without words where all is one sweep. numbers: reported ones, as far as there are any.
    """

    name: str
    path: Path
    shows: tuple[str, ...]
    needs: str
    cost: str
    each: tuple[str, ...]
    numbers: tuple[Number, ...]

    @property
    def commands(self) -> list[str]:
        """What trains it."""
        return [
            " ".join(["cldyn sweep", self.name, *words.split(), "--data DIR", "--store STORE"])
            for words in self.each
        ]


def read(path: Path) -> Size:
    """The remarks of a sweep file."""
    about: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))["about"]
    return Size(
        path.stem,
        path,
        tuple(about["shows"]),
        about["needs"],
        about["cost"],
        tuple(about.get("each", [""])),
        tuple(
            Number(one["at"], one.get("measure", about.get("measure")), one["reported"])
            for one in about.get("numbers", [])
        ),
    )


SIZES = {path.stem: read(path) for path in sorted(Path(__file__).parent.glob("*.toml"))}


def that_show(statement: str) -> list[Size]:
    """The sizes that show a statement of the paper."""
    return [size for size in SIZES.values() if statement in size.shows]


def named(name: str) -> Size:
    """The size of a name.

    Raises:
        ValueError: there is none.

    Example:
        >>> from cldyn import sizes
        >>> sizes.named("table-3").numbers[0].value
        0.2611
    """
    if name not in SIZES:
        refuse("paper", name, one_of(name, SIZES))
    return SIZES[name]


def file_of(word: str) -> str:
    """The word; where it names a size, and is no name=value, the file of that."""
    return str(SIZES[word].path) if word in SIZES else word


def listing() -> list[str]:
    """Lines of all sizes: what each shows, needs and costs, how it is run, and what the paper has.

    Example:
        >>> from cldyn import sizes
        >>> [line for line in sizes.listing() if "last=16" in line][0].split()[:4]
        ['cldyn', 'sweep', 'table-6', 'last=16']
    """
    lines = []
    for size in SIZES.values():
        lines += [size.name, f"  shows: {', '.join(size.shows)}"]
        lines += [f"  needs: {size.needs}", f"  cost: {size.cost}"]
        lines += [f"  {command}" for command in size.commands]
        for measure in dict.fromkeys(one.measure for one in size.numbers):
            some = (
                f"{one.value:g} ({one.where})" for one in size.numbers if one.measure == measure
            )
            told = f"  reported, {measure}: {'; '.join(some)}"
            lines += textwrap.wrap(told, 100, subsequent_indent=" " * 4)
    return lines
