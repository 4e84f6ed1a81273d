"""MCP servers: one that others wrote, ours over stdio and streamable HTTP, and their ends."""

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from mcp.server import MCPServer
from pydantic import SecretStr

from activities.tools import mcp_connection
from activities.tools.mcp import McpTool, McpTools, mcp_tools
from activities.tools.mcp_connection import McpConnection
from activities.tools.tool import Tool, ToolFailed, ToolUnknown, ToolUse, why_unavailable
from domain.mcp_servers import McpServer
from domain.scopes import Scope, ScopeKind
from domain.tool_specs import Permission, ToolCaller
from tests.support.mcp_server import make_server
from tests.support.processes import eventually

CALLER = ToolCaller(caller="api", scope=Scope(kind=ScopeKind.USER, id="me"))
TIME = McpServer(
    name="time",
    command=sys.executable,
    args=["-m", "mcp_server_time", "--local-timezone", "UTC"],
)


def named(tools: McpTools, name: str) -> Tool:
    return next(tool for tool in tools.tools() if tool.spec.name == name)


async def call(tool: Tool, **arguments: Any) -> str:
    return await tool.run(ToolUse(arguments=arguments, caller=CALLER, key="k"))


def says(script: Path, text: str) -> None:
    script.write_text(text, encoding="utf-8")


@contextmanager
def away(script: Path) -> Iterator[None]:
    """Without this file the program cannot start."""
    script.rename(script.with_suffix(".gone"))
    yield
    script.with_suffix(".gone").rename(script)


def runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "description.txt"
    says(path, "Notes something.")
    return path


def notes(script: Path, **more: Any) -> McpServer:
    arguments = ["-m", "tests.support.mcp_server", str(script)]
    folder = str(Path(__file__).parents[2])
    return McpServer(name="notes", command=sys.executable, args=arguments, folder=folder, **more)


async def test_a_server_that_others_wrote_is_used() -> None:
    async with mcp_tools([TIME]) as tools:
        now = named(tools, "time_get_current_time")
        assert now.spec.source == "mcp:time"
        assert now.spec.permission is Permission.ASK
        assert not now.spec.read_only
        assert not now.spec.idempotent
        assert why_unavailable(now) is None
        answer = json.loads(await call(now, timezone="Europe/Berlin"))
        assert answer["timezone"] == "Europe/Berlin"
        with pytest.raises(ToolFailed, match="Invalid timezone"):
            await call(now, timezone="Nowhere")


async def test_a_changed_tool_asks_again(script: Path) -> None:
    async with mcp_tools([notes(script)]) as tools:
        digest = named(tools, "notes_note").spec.version
    server = notes(script, allow=[f"note@{digest}", "fail"])
    async with mcp_tools([server]) as tools:
        assert named(tools, "notes_note").spec.permission is Permission.ALLOW
        # A name alone is no form that was looked at.
        assert named(tools, "notes_fail").spec.permission is Permission.ASK
        says(script, "Notes something, and sends it away.")
        # The program ends in the middle of the call; the next one says something else of itself.
        with pytest.raises(ToolUnknown, match=r"lost the connection; the call may have been"):
            await call(named(tools, "notes_die"))
        await eventually(lambda: named(tools, "notes_note").spec.version != digest)
        assert named(tools, "notes_note").spec.permission is Permission.ASK
        assert await call(named(tools, "notes_note"), text="x") == "noted: x"


async def test_a_dead_server_fails_clearly_and_comes_back(script: Path) -> None:
    other = McpServer(name="other", command="/nowhere/x")
    async with mcp_tools([notes(script), other]) as tools:
        note = named(tools, "notes_note")
        assert await call(note, text="a") == "noted: a"
        with away(script):
            os.kill(int(await call(named(tools, "notes_pid"))), signal.SIGKILL)
            await eventually(lambda: why_unavailable(note) is not None)
            with pytest.raises(ToolFailed, match="the MCP server 'notes' "):
                await call(note, text="b")
            assert set(tools.down()) == {"notes", "other"}
            assert note.spec.name in {tool.spec.name for tool in tools.tools()}
        await eventually(lambda: why_unavailable(named(tools, "notes_note")) is None)
        assert await call(note, text="c") == "noted: c"
        pid = int(await call(named(tools, "notes_pid")))
        assert runs(pid)
    assert not runs(pid)


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (McpServer(name="x", command="/nowhere/x", allow=["now"]), "No such file"),
        (McpServer(name="x", command="/bin/true", allow=["now"]), "cannot be reached"),
        (
            McpServer(name="x", command="/bin/cat", allow=["now"], connect_seconds=0.5),
            "cannot be reached",
        ),
        (McpServer(name="x", url="http://127.0.0.1:1/mcp", allow=["now"]), "cannot be reached"),
    ],
    ids=["no program", "ends at once", "says nonsense", "nobody listens"],
)
async def test_a_server_that_never_was_lists_what_is_named(server: McpServer, reason: str) -> None:
    async with mcp_tools([server]) as tools:
        (tool,) = tools.tools()
        assert tool.spec.name == "x_now"
        assert tool.spec.permission is Permission.ASK
        assert reason in (why_unavailable(tool) or "")
        with pytest.raises(ToolFailed, match="the MCP server 'x' cannot be reached"):
            await call(tool)


async def test_servers_need_names_of_their_own() -> None:
    with pytest.raises(ValueError, match="two MCP servers of the name 'time'"):
        async with mcp_tools([TIME, TIME]):
            pass


async def test_a_server_that_ends_at_once_is_not_hurried(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    program = f"echo >> {starts}"
    async with mcp_tools([McpServer(name="x", command="/bin/sh", args=["-c", program])]):
        began = time.monotonic()
        await eventually(lambda: len(starts.read_text("utf-8").splitlines()) == 3)
        assert time.monotonic() - began > 1.3  # half a second, then one


@asynccontextmanager
async def http_server(
    port: int, given: MCPServer[Any] | None = None
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A server over streamable HTTP on loopback."""
    app = (given or make_server("Notes something.")).streamable_http_app()
    config = uvicorn.Config(app, host="127.0.0.1", port=port, log_level="critical", ws="none")
    server = uvicorn.Server(config)
    server.config.load()
    serving = asyncio.create_task(server._serve())

    async def stop() -> None:
        server.should_exit = True
        server.force_exit = True
        await serving

    await eventually(lambda: server.started)
    try:
        yield stop
    finally:
        await stop()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def test_a_slow_call_ends_and_tools_that_change_meanwhile_are_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mcp_connection, "LIST_AGAIN_SECONDS", 0.05)
    port, program = free_port(), make_server("Notes something.")
    server = McpServer(name="web", url=f"http://127.0.0.1:{port}/mcp", timeout_seconds=0.5)

    def later() -> str:
        return "later"

    async with http_server(port, program), mcp_tools([server]) as tools:
        with pytest.raises(ToolUnknown, match=r"no answer within 0\.5 s; the call may have been"):
            await call(named(tools, "web_wait"))
        program.add_tool(later, description="x" * 9000)
        program.remove_tool("wait")
        await eventually(lambda: "web_wait" not in {t.spec.name for t in tools.tools()})
        # It says too much of itself.
        assert "web_later" not in {tool.spec.name for tool in tools.tools()}
        program.remove_tool("later")
        program.add_tool(later)
        await eventually(lambda: "web_later" in {tool.spec.name for tool in tools.tools()})
        assert await call(named(tools, "web_later")) == "later"


async def test_a_server_over_http_is_used_lost_and_found_again() -> None:
    port = free_port()
    server = McpServer(
        name="web", url=f"http://127.0.0.1:{port}/mcp", headers={"x-key": SecretStr("k")}
    )
    async with http_server(port) as stop, mcp_tools([server]) as tools:
        note = named(tools, "web_note")
        assert await call(note, text="a") == "noted: a"
        await stop()
        # A connection that ends tells nothing of what was on its way.
        with pytest.raises((ToolFailed, ToolUnknown), match="the MCP server 'web' "):
            await call(note, text="b")
        async with http_server(port):
            await eventually(lambda: why_unavailable(named(tools, "web_note")) is None)

            async def again() -> str:
                async with asyncio.timeout(20):
                    while True:
                        try:
                            return await call(note, text="c")
                        except (ToolFailed, ToolUnknown):
                            await asyncio.sleep(0.05)

            assert await again() == "noted: c"


@pytest.fixture(scope="module")
async def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mcp")


@pytest.fixture(scope="module")
async def tools(folder: Path) -> AsyncIterator[McpTools]:
    """One server for all tests that leave it as it is."""
    says(folder / "description.txt", "Notes.\ntwins\n")
    server = notes(folder / "description.txt", env={"OWN": SecretStr("given")})
    async with mcp_tools([server], folder / "logs") as found:
        yield found


async def test_a_fault_of_a_tool_is_told_in_its_words(tools: McpTools, folder: Path) -> None:
    with pytest.raises(ToolFailed, match="it went wrong"):
        await call(named(tools, "notes_fail"))
    log = folder / "logs" / "mcp-notes.log"
    await eventually(lambda: "it went wrong" in log.read_text("utf-8"))


async def test_a_program_gets_its_own_variables_only(tools: McpTools) -> None:
    seen = await call(named(tools, "notes_environment"))
    assert "OWN" in seen
    assert "PYTEST_CURRENT_TEST" in os.environ
    assert "PYTEST_CURRENT_TEST" not in seen


async def test_tools_of_one_name_are_not_listed(tools: McpTools) -> None:
    names = {tool.spec.name for tool in tools.tools()}
    assert "notes_note" in names
    assert "notes_twin_a" not in names


async def test_what_is_no_text_is_named(tools: McpTools) -> None:
    assert await call(named(tools, "notes_show")) == (
        "said\n[image of type image/png, not shown]\n[link to https://example.org/x]\nembedded\n"
        "[content that is no text, not shown]"
    )


async def test_a_tool_that_is_not_there_any_more_is_told(tools: McpTools) -> None:
    ghost = McpConnection(notes(Path("x")))
    gone = McpTool(named(tools, "notes_note").spec, ghost, "note")
    assert "not connected" in (why_unavailable(gone) or "")
    with pytest.raises(ToolFailed, match="the MCP server 'notes' is not connected"):
        await call(gone, text="x")
    await ghost.close()


async def test_a_call_that_is_cancelled_ends(tools: McpTools) -> None:
    running = asyncio.create_task(call(named(tools, "notes_wait")))
    await asyncio.sleep(0)  # it has begun, and its server would not answer for a minute
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await call(named(tools, "notes_note"), text="y") == "noted: y"
