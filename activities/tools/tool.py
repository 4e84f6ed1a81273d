"""What every tool is: a specification, and something that runs.

Owns the interface between dispatch and tools. Everything around a call (permission, limits, time,
cleaning, audit) is the dispatch's; a tool does its one thing. Source: triggers-and-actions.md §7.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from domain.tool_specs import Permission, ToolCaller, ToolSpec


class ToolFailed(Exception):
    """The tool could not do it; its text tells the model what was wrong and what would work."""


class ToolUnknown(Exception):
    """The tool asked for it and nobody knows whether it was done; its text says how that came.

    Only for what must not be done twice: what may be repeated has failed.
    """


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
            ToolUnknown: It may have been done.
        """
        ...


@runtime_checkable
class DecidesPermission(Protocol):
    """A tool whose permission depends on the call, such as a message to somebody else."""

    def permission_of(self, arguments: Mapping[str, Any], caller: ToolCaller) -> Permission:
        """The permission of a call whose arguments are valid; replaces that of the spec."""
        ...


@runtime_checkable
class MayBeUnavailable(Protocol):
    """A tool that what it needs may be missing for, such as a server that is down."""

    def unavailable(self) -> str | None:
        """Why it cannot be called now; null when it can."""
        ...


def permission_of_call(tool: Tool, arguments: Mapping[str, Any], caller: ToolCaller) -> Permission:
    """The permission of one call, before what the operator's settings say."""
    if isinstance(tool, DecidesPermission):
        return tool.permission_of(arguments, caller)
    return tool.spec.permission


def why_unavailable(tool: Tool) -> str | None:
    """Why a tool cannot be called now; null when it can."""
    return tool.unavailable() if isinstance(tool, MayBeUnavailable) else None
