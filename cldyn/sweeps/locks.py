"""Who is at work on a store: bytes of one file, locked for as long as a process lives."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path


class Locks:
    """Locks of one store, between processes of one or many machines.

    The system lets go of a process's locks when it ends, however it ends. Byte 0 stands for the
    store, byte i + 1 for block i.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = _opened(str(file))

    def alone(self, wait: bool) -> bool:
        """Have the store for this process alone, or say that others are at work on it."""
        return self._lock(0, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))

    def together(self) -> None:
        """Be at work on the store, beside others."""
        self._lock(0, fcntl.LOCK_SH)

    def leave(self) -> None:
        """Let go of the store."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)

    def take(self, block: int) -> bool:
        """Have a block for this process, or say that another one has it."""
        return self._lock(block + 1, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def give(self, block: int) -> None:
        """Let go of a block."""
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, block + 1)

    @contextlib.contextmanager
    def held(self) -> Iterator[set[int]]:
        """Blocks that are taken meanwhile are let go of at the end."""
        taken: set[int] = set()
        try:
            yield taken
        finally:
            for block in taken:
                self.give(block)

    def _lock(self, start: int, kind: int) -> bool:
        try:
            fcntl.lockf(self._file, kind, 1, start)
        except BlockingIOError:
            return False
        return True


@cache
def _opened(file: str) -> int:
    """The file, never closed: closing it anywhere in a process lets go of all its locks."""
    return os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
