"""The command that writes one page to explore a store."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cldyn import page
from cldyn.checks import require
from cldyn.cli.results import Data, check_file


@dataclass(frozen=True)
class Page:
    """Write one HTML file to explore a store: curves, a map, embeddings and a table of its runs.

    It works from disk, offline. The store is one of cldyn sweep, finished or not, or the
    trajectories.zarr of cldyn reproduce and cldyn run, whose folders have a page already.

    For example: cldyn page sweep.zarr
                 cldyn page sweep.zarr --out phases.html

    Args:
        store: folder of the zarr store.
        out: the file (default: beside the store, named after it).
        data: folder of the files of a set of images (default: that of CLDYN_DATA).
    """

    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    out: Annotated[Path | None, tyro.conf.arg(metavar="FILE.html", help_behavior_hint="")] = None
    data: Data = None

    def run(self) -> int:
        """Write it, and say where it is and what is not in it."""
        store = self.store.resolve()
        require(store.is_dir() and store.name, "store", str(self.store), "the folder of a store")
        out = self.out or store.with_name(f"{store.name.removesuffix('.zarr')}.html")
        require(out.suffix == ".html", "out", str(out), "a file.html")
        check_file("out", out)
        told = page.of_store(self.store, str(self.data or ""))
        out.write_text(told, encoding="utf-8")
        print(f"{out} ({len(told) / 1e6:.1f} MB) opens in any browser.")
        return 0
