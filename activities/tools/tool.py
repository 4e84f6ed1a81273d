"""What every tool is: a specification, and something that runs.

Owns the interface between dispatch and tools. Everything around a call (permission, limits, time,
cleaning, audit) is the dispatch's; a tool does its one thing. Source: triggers-and-actions.md §7.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from domain.tool_specs import ToolCaller, ToolSpec


class ToolFailed(Exception):
    """The tool could not do it; its text tells the model what was wrong and what would work."""


@dataclass(frozen=True, slots=True)
class ToolUse:
    """One call that may run.

    Attributes:
        arguments: Valid by the tool's schema.
        caller: On whose behalf.
        key: The same for every attempt of this call: an idempotency key for whatever it does.
    """

    arguments: Mapping[str, Any]
    caller: ToolCaller
    key: str


class Tool(Protocol):
    """Something a model can call."""

    @property
    def spec(self) -> ToolSpec:
        """What it says of itself."""
        ...

    async def run(self, use: ToolUse) -> str:
        """Do it, and say what came of it.

        Returns:
            The output as text; JSON where it is data.

        Raises:
            ToolFailed: It could not be done. Anything else is a fault of the tool and is told the
                model without its details.
        """
        ...
