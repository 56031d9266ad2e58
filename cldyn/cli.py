"""Words to calls: the command line."""

import contextlib
import io
import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import jax
import tyro
from rich.console import Console
from rich.table import Table

from cldyn import plots, store
from cldyn.claims import CLAIMS, own
from cldyn.claims.table import Row, Study, write
from cldyn.experiment import Experiment, Problem, Training, check
from cldyn.refusal import Refused, is_size, refuse, require

FORMATS = ("png", "pdf", "svg")


@dataclass(frozen=True)
class List:
    """List every claim: what it says, where it stands, what it costs to run."""

    def run(self) -> int:
        """Print the claims."""
        for claim in CLAIMS:
            print(f"{claim.name}\n  {claim.says}\n  source: {claim.source}\n  cost: {claim.cost}")
        return 0


@dataclass(frozen=True)
class Reproduce:
    """Measure claims beside their predictions; exit status 1 if a prediction fails.

    Args:
        claims: names of claims; none means all of them.
        out: folder for OUT/CLAIM/figure, table.csv and trajectories.zarr.
        format: of the figure: png, pdf or svg.
    """

    claims: tyro.conf.Positional[tuple[str, ...]] = ()
    out: Path = Path("results")
    format: str = "png"

    def run(self) -> int:
        """Run the claims; everything that can be refused is refused before the first one starts."""
        names = [claim.name for claim in CLAIMS]
        for name in self.claims:
            require(name in names, "claim", name, f"one of {', '.join(names)}")
        require(self.format in FORMATS, "format", self.format, f"one of {', '.join(FORMATS)}")
        chosen = [claim for claim in CLAIMS if not self.claims or claim.name in self.claims]
        folders = [_writable(self.out / claim.name, f"figure.{self.format}") for claim in chosen]
        rows = {
            claim.name: _report(claim.name, claim.study(), folder, self.format)
            for claim, folder in zip(chosen, folders, strict=True)
        }
        if len(chosen) > 1:
            _summarize(rows)
        return int(any(row.verdict == "fails" for some in rows.values() for row in some))


@dataclass(frozen=True)
class Run:
    """Train a setting of one's own over some seeds, and say what theory predicts of it.

    Args:
        problem: what is learned from. training: how.
        steps: training steps. seeds: how many, of data, initialization and batches alike.
        out: folder for OUT/run/figure.png, table.csv and trajectories.zarr.
    """

    problem: Problem = Problem()
    training: Training = Training()
    steps: int = 400
    seeds: int = 8
    out: Path = Path("results")

    def run(self) -> int:
        """Run the setting; what makes no sense is refused before anything is written."""
        for name in ("steps", "seeds"):
            require(is_size(getattr(self, name)), name, getattr(self, name), "a whole number >= 1")
        experiment = Experiment(self.problem, self.training)
        check(experiment)
        folder = _writable(self.out / "run", "figure.png")
        _report("run", own.study(experiment, self.steps, self.seeds), folder, "png")
        return 0


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


def _report(name: str, study: Study, folder: Path, format: str) -> list[Row]:
    store.save(folder / "trajectories.zarr", study.trajectories)
    write(folder / "table.csv", study.rows)
    plots.save(study.figure, folder / f"figure.{format}")
    _show(name, study.rows)
    print(f"written to {folder}")
    return study.rows


_COLOURS = {"holds": "green", "fails": "bold red", "found": "yellow"}


def _show(name: str, rows: list[Row]) -> None:
    table = Table(title=name)
    for column in ("quantity", "predicted", "measured", "verdict"):
        table.add_column(column, overflow="fold", no_wrap=column != "quantity")
    for row in rows:
        table.add_row(
            row.quantity, row.predicted, row.measured, f"[{_COLOURS[row.verdict]}]{row.verdict}[/]"
        )
    _print(table)


def _summarize(rows: dict[str, list[Row]]) -> None:
    """One line per claim, and the rows that failed."""
    table = Table("claim", *_COLOURS, "what failed", title="all claims")
    for name, some in rows.items():
        counts = [sum(row.verdict == verdict for row in some) for verdict in _COLOURS]
        failed = "; ".join(row.quantity for row in some if row.verdict == "fails")
        table.add_row(
            name,
            *(
                f"[{colour}]{count}[/]" if count else "0"
                for count, colour in zip(counts, _COLOURS.values(), strict=True)
            ),
            failed,
        )
    _print(table)


def _print(table: Table) -> None:
    console = Console()
    (console if console.is_terminal else Console(width=140)).print(table)


def main(arguments: list[str] | None = None) -> None:
    """The program `cldyn`: exit status 0, 1 if a prediction fails, 2 and one line for what it cannot do."""
    jax.config.update("jax_default_matmul_precision", "highest")
    words = sys.argv[1:] if arguments is None else arguments
    try:
        status = _parse(words).run()
        sys.stdout.flush()
    except Refused as error:
        print(f"cldyn: {error}", file=sys.stderr)
        status = 2
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)


def _parse(words: list[str]) -> List | Reproduce | Run:
    """The command meant; a complaint of the parser becomes one line."""
    heard = io.StringIO()
    try:
        with contextlib.redirect_stderr(heard):
            return tyro.extras.subcommand_cli_from_dict(
                {"list": List, "reproduce": Reproduce, "run": Run}, prog="cldyn", args=words or ["--help"], description=__doc__,
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.AvoidSubcommands),
            )  # fmt: skip
    except SystemExit as stop:
        if not stop.code:
            raise
        complaint = " ".join(re.sub(r"[\u2500-\u257f]+", " ", heard.getvalue()).split())
        raise Refused(f"arguments: {complaint}; what is allowed: cldyn --help") from None
