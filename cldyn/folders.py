"""Folders that are replaced as a whole: where Linux does it in one step, nobody sees half."""

import ctypes
import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from cldyn.checks import refuse, require

_HERE, _EXCHANGE = -100, 2  # of renameat2 in Linux


def check(folder: Path, names: Collection[str]) -> Path:
    """A folder that can be written, refused if it holds anything but these names."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        probe = folder.with_name(f".{folder.name}.probe")
        probe.touch()
        probe.unlink(missing_ok=True)
        inside = [one.name for one in folder.iterdir()] if folder.exists() else []
    except OSError as error:
        refuse("out", str(folder), f"a folder that can be written ({error.strerror})")
    other = [name for name in inside if name not in names]
    allowed = "a new place or an earlier result, which is replaced as a whole"
    require(not other, "out", str(folder / "".join(other[:1])), allowed)
    return folder


@contextmanager
def replaced(folder: Path) -> Iterator[Path]:
    """A new folder, which takes the place of an old one when all is well.

    It is made beside, under one name: what a killed process has left is there at most once, and
    used again.

    Raises:
        ValueError: another process is writing it.
    """
    scratch = folder.with_name(f".{folder.name}.new")
    scratch.mkdir(parents=True, exist_ok=True)
    locks = [_locked(scratch, folder)]
    try:
        _empty(scratch)
        yield scratch
        if folder.exists():  # it will be where the new one was
            locks.append(_locked(folder, folder))
        _exchange(scratch, folder)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        for lock in locks:
            os.close(lock)


def _locked(place: Path, folder: Path) -> int:
    """A folder that this process alone may change, until it is closed or the process ends."""
    lock = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        refuse("out", str(folder), "a folder that no other process is writing")
    return lock


def _empty(folder: Path) -> None:
    for inside in folder.iterdir():
        shutil.rmtree(inside) if inside.is_dir() and not inside.is_symlink() else inside.unlink()


def _exchange(new: Path, old: Path) -> None:
    """Put a folder into a place; what was there is where it came from."""
    if not old.exists():
        new.rename(old)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    swap = getattr(libc, "renameat2", None)
    names = os.fsencode(new), os.fsencode(old)
    if swap and swap(_HERE, names[0], _HERE, names[1], _EXCHANGE) == 0:
        return
    aside = old.with_name(f".{old.name}.old")  # no system call for it: two steps
    shutil.rmtree(aside, ignore_errors=True)
    old.rename(aside)
    new.rename(old)
    aside.rename(new)
