"""Progress of a sweep: a bar on a terminal, now and then a line elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import parent_process

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

_APART = 30.0  # seconds between lines


@contextmanager
def bar(total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A function to be told how many trajectories more are done."""
    # Of processes side by side none has the terminal for itself.
    if not wanted or parent_process() is not None:
        yield lambda count: None
    elif sys.stderr.isatty():
        columns = (
            TextColumn("trajectories"), BarColumn(), MofNCompleteColumn(),
            _Speed(), TimeRemainingColumn(),
        )  # fmt: skip
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            task = progress.add_task("trajectories", total=total)
            yield lambda count: progress.advance(task, count)
    else:
        yield _Lines(total)


class _Speed(ProgressColumn):
    """Trajectories per second."""

    def render(self, task: Task) -> Text:
        """Nothing before anything is known."""
        return Text(f"{task.speed:,.1f}/s" if task.speed else "")


class _Lines:
    """Lines, seldom enough for a log file."""

    def __init__(self, total: int) -> None:
        self.total, self.done = total, 0
        self.begin = self.said = time.monotonic()

    def __call__(self, count: int) -> None:
        self.done += count
        now = time.monotonic()
        if now - self.said > _APART:
            self.said, speed = now, self.done / (now - self.begin)
            left = (self.total - self.done) / speed if speed else 0
            told = f"{self.done:,} of {self.total:,} trajectories, {speed:,.1f}/s"
            print(f"{told}, about {left:,.0f} s left", file=sys.stderr, flush=True)
