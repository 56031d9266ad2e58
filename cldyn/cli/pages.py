"""The command that writes one page to explore a store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cldyn import page
from cldyn.checks import require
from cldyn.cli.results import Data, check_file, undamaged

_MADE_BY = "Made by cldyn"  # what every page says at its end


@dataclass(frozen=True)
class Page:
    """Write one HTML file to explore a store: curves, a map, embeddings and a table of its runs.

    It works from disk, offline. The store is one of cldyn sweep, finished or not, or the folder of
    a result of cldyn reproduce or cldyn run, which has a page already.

    For example: cldyn page sweep.zarr
                 cldyn page sweep.zarr --out phases.html

    Args:
        store: folder of the zarr store.
        out: the file, a new one or an earlier page (default: beside the store, named after it).
        data: folder of the files of a set of images (default: that of CLDYN_DATA).
    """

    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.html", help_behavior_hint="")] = None
    data: Data = None

    def run(self) -> int:
        """Write it, and say where it is and what is not in it."""
        store = self.store.resolve()
        if (store / "trajectories.zarr").is_dir():  # the folder of a result
            store = store / "trajectories.zarr"
        require(store.is_dir() and store.name, "store", str(self.store), "the folder of a store")
        name = "page" if store.name == "trajectories.zarr" else store.name.removesuffix(".zarr")
        out = self.out or store.with_name(f"{name}.html")
        _check(out)
        with undamaged(self.store):
            told = page.of_store(store, str(self.data or ""))
        out.write_text(told, encoding="utf-8")
        print(f"{out} ({len(told) / 1e6:.1f} MB) opens in any browser.")
        return 0


def _check(out: Path) -> None:
    """A page can be written there, and nothing else is lost by it."""
    inside = [one for one in out.resolve().parents if (one / "zarr.json").exists()]
    good = out.suffix == ".html" and not inside
    require(good, "out", str(out), "a file.html, outside of any store")
    if out.exists():
        ours = out.is_file() and _MADE_BY in out.read_text(encoding="utf-8", errors="replace")
        require(ours, "out", str(out), "a new file, or an earlier page")
    check_file("out", out)
