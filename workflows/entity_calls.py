"""How a workflow asks an entity: a local activity first, a normal one when the entity is slow.

Owns that one pattern (DESIGN §3 rule 2). The calls themselves are `activities.entities`'
and `activities.sessions`'.
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from pydantic import BaseModel
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, CancelledError
from temporalio.exceptions import TimeoutError as ActivityTimeout

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.failures import ENTITY_SILENT
    from domain.identifiers import RUNS_QUEUE

SelfT = TypeVar("SelfT")
RequestT = TypeVar("RequestT", bound=BaseModel)
AnswerT = TypeVar("AnswerT")


async def ask_entity(
    call: Callable[[SelfT, RequestT], Awaitable[AnswerT]],
    request: RequestT,
    summary: str,
) -> AnswerT:
    """Call an entity through an activity; waits as long as it takes for the entity to answer.

    Raises:
        ActivityError: The entity answered with a fault, or this workflow was cancelled.
    """
    try:
        return await workflow.execute_local_activity_method(
            call,
            request,
            start_to_close_timeout=timeouts.LOCAL_START_TO_CLOSE,
            schedule_to_close_timeout=timeouts.LOCAL_SCHEDULE_TO_CLOSE,
            retry_policy=timeouts.LOCAL_RETRY,
            summary=summary,
        )
    except ActivityError as error:
        if isinstance(error.cause, CancelledError) or not _worth_waiting(error):
            raise
    except (ApplicationError, ActivityTimeout) as error:
        # What a local activity said last, and on replay also that its time was over, comes without
        # an `ActivityError` around it; a final answer is given again to the normal one.
        workflow.logger.info("%s: asked again after %s", summary, error)
    return await workflow.execute_activity_method(
        call,
        request,
        task_queue=RUNS_QUEUE,
        start_to_close_timeout=timeouts.ENTITY_START_TO_CLOSE,
        retry_policy=timeouts.ENTITY_RETRY,
        summary=summary,
    )


def _worth_waiting(error: ActivityError) -> bool:
    """Whether the entity was only silent; what it answered does not change by asking again."""
    cause = error.cause
    return (
        not isinstance(cause, ApplicationError)
        or cause.type == ENTITY_SILENT
        or not cause.non_retryable
    )
