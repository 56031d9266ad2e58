"""Commands about a setting of one's own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from cldyn import screen
from cldyn.claims import own
from cldyn.cli.results import Data, Words, kept, placed, tell, writable
from cldyn.measures import MEASURES
from cldyn.words import asked, entry, listing


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
        data: folder of the files of a set of images (default: that of CLDYN_DATA).
        out: folder for run/figure.png, run/page.html, run/table.csv and run/trajectories.zarr.
    """

    words: Annotated[
        Words, tyro.conf.arg(metavar="[NAME=VALUE ...] [FILE.toml]", help_behavior_hint="")
    ] = ()
    steps: Annotated[
        str | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: 400)")
    ] = None
    seeds: Annotated[str | None, tyro.conf.arg(metavar="N", help_behavior_hint="(default: 8)")] = (
        None
    )
    data: Data = None
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")] = Path("results")

    def run(self) -> int:
        """Run the setting; what makes no sense is refused before anything is written."""
        options = {"steps": self.steps, "seeds": self.seeds}
        told = [f"{name}={value}" for name, value in options.items() if value is not None]
        meant = asked([*self.words, *told, *placed(self.data)])
        folder = writable(self.out / "run")
        study = own.study(meant.experiment, meant.steps, meant.seeds)
        tell("run", kept("run", study, folder, "png"), folder)
        return 0


@dataclass(frozen=True)
class Fields:
    """List every field that cldyn run sets, with its default and what it takes, and all measures.

    For example: cldyn fields
    """

    def run(self) -> int:
        """Print the fields."""
        print("cldyn run NAME=VALUE ... sets these; several numbers are said as 2,1.5\n")
        width = min(100, screen.console().width)
        print(listing(width))
        print("\nmeasure=NAME,NAME of cldyn sweep, of a layer as pre_NAME or input_NAME:\n")
        for measure in MEASURES.values():
            print(*entry(measure.name, measure.says, width), sep="\n")
        return 0
