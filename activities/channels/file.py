"""The channel `file`: one JSON object a line.

Owns the format `{key, run_id, part, route, reply_to, text, sent_at}` and writing each key once.

Invariants:
    1. A key is in a file at most once, whoever writes and whoever is killed: looking for it and
       appending it are one step under the file's lock.
    2. It is looked for only if it may have been sent before: a first attempt reads the end of the
       file and costs the same however long the file is.
    3. Every line is whole. What a killed writer left without its end is removed by the next one;
       whoever repeats that text writes it again.
    4. A target never leads out of the folder, nor into a file that holds something else.
"""

import asyncio
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydantic import BaseModel, ValidationError

from activities.channels.channel import RETRY_SECONDS, Ambiguous, Outgoing, Refused
from activities.clock import Clock, utc_now
from activities.file_locks import FileLockTimeout, locked
from domain.scopes import Route
from domain.timestamps import format_timestamp

# A writer is done in milliseconds.
PATIENCE: Final = timedelta(seconds=10)
# Holds the end of the last line, and nearly always all of it.
BLOCK_BYTES: Final = 4096


class _Keyed(BaseModel):
    """What is read of a line."""

    key: str


class FileSender:
    """Appends to one file, or to its neighbour that the route's target names."""

    deduplicates = True
    threads = True
    speaks = False
    retry_seconds = RETRY_SECONDS

    def __init__(self, path: Path, clock: Clock = utc_now) -> None:
        """Name the file.

        Args:
            path: The file of routes without target; its folder is that of all targets.
            clock: For `sent_at`.
        """
        self._path = path
        self._clock = clock

    async def send(self, message: Outgoing) -> str:
        """Append the text, a repeated one unless its key is there; the key is the id."""
        path = self._path_of(message.route)
        line = {
            "key": message.key,
            "run_id": message.run_id,
            "part": message.part,
            "route": message.route.text,
            "reply_to": message.reply_to,
            "text": message.text,
            "sent_at": format_timestamp(self._clock()),
        }
        await asyncio.to_thread(_append, path, line, message.key if message.repeated else None)
        return message.key

    def _path_of(self, route: Route) -> Path:
        name = route.receive_id
        if not name:
            return self._path
        if name in {".", ".."} or not set(name).isdisjoint("/\\\0") or not name.isprintable():
            raise Refused(
                f"the target of a file channel must be a plain file name, not {name!r}",
                retryable=False,
            )
        return self._path.with_name(name)


def _append(path: Path, line: dict[str, Any], unless_key: str | None) -> None:
    """Append a line, unless there is one with that key."""
    data = json.dumps(line).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file, locked(file, PATIENCE):
            _mend(file)
            if unless_key is None or not _holds(file, unless_key):
                _write(file, data)
    except FileLockTimeout as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(f"{path.name!r} cannot be written ({error.strerror})") from None


def _mend(file: BinaryIO) -> None:
    """Make the file end in a whole line.

    Raises:
        Refused: It does not hold lines of ours.
    """
    file.seek(0)
    if file.read(1) not in {b"", b"{"}:
        raise Refused(f"{Path(file.name).name!r} holds something else", retryable=False)
    size = file.seek(0, os.SEEK_END)
    torn = _last_line(file, size)
    if _key_of(torn) is not None:
        _write(file, b"\n")
    elif torn:
        file.truncate(size - len(torn))


def _last_line(file: BinaryIO, size: int) -> bytes:
    """What follows the last end of a line."""
    torn = b""
    while b"\n" not in torn and len(torn) < size:
        length = min(max(BLOCK_BYTES, len(torn)), size - len(torn))
        file.seek(size - len(torn) - length)
        torn = file.read(length) + torn
    return torn.rpartition(b"\n")[2]


def _holds(file: BinaryIO, key: str) -> bool:
    """Look for a key."""
    # Most lines can be told apart without parsing them.
    needle = json.dumps(key).encode()
    file.seek(0)
    return any(needle in line and _key_of(line) == key for line in file)


def _key_of(line: bytes) -> str | None:
    """The key of a line, null when it is no whole line of ours."""
    try:
        return _Keyed.model_validate_json(line).key
    except ValidationError:
        return None


def _write(file: BinaryIO, data: bytes) -> None:
    # Past the buffer of `file`, which would write once more when it is closed after an error.
    try:
        while data:
            data = data[os.write(file.fileno(), data) :]
        os.fsync(file.fileno())
    except OSError as error:
        raise Ambiguous(f"writing was interrupted ({error.strerror})") from None
