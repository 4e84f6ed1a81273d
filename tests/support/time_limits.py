"""How long a test may take, and what is told of one that took longer.

Owns the limit of asynchronous tests. The limit of the runner ends a test from a signal and with it
the event loop that all tests of a process share; this one ends only the test.
"""

import asyncio
import functools
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from temporalio.api.enums.v1 import EventType
from temporalio.client import Client

from tests.support.harness import Harness

LAST_EVENTS = 12
LAST_WORKFLOWS = 50


def limited(
    test: Callable[..., Coroutine[Any, Any, None]], seconds: float
) -> Callable[..., Coroutine[Any, Any, None]]:
    """A test that fails when it takes too long, and tells what every open workflow waits for.

    It fails at once, with the reason, when the workers of its harness have ended by a fault.
    """

    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        harnesses = [item for item in kwargs.values() if isinstance(item, Harness)]
        serving = [item.serving for item in harnesses if item.serving is not None]
        work = asyncio.create_task(test(*args, **kwargs))
        await asyncio.wait([work, *serving], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        work.cancel()
        await asyncio.wait([work])
        for one in serving:
            if one.done():
                raise AssertionError("the workers have ended") from one.exception()
        for harness in harnesses:
            await _tell_open(harness.client)
        fault = None if work.cancelled() else work.exception()
        raise AssertionError(f"the test took longer than {seconds} s") from fault

    return run


async def _tell_open(client: Client) -> None:
    """Write what the open workflows have come to; a test that hangs waits for one of them."""
    async with asyncio.timeout(10):
        running = client.list_workflows("ExecutionStatus = 'Running'", limit=LAST_WORKFLOWS)
        async for found in running:
            handle = client.get_workflow_handle(found.id, run_id=found.run_id)
            raw = (await handle.describe()).raw_description
            history = await handle.fetch_history()
            _tell(f"open: {found.id} {found.run_id}")
            for item in (*raw.pending_activities, *raw.pending_children):
                _tell(f"  pending: {str(item)[:600]!r}")
            _tell(f"  task: {str(raw.pending_workflow_task)[:600]!r}")
            for event in history.events[-LAST_EVENTS:]:
                name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
                _tell(f"  {event.event_id} {event.event_time.ToJsonString()} {name}")


def _tell(line: str) -> None:
    """Write what is shown when the test fails."""
    sys.stderr.write(f"{line}\n")
