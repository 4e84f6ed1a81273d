"""The tools of MCP servers, as tools of ours.

Owns which tools a server has now, their names and specifications, and what an answer is as text.
The connection is `activities.tools.mcp_connection`'s; what the operator allows is
`domain.mcp_servers`'. Source: triggers-and-actions.md §7.

Invariants:
    1. A server that is down or misbehaves costs its own tools, never a worker or a run.
    2. What a server says of a tool's harmlessness is not believed: its tools ask, unless the
       operator has allowed them in this very form, and are never repeated.
    3. Of two tools that would have one name, neither is listed.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import structlog
from mcp import types

from activities.tools.arguments import Schema, SchemaRefused
from activities.tools.mcp_connection import McpConnection, McpServerDown, McpUnanswered
from activities.tools.tool import Tool, ToolFailed, ToolUnknown, ToolUse
from domain.mcp_servers import (
    McpServer,
    mcp_permission,
    mcp_tool_digest,
    mcp_tool_name,
    named_tools,
)
from domain.tool_specs import Permission, ToolSpec

MAX_TOOLS: Final = 256
MAX_DESCRIPTION: Final = 8000
MAX_SCHEMA_BYTES: Final = 64 * 1024
# On top of the server's own limit, which the SDK keeps and can explain.
_GRACE_SECONDS: Final = 5.0

_log = structlog.stdlib.get_logger("tickless.mcp")


class McpTool:
    """One tool of one server."""

    def __init__(self, spec: ToolSpec, connection: McpConnection, name: str) -> None:
        self.spec = spec
        self._connection = connection
        self._name = name

    def unavailable(self) -> str | None:
        """Why it cannot be called now."""
        down = self._connection.down
        return None if down is None else f"the MCP server {self._connection.server.name!r} {down}"

    async def run(self, use: ToolUse) -> str:
        """Call it, once."""
        server = self._connection.server
        try:
            result = await self._connection.call(self._name, dict(use.arguments))
        except McpUnanswered as lost:
            raise ToolUnknown(f"the MCP server {server.name!r} {lost}") from None
        except McpServerDown as down:
            raise ToolFailed(f"the MCP server {server.name!r} {down}") from None
        text = _text(result)
        if result.is_error:
            raise ToolFailed(text or f"the MCP server {server.name!r} reports an error, no more")
        return text or "[no output]"


class McpTools:
    """The tools of all servers, as they are now."""

    def __init__(self, connections: Sequence[McpConnection]) -> None:
        self._connections = connections
        self._told: set[str] = set()
        # By server, what its last list became: checking schemas takes a while.
        self._made: dict[str, tuple[Sequence[types.Tool], list[McpTool]]] = {}

    def tools(self) -> list[Tool]:
        """The tools, by server and name; those of a server that is down too, if it was ever up.

        Of a server that never was, the tools that the operator has named are listed.
        """
        found = [tool for connection in self._connections for tool in self._tools_of(connection)]
        counts = Counter(tool.spec.name for tool in found)
        for name in sorted(name for name, count in counts.items() if count > 1):
            self._tell(f"two MCP tools would be called {name!r}; neither is listed")
        return [tool for tool in found if counts[tool.spec.name] == 1]

    def down(self) -> Mapping[str, str]:
        """Why servers are not connected, by name."""
        return {
            connection.server.name: connection.down
            for connection in self._connections
            if connection.down is not None
        }

    def _tools_of(self, connection: McpConnection) -> list[McpTool]:
        server = connection.server
        listed = connection.tools
        made = self._made.get(server.name)
        if made is not None and made[0] is listed:
            return made[1]
        if listed is None:
            return [
                McpTool(_unknown_spec(server, name), connection, name)
                for name in named_tools(server.allow)
            ]
        found: list[McpTool] = []
        for tool in listed[:MAX_TOOLS]:
            try:
                found.append(McpTool(_spec(server, tool), connection, tool.name))
            except (SchemaRefused, ValueError) as refusal:
                self._tell(f"the tool {tool.name!r:.80} of MCP server {server.name!r}: {refusal}")
        for name in named_tools(server.allow):
            self._tell_of_form(server, name, found, listed)
        self._made[server.name] = listed, found
        return found

    def _tell_of_form(
        self, server: McpServer, name: str, found: Sequence[McpTool], listed: Sequence[types.Tool]
    ) -> None:
        """Say what is to be written where an allowed tool asks all the same."""
        ours = mcp_tool_name(server.name, name)
        for tool in found:
            if tool.spec.name == ours and tool.spec.permission is not Permission.ALLOW:
                self._tell(
                    f"the MCP tool {ours!r} asks: it is new or has changed; once looked at, it is "
                    f"allowed by {name}@{tool.spec.version} in `allow` of server {server.name!r}"
                )
        if all(tool.name != name for tool in listed):
            self._tell(f"MCP server {server.name!r} has no tool {name!r}, which `allow` names")

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            _log.warning("mcp.tool", told=text)


@asynccontextmanager
async def mcp_tools(
    servers: Sequence[McpServer], log_folder: Path | None = None
) -> AsyncGenerator[McpTools]:
    """Keep connected to servers while the context is open.

    Args:
        servers: Their secrets resolved, their names unique.
        log_folder: Gets a file per server, with what its program complains of.

    Yields:
        Their tools. Every server was tried once; those that are down are tried again by themselves.

    Raises:
        ValueError: Two servers have one name.
    """
    names = Counter(server.name for server in servers)
    if double := [name for name, count in names.items() if count > 1]:
        raise ValueError(f"there are two MCP servers of the name {double[0]!r}")
    connections = [McpConnection(server, log_folder) for server in servers]
    try:
        await asyncio.gather(*(connection.start() for connection in connections))
        yield McpTools(connections)
    finally:
        await asyncio.gather(*(connection.close() for connection in connections))


def _spec(server: McpServer, tool: types.Tool) -> ToolSpec:
    """What we say of a tool.

    Raises:
        SchemaRefused: Its schema cannot be checked against.
        ValueError: It says too much.
    """
    description = tool.description or tool.title or tool.name
    if len(description) > MAX_DESCRIPTION:
        raise ValueError(f"its description has more than {MAX_DESCRIPTION} characters")
    if len(json.dumps(tool.input_schema)) > MAX_SCHEMA_BYTES:
        raise ValueError(f"its schema has more than {MAX_SCHEMA_BYTES} bytes")
    Schema(tool.input_schema)
    digest = mcp_tool_digest(tool.name, description, tool.input_schema)
    return ToolSpec(
        name=mcp_tool_name(server.name, tool.name),
        version=digest,
        description=description,
        parameters=tool.input_schema,
        permission=mcp_permission(server.allow, tool.name, digest),
        timeout_seconds=server.timeout_seconds + _GRACE_SECONDS,
        source=f"mcp:{server.name}",
    )


def _unknown_spec(server: McpServer, name: str) -> ToolSpec:
    """What can be said of a tool whose server was never reached."""
    return ToolSpec(
        name=mcp_tool_name(server.name, name),
        version="unknown",
        description=f"A tool of the MCP server {server.name!r}, which is not connected.",
        parameters={"type": "object", "additionalProperties": True},
        permission=Permission.ASK,
        timeout_seconds=server.timeout_seconds + _GRACE_SECONDS,
        source=f"mcp:{server.name}",
    )


def _text(result: types.CallToolResult) -> str:
    """An answer as a model reads it; what is no text is named."""
    parts = [_part(block) for block in result.content]
    if not parts and result.structured_content is not None:
        return json.dumps(result.structured_content, ensure_ascii=False)
    return "\n".join(parts)


def _part(block: Any) -> str:
    match block:
        case types.TextContent():
            return block.text
        case types.ImageContent() | types.AudioContent():
            return f"[{block.type} of type {block.mime_type}, not shown]"
        case types.ResourceLink():
            return f"[link to {block.uri}]"
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return resource.text
        case _:
            return "[content that is no text, not shown]"
