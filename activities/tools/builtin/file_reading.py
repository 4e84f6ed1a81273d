"""The tools `file_read`, `file_list` and `file_search`: looking into the workspace of the scope.

Owns their arguments and what they show. Which files there are and may be opened is
`activities.workspace`'s. Source: triggers-and-actions.md §5 and §7.

Invariants:
    1. Nothing outside of the caller's workspace is shown, not even that it exists.
    2. A search takes RE2 patterns only, and ends after a number of bytes and matches.
"""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import Final

from activities.tools.builtin.file_refusals import in_workspace
from activities.tools.builtin.reading import reading_tool
from activities.tools.builtin.schemas import arguments, as_json, integer, sayable, text
from activities.tools.function_tool import FunctionTool
from activities.tools.tool import Tool, ToolFailed, ToolUse
from activities.workspace import PathRefused, Workspace, WorkspacePlace
from activities.workspace_tree import TreeEntry, read_whole, walk
from domain.errors import DomainError
from domain.trigger_pattern import Pattern, compile_pattern

MAX_READ_BYTES: Final = 8 * 1024 * 1024
# Below the limit of a tool's output, so that the line to go on with is the right one.
SHOWN_BYTES: Final = 60_000
MAX_ENTRIES: Final = 1000
MAX_SEARCHED_FILE: Final = 2 * 1024 * 1024
MAX_SEARCHED: Final = 64 * 1024 * 1024
MAX_MATCHES: Final = 200
MAX_LINE_CHARS: Final = 300
_BINARY_PROBE: Final = 8192

_PATH: Final = text("Relative path in the workspace, with /.")
_FOLDER: Final = text("Relative path of a folder in the workspace.", shortest=0, default=".")


def file_reading_tools(workspace: Workspace) -> list[Tool]:
    """The tools.

    Args:
        workspace: The workspaces of all scopes.
    """
    reading = _FileReading(workspace)
    return [
        FunctionTool(_READ, reading.read),
        FunctionTool(_LIST, reading.list),
        FunctionTool(_SEARCH, reading.search),
    ]


_READ: Final = reading_tool(
    "file_read",
    "Read a text file of the workspace, by lines. A long file comes in pieces: the last line says "
    "with which start_line to go on.",
    arguments(
        {
            "path": _PATH,
            "start_line": integer("First line, from 1.", 1, 10_000_000, 1),
            "max_lines": integer("How many lines at most.", 1, 10_000, 2000),
        },
        ["path"],
    ),
)
_LIST: Final = reading_tool(
    "file_list",
    f"List a folder of the workspace: path, kind and size of each entry, {MAX_ENTRIES} at most.",
    arguments({"path": _FOLDER, "depth": integer("Levels to go down.", 1, 32, 1)}),
)
_SEARCH: Final = reading_tool(
    "file_search",
    "Find the lines of text files in the workspace that match an RE2 pattern, as path:line: text. "
    f"At most {MAX_MATCHES}; files that are no text or too large are left out.",
    arguments(
        {
            "pattern": text("RE2 syntax; no look-around, no back-references.", longest=1000),
            "path": _FOLDER,
            "glob": text(
                "Only files whose path matches, such as *.md; * also matches /.",
                longest=300,
                default="*",
            ),
        },
        ["pattern"],
    ),
)


class _FileReading:
    """The functions of the tools."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def read(self, use: ToolUse) -> str:
        path = use.arguments["path"]
        start = int(use.arguments.get("start_line", 1))
        most = int(use.arguments.get("max_lines", 2000))

        def work() -> str:
            place = self._workspace.place(use.caller.scope.text, path)
            return _lines(read_whole(place, MAX_READ_BYTES), start, most)

        return await in_workspace(path, work)

    async def list(self, use: ToolUse) -> str:
        path = str(use.arguments.get("path", "."))
        depth = int(use.arguments.get("depth", 1))
        found: list[dict[str, object]] = []
        more = False

        def work() -> None:
            nonlocal more
            for entry in self._walk(use, path, depth):
                if len(found) == MAX_ENTRIES:
                    more = True
                    return
                size = {} if entry.size is None else {"bytes": entry.size}
                found.append({"path": entry.path, "kind": entry.kind, **size})

        await in_workspace(path, work)
        return as_json({"entries": found} | ({"more": True} if more else {}))

    async def search(self, use: ToolUse) -> str:
        path = str(use.arguments.get("path", "."))
        glob = str(use.arguments.get("glob", "*"))
        try:
            pattern = compile_pattern(use.arguments["pattern"], "pattern")
        except DomainError as error:
            raise ToolFailed(error.message) from None

        def work() -> str:
            folder = self._workspace.place(use.caller.scope.text, ".").folder
            files = (
                entry
                for entry in self._walk(use, path, 32)
                if entry.kind == "file" and fnmatchcase(entry.path, glob)
            )
            return _search(pattern, (WorkspacePlace(folder, item.parts) for item in files))

        return await in_workspace(path, work)

    def _walk(self, use: ToolUse, path: str, depth: int) -> Iterator[TreeEntry]:
        scope = use.caller.scope.text
        place = self._workspace.place(scope, path)
        return walk(place, depth, hide_scopes=self._workspace.shares_root(scope))


def _lines(data: bytes, start: int, most: int) -> str:
    """Lines of a file, and a note when they are not all of them."""
    lines = data.decode("utf-8", "replace").splitlines(keepends=True)
    if start > max(len(lines), 1):
        raise ToolFailed(f"the file has {len(lines)} lines; there is no line {start}")
    shown: list[str] = []
    room = SHOWN_BYTES
    for line in lines[start - 1 : start - 1 + most]:
        room -= len(line.encode())
        if room < 0:
            break
        shown.append(line)
    if lines and not shown:
        cut = lines[start - 1].encode()[:SHOWN_BYTES].decode("utf-8", "ignore")
        return f"{cut}\n[line {start} of {len(lines)} is longer than is shown]"
    end = start - 1 + len(shown)
    body = "".join(shown)
    if start == 1 and end == len(lines):
        return body
    after = f"; go on with start_line {end + 1}" if end < len(lines) else ""
    return f"{body.rstrip()}\n[lines {start} to {end} of {len(lines)}{after}]"


def _search(pattern: Pattern, places: Iterator[WorkspacePlace]) -> str:
    found: list[str] = []
    room = MAX_SEARCHED
    for place in places:
        try:
            data = read_whole(place, MAX_SEARCHED_FILE)
        except PathRefused:
            continue
        if b"\0" in data[:_BINARY_PROBE]:
            continue
        room -= len(data)
        for number, line in enumerate(data.splitlines(), 1):
            if pattern.search(line) is None:
                continue
            shown = line.decode("utf-8", "replace")[:MAX_LINE_CHARS]
            found.append(sayable(f"{'/'.join(place.parts)}:{number}: {shown}"))
            if len(found) == MAX_MATCHES:
                return "\n".join([*found, f"[ended after {MAX_MATCHES} matches]"])
        if room < 0:
            return "\n".join([*found, f"[ended after {MAX_SEARCHED} bytes; name a folder or glob]"])
    return "\n".join(found) or "no matches"
