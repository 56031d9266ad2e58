"""Commands about sweeps: trained into a store, looked at, and compared with what theory says."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cldyn import plots, sizes
from cldyn.axes import Swept, swept
from cldyn.checks import require
from cldyn.claims.comparison import beside, comparison, summary
from cldyn.cli.results import FORMATS, Data, Words, check_file, placed, undamaged
from cldyn.sweeps import survey, sweep
from cldyn.sweeps.store import Store

# How schedulers tell a task of a job array which it is: its number, the first and the last one and
# the step between them; or its number from 0 on and how many there are.
_RANGES = (
    (*(f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "STEP")),),
    ("SGE_TASK_ID", "SGE_TASK_FIRST", "SGE_TASK_LAST", "SGE_TASK_STEPSIZE"),
)
_RANKS = (
    ("AWS_BATCH_JOB_ARRAY_INDEX", "AWS_BATCH_JOB_ARRAY_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
    ("SLURM_PROCID", "SLURM_NTASKS"),
)


@dataclass(frozen=True)
class Sweep:
    """Train many trajectories into a store; the same command again does what is missing.

    Words and the file set fields as those of cldyn run; several values are an axis. Beside them
    steps=400 says how long, records=20 how often it is recorded, measure=loss,feature_norms what.
    The paper's own sizes are files by name, as cldyn list has them.

    For example: cldyn sweep learning_rate=0.01,0.02 seed,data_seed=0:16 --store sweep.zarr
                 cldyn sweep steps.toml --store sweep.zarr --shard 1/8
                 cldyn sweep table-3 --data DIR --store table-3.zarr

    Args:
        words: fields by name, several values of a number for an axis, and at most one TOML file.
        store: folder of the zarr store.
        data: folder of the files of a set of images (default: that of CLDYN_DATA).
        resume: go on with what the store was asked, without words.
        states: keep where trajectories stand, to train them to later steps.
        shard: i/n, the i-th of n parts of the work, from 1 on; auto: as a job array says.
        precision: float32 or float64, of all numbers.
        devices: how many of this machine's devices share the work (default: all).
        dry_run: say what it would take; a block is timed, of a long one a few steps.
    """

    words: Annotated[
        Words, tyro.conf.arg(metavar="[FILE.toml] [NAME=VALUES ...]", help_behavior_hint="")
    ] = ()
    store: Annotated[Path | None, tyro.conf.arg(metavar="DIR", help_behavior_hint="")] = None
    data: Data = None
    resume: tyro.conf.FlagCreatePairsOff[bool] = False
    states: tyro.conf.FlagCreatePairsOff[bool] = False
    shard: Annotated[str, tyro.conf.arg(metavar="I/N")] = "1/1"
    precision: Annotated[str, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = ""
    devices: Annotated[int | None, tyro.conf.arg(metavar="N", help_behavior_hint="")] = None
    dry_run: tyro.conf.FlagCreatePairsOff[bool] = False

    def run(self) -> int:
        """Train what is missing."""
        require(self.store or self.dry_run, "store", None, "--store DIR, a folder")
        shard, states = _shard(self.shard), self.states
        if self.resume:
            require(self.store and not self.words, "words", self.words, "none with --resume")
            kept = Store(Path(self.store or ""))
            request = kept.request
            there = kept.experiment.precision
            allowed = f"{there} as in the store, or none with --resume"
            require(self.precision in ("", there), "precision", self.precision, allowed)
            located = kept.located(str(self.data or ""))
            meant = Swept(located, request.axes, request.record_at, request.measure)
            states = states or request.states
        else:
            more = [f"precision={self.precision}"] if self.precision else []
            meant = swept([*map(sizes.file_of, self.words), *more, *placed(self.data)])
        experiment, axes, record_at, measure = meant
        if self.dry_run:
            print(survey.plan(*meant, states, self.store, self.devices))
            return 0
        begin = time.monotonic()
        sweep(
            experiment, axes, record_at,
            measure=measure, store=self.store, states=states, shard=shard,
            devices=self.devices,
        )  # fmt: skip
        print(survey.status(Path(self.store or "")))
        print(f"{time.monotonic() - begin:.1f} s")
        return 0


def _shard(given: str) -> tuple[int, int]:
    """A shard that words say, or a scheduler."""
    first, slash, count = _of_array().partition("/") if given == "auto" else given.partition("/")
    good = slash and first.isdigit() and count.isdigit() and 1 <= int(first) <= int(count)
    require(good, "shard", given, "i/n, the i-th of n, from 1 on; or auto inside a job array")
    return int(first), int(count)


def _of_array() -> str:
    """Which task of a job array this is, "" outside of one."""
    for names in (*_RANGES, *_RANKS):
        told = [os.environ.get(name, "") for name in names]
        if all(one.isdigit() for one in told):
            index, *ends = map(int, told)
            first, last, step = ends if len(ends) == 3 else (0, ends[0] - 1, 1)
            return f"{(index - first) // step + 1}/{(last - first) // step + 1}"
    return ""


@dataclass(frozen=True)
class Status:
    """Say how far the sweep of a store is: what is done, running, missing and diverged.

    For example: cldyn status sweep.zarr

    Args:
        store: folder of the zarr store.
    """

    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]

    def run(self) -> int:
        """Print it."""
        print(survey.status(self.store))
        return 0


@dataclass(frozen=True)
class Compare:
    """Compare the trajectories of a store with what theory predicts, or the paper reports, of them.

    For example: cldyn compare sweep.zarr --figure compared.png
                 cldyn compare table-3.zarr --paper table-3

    Args:
        store: folder of the zarr store.
        paper: name of a size of the paper, whose numbers stand beside.
        data: folder of the files of a set of images (default: that of CLDYN_DATA).
        table: file for a row of every trajectory, as csv.
        figure: file for a picture.
    """

    store: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="DIR")]
    paper: Annotated[str | None, tyro.conf.arg(metavar="NAME", help_behavior_hint="")] = None
    data: Data = None
    table: Annotated[Path | None, tyro.conf.arg(metavar="FILE.csv", help_behavior_hint="")] = None
    figure: Annotated[Path | None, tyro.conf.arg(metavar="FILE", help_behavior_hint="")] = None

    def run(self) -> int:
        """Print what differs, and write what is asked for."""
        kind = self.figure.suffix[1:] if self.figure else "png"
        require(kind in FORMATS, "figure", str(self.figure), f"a file.{', file.'.join(FORMATS)}")
        for name, file in (("table", self.table), ("figure", self.figure)):
            check_file(name, file)
        with undamaged(self.store):
            if self.paper:
                print(beside(self.store, sizes.named(self.paper)), flush=True)
                return 0
            rows, drawn = comparison(self.store, str(self.data or ""))
        print(summary(rows), flush=True)
        if self.table:
            rows.to_csv(self.table, index=False)
        if self.figure:
            plots.save(drawn, self.figure)
        return 0
