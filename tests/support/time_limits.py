"""How long a test may take, and what is told of one that took longer.

Owns the limit of asynchronous tests. The limit of the runner ends a test from a signal and with it
the event loop that all tests of a process share; this one ends only the test.
"""

import asyncio
import functools
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from tests.support.harness import Harness

LAST_EVENTS = 12


def limited(test: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Awaitable[None]]:
    """A test that fails when it takes too long, and tells what every open workflow waits for."""

    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        try:
            async with asyncio.timeout(seconds) as limit:
                await test(*args, **kwargs)
        except TimeoutError as error:
            if not limit.expired():
                raise
            harnesses = [item for item in kwargs.values() if isinstance(item, Harness)]
            for harness in harnesses:
                await _tell_open(harness.client)
            raise AssertionError(f"the test took longer than {seconds} s") from error

    return run


async def _tell_open(client: Client) -> None:
    """Write what the open workflows have come to; a test that hangs waits for one of them."""
    async with asyncio.timeout(10):
        async for found in client.list_workflows("ExecutionStatus = 'Running'", limit=50):
            handle = client.get_workflow_handle(found.id, run_id=found.run_id)
            description = await handle.describe()
            raw = description.raw_description
            print(f"open: {found.id} {found.run_id}", file=sys.stderr)  # noqa: T201 - shown when the test fails
            for item in (*raw.pending_activities, *raw.pending_children):
                print(f"  pending: {str(item)[:600]!r}", file=sys.stderr)  # noqa: T201
            print(f"  task: {str(raw.pending_workflow_task)[:600]!r}", file=sys.stderr)  # noqa: T201
            history = await handle.fetch_history()
            for event in history.events[-LAST_EVENTS:]:
                name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
                at = event.event_time.ToJsonString()
                print(f"  {event.event_id} {at} {name}", file=sys.stderr)  # noqa: T201
