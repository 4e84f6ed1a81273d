"""How a workflow waits while everything is paused.

Owns that one pattern (DESIGN §3 rule 14). Setting the pause is `workflows.control`'s, waking who
parked `activities.waking`'s.
"""

from collections.abc import Callable

from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows.cancellations import raise_if_cancelled

with workflow.unsafe.imports_passed_through():
    from activities import search_attributes as attributes
    from activities import timeouts
    from activities.control import ControlActivities
    from activities.failures import SYSTEM_PAUSED, application_error_of
    from domain.identifiers import RUNS_QUEUE


def is_system_pause(error: ActivityError) -> bool:
    """Whether an activity did nothing because everything is paused."""
    cause = application_error_of(error)
    return cause is not None and cause.type == SYSTEM_PAUSED


async def park(resumed: Callable[[], bool], status: str) -> None:
    """Wait until everything goes on; `resume_all` finds the workflow by its status and wakes it.

    Args:
        resumed: Whether this workflow was woken since it found out.
        status: What its status is afterwards.

    Raises:
        CancelledError: It was told to end meanwhile.
    """
    workflow.upsert_search_attributes([attributes.STATUS.value_set(SYSTEM_PAUSED)])
    await wait_while_paused(resumed)
    workflow.upsert_search_attributes([attributes.STATUS.value_set(status)])


async def wait_while_paused(resumed: Callable[[], bool]) -> None:
    """Wait like `park`, for a workflow that writes its status itself, and just has or does so now.

    Args:
        resumed: Whether this workflow was woken since it found out.

    Raises:
        CancelledError: It was told to end meanwhile.
    """
    # Whoever resumed before the status was written did not find this workflow. A normal activity,
    # because a local one would look before it is written.
    pause = await workflow.execute_activity_method(
        ControlActivities.system_pause,
        task_queue=RUNS_QUEUE,
        start_to_close_timeout=timeouts.ENTITY_START_TO_CLOSE,
        retry_policy=timeouts.ENTITY_RETRY,
        summary="is everything still paused?",
    )
    if pause.paused:
        raise_if_cancelled()
        await workflow.wait_condition(resumed)
