"""Words to calls: the command line."""

import contextlib
import io
import os
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from cldyn import plots, screen, store
from cldyn.checks import Refused, refuse, require
from cldyn.claims import CLAIMS, own, paper
from cldyn.claims.table import Claim, Row, Study, write
from cldyn.sweeps import cores
from cldyn.words import asked, listing

FORMATS = ("png", "pdf", "svg")
_ABOUT = """\
cldyn is a laboratory for the training dynamics of contrastive learning. It trains encoders on data
whose features are known, and measures which features are learned, and when, beside what theory
predicts of it.
"""
_MORE = (
    "For example: cldyn reproduce class-collapse",
    "             cldyn run optimizer=adam learning_rate=0.01 --steps 200",
    "More of a command: cldyn COMMAND --help. Which version: cldyn --version",
)
_Words = tyro.conf.Positional[tuple[str, ...]]


@dataclass(frozen=True)
class List:
    """List every claim, what it says and costs, and what of the paper each shows, by number.

    For example: cldyn list
    """

    def run(self) -> int:
        """Print the claims, then the paper's statements."""
        for claim in CLAIMS:
            lines = claim.says, f"source: {claim.source}", f"cost: {claim.cost}"
            shown = f"shows: {', '.join(claim.shows)}" if claim.shows else "shows: what is ours"
            print("\n  ".join((claim.name, *lines, shown)))
        print("\nThe paper (Xue et al. 2023), by number:", *paper.listing(CLAIMS), sep="\n")
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
        out: folder for CLAIM/figure, CLAIM/table.csv and CLAIM/trajectories.zarr.
        format: of the figure: png, pdf or svg.
    """

    words: Annotated[
        _Words, tyro.conf.arg(metavar="[CLAIM ...]", help_behavior_hint="(default: all)")
    ] = ()
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("results")
    format: Annotated[str, tyro.conf.arg(metavar="FORMAT")] = "png"

    def run(self) -> int:
        """Run the claims; everything that can be refused is refused before the first one starts."""
        chosen, statements = paper.chosen(CLAIMS, self.words)
        require(self.format in FORMATS, "format", self.format, f"one of {', '.join(FORMATS)}")
        folders = [_writable(self.out / claim.name, f"figure.{self.format}") for claim in chosen]
        rows = {}
        for claim, some in _studied(chosen, folders, self.format):
            rows[claim.name] = some
            _tell(claim.name, some, self.out / claim.name, statements)
        if len(chosen) > 1:
            print(screen.summary({claim.name: rows[claim.name] for claim in chosen}), end="")
        return int(any(row.verdict == "fails" for some in rows.values() for row in some))


@dataclass(frozen=True)
class Run:
    """Train a setting of your own over some seeds, and say what theory predicts of it.

    Every word sets a field by its name, in any order: an encoder, a loss or another noun, or one of
    their numbers; cldyn fields lists all of them. What is not set has its default. A file holds the
    same names as a flat TOML table (encoder = "mlp"), which the words override.

    For example: cldyn run encoder=mlp optimizer=adam learning_rate=0.01 --steps 300

    Args:
        words: fields by name, and at most one file of them.
        steps: training steps.
        seeds: how many seeds, of data, initialization and batches alike.
        out: folder for run/figure.png, run/table.csv and run/trajectories.zarr.
    """

    words: Annotated[
        _Words, tyro.conf.arg(metavar="[NAME=VALUE ...] [FILE.toml]", help_behavior_hint="")
    ] = ()
    steps: Annotated[
        str | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: 400)")
    ] = None
    seeds: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: 8)")] = (
        None
    )
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("results")

    def run(self) -> int:
        """Run the setting; what makes no sense is refused before anything is written."""
        options = {"steps": self.steps, "seeds": self.seeds}
        told = [f"{name}={value}" for name, value in options.items() if value is not None]
        meant = asked([*self.words, *told])
        folder = _writable(self.out / "run", "figure.png")
        study = own.study(meant.experiment, meant.steps, meant.seeds)
        _tell("run", _kept(study, folder, "png"), folder)
        return 0


@dataclass(frozen=True)
class Fields:
    """List every field that cldyn run sets: its default, what it says and what it takes.

    For example: cldyn fields
    """

    def run(self) -> int:
        """Print the fields."""
        print("cldyn run NAME=VALUE ... sets these; several numbers are said as 2,1.5\n")
        print(listing(min(100, screen.console().width)))
        return 0


COMMANDS: dict[str, Any] = {"list": List, "reproduce": Reproduce, "run": Run, "fields": Fields}


def _writable(folder: Path, figure: str) -> Path:
    """The folder, made if need be; found out before anything is computed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".probe").touch()
        (folder / ".probe").unlink()
    except OSError as error:
        refuse("out", str(folder), f"a folder that can be written ({error.strerror})")
    for name in (figure, "table.csv"):
        require(not (folder / name).is_dir(), "out", str(folder / name), "a place for a file")
    store.check_place(folder / "trajectories.zarr")
    return folder


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
    rows = _kept(claim.study(), folder, format)
    jax.clear_caches()  # the next claim has programs of its own
    return rows


def _kept(study: Study, folder: Path, format: str) -> list[Row]:
    """The rows of a study, all of which is written."""
    store.save(folder / "trajectories.zarr", study.trajectories)
    write(folder / "table.csv", study.rows)
    plots.save(study.figure, folder / f"figure.{format}")
    return study.rows


def _tell(name: str, rows: list[Row], folder: Path, statements: Sequence[str] = ()) -> None:
    told = screen.by_statement(name, rows, statements) if statements else screen.told(name, rows)
    print(told, f"{folder / 'table.csv'} has every row.", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """The program `cldyn`.

    Exit status 0; 1 if a prediction fails; 2, and one line, for what it cannot do.
    """
    jax.config.update("jax_default_matmul_precision", "highest")
    words = sys.argv[1:] if arguments is None else arguments
    try:
        status = _answer(*words)
        sys.stdout.flush()
    except Refused as error:
        print(f"cldyn: {error}", file=sys.stderr)
        status = 2
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)


def _answer(name: str = "--help", *words: str) -> int:
    """What the command says, or what the program says about itself."""
    if name in ("-h", "--help"):
        print(_help())
        return 0
    if name == "--version":
        print(f"cldyn {version('cldyn')}")
        return 0
    require(name in COMMANDS, "command", name, f"one of {', '.join(COMMANDS)}, or --help")
    meant = _parse(name, words)
    return 0 if meant is None else meant.run()


def _help() -> str:
    """What the program is for, and its commands."""
    width = min(100, screen.console().width)
    lines = [*textwrap.wrap(_ABOUT, width), "", "usage: cldyn COMMAND ...", ""]
    for name, command in COMMANDS.items():
        says = (command.__doc__ or "").split("\n\n")[0]
        lines += textwrap.wrap(f"  {name:<11} {says}", width, subsequent_indent=" " * 14)
    return "\n".join([*lines, "", *_MORE])


def _parse(name: str, words: Sequence[str]) -> Any:
    """The command meant, None where it was its help; a complaint of the parser becomes one line."""
    heard, complaint = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(heard), contextlib.redirect_stderr(complaint):
            meant, more = tyro.cli(
                COMMANDS[name], prog=f"cldyn {name}", args=words, return_unknown_args=True
            )
    except SystemExit as stop:
        if not stop.code:
            width = screen.console().width
            print(*(textwrap.fill(line, width) for line in heard.getvalue().splitlines()), sep="\n")
            return None
        told = " ".join(re.sub(r"[\u2500-\u257f]+|-{3,}", " ", complaint.getvalue()).split())
        told = told.split(" For full helptext")[0]
        raise Refused(f"arguments: {told}; what is allowed: cldyn {name} --help") from None
    # Words may stand among the options.
    spare = [word for word in more if word.startswith("-") or not hasattr(meant, "words")]
    require(not spare, "arguments", " ".join(spare), f"what cldyn {name} --help says")
    return replace(meant, words=(*meant.words, *more)) if more else meant
