"""One HTTP/1.1 connection of a test server, close enough to the wire to break it on purpose.

Owns reading a request, writing an answer, and noticing that the client went. A library's server
would hide the moment the client closed the connection, which cancellation tests are about.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any


@dataclass(frozen=True, slots=True)
class Request:
    """Method, path, headers by lower-case name, body."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Connection:
    """What a handler writes to.

    `gone` is set when the client closed while an answer was under way, at `gone_at` (monotonic).
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.gone = asyncio.Event()
        self.gone_at: float | None = None

    async def read_request(self) -> Request | None:
        """The next request; null when the client is done."""
        try:
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, _, rest = head.partition("\r\n")
            method, path, _ = line.split(" ", 2)
            pairs = (field.partition(":") for field in rest.split("\r\n") if field)
            headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
            body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        return Request(method, path, headers, body)

    @contextlib.asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Notice the client's going while the block runs."""
        watcher = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watcher

    async def _watch(self) -> None:
        with contextlib.suppress(ConnectionError):
            while await self._reader.read(1):
                pass
        self.gone_at = time.monotonic()
        self.gone.set()

    async def pause(self, seconds: float | None) -> bool:
        """Wait, for ever when null, or until the client goes.

        Returns:
            Whether the client is still there.
        """
        if seconds != 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.gone.wait(), seconds)
        return not self.gone.is_set()

    async def send_json(self, status: int, body: Any, headers: Iterable[tuple[str, str]]) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        kind = "text/html" if isinstance(body, str) else "application/json"
        await self.send_page(status, text, kind, headers)

    async def send_page(
        self, status: int, text: str, content_type: str, headers: Iterable[tuple[str, str]] = ()
    ) -> None:
        data = text.encode()
        fields = [("content-type", content_type), ("content-length", str(len(data))), *headers]
        await self._write(_head(status, fields) + data)

    async def begin_stream(self) -> None:
        fields = [("content-type", "text/event-stream"), ("transfer-encoding", "chunked")]
        await self._write(_head(200, fields))

    async def send_events(self, events: Iterable[str]) -> None:
        """Send server-sent events in one chunk."""
        data = "".join(f"data: {event}\n\n" for event in events).encode()
        if data:
            await self._write(f"{len(data):x}\r\n".encode() + data + b"\r\n")

    async def end_stream(self) -> None:
        await self._write(b"0\r\n\r\n")

    async def _write(self, data: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            self._writer.write(data)
            await self._writer.drain()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()


def _head(status: int, fields: Iterable[tuple[str, str]]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
