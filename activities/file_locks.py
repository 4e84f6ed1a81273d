"""A lock on a file, held by one process (and one holder in it) at a time.

Owns waiting for it with an end. The system frees the lock when its holder dies, however it dies.
All of it blocks: callers run it in a thread.
"""

import fcntl
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, Any

# `flock` itself can only wait for ever; holders are done within milliseconds.
_PAUSE = timedelta(milliseconds=20)


class FileLockTimeout(Exception):
    """Somebody else kept the file locked for too long."""


@contextmanager
def locked(file: IO[Any], patience: timedelta) -> Generator[None, None, None]:
    """Hold the exclusive lock of an open file.

    Args:
        file: The file; each `open` of it competes with every other.
        patience: Longest wait.

    Raises:
        FileLockTimeout: The wait was in vain.
    """
    deadline = time.monotonic() + patience.total_seconds()
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= deadline:
                raise FileLockTimeout(
                    f"{file.name!r} is locked by another process for {patience}"
                ) from None
            time.sleep(_PAUSE.total_seconds())
    try:
        yield
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)
