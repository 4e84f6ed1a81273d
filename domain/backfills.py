"""Backfills: times of a schedule that are made up for, one run after the other.

Owns which times a request means, and when the next one may start. Whether a run is admitted is
admission's matter as ever. Source: triggers-and-actions.md §4 (kind `backfill`), automation.md §6.

Invariants:
    1. A time gets the run id `b-<time>`, so asking for it twice runs it once.
    2. The next one starts when the routine has no other run, so a backfill is never a burst.
    3. A pause, or the end of the routine, ends what has not started.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from domain.errors import DomainError, ErrorKind
from domain.routine import Routine, RoutineStatus
from domain.routine_requests import BackfillAnswer, BackfillRoutine, BackfillRun
from domain.routine_state import RoutineState
from domain.runs import backfill_occurrence, run_id
from domain.schedule import occurrences
from domain.timestamps import format_timestamp

MAX_BACKFILL: Final = 100
# The calendar has no time before its first.
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC) + timedelta.resolution


def backfilled_times(
    routine: Routine, request: BackfillRoutine, anchor: datetime, now: datetime
) -> list[datetime]:
    """The times of the schedule that a request means, oldest first.

    Raises:
        DomainError: `conflict` on `status` unless the routine is active; `invalid_field` on
            `schedule`, `start` or `end`.
    """
    schedule = routine.schedule
    if schedule is None:
        raise _invalid("schedule", "schedule is missing: only scheduled routines have missed times")
    if routine.status != RoutineStatus.ACTIVE:
        raise DomainError(
            ErrorKind.CONFLICT,
            "status",
            f"{routine.id} is {routine.status}; resume it before a backfill",
        )
    if request.end < request.start:
        raise _invalid("end", f"end must not be before start, {format_timestamp(request.start)}")
    if request.end > now:
        raise _invalid("end", "end must not be in the future: those times come by themselves")
    before = max(request.start, _EARLIEST) - timedelta.resolution
    found = occurrences(before, schedule, MAX_BACKFILL + 1, anchor)
    times = [at for at in found if at <= request.end]
    if len(times) > MAX_BACKFILL:
        raise _invalid(
            "end",
            f"end is too far from start: more than {MAX_BACKFILL} times; ask for them in parts",
        )
    return times


def backfill_answer(routine: Routine, times: list[datetime], *, dry_run: bool) -> BackfillAnswer:
    """The runs of these times."""
    runs = [
        BackfillRun(scheduled_at=at, run_id=run_id(routine.id, backfill_occurrence(at)))
        for at in times
    ]
    return BackfillAnswer(runs=runs, dry_run=dry_run)


def take_backfill(state: RoutineState) -> datetime | None:
    """The next time to make up for, if it may start now; it is noted as the present one."""
    if state.routine.status != RoutineStatus.ACTIVE:
        state.backfills, state.backfilling = [], None
    if not may_backfill(state):
        return None
    at = state.backfills.pop(0)
    state.backfilling = run_id(state.routine.id, backfill_occurrence(at))
    return at


def may_backfill(state: RoutineState) -> bool:
    """Whether the next time of a backfill may start: nothing else runs or waits."""
    return bool(state.backfills) and state.backfilling is None and not state.open_runs


def _invalid(field: str, message: str) -> DomainError:
    return DomainError(ErrorKind.INVALID_FIELD, field, message)
