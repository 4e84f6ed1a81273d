"""Whether the work at hand was told to end, though what it waited for ended in another way.

Owns that one question. An activity that is told to end may end by itself first, well or with a
fault; that then arrives in place of the cancellation, which comes only once.
"""

import asyncio
from typing import Any

from temporalio import workflow

_CHANGE = "2026-11-21-cancelled-with-a-fault"


def raise_if_cancelled(task: "asyncio.Task[Any] | None" = None) -> None:
    """Put a cancellation in the place of what came instead of it.

    Call it where more work would follow.

    Args:
        task: The work; null is the task that runs.

    Raises:
        CancelledError: It was cancelled.
    """
    task = task or asyncio.current_task()
    if task is not None and task.cancelling() and workflow.patched(_CHANGE):
        raise asyncio.CancelledError
