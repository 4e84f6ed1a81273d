"""How a workflow writes to the ledger and delivers texts, in one activity.

Owns that one pattern: where such an activity runs, for how long, and that what is worth a retry is
retried. What is written and sent is the activity's.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel
from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from domain.identifiers import RUNS_QUEUE

SelfT = TypeVar("SelfT")
RequestT = TypeVar("RequestT", bound=BaseModel)
AnswerT = TypeVar("AnswerT")


async def deliver(
    call: Callable[[SelfT, RequestT], Awaitable[AnswerT]], request: RequestT, summary: str
) -> AnswerT:
    """Have something written, and what belongs to it sent.

    Args:
        call: The activity.
        request: Its argument.
        summary: Names it in the UI.

    Raises:
        ActivityError: It was refused for good, or this workflow was cancelled.
    """
    return await workflow.execute_activity_method(
        call,
        request,
        task_queue=RUNS_QUEUE,
        start_to_close_timeout=timeouts.DELIVERY_START_TO_CLOSE,
        heartbeat_timeout=timeouts.DELIVERY_HEARTBEAT,
        retry_policy=timeouts.DELIVERY_RETRY,
        summary=summary,
    )
