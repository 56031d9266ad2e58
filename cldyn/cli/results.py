"""Results of a command: a folder with a figure, a table and trajectories, and what is printed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from cldyn import folders, plots, screen, store
from cldyn.checks import require
from cldyn.claims.table import Row, Study, write

Words = tyro.conf.Positional[tuple[str, ...]]
Data = Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")]


FORMATS = ("png", "pdf", "svg")
_NAMES = ("table.csv", "trajectories.zarr", *(f"figure.{one}" for one in FORMATS))


def placed(data: Path | None) -> list[str]:
    """The word that says where files are, if any."""
    return [] if data is None else [f"folder={data}"]


def writable(folder: Path) -> Path:
    """The place of a result, found out before anything is computed."""
    folders.check(folder, _NAMES)
    for place in (folder / name for name in _NAMES):
        ours = (place / "zarr.json").is_file() if place.suffix == ".zarr" else place.is_file()
        require(ours or not place.exists(), "out", str(place), "a new place or an earlier result")
    return folder


def kept(study: Study, folder: Path, format: str) -> list[Row]:
    """The rows of a study, all of which is written."""
    with folders.replaced(folder) as new:
        store.save(new / "trajectories.zarr", study.trajectories)
        write(new / "table.csv", study.rows)
        plots.save(study.figure, new / f"figure.{format}")
    return study.rows


def tell(name: str, rows: list[Row], folder: Path, statements: Sequence[str] = ()) -> None:
    """Print rows, and where all of them are."""
    told = screen.by_statement(name, rows, statements) if statements else screen.told(name, rows)
    print(told, f"{folder / 'table.csv'} has every row.", flush=True)
