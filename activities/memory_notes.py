"""Notes in the workspace, and what is remembered of a conversation before it is compacted.

Owns the form of a note, which the tools `memory_write` and `memory_search` share, and the file of
the day. How a workspace is written is `activities.workspace_tree`'s.
Source: chat-policies.md §4.9.

Invariant: notes are appended, never overwritten; the same one twice is there once.
"""

import asyncio
import hashlib
from datetime import datetime
from typing import Final

import structlog

from activities.workspace import PathRefused, Workspace, WorkspacePlace
from activities.workspace_tree import append_once
from domain.zones import load_zone

FOLDER: Final = "memory"
MAX_FILE_BYTES: Final = 1024 * 1024

log = structlog.get_logger(__name__)


class MemoryNotes:
    """The daily notes of all scopes."""

    def __init__(self, workspace: Workspace, timezone: str = "UTC") -> None:
        self._workspace = workspace
        self._timezone = timezone

    async def append(self, scope_text: str, note: str, key: str, now: datetime) -> None:
        """Append a note to `memory/YYYY-MM-DD.md`; one that cannot be written is logged.

        Args:
            scope_text: Whose workspace, in the text form of a scope.
            note: What is to be remembered.
            key: The same for every attempt.
            now: The time of the note; its file is that of the day in the deployment's zone.
        """
        day = now.astimezone(load_zone(self._timezone)).date().isoformat()
        path = f"{FOLDER}/{day}.md"

        def work() -> None:
            append_note(self._workspace.place(scope_text, path), note, key, now)

        try:
            await asyncio.to_thread(work)
        except PathRefused as refusal:
            log.warning("memory_not_written", path=path, scope=scope_text, reason=str(refusal))


def append_note(place: WorkspacePlace, note: str, key: str, now: datetime) -> None:
    """Append a note to a file, once.

    Args:
        place: The file, made where it is missing.
        note: What is to be remembered.
        key: The same for every attempt.
        now: The time of the note.

    Raises:
        PathRefused: It cannot be written there.
    """
    mark = f"<!-- {hashlib.sha256(key.encode()).hexdigest()[:16]} -->"
    data = _written(note, now, mark).encode("utf-8", "replace")
    append_once(place, data, mark.encode(), MAX_FILE_BYTES)


def _written(note: str, now: datetime, mark: str) -> str:
    """A note as it stands in its file; a line of it that looks like a head is indented."""
    stamp = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    lines = [f" {line}" if line.startswith("## ") else line for line in note.strip().splitlines()]
    return f"## {stamp} {mark}\n" + "\n".join(lines) + "\n\n"
