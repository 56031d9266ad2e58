"""Commands about claims: what there is, and what is measured of it."""

import itertools
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from cldyn import screen, sizes
from cldyn.checks import require
from cldyn.claims import CLAIMS, paper
from cldyn.claims.table import Claim, Row
from cldyn.cli.results import FORMATS, Words, kept, tell, writable
from cldyn.sweeps import cores

# After so many claims a process frees their programs: claims share few of them, and all of them
# take more memory than all else.
_TOGETHER = 2
_studied_here = itertools.count(1)


@dataclass(frozen=True)
class List:
    """List claims, what of the paper each shows, and what there is at the paper's own sizes.

    For example: cldyn list
    """

    def run(self) -> int:
        """Print the claims, the paper's statements, and the sizes."""
        for claim in CLAIMS:
            lines = claim.says, f"source: {claim.source}", f"cost: {claim.cost}"
            shown = f"shows: {', '.join(claim.shows)}" if claim.shows else "shows: what is ours"
            print("\n  ".join((claim.name, *lines, shown)))
        print("\nThe paper (Xue et al. 2023), by number:", *paper.listing(CLAIMS), sep="\n")
        print("\nAt the paper's own sizes, on files:", *sizes.listing(), sep="\n")
        return 0


@dataclass(frozen=True)
class Reproduce:
    """Measure claims beside their predictions; exit status 1 if a prediction fails.

    Failures are printed in full, then what is only found; OUT/CLAIM/table.csv has every row. By a
    number of the paper the claims that show it are run, and its rows printed in full.

    For example: cldyn reproduce class-collapse --format pdf
                 cldyn reproduce "thm 4.5"

    Args:
        words: names of claims, or statements of the paper by number, as cldyn list has them.
        out: folder for CLAIM/figure, CLAIM/page.html, CLAIM/table.csv and CLAIM/trajectories.zarr.
        format: of the figure: png, pdf or svg.
    """

    words: Annotated[
        Words, tyro.conf.arg(metavar="[CLAIM ...]", help_behavior_hint="(default: all)")
    ] = ()
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("results")
    format: Annotated[str, tyro.conf.arg(metavar="FORMAT")] = "png"

    def run(self) -> int:
        """Run the claims; everything that can be refused is refused before the first one starts."""
        _compile_lightly()
        chosen, statements = paper.chosen(CLAIMS, self.words)
        require(self.format in FORMATS, "format", self.format, f"one of {', '.join(FORMATS)}")
        folders = [writable(self.out / claim.name) for claim in chosen]
        for claim in chosen:
            claim.ready()
        rows = {}
        for claim, some in _studied(chosen, folders, self.format):
            rows[claim.name] = some
            tell(claim.name, some, self.out / claim.name, statements)
        if len(chosen) > 1:
            print(screen.summary({claim.name: rows[claim.name] for claim in chosen}), end="")
        return int(any(row.verdict == "fails" for some in rows.values() for row in some))


def _compile_lightly() -> None:
    """Tell XLA, before it starts, to optimize less.

    Claims are many small programs, which take longer to compile than to run.
    """
    told = os.environ.get("XLA_FLAGS", "")
    if "xla_backend_optimization_level" not in told:
        os.environ["XLA_FLAGS"] = f"{told} --xla_backend_optimization_level=1".strip()


def _studied(
    claims: Sequence[Claim], folders: Sequence[Path], format: str
) -> Iterator[tuple[Claim, list[Row]]]:
    """Claims and their rows as they are done: side by side, in processes.

    On Linux each has cores of its own. One claim, one core or an accelerator is for this process,
    one claim after the other.
    """
    count = min(len(claims), cores())
    if count < 2 or jax.default_backend() != "cpu":
        for claim, folder in zip(claims, folders, strict=True):
            yield claim, _study(claim, folder, format)
        return
    context = get_context("spawn")
    shares = context.Queue()
    for first in range(count):
        shares.put((first, count))
    with ProcessPoolExecutor(count, context, _begin, (shares,)) as pool:
        waiting = [*zip(claims, folders, strict=True)]  # the longest is last
        running: dict[Future[list[Row]], Claim] = {}
        while waiting or running:
            while waiting and len(running) < count:  # no more, so that after a failure none begins
                claim, folder = waiting.pop()
                running[pool.submit(_study, claim, folder, format)] = claim
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(done), done.result()


def _begin(shares: Any) -> None:
    """A process of `_studied` takes every count-th of the cores, where the system lets it."""
    first, count = shares.get()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[first::count])
    jax.config.update("jax_default_matmul_precision", "highest")


def _study(claim: Claim, folder: Path, format: str) -> list[Row]:
    rows = kept(claim.name, claim.study(), folder, format)
    if next(_studied_here) % _TOGETHER == 0:
        jax.clear_caches()
    return rows
