"""The channel `file`: one JSON object a line.

Owns the format `{key, run_id, part, route, text, sent_at}` and writing each key once.

Invariants:
    1. A key is in a file at most once, whoever writes and whoever is killed: looking for it and
       appending it are one step under the file's lock.
    2. Every line is whole. What a killed writer left without its end is removed by the next one,
       which also writes it again.
    3. A target never leads out of the folder, nor into a file that holds something else.
"""

import asyncio
import json
import os
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydantic import BaseModel, ValidationError

from activities.channels.channel import RETRY_SECONDS, Ambiguous, Refused
from activities.clock import Clock, utc_now
from activities.file_locks import FileLockTimeout, locked
from domain.scopes import Route
from domain.timestamps import format_timestamp

# A writer is done in milliseconds.
PATIENCE: Final = timedelta(seconds=10)


class _Keyed(BaseModel):
    """What is read of a line."""

    key: str


class FileSender:
    """Appends to one file, or to its neighbour that the route's target names."""

    deduplicates = True
    retry_seconds = RETRY_SECONDS

    def __init__(self, path: Path, clock: Clock = utc_now) -> None:
        """Name the file.

        Args:
            path: The file of routes without target; its folder is that of all targets.
            clock: For `sent_at`.
        """
        self._path = path
        self._clock = clock

    async def send(self, key: str, route: Route, text: str, run_id: str, part: str) -> str:
        """Append the text unless its key is there; the key is the id."""
        path = self._path_of(route)
        line = {
            "key": key,
            "run_id": run_id,
            "part": part,
            "route": route.text,
            "text": text,
            "sent_at": format_timestamp(self._clock()),
        }
        await asyncio.to_thread(_append_once, path, key, line)
        return key

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


def _append_once(path: Path, key: str, line: dict[str, Any]) -> None:
    data = json.dumps(line).encode() + b"\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file, locked(file, PATIENCE):
            if not _holds(file, key):
                _write(file, data)
    except FileLockTimeout as error:
        raise Refused(str(error)) from None
    except OSError as error:
        raise Refused(f"{path.name!r} cannot be written ({error.strerror})") from None


def _holds(file: BinaryIO, key: str) -> bool:
    """Look for a key; on the way make the file end in a whole line.

    Raises:
        Refused: The file does not hold lines of ours.
    """
    file.seek(0)
    if file.read(1) not in {b"", b"{"}:
        raise Refused(f"{Path(file.name).name!r} holds something else", retryable=False)
    file.seek(0)
    # Most lines can be told apart without parsing them.
    needle = json.dumps(key).encode()
    held, size, line = False, 0, b"\n"
    for line in file:
        size += len(line)
        held = held or (needle in line and _key_of(line) == key)
    if not line.endswith(b"\n"):
        if _key_of(line) is None:
            file.truncate(size - len(line))
        else:
            _write(file, b"\n")
    return held


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
