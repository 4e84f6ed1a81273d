"""The tools `memory_write` and `memory_search`: notes that outlive a conversation.

Owns how notes are found; their form is `activities.memory_notes`'. Notes are Markdown files in the
folder `memory` of the scope's workspace, one per topic, so that people can read and change them.
Source: triggers-and-actions.md §7.

Invariants:
    1. Notes are only appended; a call that is repeated appends nothing.
    2. A note cannot pass for two: a line of it that looks like a note's head is indented.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from activities.clock import Clock, utc_now
from activities.memory_notes import FOLDER, MAX_FILE_BYTES, append_note
from activities.tools.builtin.file_refusals import in_workspace
from activities.tools.builtin.reading import reading_tool
from activities.tools.builtin.schemas import arguments, as_json, integer, text
from activities.tools.function_tool import FunctionTool
from activities.tools.tool import Tool, ToolUse
from activities.workspace import PathRefused, Workspace, WorkspacePlace
from activities.workspace_tree import read_whole, walk
from domain.tool_specs import Permission, ToolSpec

MAX_TOPICS: Final = 100
DEFAULT_TOPIC: Final = "notes"

_HEAD: Final = re.compile(r"^## (\S+) <!-- (\w{16}) -->$", re.MULTILINE)
_TOPIC_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
_TOPIC: Final = {
    "type": "string",
    "pattern": _TOPIC_PATTERN,
    "description": "Lower-case letters, digits, - and _.",
}
_WRITE: Final = ToolSpec(
    name="memory_write",
    description="Remember a note for later conversations and runs. Notes are only added, never "
    "changed.",
    parameters=arguments(
        {
            "text": text("The note.", longest=8000),
            "topic": _TOPIC | {"default": DEFAULT_TOPIC},
        },
        ["text"],
    ),
    permission=Permission.ALLOW,
    idempotent=True,
    timeout_seconds=30,
)
_SEARCH: Final = reading_tool(
    "memory_search",
    "Find notes that were remembered: those with all words of the query, whatever their case, "
    "newest first. An empty query gives the newest notes.",
    arguments(
        {
            "query": text("Words.", longest=500, shortest=0, default=""),
            "topic": _TOPIC,
            "limit": integer("How many notes.", 1, 50, 10),
        }
    ),
)


@dataclass(frozen=True, slots=True)
class _Note:
    at: str
    topic: str
    text: str


def memory_tools(workspace: Workspace, clock: Clock = utc_now) -> list[Tool]:
    """The tools.

    Args:
        workspace: The workspaces of all scopes.
        clock: For the times of notes.
    """
    memory = _Memory(workspace, clock)
    return [FunctionTool(_WRITE, memory.write), FunctionTool(_SEARCH, memory.search)]


class _Memory:
    """The functions of the tools."""

    def __init__(self, workspace: Workspace, clock: Clock) -> None:
        self._workspace = workspace
        self._clock = clock

    async def write(self, use: ToolUse) -> str:
        topic = str(use.arguments.get("topic", DEFAULT_TOPIC))
        path = f"{FOLDER}/{topic}.md"
        said, now = str(use.arguments["text"]), self._clock()

        def work() -> None:
            append_note(self._workspace.place(use.caller.scope.text, path), said, use.key, now)

        await in_workspace(path, work)
        return f"remembered in {path}"

    async def search(self, use: ToolUse) -> str:
        words = str(use.arguments.get("query", "")).casefold().split()
        wanted = use.arguments.get("topic")
        limit = int(use.arguments.get("limit", 10))

        def work() -> list[_Note]:
            notes = [
                note
                for topic, place in self._topics(use.caller.scope.text)
                if wanted in {None, topic}
                for note in _notes(topic, place)
                if _has_all(note, words)
            ]
            # Of two in a second the later one stands further down in its file.
            notes.reverse()
            return sorted(notes, key=lambda note: note.at, reverse=True)[:limit]

        found = await in_workspace(FOLDER, work)
        shown = [{"at": note.at, "topic": note.topic, "text": note.text} for note in found]
        return as_json({"notes": shown})

    def _topics(self, scope: str) -> Iterator[tuple[str, WorkspacePlace]]:
        place = self._workspace.place(scope, FOLDER)
        try:
            entries = [item for item in walk(place, 1, hide_scopes=False) if item.kind == "file"]
        except PathRefused:
            return  # nothing was remembered yet
        for entry in entries[:MAX_TOPICS]:
            name = entry.parts[-1]
            if name.endswith(".md") and not name.startswith("."):
                yield name.removesuffix(".md"), WorkspacePlace(place.folder, entry.parts)


def _notes(topic: str, place: WorkspacePlace) -> Iterator[_Note]:
    """The notes of a file; what a person wrote above the first head is one too."""
    try:
        content = read_whole(place, 2 * MAX_FILE_BYTES).decode("utf-8", "replace")
    except PathRefused:
        return
    before, *rest = _HEAD.split(content)
    if before.strip():
        yield _Note("", topic, before.strip())
    for at, body in zip(rest[::3], rest[2::3], strict=True):
        yield _Note(at, topic, body.strip())


def _has_all(note: _Note, words: Sequence[str]) -> bool:
    said = f"{note.topic} {note.text}".casefold()
    return all(word in said for word in words)
