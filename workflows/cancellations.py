"""Whether the work at hand was told to end, though what it waited for ended in another way.

Owns that one question. An activity that is told to end may fail with a fault of its own first; the
fault then arrives in place of the cancellation, which comes only once.
"""

import asyncio

from temporalio import workflow

_CHANGE = "2026-11-21-cancelled-with-a-fault"


def raise_if_cancelled() -> None:
    """Put a cancellation in the place of the fault that came instead of it.

    Call it where a fault would be answered with more work.

    Raises:
        CancelledError: The task that runs was cancelled.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling() and workflow.patched(_CHANGE):
        raise asyncio.CancelledError
