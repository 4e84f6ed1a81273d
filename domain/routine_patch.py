"""Changing a routine: a JSON merge patch, and what follows from it.

Owns who may change what, and what a change of status or timing brings with it. Which fields can be
changed and how they are read is `domain.routine_changes`'.
Source: automation.md §6, §10, §14 rows 21-28 and 37-40.

Invariants:
    1. A patch is applied as a whole or not at all.
    2. A patch that changes nothing leaves the routine, its revision and its times as they are.
    3. Only an active routine that fires by time has a `next_run_at`.
    4. Pausing lets a run that speaks go on and drops one that waits; deleting leaves none.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final

from domain.errors import DomainError, ErrorKind
from domain.fields import FieldReader
from domain.routine_changes import IF_REVISION, ExplicitTime, read_changes
from domain.routine_fields import explicit_time_problem, read_body
from domain.routine_model import (
    PausedReason,
    Routine,
    RoutineStatus,
    RunState,
    can_manage,
    evolve,
    is_creator,
)
from domain.routine_timing import starts_anew
from domain.schedule import next_run_at

_WITHOUT_TIME: Final = {"next_run_at": None, "next_run_explicit": False}
_WITHOUT_RUN: Final = {"run_state": RunState.IDLE, "due_since": None}


def apply_patch(
    current: Routine,
    patch: Mapping[str, object],
    actor_id: str | None,
    now: datetime,
    *,
    default_timezone: str = "UTC",
    anchor: datetime | None = None,
    given_guardrails: Collection[str] = (),
) -> Routine:
    """Apply a merge patch to a routine.

    Args:
        current: The routine as it is.
        patch: The JSON object as it was given; `if_revision` in it is a condition, not a change.
        actor_id: Preferred id of whoever asks, an actor of the routine's scope.
        now: When; a changed schedule is counted from here.
        default_timezone: The zone of a schedule that names none.
        anchor: What the interval is counted from; used where the next time is needed again without
            counting anew. Without it the interval is counted from `now`.
        given_guardrails: Guardrails that somebody has set, also to what is the default; they stay
            when the type of trigger changes.

    Returns:
        The next routine, or the same one when nothing changes.

    Raises:
        DomainError: `missing_field` on `actor`; `permission_denied` on `manage_mode`; `conflict` on
            `revision` or `status`; or what is wrong with the fields, in validation order.
    """
    reader = read_body(patch)
    _check_permission(current, actor_id)
    _check_revision(reader, current)
    if current.status == RoutineStatus.DELETED:
        _check_restoring(reader, patch)
    draft, explicit = read_changes(reader, patch, current, now, default_timezone, given_guardrails)
    if draft.manage_mode != current.manage_mode and not is_creator(current, actor_id):
        message = "manage_mode can be changed by the routine's creator only"
        raise DomainError(ErrorKind.PERMISSION_DENIED, "manage_mode", message)
    settled = _settle_status(current, draft, now)
    settled = _settle_time(current, settled, explicit, now, anchor)
    if settled == current:
        return current
    return evolve(settled, {"updated_at": now, "revision": current.revision + 1})


# Conditions


def _check_permission(current: Routine, actor_id: str | None) -> None:
    if not (actor_id or "").strip():
        message = "actor is required: give actor_user_id or actor_open_id in the context"
        raise DomainError(ErrorKind.MISSING_FIELD, "actor", message)
    if not can_manage(current, actor_id):
        message = f"manage_mode is {current.manage_mode}: only the routine's creator may change it"
        raise DomainError(ErrorKind.PERMISSION_DENIED, "manage_mode", message)


def _check_revision(reader: FieldReader, current: Routine) -> None:
    wanted = reader.optional_integer(IF_REVISION, 0)
    reader.close()
    if wanted is not None and wanted != current.revision:
        message = f"revision is {current.revision}, not {wanted}: read the routine again"
        raise DomainError(ErrorKind.CONFLICT, "revision", message)


def _check_restoring(reader: FieldReader, patch: Mapping[str, object]) -> None:
    """A deleted routine takes nothing but a new status."""
    if not reader.given("status") or not set(patch) <= {"status", IF_REVISION}:
        message = 'status is deleted: restore it first, with {"status": "active"} or "paused"'
        raise DomainError(ErrorKind.CONFLICT, "status", message, ["active", "paused"])


# Consequences


def _settle_status(current: Routine, draft: Routine, now: datetime) -> Routine:
    """What a new status brings with it."""
    if draft.status == current.status:
        return draft
    match draft.status:
        case RoutineStatus.DELETED:
            return evolve(
                draft, {**_WITHOUT_TIME, **_WITHOUT_RUN, "paused_reason": None, "deleted_at": now}
            )
        case RoutineStatus.PAUSED:
            waits = draft.run_state == RunState.WAITING_FOR_SESSION
            return evolve(
                draft,
                {
                    **_WITHOUT_TIME,
                    **(_WITHOUT_RUN if waits else {}),
                    "paused_reason": PausedReason.USER,
                    "deleted_at": None,
                },
            )
        case _:
            if draft.at_maximum:
                message = (
                    f"status cannot be active: run_count is {draft.run_count}, which reaches "
                    "max_runs; raise max_runs above run_count"
                )
                raise DomainError(ErrorKind.CONFLICT, "status", message)
            return evolve(
                draft, {"paused_reason": None, "deleted_at": None, "consecutive_failures": 0}
            )


def _settle_time(
    current: Routine, draft: Routine, explicit: ExplicitTime, now: datetime, anchor: datetime | None
) -> Routine:
    """The next time of an active routine, after everything else is known."""
    _check_explicit(draft, explicit)
    if draft.status != RoutineStatus.ACTIVE:
        return draft
    if draft.at_maximum and not draft.running and draft.max_runs != current.max_runs:
        message = (
            f"max_runs must be above run_count, which is {draft.run_count}, while the routine is "
            "active, or 0 for no limit"
        )
        raise DomainError(ErrorKind.INVALID_FIELD, "max_runs", message)
    upcoming = _next_time(current, draft, explicit, now, anchor)
    kept = draft.next_run_explicit and upcoming == draft.next_run_at
    by_hand = upcoming is not None and (explicit.at is not None or kept)
    return evolve(draft, {"next_run_at": upcoming, "next_run_explicit": by_hand})


def _next_time(
    current: Routine, draft: Routine, explicit: ExplicitTime, now: datetime, anchor: datetime | None
) -> datetime | None:
    # During the last run nothing is to follow; its end decides.
    if draft.schedule is None or draft.at_maximum:
        return None
    if explicit.at is not None:
        return explicit.at
    if starts_anew(current, draft) or (explicit.given and draft.next_run_explicit):
        upcoming = next_run_at(now, draft.schedule)
        if upcoming is None:
            message = (
                "status cannot be active: the schedule has ended (schedule_ended); "
                "set a run_at that lies in the future"
            )
            raise DomainError(ErrorKind.CONFLICT, "status", message)
        return upcoming
    return draft.next_run_at or next_run_at(now, draft.schedule, anchor)


def _check_explicit(draft: Routine, explicit: ExplicitTime) -> None:
    wrong = explicit_time_problem(draft.status, draft.trigger)
    if wrong is None and draft.at_maximum:
        wrong = "cannot be set during the last run: raise max_runs above run_count first"
    if explicit.at is not None and wrong is not None:
        raise DomainError(ErrorKind.INVALID_FIELD, "next_run_at", f"next_run_at {wrong}")
