"""Who is at work on a store: bytes of one file, locked for as long as a process lives."""

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class Locks:
    """Locks of one store, between processes of one or many machines.

    The system lets go of a process's locks when it ends, however it ends. Byte 0 stands for the
    store, byte i + 1 for block i.

    readonly: whether nothing can be written here; what is taken then is looked at beside others.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = _opened(file.resolve())
        self.readonly = fcntl.fcntl(self._file, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY

    def check_writable(self) -> None:
        """Find out before anything is computed whether it can be written."""
        if self.readonly:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def alone(self) -> bool:
        """Have the store for this process alone, or say that others are at work on it."""
        self.check_writable()
        return self._lock(0, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def together(self) -> None:
        """Be at work on the store beside others, when nobody has it for himself."""
        self._lock(0, fcntl.LOCK_SH)
        _USERS[self._file] = _USERS.get(self._file, 0) + 1

    def leave(self) -> None:
        """Let go of the store, if no other thread is at work on it."""
        left = _USERS.get(self._file, 0) - 1
        _USERS[self._file] = max(0, left)
        if left <= 0:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)

    def take(self, block: int) -> bool:
        """Have a block for this process, or say that another one has it."""
        kind = fcntl.LOCK_SH if self.readonly else fcntl.LOCK_EX
        return self._lock(block + 1, kind | fcntl.LOCK_NB)

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


_FILES: dict[Path, int] = {}
_USERS: dict[int, int] = {}


def _opened(file: Path) -> int:
    """The file, never closed: closing it anywhere in a process lets go of all its locks."""
    known = _FILES.get(file)
    if known is None or not file.exists() or os.fstat(known).st_ino != file.stat().st_ino:
        try:
            _FILES[file] = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            _FILES[file] = os.open(file, os.O_RDONLY)
    return _FILES[file]
