"""What a routine tells people when no run is there to do so: a lost run, an alert.

Owns these calls. What is said is `domain.notices`'; whether an alert is due again is decided by the
activity.
Source: DESIGN §3 rule 7, automation.md §11.
"""

from temporalio import workflow

from workflows.delivering import deliver

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.alerts import AlertActivities, SendAlert
    from activities.deliveries import DeliveryActivities, FinishRun
    from activities.hooks import HookActivities, RoutineCompleted
    from domain.identifiers import RUNS_QUEUE
    from domain.notices import notice_parts
    from domain.routine import Routine
    from domain.routine_state import LostRun
    from domain.watchdog import Alert


async def tell_lost(lost: LostRun) -> None:
    """Record a run that ended without a word, and say so where the routine speaks."""
    parts = []
    if lost.definition is not None:
        parts = notice_parts(
            lost.notices, lost.definition, lost.record, failures=lost.consecutive_failures
        )
    await deliver(
        DeliveryActivities.finish_run,
        FinishRun(
            record=lost.record,
            parts=parts,
            scope=lost.scope or None,
            events=lost.events,
        ),
        "record a lost run",
    )
    if lost.definition is not None:
        await workflow.execute_activity_method(
            HookActivities.routine_completed,
            RoutineCompleted(
                routine_id=lost.record.routine_id,
                title=lost.definition.title,
                record=lost.record,
                error=lost.record.error,
            ),
            task_queue=RUNS_QUEUE,
            start_to_close_timeout=timeouts.HOOK_START_TO_CLOSE,
            retry_policy=timeouts.DELIVERY_RETRY,
            summary="call the completion hook",
        )


async def tell_alert(routine: Routine, alert: Alert) -> None:
    """Send an alert, unless the same one was sent a short while ago."""
    await workflow.execute_activity_method(
        AlertActivities.send_alert,
        SendAlert.of(routine, alert, workflow.now()),
        task_queue=RUNS_QUEUE,
        start_to_close_timeout=timeouts.DELIVERY_START_TO_CLOSE,
        retry_policy=timeouts.DELIVERY_RETRY,
        summary=f"alert: {alert.kind}",
    )
