"""Tools that are calls of the library.

Owns how an answer of the library becomes a tool's, and a refusal one that the model can read.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from activities.tools.builtin.schemas import as_json
from activities.tools.function_tool import FunctionTool
from activities.tools.tool import Tool, ToolFailed, ToolUse
from domain.errors import DomainError
from domain.tool_specs import ToolSpec

# What can be written as JSON.
Shown = Mapping[str, Any]


def library_tool(spec: ToolSpec, call: Callable[[ToolUse], Awaitable[Shown]]) -> Tool:
    """A tool that answers with JSON; what the library refuses fails with its words.

    Args:
        spec: The tool's.
        call: Asks the library; raises `DomainError` for what is refused.
    """

    async def run(use: ToolUse) -> str:
        try:
            return as_json(await call(use))
        except DomainError as error:
            accepted = f"; accepted: {', '.join(error.accepted)}" if error.accepted else ""
            raise ToolFailed(f"{error.field}: {error.message}{accepted}") from None

    return FunctionTool(spec, run)
