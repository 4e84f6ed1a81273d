"""Builtin tools that only read.

Owns what their specifications have in common: they are allowed, change nothing, may be run again,
and have half a minute.
"""

from typing import Any

from domain.tool_specs import Permission, ToolSpec


def reading_tool(name: str, description: str, parameters: dict[str, Any]) -> ToolSpec:
    """The specification of a tool that only reads.

    Args:
        name: What the model calls.
        description: For the model.
        parameters: The JSON Schema of its arguments (`schemas.arguments`).
    """
    return ToolSpec(
        name=name,
        description=description,
        parameters=parameters,
        permission=Permission.ALLOW,
        read_only=True,
        idempotent=True,
        timeout_seconds=30,
    )
