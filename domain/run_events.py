"""What Tickless itself tells of runs and routines, as events that routines may listen to.

Owns which step of a run is which event, and its payload. Who hears of it is
`domain.listener_index`'s. Source: triggers-and-actions.md §2 (Built-in events).

Invariants:
    1. The same step of the same run is the same event.
    2. A run beyond the hop limit tells nothing, and one that was fired by `run.skipped` and skipped
       in its turn tells nothing either: refusals do not answer each other.
"""

from typing import Final

from domain.admission import BeginRun, Decision, RunEnded, Verdict
from domain.emissions import EmittedEvent
from domain.identifiers import routine_workflow_id
from domain.routine import Routine
from domain.runs import RunRecord, RunStatus, routine_of_run, run_workflow_id
from domain.trigger_matching import HOP_LIMIT

SOURCE: Final = "tickless"
RUN_STARTED: Final = "run.started"
RUN_SKIPPED: Final = "run.skipped"
RUN_COMPLETED: Final = "run.completed"
RUN_FAILED: Final = "run.failed"
ROUTINE_PAUSED: Final = "routine.paused"

# A run that was cancelled has neither completed nor failed.
_ENDS: Final = {
    RunStatus.OK: RUN_COMPLETED,
    RunStatus.ATTENTION: RUN_COMPLETED,
    RunStatus.FAILED: RUN_FAILED,
    RunStatus.TIMED_OUT: RUN_FAILED,
}


def events_of_begin(request: BeginRun, verdict: Verdict) -> list[EmittedEvent]:
    """What a verdict on a run tells."""
    if request.hop > HOP_LIMIT:
        return []
    match verdict.decision:
        case Decision.RUN:
            event_type, status = RUN_STARTED, RunStatus.RUNNING
        case Decision.SKIP if request.trigger_detail != f"{SOURCE}:{RUN_SKIPPED}":
            event_type, status = RUN_SKIPPED, RunStatus.SKIPPED
        case _:
            return []
    return [_event(event_type, request.run_id, request.hop, verdict.title, status, verdict.reason)]


def events_of_end(record: RunRecord, ended: RunEnded) -> list[EmittedEvent]:
    """What the end of a run tells, also of its routine."""
    if record.hop > HOP_LIMIT or not ended.accepted:
        return []
    found: list[EmittedEvent] = []
    event_type = _ENDS.get(record.status)
    if event_type is not None:
        reason = record.error or record.reason
        found.append(_event(event_type, record.id, record.hop, ended.title, record.status, reason))
    if ended.paused_reason is not None:
        found.append(
            _event(
                ROUTINE_PAUSED, record.id, record.hop, ended.title, "paused", ended.paused_reason
            )
        )
    return found


def events_of_loss(
    record: RunRecord, routine: Routine, paused_reason: str | None
) -> list[EmittedEvent]:
    """What a run tells that ended without a word."""
    ended = RunEnded(accepted=True, title=routine.title or routine.id, paused_reason=paused_reason)
    return events_of_end(record, ended)


def event_of_pause(routine: Routine) -> EmittedEvent:
    """What a pause by a person tells; its revision is the pause."""
    return EmittedEvent(
        id=f"{ROUTINE_PAUSED} {routine.id}#{routine.revision}",
        source=SOURCE,
        event_type=ROUTINE_PAUSED,
        payload={
            "routine_id": routine.id,
            "run_id": None,
            "workflow_id": routine_workflow_id(routine.id),
            "title": routine.title or routine.id,
            "status": "paused",
            "reason": routine.paused_reason,
        },
    )


def _event(
    event_type: str, run: str, hop: int, title: str, status: str, reason: str | None
) -> EmittedEvent:
    routine = routine_of_run(run)
    return EmittedEvent(
        id=f"{event_type} {run}",
        source=SOURCE,
        event_type=event_type,
        payload={
            "routine_id": routine,
            "run_id": run,
            "workflow_id": run_workflow_id(run),
            "title": title or routine,
            "status": str(status),
            "reason": reason,
        },
        hop=hop + 1,
        about=routine if event_type != ROUTINE_PAUSED else None,
    )
