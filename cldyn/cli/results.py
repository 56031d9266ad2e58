"""Results of a command: a folder with a figure, a page, a table and trajectories; what is told."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import tyro

from cldyn import folders, page, plots, screen, store
from cldyn.checks import refuse, require
from cldyn.claims.table import Row, Study, write

Words = tyro.conf.Positional[tuple[str, ...]]
Data = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]


FORMATS = ("png", "pdf", "svg")
_NAMES = ("page.html", "table.csv", "trajectories.zarr", *(f"figure.{one}" for one in FORMATS))


def placed(data: Path | None) -> list[str]:
    """The word that says where files are, if any."""
    return [] if data is None else [f"folder={data}"]


def check_file(name: str, file: Path | None) -> None:
    """A file can be written, found out before anything is computed."""
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new = not file.exists()
        file.open("ab").close()
        if new:
            file.unlink()
    except OSError as error:
        refuse(name, str(file), f"a file that can be written ({error.strerror})")


@contextmanager
def undamaged(store: Path) -> Iterator[None]:
    """What reads a store says in one line that a chunk of it is not as it was written."""
    try:
        yield
    except ValueError as error:
        if "checksum" not in str(error):
            raise
        allowed = "one without damaged chunks; the same sweep again mends them"
        refuse("store", str(store), allowed)


def writable(folder: Path) -> Path:
    """The place of a result, found out before anything is computed."""
    folders.check(folder, _NAMES)
    for place in (folder / name for name in _NAMES):
        ours = (place / "zarr.json").is_file() if place.suffix == ".zarr" else place.is_file()
        require(ours or not place.exists(), "out", str(place), "a new place or an earlier result")
    return folder


def kept(name: str, study: Study, folder: Path, format: str) -> list[Row]:
    """The rows of a study, all of which is written."""
    with folders.replaced(folder) as new:
        store.save(new / "trajectories.zarr", study.trajectories)
        write(new / "table.csv", study.rows)
        plots.save(study.figure, new / f"figure.{format}")
        (new / "page.html").write_text(page.of_sweeps(name, study.trajectories), encoding="utf-8")
    return study.rows


def tell(name: str, rows: list[Row], folder: Path, statements: Sequence[str] = ()) -> None:
    """Print rows, and where all of them are."""
    told = screen.by_statement(name, rows, statements) if statements else screen.told(name, rows)
    print(told, f"{folder / 'table.csv'} has every row.", flush=True)
