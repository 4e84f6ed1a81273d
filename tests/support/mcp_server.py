"""An MCP server of our own for tests, over stdio or streamable HTTP, whose tools can change.

Run as `python -m tests.support.mcp_server FILE`: the file's text is the description of its tool
`note`, and a second line of `twins` adds two tools that differ in spelling only.
"""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from mcp import types
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError


def make_server(description: str, *, twins: bool = False) -> MCPServer[Any]:
    """A server with the tools below, and if wanted two whose names are nearly the same."""
    server: MCPServer[Any] = MCPServer("notes")

    def note(text: str) -> str:
        return f"noted: {text}"

    def fail() -> str:
        raise ToolError("it went wrong")

    def environment() -> list[str]:
        return sorted(os.environ)

    def pid() -> int:
        return os.getpid()

    async def wait() -> str:
        await asyncio.sleep(60)
        return "waited"

    def show() -> list[types.ContentBlock]:
        text = types.TextResourceContents(uri="note://1", text="embedded")
        return [
            types.TextContent(text="said"),
            types.ImageContent(data="aGk=", mime_type="image/png"),
            types.ResourceLink(name="n", uri="https://example.org/x"),
            types.EmbeddedResource(resource=text),
            types.EmbeddedResource(
                resource=types.BlobResourceContents(uri="note://2", blob="aGk=")
            ),
        ]

    def die() -> str:
        os._exit(3)

    server.add_tool(note, description=description)
    server.add_tool(fail)
    server.add_tool(environment)
    server.add_tool(pid)
    server.add_tool(wait)
    server.add_tool(show)
    server.add_tool(die)
    if twins:
        server.add_tool(note, name="twin-a", description="one")
        server.add_tool(note, name="twin_a", description="two")
    return server


def main() -> None:
    """Serve over stdio."""
    description, *rest = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    make_server(description, twins="twins" in rest).run("stdio")


if __name__ == "__main__":
    main()
