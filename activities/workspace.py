"""Files that a prompt may quote: reading from the workspace of a scope, and from nowhere else.

Owns where a scope's workspace is and which files of it may be read. Does not decide how much of a
file a prompt quotes (`domain.prompts`). Source: triggers-and-actions.md §5, automation.md §10.

A scope has the folder `scopes/<scope, percent-encoded>` under the root when that exists, else the
root itself: one person's installation needs no folders. What lies under `scopes/` is never read
through the root.

Invariants:
    1. Only regular files below the scope's folder are read; a symbolic link may lead around inside
       of it, never out. The path is opened part by part without following links, so a link that is
       put in its place meanwhile is refused too.
    2. A file costs at most `READ_BYTES` of memory, whatever its size.
    3. A file that cannot be read is a warning, never an error.
"""

import asyncio
import codecs
import os
import stat
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from domain.prompts import MAX_FILE_BYTES, ContextFile

SCOPES_FOLDER: Final = "scopes"
# A whole character more than a prompt quotes, so that the cut finds its boundary.
READ_BYTES: Final = MAX_FILE_BYTES + 4

# O_NONBLOCK: opening a FIFO that replaced a file would wait for a writer.
_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class WorkspaceFiles:
    """What was asked for, in order, and a warning for each file that could not be read."""

    files: list[ContextFile]
    warnings: list[str]


class _Refused(Exception):
    """A file that may not or cannot be read; the message says why."""


class Workspace:
    """The workspaces below one root folder."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def folder(self, scope_text: str) -> Path:
        """The folder of a scope, `user:me`: its own under `scopes/`, else the root."""
        own = self._root / SCOPES_FOLDER / quote(scope_text, safe="")
        return own if scope_text.strip(".") and own.is_dir() else self._root

    async def read(self, scope_text: str, paths: Sequence[str]) -> WorkspaceFiles:
        """Read files for a prompt, in a thread.

        Args:
            scope_text: Whose workspace, in the text form of a scope.
            paths: Relative paths with `/`, as an action lists them.

        Returns:
            One entry for each path; a file that is missing or refused has no text.
        """
        if not paths:
            return WorkspaceFiles([], [])
        return await asyncio.to_thread(self._read_all, scope_text, paths)

    def _read_all(self, scope_text: str, paths: Sequence[str]) -> WorkspaceFiles:
        folder = self.folder(scope_text).resolve()
        found = WorkspaceFiles([], [])
        for path in paths:
            try:
                found.files.append(self._read_file(folder, path))
            except _Refused as refusal:
                found.files.append(ContextFile(path=path))
                found.warnings.append(f"context file {path!r} {refusal}")
        return found

    def _read_file(self, folder: Path, path: str) -> ContextFile:
        parts = self._confined_parts(folder, path)
        try:
            data, size = _read_start(folder, parts)
        except FileNotFoundError:
            raise _Refused("does not exist in the workspace") from None
        except OSError as error:
            raise _Refused(f"cannot be read: {os.strerror(error.errno or 0)}") from None
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(data, final=len(data) == size)
        # A character that the limit cut in two is not in the text: its bytes count as unread.
        pending, _ = decoder.getstate()
        return ContextFile(path=path, text=text, unread_bytes=size - len(data) + len(pending))

    def _confined_parts(self, folder: Path, path: str) -> tuple[str, ...]:
        """The real path below the folder, links resolved.

        Raises:
            _Refused: It is elsewhere, or belongs to another scope.
        """
        if "\0" in path or "\\" in path or path.startswith(("/", "~")) or ".." in path.split("/"):
            raise _Refused("is not a path inside the workspace")
        try:
            real = (folder / path).resolve()
        except (OSError, RuntimeError, ValueError):
            # A loop of links is a RuntimeError before Python 3.13, half a surrogate a ValueError.
            raise _Refused("cannot be resolved") from None
        if not real.is_relative_to(folder):
            raise _Refused("leads out of the workspace")
        parts = real.relative_to(folder).parts
        if folder == self._root.resolve() and parts[:1] == (SCOPES_FOLDER,):
            raise _Refused("belongs to the workspace of another scope")
        return parts


def _read_start(folder: Path, parts: Sequence[str]) -> tuple[bytes, int]:
    """The first bytes of a file and its size.

    Raises:
        OSError: It is missing, unreadable, or a link was put in its place.
        _Refused: It is no regular file.
    """
    with ExitStack() as stack:
        here = _opened(stack, folder, _FOLDER_FLAGS, None)
        for part in parts[:-1]:
            here = _opened(stack, part, _FOLDER_FLAGS, here)
        name = parts[-1] if parts else "."
        # Asked before opening: opening a device can have effects.
        if not stat.S_ISREG(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            raise _Refused("is not a regular file")
        opened = _opened(stack, name, _FILE_FLAGS, here)
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise _Refused("is not a regular file")
        with os.fdopen(os.dup(opened), "rb") as file:
            data = file.read(READ_BYTES)
    # A file that grew meanwhile was not read to its end; one that shrank has no unread bytes.
    return data, max(status.st_size, len(data))


def _opened(stack: ExitStack, path: str | Path, flags: int, folder: int | None) -> int:
    descriptor = os.open(path, flags, dir_fd=folder)
    stack.callback(os.close, descriptor)
    return descriptor
