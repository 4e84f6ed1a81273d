"""Changing and walking the files of a workspace, as its tools do.

Owns writing whole files, appending notes, and going through folders. Where a path leads is
`activities.workspace`'s, which also reads. All of it blocks: callers run it in a thread.

Invariants:
    1. Every part of a path is opened below the one before without following links, so a link that
       is put in its place meanwhile is refused.
    2. A file is replaced as a whole or not at all, also when the process dies.
    3. Only regular files are changed; links in a walk are named, never followed.
"""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from activities.file_locks import locked
from activities.workspace import (
    FOLDER_FLAGS,
    SCOPES_FOLDER,
    PathRefused,
    WorkspacePlace,
    opened_part,
    read_start,
)

MAX_DEPTH: Final = 32
_NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND: Final = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_LOCK_PATIENCE: Final = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class TreeEntry:
    """Something in a folder: `file`, `folder`, `link` or `other`; sizes of files only."""

    parts: tuple[str, ...]
    kind: str
    size: int | None = None

    @property
    def path(self) -> str:
        """The path inside the workspace."""
        return "/".join(self.parts)


def read_whole(place: WorkspacePlace, limit: int) -> bytes:
    """All of a file.

    Raises:
        PathRefused: It is no regular file, is larger than `limit`, or cannot be read.
    """
    try:
        data, size = read_start(place.folder, place.parts, limit + 1)
    except FileNotFoundError:
        raise PathRefused("does not exist in the workspace") from None
    except OSError as error:
        raise PathRefused(f"cannot be read: {os.strerror(error.errno or 0)}") from None
    if size > limit:
        raise PathRefused(f"has {size} bytes; at most {limit} can be worked with")
    return data


def write_whole(place: WorkspacePlace, data: bytes, key: str, *, replace: bool = True) -> bool:
    """Write a file, its folders made where they are missing.

    Args:
        place: The file.
        data: All that it holds afterwards.
        key: Of the attempt's call: what a former attempt left behind is used again.
        replace: Whether a file that exists is replaced.

    Returns:
        False when a file exists that is not to be replaced.

    Raises:
        PathRefused: It is no regular file, or the system refuses.
    """
    name = _file_name(place)
    mark = hashlib.sha256(key.encode()).hexdigest()[:16]
    temporary = f".tickless-{mark}.tmp"
    try:
        with ExitStack() as stack:
            folder = _opened_folder(stack, place, make=True)
            mode = _mode_of(folder, name)
            if mode is not None and not replace:
                return False
            _write_new(folder, temporary, data, 0o644 if mode is None else mode)
            try:
                if replace:
                    os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                else:
                    # Unlike a rename this fails when somebody was faster.
                    os.link(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                    os.unlink(temporary, dir_fd=folder)
            except OSError:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=folder)
                raise
            os.fsync(folder)
    except FileExistsError:
        return False
    except OSError as error:
        raise PathRefused(f"cannot be written: {os.strerror(error.errno or 0)}") from None
    return True


def append_once(place: WorkspacePlace, data: bytes, mark: bytes, limit: int) -> bool:
    """Append to a file unless it holds a mark already.

    Args:
        place: The file, made where it is missing.
        data: What is appended; holds the mark.
        mark: Tells a repeated call.
        limit: Longest file in bytes.

    Returns:
        False when the mark was there.

    Raises:
        PathRefused: It is no regular file, would become too long, or the system refuses.
    """
    name = _file_name(place)
    try:
        with ExitStack() as stack:
            folder = _opened_folder(stack, place, make=True)
            descriptor = os.open(name, _APPEND, 0o644, dir_fd=folder)
            file = stack.enter_context(os.fdopen(descriptor, "r+b", buffering=0))
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise PathRefused("is not a regular file")
            stack.enter_context(locked(file, _LOCK_PATIENCE))
            held = file.read(limit + 1)
            if mark in held:
                return False
            if len(held) + len(data) > limit:
                raise PathRefused(f"would become longer than {limit} bytes")
            os.write(descriptor, data)
            os.fsync(descriptor)
    except OSError as error:
        raise PathRefused(f"cannot be written: {os.strerror(error.errno or 0)}") from None
    return True


def walk(place: WorkspacePlace, depth: int, *, hide_scopes: bool) -> Iterator[TreeEntry]:
    """What a folder holds, by name, each folder before what is in it.

    Args:
        place: The folder.
        depth: How many levels, 1 is the folder itself.
        hide_scopes: Leave out the workspaces of other scopes.

    Raises:
        PathRefused: It does not exist or is no folder.
    """
    with ExitStack() as stack:
        try:
            folder = _opened_folder(stack, place, make=False, whole=True)
        except FileNotFoundError:
            raise PathRefused("does not exist in the workspace") from None
        except NotADirectoryError:
            raise PathRefused("is not a folder") from None
        except OSError as error:
            raise PathRefused(f"cannot be read: {os.strerror(error.errno or 0)}") from None
        yield from _entries(folder, place.parts, min(depth, MAX_DEPTH), hide_scopes=hide_scopes)


def _entries(
    folder: int, parts: tuple[str, ...], depth: int, *, hide_scopes: bool
) -> Iterator[TreeEntry]:
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        here = (*parts, entry.name)
        if hide_scopes and here == (SCOPES_FOLDER,):
            continue
        item = _tree_entry(here, entry)
        yield item
        if item.kind == "folder" and depth > 1:
            with ExitStack() as stack, suppress(OSError):
                inner = opened_part(stack, entry.name, FOLDER_FLAGS, folder)
                yield from _entries(inner, here, depth - 1, hide_scopes=hide_scopes)


def _tree_entry(parts: tuple[str, ...], entry: "os.DirEntry[str]") -> TreeEntry:
    if entry.is_symlink():
        return TreeEntry(parts, "link")
    if entry.is_dir(follow_symlinks=False):
        return TreeEntry(parts, "folder")
    try:
        status = entry.stat(follow_symlinks=False)
    except OSError:
        return TreeEntry(parts, "other")
    if stat.S_ISREG(status.st_mode):
        return TreeEntry(parts, "file", status.st_size)
    return TreeEntry(parts, "other")


def _file_name(place: WorkspacePlace) -> str:
    if not place.parts:
        raise PathRefused("is the workspace itself, not a file")
    return place.parts[-1]


def _opened_folder(
    stack: ExitStack, place: WorkspacePlace, *, make: bool, whole: bool = False
) -> int:
    """The open folder of a file, or the place itself with `whole`."""
    if make:
        Path(place.folder).mkdir(parents=True, exist_ok=True)
    here = opened_part(stack, place.folder, FOLDER_FLAGS, None)
    parts: Sequence[str] = place.parts if whole else place.parts[:-1]
    for part in parts:
        if make:
            with suppress(FileExistsError):
                os.mkdir(part, dir_fd=here)
        here = opened_part(stack, part, FOLDER_FLAGS, here)
    return here


def _mode_of(folder: int, name: str) -> int | None:
    """The mode of a file that is about to be replaced; null when there is none."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise PathRefused("is not a regular file")
    return stat.S_IMODE(status.st_mode)


def _write_new(folder: int, name: str, data: bytes, mode: int) -> None:
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=folder)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fchmod(descriptor, mode & 0o777)
        os.fsync(descriptor)
