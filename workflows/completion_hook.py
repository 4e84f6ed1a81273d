"""The operator's completion hook, called when a run's outcome is recorded.

Owns the call. What the hook is told is `activities.hooks`'. Source: automation.md §11.

Invariant: whatever the hook does, the run has ended as it ended.
"""

from temporalio import workflow
from temporalio.exceptions import ActivityError

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.hooks import HookActivities, RoutineCompleted
    from domain.identifiers import RUNS_QUEUE
    from domain.outcome import to_record_outcome
    from domain.runs import RunRecord


async def tell_hook(record: RunRecord, title: str) -> None:
    """Call the completion hook for a run that ended ok or with an error."""
    outcome = to_record_outcome(record.status, record.error)
    try:
        await workflow.execute_activity_method(
            HookActivities.routine_completed,
            RoutineCompleted(
                routine_id=record.routine_id,
                title=title,
                record=record,
                error=outcome.message if outcome else None,
            ),
            task_queue=RUNS_QUEUE,
            start_to_close_timeout=timeouts.HOOK_START_TO_CLOSE,
            retry_policy=timeouts.HOOK_RETRY,
            summary="call the completion hook",
        )
    except ActivityError as error:
        workflow.logger.warning("the completion hook was not called: %s", error)
