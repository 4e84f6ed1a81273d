"""A receiver of webhooks on loopback: answers, hangs or breaks off, as told, and keeps what it got.

Owns the script of its answers and the check of signatures, which it makes with the public library
as any receiver would.
"""

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from standardwebhooks import Webhook

from tests.support.http_connection import Connection, Request

SECRET = "whsec_" + "c2VjcmV0LW9mLXRoZS10ZXN0cy1vZi10aWNrbGVzcw=="


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; a text body is sent as it is, everything else as JSON."""

    status: int = 200
    body: Any = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Hang:
    """Read the request, then say nothing."""


@dataclass(frozen=True, slots=True)
class Drop:
    """Read the request, send some bytes, then close the connection."""

    before: bytes = b""


@dataclass(frozen=True, slots=True)
class Trickle:
    """Answer with a byte now and then, for ever."""

    before: bytes = b""


Step = Answer | Hang | Drop | Trickle


@dataclass
class Receiver:
    """What arrived, and what to answer; with an empty script HTTP 200."""

    port: int = 0
    script: deque[Step] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks/alerts?token=private"

    def contents(self) -> list[dict[str, Any]]:
        """The bodies, after checking their signatures.

        Raises:
            WebhookVerificationError: One of them is not signed as it should be.
        """
        verifier = Webhook(SECRET)
        return [dict(verifier.verify(item.body, item.headers)) for item in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = Connection(reader, writer)
        try:
            request = await connection.read_request()
            if request is not None:
                self.requests.append(request)
                self.arrived.set()
                await self._answer(connection, writer)
        finally:
            await connection.close()

    async def _answer(self, connection: Connection, writer: asyncio.StreamWriter) -> None:
        match self.script.popleft() if self.script else Answer():
            case Answer(status, body, headers):
                text = body if isinstance(body, str) else json.dumps(body)
                await connection.send_page(status, text, "application/json", headers)
            case Hang():
                async with connection.watched():
                    await connection.gone.wait()
            case Drop(before):
                writer.write(before)
            case Trickle(before):
                writer.write(before)
                async with connection.watched():
                    while await connection.pause(0.02):
                        writer.write(b"x")


@contextlib.asynccontextmanager
async def running_receiver() -> AsyncGenerator[Receiver, None]:
    """A receiver; what still hangs at the end is broken off."""
    receiver = Receiver()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):  # the test is over
            await receiver.serve(reader, writer)
        tasks.discard(task)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    async with server:
        yield receiver
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
