"""The watchdog's judgement: which routine is late, which one does not end, when to say it again.

Owns the two kinds of alert and the spelling of their durations. Finding the routines and sending
alerts are activities'. Source: automation.md §11.

Invariant: a routine without a next time, such as one fired by webhooks, is never overdue.
"""

from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from domain.actions import FullJobAction
from domain.routine import Routine, RoutineStatus, RunState

DEFAULT_GRACE_SECONDS = 120
DEFAULT_COOLDOWN_SECONDS = 1800


class AlertKind(StrEnum):
    """What is wrong with a routine."""

    OVERDUE = "overdue"
    STUCK = "stuck"


class Alert(BaseModel):
    """One finding; whole seconds, of which the kind's own is set."""

    model_config = ConfigDict(frozen=True)

    kind: AlertKind
    overdue_by: int | None = None
    running_for: int | None = None


def classify(
    routine: Routine,
    now: datetime,
    run_timeout_seconds: int,
    grace_seconds: int = DEFAULT_GRACE_SECONDS,
) -> Alert | None:
    """Tell whether an active routine is overdue or stuck.

    Args:
        routine: The routine.
        now: The watchdog's clock.
        run_timeout_seconds: How long a run of it may take.
        grace_seconds: How much later than that, or than its time, is still in order.

    Returns:
        The alert, from exactly the limit on; null while all is in order. A job is never stuck by
        its age: it may wait for a person for days, and finds out by itself when a step is lost.
    """
    if routine.status != RoutineStatus.ACTIVE:
        return None
    if routine.running:
        if isinstance(routine.action, FullJobAction):
            return None
        running_for = _seconds_since(routine.last_run_at, now)
        if running_for is None or running_for < run_timeout_seconds + grace_seconds:
            return None
        return Alert(kind=AlertKind.STUCK, running_for=running_for)
    overdue_by = _seconds_since(due_at(routine), now)
    if overdue_by is None or overdue_by < grace_seconds:
        return None
    return Alert(kind=AlertKind.OVERDUE, overdue_by=overdue_by)


def may_alert(
    last_sent_at: datetime | None, now: datetime, cooldown_seconds: int = DEFAULT_COOLDOWN_SECONDS
) -> bool:
    """Whether the same alert may be sent again.

    Args:
        last_sent_at: When it was last sent successfully for this routine and kind; null for never.
        now: The watchdog's clock.
        cooldown_seconds: How long to keep quiet; exactly then it may be sent.
    """
    return last_sent_at is None or now - last_sent_at >= timedelta(seconds=cooldown_seconds)


def format_duration(seconds: float) -> str:
    """A duration as an alert tells it: `42s`, `5m`, `2h05m`; what is left over is dropped."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole}s"
    minutes = whole // 60
    return f"{minutes}m" if minutes < 60 else f"{minutes // 60}h{minutes % 60:02d}m"


def due_at(routine: Routine) -> datetime | None:
    """The time a routine that is not running is measured by: that of its waiting run, or the next.

    Null where there is none.
    """
    waits = routine.run_state == RunState.WAITING_FOR_SESSION
    return (routine.due_since if waits else None) or routine.next_run_at


def _seconds_since(moment: datetime | None, now: datetime) -> int | None:
    return None if moment is None else (now - moment) // timedelta(seconds=1)
