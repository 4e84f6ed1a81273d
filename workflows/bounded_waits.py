"""Waits that end at a time which may be moved meanwhile, and work that is ended before its end.

Owns those two patterns. What is waited for, and what follows, is the caller's.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from temporalio import workflow

from workflows.renewal import time_until


async def wait_until(
    over: Callable[[], bool], until: Callable[[], datetime | None], summary: str = "the deadline"
) -> None:
    """Wait for a condition, at the longest until a time has come, or has changed.

    Args:
        over: The condition.
        until: The time; null while there is none.
        summary: Names the timer.
    """
    time = until()
    try:
        await workflow.wait_condition(
            lambda: over() or until() != time,
            timeout=None if time is None else time_until(time),
            timeout_summary=summary,
        )
    except TimeoutError:
        return


async def end_task(task: "asyncio.Task[Any]") -> None:
    """End work and wait until it has ended; what comes of it is looked at by its owner."""
    task.cancel()
    await workflow.wait([task])
