"""A tool that is a specification and a function.

Owns nothing but the pair; what the function does is its module's.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from activities.tools.tool import ToolUse
from domain.tool_specs import ToolSpec

ToolFunction = Callable[[ToolUse], Awaitable[str]]


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A `Tool` made of its two parts."""

    spec: ToolSpec
    function: ToolFunction

    async def run(self, use: ToolUse) -> str:
        """Call the function."""
        return await self.function(use)
