"""The noun goal: what may happen to one, and everything others may ask about one.

Owns the table of transitions and the status filter of lists, and gathers the names that other
modules use. The record is in `domain.goal_record`, times and brakes in `domain.goal_timing`.
Source: automation.md §9.

Invariants:
    1. Whatever the table does not name is refused, naming the status.
    2. A goal without a thread never becomes active: it waits for the session to have one.
"""

from enum import StrEnum
from typing import Final

from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.goal_record import (
    Goal,
    GoalPausedReason,
    GoalStatus,
    GoalWaiting,
    normalize_goal,
    validate_goal,
)
from domain.goal_timing import (
    FastLoop,
    IterationOutcome,
    fast_loop_step,
    format_duration,
    iteration_timeout,
    parse_deadline,
    parse_delay,
)
from domain.transitions import follow

__all__ = [
    "FastLoop",
    "Goal",
    "GoalEvent",
    "GoalPausedReason",
    "GoalStatus",
    "GoalWaiting",
    "IterationOutcome",
    "fast_loop_step",
    "format_duration",
    "is_terminal",
    "iteration_timeout",
    "normalize_goal",
    "parse_deadline",
    "parse_delay",
    "parse_status_filter",
    "transition",
    "validate_goal",
]

TERMINAL_STATUSES: Final = frozenset({GoalStatus.COMPLETE, GoalStatus.TIMEOUT})


class GoalEvent(StrEnum):
    """What happens to a goal; `limit` stands for the brakes that have no event of their own."""

    THREAD_READY = "thread_ready"
    PAUSE = "pause"
    RESUME = "resume"
    COMPLETE = "complete"
    GOAL_DONE = "goal_done"
    DELAY = "delay"
    WAIT = "wait"
    EXTEND = "extend"
    DEADLINE = "deadline"
    FAST_LOOP = "fast_loop"
    FAILURES = "failures"
    LIMIT = "limit"
    DELETE = "delete"


class AfterEvent(StrEnum):
    """What an event leads to: a status, or the goal is gone."""

    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETE = "complete"
    TIMEOUT = "timeout"
    WAITING_FOR_SESSION = "waiting_for_session"
    DELETED = "deleted"


# What people ask for; the rest happens.
_ASKED: Final = (
    GoalEvent.PAUSE,
    GoalEvent.RESUME,
    GoalEvent.COMPLETE,
    GoalEvent.DELAY,
    GoalEvent.WAIT,
    GoalEvent.EXTEND,
    GoalEvent.DELETE,
)
_COMPLETING: Final = (GoalEvent.COMPLETE, GoalEvent.GOAL_DONE)
_WAITING: Final = (GoalEvent.DELAY, GoalEvent.WAIT)
_BRAKES: Final = (GoalEvent.FAST_LOOP, GoalEvent.FAILURES, GoalEvent.LIMIT)


def _row(status: GoalStatus, *cells: AfterEvent | None) -> dict[tuple[str, str], AfterEvent]:
    """One row of the table in automation.md §9, its columns in the order found there."""
    columns = (
        (GoalEvent.THREAD_READY,),
        (GoalEvent.PAUSE,),
        (GoalEvent.RESUME,),
        _COMPLETING,
        _WAITING,
        (GoalEvent.EXTEND,),
        (GoalEvent.DEADLINE,),
        _BRAKES,
        (GoalEvent.DELETE,),
    )
    return {
        (status, event): cell
        for events, cell in zip(columns, cells, strict=True)
        for event in events
        if cell is not None
    }


_A, _P, _C, _T = AfterEvent.ACTIVE, AfterEvent.PAUSED, AfterEvent.COMPLETE, AfterEvent.TIMEOUT
_W, _D = AfterEvent.WAITING_FOR_SESSION, AfterEvent.DELETED
_TRANSITIONS: Final = {
    **_row(GoalStatus.WAITING_FOR_SESSION, _A, _P, _W, _C, _W, _W, _T, None, _D),
    **_row(GoalStatus.ACTIVE, _A, _P, _A, _C, _A, _A, _T, _P, _D),
    **_row(GoalStatus.PAUSED, _P, _P, _A, _C, None, _P, _T, _P, _D),
    **_row(GoalStatus.COMPLETE, _C, None, None, _C, None, None, _C, _C, _D),
    **_row(GoalStatus.TIMEOUT, _T, None, None, _C, None, _A, _T, _T, _D),
}
# Those become active only with a thread.
_NEEDS_THREAD: Final = frozenset(
    {(GoalStatus.PAUSED, GoalEvent.RESUME), (GoalStatus.TIMEOUT, GoalEvent.EXTEND)}
)
_FILTERS: Final = tuple(status.value for status in GoalStatus)


def is_terminal(status: str) -> bool:
    """Whether a goal that stands so has ended."""
    return status in TERMINAL_STATUSES


def transition(status: str, event: str, has_thread: bool = True) -> AfterEvent:
    """What an event makes of a goal.

    Args:
        status: Where it stands.
        event: What happens.
        has_thread: Whether the goal knows the thread it works in.

    Returns:
        The next status, or `deleted`.

    Raises:
        DomainError: `conflict` on `status` when the status has no such event.
    """
    following = follow(_TRANSITIONS, status, event, _ASKED)
    if not has_thread and (status, event) in _NEEDS_THREAD:
        return AfterEvent.WAITING_FOR_SESSION
    return following


def parse_status_filter(raw: str | None) -> GoalStatus | None:
    """Read the status filter of a list; blank or null is all.

    Raises:
        DomainError: `invalid_field` on `status` for anything else.
    """
    word = raw.strip().lower() if isinstance(raw, str) else raw
    if not word:
        return None
    if word in _FILTERS:
        return GoalStatus(word)
    message = f"status must be one of {', '.join(_FILTERS)}, not {shown(raw)}"
    raise DomainError(ErrorKind.INVALID_FIELD, "status", message, _FILTERS)
