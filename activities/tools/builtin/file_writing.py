"""The tools `file_write` and `file_patch`: changing files in the workspace of the scope.

Owns their arguments and what a patch is. How a file is replaced is `activities.workspace_tree`'s.
Source: triggers-and-actions.md §5 and §7.

Invariants:
    1. A patch that does not fit exactly changes nothing.
    2. A file is replaced as a whole or not at all.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from activities.tools.builtin.file_refusals import in_workspace
from activities.tools.builtin.schemas import arguments, text
from activities.tools.function_tool import FunctionTool
from activities.tools.tool import Tool, ToolFailed, ToolUse
from activities.workspace import PathRefused, Workspace
from activities.workspace_tree import read_whole, write_whole
from domain.tool_specs import Permission, ToolSpec

MAX_PATCHED_BYTES: Final = 2 * 1024 * 1024
MAX_EDITS: Final = 100
MAX_CONTENT: Final = 100_000

_PATH: Final = text("Relative path in the workspace, with /. Folders are made.")
_WRITE: Final = ToolSpec(
    name="file_write",
    description="Write a text file of the workspace, the whole of it. An existing file is replaced "
    "unless if_exists is fail.",
    parameters=arguments(
        {
            "path": _PATH,
            "content": text("All the file holds.", longest=MAX_CONTENT, shortest=0),
            "if_exists": {"type": "string", "enum": ["replace", "fail"], "default": "replace"},
        },
        ["path", "content"],
    ),
    permission=Permission.ASK,
    idempotent=True,
    timeout_seconds=30,
)
_PATCH: Final = ToolSpec(
    name="file_patch",
    description="Change pieces of a text file of the workspace. Each edit replaces a text that "
    "occurs exactly once, in order; when one does not fit, nothing is changed.",
    parameters=arguments(
        {
            "path": text("Relative path of a file in the workspace, with /."),
            "edits": {
                "type": "array",
                "minItems": 1,
                "maxItems": MAX_EDITS,
                "items": arguments(
                    {
                        "old": text("What stands there now, verbatim.", longest=MAX_CONTENT),
                        "new": text("What is to stand there.", longest=MAX_CONTENT, shortest=0),
                    },
                    ["old", "new"],
                ),
            },
        },
        ["path", "edits"],
    ),
    permission=Permission.ASK,
    timeout_seconds=30,
)


def file_writing_tools(workspace: Workspace) -> list[Tool]:
    """The tools.

    Args:
        workspace: The workspaces of all scopes.
    """
    writing = _FileWriting(workspace)
    return [FunctionTool(_WRITE, writing.write), FunctionTool(_PATCH, writing.patch)]


class _FileWriting:
    """The functions of the tools."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    async def write(self, use: ToolUse) -> str:
        path = str(use.arguments["path"])
        data = _encoded(str(use.arguments["content"]))
        replace = use.arguments.get("if_exists", "replace") == "replace"

        def work() -> str:
            place = self._workspace.place(use.caller.scope.text, path)
            if not write_whole(place, data, use.key, replace=replace) and not (
                # A former attempt of this very call may have written it.
                read_whole(place, MAX_PATCHED_BYTES) == data
            ):
                raise PathRefused("exists already; nothing was changed")
            return _written(path, data)

        return await in_workspace(path, work)

    async def patch(self, use: ToolUse) -> str:
        path = str(use.arguments["path"])

        def work() -> str:
            place = self._workspace.place(use.caller.scope.text, path)
            old = read_whole(place, MAX_PATCHED_BYTES)
            try:
                before = old.decode()
            except UnicodeDecodeError:
                raise PathRefused("is not UTF-8 text; it cannot be patched") from None
            data = _encoded(_patched(before, use.arguments["edits"]))
            if len(data) > MAX_PATCHED_BYTES:
                raise PathRefused(f"would become longer than {MAX_PATCHED_BYTES} bytes")
            write_whole(place, data, use.key)
            return _written(path, data)

        return await in_workspace(path, work)


def _patched(text: str, edits: Sequence[Mapping[str, Any]]) -> str:
    for number, edit in enumerate(edits, 1):
        old = str(edit["old"])
        count = text.count(old)
        if count != 1:
            found = "does not occur" if not count else f"occurs {count} times"
            raise ToolFailed(
                f"edit {number}: its old text {found} in the file; it has to occur exactly once. "
                "Nothing was changed: read the file again and give more of what stands around it"
            )
        text = text.replace(old, str(edit["new"]))
    return text


def _encoded(content: str) -> bytes:
    try:
        return content.encode()
    except UnicodeEncodeError:
        raise ToolFailed("the text holds half of a surrogate pair; UTF-8 cannot say it") from None


def _written(path: str, data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"{path}: {len(data)} bytes written, sha256 {digest}"
