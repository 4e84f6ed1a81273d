"""What the end of a run changes in its routine: counters, last result, the automatic pause.

Owns the booking of outcomes. What a run's status means as an outcome is `domain.outcome`'s; whether
the run holds a place is `domain.run_bookings`'. Source: automation.md §7.8-13, §3.

Invariants:
    1. A deleted routine is left as it is.
    2. A run that was interrupted or stopped is un-counted; one that failed is counted.
    3. A routine that is no longer active keeps its status and reason.
"""

from collections.abc import Mapping
from datetime import datetime

from domain.fields import FieldReader
from domain.outcome import Outcome, OutcomeKind
from domain.routine_model import PausedReason, Routine, RoutineStatus, RunState
from domain.schedule import next_run_at
from domain.timestamps import format_timestamp, whole_second

DEFAULT_FAILURE_LIMIT = 3
STOPPED_BY_USER = "stopped by user"
_KINDS = tuple(kind.value for kind in OutcomeKind)


def record_outcome(
    routine: Routine,
    outcome: Outcome | Mapping[str, object],
    now: datetime,
    *,
    failure_limit: int = DEFAULT_FAILURE_LIMIT,
    anchor: datetime | None = None,
) -> Routine:
    """Book the end of a run that was counted.

    Args:
        routine: The routine while the run is counted.
        outcome: How the run ended.
        now: When it ended.
        failure_limit: So many failures in a row pause the routine.
        anchor: What the routine's interval is counted from; used when an un-counted run makes room
            for a next one. Without it the interval is counted from `now`.

    Returns:
        The next routine, or the same one when it is deleted.

    Raises:
        DomainError: On `outcome.kind` when the outcome is none of the four.
    """
    ended = outcome if isinstance(outcome, Outcome) else _read_outcome(outcome)
    if routine.status == RoutineStatus.DELETED:
        return routine
    updates = {
        "run_state": RunState.IDLE,
        "running": False,
        "due_since": None,
        "updated_at": now,
        "revision": routine.revision + 1,
        **_booked(routine, ended, now),
    }
    return _settle(routine.model_copy(update=updates), ended.kind, now, failure_limit, anchor)


def _booked(routine: Routine, outcome: Outcome, now: datetime) -> dict[str, object]:
    """The fields that each kind of outcome sets on its own."""
    match outcome.kind:
        case OutcomeKind.OK:
            return {
                "consecutive_failures": 0,
                "last_result": f"ok: {format_timestamp(whole_second(now))}",
            }
        case OutcomeKind.ERROR:
            message = (outcome.message or "").strip() or "unknown"
            return {
                "consecutive_failures": routine.consecutive_failures + 1,
                "last_result": f"error: {message}",
            }
        case OutcomeKind.STOPPED:
            why = (outcome.message or "").strip() or STOPPED_BY_USER
            return {"run_count": max(0, routine.run_count - 1), "last_result": f"cancelled: {why}"}
        case _:
            waits = routine.status == RoutineStatus.ACTIVE
            return {
                "run_count": max(0, routine.run_count - 1),
                "run_state": RunState.WAITING_FOR_SESSION if waits else RunState.IDLE,
                "due_since": routine.due_since if waits else None,
            }


def _settle(
    routine: Routine,
    kind: OutcomeKind,
    now: datetime,
    failure_limit: int,
    anchor: datetime | None,
) -> Routine:
    """Pause a routine that has come to an end; give one that has room again its next time."""
    if routine.status != RoutineStatus.ACTIVE:
        return routine
    reason = _pause_reason(routine, kind, now, failure_limit)
    if reason is not None:
        return routine.model_copy(
            update={
                "status": RoutineStatus.PAUSED,
                "paused_reason": reason,
                "next_run_at": None,
                "next_run_explicit": False,
            }
        )
    if routine.next_run_at is None and routine.schedule is not None:
        upcoming = next_run_at(now, routine.schedule, anchor)
        return routine.model_copy(update={"next_run_at": upcoming})
    return routine


def _pause_reason(
    routine: Routine, kind: OutcomeKind, now: datetime, failure_limit: int
) -> PausedReason | None:
    """Why the routine pauses; the maximum first, because nothing resumes until it is raised."""
    if routine.at_maximum:
        return PausedReason.MAX_RUNS
    if kind == OutcomeKind.ERROR and routine.consecutive_failures >= failure_limit:
        return PausedReason.FAILURES
    if kind != OutcomeKind.INTERRUPTED and _has_ended(routine, now):
        return PausedReason.SCHEDULE_ENDED
    return None


def _has_ended(routine: Routine, now: datetime) -> bool:
    """Whether a one-shot has had its time; a manual run before that time does not end it."""
    if routine.schedule is None or routine.schedule.run_at is None:
        return False
    if routine.next_run_at is None:
        return True
    return routine.schedule.run_at <= now and not (
        routine.next_run_explicit and routine.next_run_at > now
    )


def _read_outcome(values: Mapping[str, object]) -> Outcome:
    reader = FieldReader.of(values, "outcome")
    reader.refuse_unknown(tuple(Outcome.model_fields))
    kind = reader.required_text("kind")
    if kind and kind not in _KINDS:
        reader.invalid("kind", f"must be one of {', '.join(_KINDS)}, not {kind!r}", _KINDS)
    message = reader.text("message")
    reader.close()
    return Outcome(kind=OutcomeKind(kind), message=message)
