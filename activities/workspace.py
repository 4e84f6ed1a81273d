"""Files that a prompt may quote: reading from the workspace of a scope, and from nowhere else.

Owns where a scope's workspace is, where a path in it leads, and which files of it may be read. How
much of a file a prompt quotes is `domain.prompts`', changing files `activities.workspace_tree`'s.
Source: triggers-and-actions.md §5, automation.md §10.

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
FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
FOLDER_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class WorkspaceFiles:
    """What was asked for, in order, and a warning for each file that could not be read."""

    files: list[ContextFile]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class WorkspacePlace:
    """A path inside a scope's workspace: the real folder, and the parts below it."""

    folder: Path
    parts: tuple[str, ...]


class PathRefused(Exception):
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

    def place(self, scope_text: str, path: str) -> WorkspacePlace:
        """Where a path leads, links resolved; there need be nothing yet.

        Args:
            scope_text: Whose workspace, in the text form of a scope.
            path: Relative, with `/`; empty or `.` is the workspace itself.

        Raises:
            PathRefused: It is outside, or belongs to another scope.
        """
        folder = self.folder(scope_text).resolve()
        return WorkspacePlace(folder, self._confined_parts(folder, path))

    def shares_root(self, scope_text: str) -> bool:
        """Whether the folder of a scope holds those of others, which it must not see."""
        return self.folder(scope_text) == self._root

    def _read_all(self, scope_text: str, paths: Sequence[str]) -> WorkspaceFiles:
        folder = self.folder(scope_text).resolve()
        found = WorkspaceFiles([], [])
        for path in paths:
            try:
                found.files.append(self._read_file(folder, path))
            except PathRefused as refusal:
                found.files.append(ContextFile(path=path))
                found.warnings.append(f"context file {path!r} {refusal}")
        return found

    def _read_file(self, folder: Path, path: str) -> ContextFile:
        parts = self._confined_parts(folder, path)
        try:
            data, size = read_start(folder, parts)
        except FileNotFoundError:
            raise PathRefused("does not exist in the workspace") from None
        except OSError as error:
            raise PathRefused(f"cannot be read: {os.strerror(error.errno or 0)}") from None
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        text = decoder.decode(data, final=len(data) == size)
        # A character that the limit cut in two is not in the text: its bytes count as unread.
        pending, _ = decoder.getstate()
        return ContextFile(path=path, text=text, unread_bytes=size - len(data) + len(pending))

    def _confined_parts(self, folder: Path, path: str) -> tuple[str, ...]:
        """The real path below the folder, links resolved.

        Raises:
            PathRefused: It is elsewhere, or belongs to another scope.
        """
        if "\0" in path or "\\" in path or path.startswith(("/", "~")) or ".." in path.split("/"):
            raise PathRefused("is not a path inside the workspace")
        try:
            real = (folder / path).resolve()
        except (OSError, RuntimeError, ValueError):
            # A loop of links is a RuntimeError before Python 3.13, half a surrogate a ValueError.
            raise PathRefused("cannot be resolved") from None
        if not real.is_relative_to(folder):
            raise PathRefused("leads out of the workspace")
        parts = real.relative_to(folder).parts
        if folder == self._root.resolve() and parts[:1] == (SCOPES_FOLDER,):
            raise PathRefused("belongs to the workspace of another scope")
        return parts


def read_start(folder: Path, parts: Sequence[str], limit: int = READ_BYTES) -> tuple[bytes, int]:
    """The first bytes of a file and its size.

    Args:
        folder: The real folder of a scope.
        parts: The path below it, which is followed without links.
        limit: How many bytes are read at most.

    Raises:
        OSError: It is missing, unreadable, or a link was put in its place.
        PathRefused: It is no regular file.
    """
    with ExitStack() as stack:
        here = opened_part(stack, folder, FOLDER_FLAGS, None)
        for part in parts[:-1]:
            here = opened_part(stack, part, FOLDER_FLAGS, here)
        name = parts[-1] if parts else "."
        # Asked before opening: opening a device can have effects.
        if not stat.S_ISREG(os.stat(name, dir_fd=here, follow_symlinks=False).st_mode):
            raise PathRefused("is not a regular file")
        opened = opened_part(stack, name, FILE_FLAGS, here)
        status = os.fstat(opened)
        if not stat.S_ISREG(status.st_mode):
            raise PathRefused("is not a regular file")
        with os.fdopen(os.dup(opened), "rb") as file:
            data = file.read(limit)
    # A file that grew meanwhile was not read to its end; one that shrank has no unread bytes.
    return data, max(status.st_size, len(data))


def opened_part(stack: ExitStack, path: str | Path, flags: int, folder: int | None) -> int:
    """Open one part of a path below an open folder; the stack closes it."""
    descriptor = os.open(path, flags, dir_fd=folder)
    stack.callback(os.close, descriptor)
    return descriptor
