"""Progress of a sweep: a bar on a terminal, now and then a line elsewhere."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import parent_process

from rich.console import Console
from rich.progress import Progress


@contextmanager
def bar(total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """A function to be told how many trajectories more are done."""
    # Of processes side by side none has the terminal for itself.
    shown = wanted and sys.stderr.isatty() and parent_process() is None
    with Progress(console=Console(stderr=True), transient=True, disable=not shown) as progress:
        task = progress.add_task("trajectories", total=total)
        yield lambda count: progress.advance(task, count)
