"""The tool `json_query`: taking a piece out of JSON with a JMESPath expression.

Owns its arguments and limits; the language is the library's.

Invariant: neither the expression nor the data can keep a worker busy: both are of limited size, and
the work is done in a thread.
"""

import json
from typing import Final

import jmespath
from jmespath.exceptions import JMESPathError

from activities.tools.builtin.file_refusals import in_workspace
from activities.tools.builtin.reading import reading_tool
from activities.tools.builtin.schemas import arguments, as_json, text
from activities.tools.function_tool import FunctionTool
from activities.tools.tool import Tool, ToolFailed, ToolUse
from activities.workspace import Workspace
from activities.workspace_tree import read_whole

MAX_FILE_BYTES: Final = 4 * 1024 * 1024

_SPEC: Final = reading_tool(
    "json_query",
    "Evaluate a JMESPath expression on JSON: a text given here, or a file of the workspace. Give "
    "json or path, not both.",
    arguments(
        {
            "expression": text("JMESPath, such as items[?price > `10`].name.", longest=2000),
            "json": text("The JSON as text.", longest=100_000),
            "path": text("Relative path of a JSON file in the workspace."),
        },
        ["expression"],
    ),
)


def json_tools(workspace: Workspace) -> list[Tool]:
    """The tool.

    Args:
        workspace: The workspaces of all scopes.
    """

    async def query(use: ToolUse) -> str:
        given, path = use.arguments.get("json"), use.arguments.get("path")
        if (given is None) == (path is None):
            raise ToolFailed("give exactly one of json and path")

        def work() -> str:
            if path is None:
                return _queried(str(given), use.arguments["expression"])
            place = workspace.place(use.caller.scope.text, path)
            data = read_whole(place, MAX_FILE_BYTES)
            return _queried(data.decode("utf-8", "replace"), use.arguments["expression"])

        return await in_workspace(str(path), work)

    return [FunctionTool(_SPEC, query)]


def _queried(source: str, expression: str) -> str:
    try:
        data = json.loads(source)
    except (ValueError, RecursionError) as error:
        raise ToolFailed(f"this is no JSON: {error}") from None
    try:
        return as_json(jmespath.search(expression, data))
    except JMESPathError as error:
        raise ToolFailed(f"the expression does not work: {error}") from None
    except (ValueError, TypeError, ArithmeticError, RecursionError) as error:
        # The library lets some faults of a function's arguments through.
        raise ToolFailed(f"the expression does not work: {type(error).__name__}") from None
