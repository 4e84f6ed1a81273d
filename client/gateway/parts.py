"""What all requests share: connection, settings, tokens, limits, and the end of the process.

Owns the one object that the application carries, and waiting that ends with the process.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import Request
from temporalio.client import Client
from temporalio.converter import PayloadCodec

from client.settings import Settings
from client.system import System
from client.tokens import TokenFile

if TYPE_CHECKING:
    # They ask for the parts themselves.
    from client.gateway.callers import Callers
    from client.gateway.metrics import Metrics
    from client.gateway.rates import Rates
    from client.gateway.reachability import Reachability
    from client.gateway.watch import QueueWatch
    from client.gateway.webhooks import WebhookDoor

T = TypeVar("T")


@dataclass
class Parts:
    """The parts of a running gateway.

    Attributes:
        stopping: Set when the gateway is to end; whoever waits for a client lets go.
    """

    temporal: Client
    settings: Settings
    tokens: TokenFile
    system: System
    callers: "Callers"
    rates: "Rates"
    reachability: "Reachability"
    watch: "QueueWatch"
    metrics: "Metrics"
    webhooks: "WebhookDoor"
    codec: PayloadCodec | None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)

    async def within(self, seconds: float, work: Coroutine[Any, Any, T]) -> T | None:
        """What a work returns; null when the time is over or the gateway is to end first."""
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self.stopping.wait())
        try:
            await asyncio.wait({task, stop}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return task.result() if task.done() else None
        finally:
            stop.cancel()
            await _abandon(task)

    async def until_stopping(
        self, steps: AsyncIterator[T], seconds: float | None = None
    ) -> AsyncGenerator[T]:
        """The steps, for as long as the gateway runs, or for so many seconds."""
        deadline = None if seconds is None else time.monotonic() + seconds
        stop = asyncio.ensure_future(self.stopping.wait())
        step: asyncio.Future[T] | None = None
        try:
            while True:
                step = asyncio.ensure_future(_next(steps))
                left = None if deadline is None else max(deadline - time.monotonic(), 0)
                await asyncio.wait({step, stop}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                if not step.done():
                    return
                try:
                    found = step.result()
                except StopAsyncIteration:
                    return
                yield found
        finally:
            stop.cancel()
            if step is not None:
                await _abandon(step)
            if isinstance(steps, AsyncGenerator):
                await steps.aclose()


def parts_of(request: Request) -> Parts:
    """The parts that serve a request."""
    parts = request.app.state.parts
    assert isinstance(parts, Parts)
    return parts


async def _next(steps: AsyncIterator[T]) -> T:
    return await anext(steps)


async def _abandon(task: "asyncio.Future[Any]") -> None:
    """End what nobody waits for any more; the SDK tells a cancellation as an error of its own."""
    if not task.done():
        task.cancel()
        with suppress(Exception, asyncio.CancelledError):
            await task
