"""What a fire and an open run change in their routine: counters, the next time, the present run.

Owns these changes as functions of the routine; which runs are open is `domain.run_bookings`', what
the end of a run changes is `domain.routine_outcome`'s. Source: automation.md §2, §5 and §7.

Invariants:
    1. A run that is counted or un-counted makes a new revision; a time that passed makes none.
    2. A deleted routine has no present run.
"""

from collections.abc import Iterable
from datetime import datetime

from domain.admission import BeginRun, Decision
from domain.routine import Routine, RoutineStatus, RunState
from domain.routine_state import OpenRun
from domain.runs import FireKind, RunRecord
from domain.schedule import Catchup, count_between, is_occurrence, next_run_at
from domain.schedule_policy import SHORT_WINDOW


def is_due(routine: Routine, request: BeginRun, anchor: datetime) -> bool:
    """Whether a scheduled fire is one of the routine's own times; all others always are."""
    if request.kind != FireKind.SCHEDULE:
        return True
    at = request.scheduled_at
    if at is None or routine.schedule is None:
        return False
    explicit = _time_set_by_hand(routine)
    if explicit is not None and at <= explicit:
        # The time set by hand is the first one, so those before it are none.
        return at == explicit
    return is_occurrence(at, routine.schedule, anchor)


def is_dropped(routine: Routine, request: BeginRun, now: datetime) -> bool:
    """Whether `skip` drops a scheduled fire that comes too late, as the server drops its own.

    The server starts a fire that is due although no worker is there to take it up.
    """
    at, schedule = request.scheduled_at, routine.schedule
    if request.kind != FireKind.SCHEDULE or at is None or schedule is None:
        return False
    by_hand = at == _time_set_by_hand(routine)
    return schedule.catchup == Catchup.SKIP and not by_hand and now - at > SHORT_WINDOW


def times_stood_for(routine: Routine, request: BeginRun, now: datetime, anchor: datetime) -> int:
    """How many times of the schedule have collapsed into this run, its own included."""
    at, schedule = request.scheduled_at, routine.schedule
    if request.kind != FireKind.SCHEDULE or at is None or schedule is None:
        return 1
    # With `all` each time has a run of its own; a time set by hand in the past means "at once".
    at_once = at == _time_set_by_hand(routine) and at <= (routine.updated_at or at)
    if schedule.catchup == Catchup.ALL or at_once:
        return 1
    return 1 + count_between(at, now, schedule, anchor)


def count_run(routine: Routine, record: RunRecord, now: datetime, anchor: datetime) -> Routine:
    """A run begins: it counts, and the next time is the one after it."""
    count = routine.run_count + 1
    upcoming = routine.next_run_at
    if routine.max_runs > 0 and count >= routine.max_runs:
        upcoming = None
    elif record.trigger_type == FireKind.SCHEDULE and routine.schedule is not None:
        upcoming = next_run_at(now, routine.schedule, anchor)
    return routine.model_copy(
        update={
            "run_count": count,
            "last_run_at": now,
            "next_run_at": upcoming,
            "next_run_explicit": routine.next_run_explicit and upcoming == routine.next_run_at,
            "updated_at": now,
            "revision": routine.revision + 1,
        }
    )


def pass_over(routine: Routine, request: BeginRun, now: datetime, anchor: datetime) -> Routine:
    """A fire was refused: if it was the next time, that is now the one after it.

    A one-shot has no other; it keeps its time and shows as overdue.
    """
    at, due, schedule = request.scheduled_at, routine.next_run_at, routine.schedule
    if request.kind != FireKind.SCHEDULE or at is None or due is None or schedule is None:
        return routine
    upcoming = next_run_at(now, schedule, anchor) if at >= due else None
    if upcoming is None:
        return routine
    return routine.model_copy(update={"next_run_at": upcoming, "next_run_explicit": False})


def show_present_run(routine: Routine, runs: Iterable[OpenRun]) -> Routine:
    """The routine with its present run: one that is counted, else one that waits to be.

    Args:
        routine: The routine.
        runs: Its open runs, the oldest first.
    """
    if routine.status == RoutineStatus.DELETED:
        return routine
    admitted = [run for run in runs if run.verdict.decision == Decision.RUN]
    running = [run for run in admitted if run.counted]
    # A pause drops what waits.
    shown = running or (admitted if routine.status == RoutineStatus.ACTIVE else [])
    waiting = RunState.WAITING_FOR_SESSION if shown else RunState.IDLE
    return routine.model_copy(
        update={
            "running": bool(running),
            "run_state": RunState.RUNNING if running else waiting,
            "due_since": _due_since(shown[0].record) if shown else None,
        }
    )


def _time_set_by_hand(routine: Routine) -> datetime | None:
    return routine.next_run_at if routine.next_run_explicit else None


def _due_since(record: RunRecord) -> datetime | None:
    return record.scheduled_at or record.started_at
