"""The connection to one MCP server: made, kept, and made again when it is lost.

Owns the life of the connection. What its tools become here is `activities.tools.mcp`'s.

Invariants:
    1. One task opens and closes the connection; calls come from any task.
    2. A lost connection is tried again, after half a second and then after growing pauses up to a
       minute, until it is closed by us.
    3. A call is sent at most once.
    4. A server's program gets none of the worker's variables but PATH, HOME and the like, and ends
       when the worker does, because its standard input ends.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO, cast

import httpx2
import structlog
from mcp import Client, MCPError, StdioServerParameters, stdio_client, types
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT

from domain.mcp_servers import McpServer

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 60.0
# A server that ends sooner than this after it began is in trouble.
STEADY_SECONDS: Final = 60.0
# A server tells of changed tools only if it can; this finds the others.
LIST_AGAIN_SECONDS: Final = 300.0
# The SDK ends a server's program within six seconds.
CLOSE_SECONDS: Final = 10.0
MAX_PAGES: Final = 20

_log = structlog.stdlib.get_logger("tickless.mcp")


class McpServerDown(Exception):
    """A call that was not made or was refused; the message goes on from the server's name."""


class McpUnanswered(McpServerDown):
    """A call that may have been carried out and has no answer."""


class McpConnection:
    """Keeps connected to one server.

    Attributes:
        server: How it is reached, its secrets resolved.
        tools: What it listed last; null when it was never reached.
        down: Why it is not connected; null when it is.
    """

    def __init__(self, server: McpServer, log_folder: Path | None = None) -> None:
        self.server = server
        self._log_folder = log_folder
        self.tools: Sequence[types.Tool] | None = None
        self.down: str | None = "is not connected yet"
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._tried = asyncio.Event()
        self._wake = asyncio.Event()
        self._lost = False
        self._closing = False

    async def start(self) -> None:
        """Connect; returns after the first try, however it ends."""
        self._task = asyncio.create_task(self._keep())
        await self._tried.wait()

    async def close(self) -> None:
        """End the connection, and the server's program if it has one."""
        if self._task is None:
            return
        self._closing = True
        self._wake.set()
        _, pending = await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)
        if pending:
            self._task.cancel()
            await asyncio.wait({self._task})

    async def call(self, tool: str, arguments: dict[str, Any]) -> types.CallToolResult:
        """Call a tool, once.

        Raises:
            McpServerDown: The server is not there, or refuses.
            McpUnanswered: There is no answer that can be read.
        """
        client = self._client
        if client is None:
            raise McpServerDown(self.down or "is not connected")
        try:
            return await client.call_tool(
                tool, arguments, read_timeout_seconds=self.server.timeout_seconds
            )
        except MCPError as error:
            if error.code == CONNECTION_CLOSED:
                self._lose()
                raise McpUnanswered(
                    "lost the connection; the call may have been carried out"
                ) from None
            if error.code == REQUEST_TIMEOUT:
                raise McpUnanswered(
                    f"gave no answer within {self.server.timeout_seconds:g} s; the call may have "
                    "been carried out"
                ) from None
            raise McpServerDown(f"refused the call: {error.message}") from None
        except Exception as error:
            # What a server sends decides what is raised here; none of it may end a run.
            _log.warning("mcp.call", server=self.server.name, tool=tool, error=repr(error))
            raise McpUnanswered(f"gave no usable answer ({type(error).__name__})") from None

    def _lose(self) -> None:
        self._lost = True
        self._wake.set()

    async def _keep(self) -> None:
        pause = FIRST_PAUSE
        while not self._closing:
            self._lost = False
            began = time.monotonic()
            try:
                async with AsyncExitStack() as stack:
                    async with asyncio.timeout(self.server.connect_seconds):
                        client = await stack.enter_async_context(self._new_client())
                        self.tools = await _listed(client)
                    self._client, self.down = client, None
                    self._tried.set()
                    await self._serve(client)
                    self._client, self.down = None, "was disconnected and is tried again"
            except Exception as error:
                # A group of errors of the SDK's tasks, as a rule; their words are for the log.
                self.down = f"cannot be reached ({_reason(error)}); it is tried again"
                _log.warning("mcp.server", server=self.server.name, error=_reason(error))
            finally:
                self._client = None
                self._tried.set()
            if not self._closing:
                if time.monotonic() - began > STEADY_SECONDS:
                    pause = FIRST_PAUSE
                self._wake.clear()  # the end of this connection is no reason to hurry the next
                await self._rest(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
        self.down = "is closed"

    async def _serve(self, client: Client) -> None:
        """Until the connection is lost or closed; list the tools again now and then."""
        while True:
            await self._rest(LIST_AGAIN_SECONDS)
            if self._closing or self._lost:
                return
            async with asyncio.timeout(self.server.connect_seconds):
                self.tools = await _listed(client)

    async def _rest(self, seconds: float) -> None:
        """Until something happens, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()

    def _new_client(self) -> Client:
        return Client(
            self._transport(),
            read_timeout_seconds=self.server.timeout_seconds,
            message_handler=self._heard,
            cache=None,
        )

    async def _heard(self, message: types.ServerNotification | Exception) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._wake.set()

    @contextmanager
    def _error_log(self) -> Generator[TextIO]:
        """Where its program complains: a file of its last start, else where we do."""
        if self._log_folder is None:
            yield sys.stderr
            return
        self._log_folder.mkdir(parents=True, exist_ok=True)
        path = self._log_folder / f"mcp-{self.server.name}.log"
        with path.open("w", encoding="utf-8") as log:
            yield log

    @asynccontextmanager
    async def _transport(self) -> AsyncGenerator[Any]:
        """The SDK's transport; the end of what it reads is told us at once."""
        server = self.server
        async with AsyncExitStack() as stack:
            if server.command is not None:
                env = {name: secret.get_secret_value() for name, secret in server.env.items()}
                parameters = StdioServerParameters(
                    command=server.command, args=server.args, env=env, cwd=server.folder
                )
                errors = stack.enter_context(self._error_log())
                streams = await stack.enter_async_context(stdio_client(parameters, errors))
            else:
                headers = {
                    name: secret.get_secret_value() for name, secret in server.headers.items()
                }
                client = await stack.enter_async_context(
                    httpx2.AsyncClient(
                        headers=headers,
                        timeout=httpx2.Timeout(
                            server.connect_seconds, read=server.timeout_seconds + 5
                        ),
                    )
                )
                streams = await stack.enter_async_context(
                    streamable_http_client(server.url or "", http_client=client)
                )
            read, write = streams
            yield _Watched(read, self._lose), write


class _Watched:
    """What a server says, and its end: between two calls nobody else would notice."""

    def __init__(self, stream: Any, ended: Any) -> None:
        self._stream = stream
        self._ended = ended

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            return await self._stream.__anext__()
        except StopAsyncIteration:
            self._ended()
            raise

    async def __aenter__(self) -> Self:
        await self._stream.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        ended: bool | None = await self._stream.__aexit__(kind, error, traceback)
        return ended


async def _listed(client: Client) -> list[types.Tool]:
    found: list[types.Tool] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if cursor is None:
            break
    return found


def _reason(error: BaseException) -> str:
    """The innermost error of a group in a few words, without what a server may have put in it."""
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    if isinstance(error, TimeoutError):
        return "it did not answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
