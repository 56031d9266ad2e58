"""Words to calls: the command line."""

import contextlib
import io
import os
import re
import sys
import textwrap
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from importlib.metadata import version
from multiprocessing import active_children
from threading import Thread
from typing import Any

import jax
import tyro

from cldyn import screen
from cldyn.checks import Refused, require
from cldyn.cli.claims import List, Reproduce
from cldyn.cli.pages import Page
from cldyn.cli.settings import Fields, Run
from cldyn.cli.sweeps import Compare, Status, Sweep

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
COMMANDS: dict[str, Any] = {
    "list": List,
    "reproduce": Reproduce,
    "run": Run,
    "sweep": Sweep,
    "status": Status,
    "compare": Compare,
    "page": Page,
    "fields": Fields,
}


def main(arguments: list[str] | None = None) -> None:
    """The program `cldyn`.

    Exit status 0; 1 if a prediction fails; 2, and one line, for what it cannot do.
    """
    jax.config.update("jax_default_matmul_precision", "highest")
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda told, *_: _say(told)
            status = _apart(lambda: _answer(*words))
        sys.stdout.flush()
    except Refused as error:
        status = _complain(error)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        status = _complain(f"{where}{error.strerror or error}")
    except KeyboardInterrupt:
        _complain("interrupted; results and blocks that were done are kept")
        for process in active_children():
            process.kill()
        os._exit(2)  # what is being compiled or trained cannot be stopped otherwise
    sys.exit(status)


def _apart(call: Callable[[], int]) -> int:
    """What a call returns. A thread of its own does it, so that Ctrl-C is heard at once."""
    done: Future[int] = Future()

    def run() -> None:
        try:
            done.set_result(call())
        except BaseException as error:
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    return done.result()


def _complain(error: Any) -> int:
    _say(error)
    return 2


def _say(told: Any) -> None:
    print(f"cldyn: {told}", file=sys.stderr, flush=True)


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
