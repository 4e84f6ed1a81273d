"""Creating a routine: from what somebody gives to a complete record.

Owns the accepted keys, the rule for names, and what a new routine begins with. Deriving scope,
route and creator from the caller's context is the surfaces' matter. Source: automation.md §2, §4,
§6.

Invariant: the result is a valid routine of revision 0, or nothing is made.
"""

import re
from collections.abc import Mapping
from datetime import datetime

from domain.actor import Actor
from domain.errors import DomainError, ErrorKind
from domain.fields import FieldReader, shown
from domain.outcome import validate_notify
from domain.ownership import validate_creator, validate_route, validate_scope
from domain.routine_fields import (
    SHORTHANDS,
    explicit_time_problem,
    read_action,
    read_body,
    read_guardrails,
    read_schedule,
    read_time,
    read_title,
    read_trigger,
    read_word,
    refuse_unknown_keys,
)
from domain.routine_model import ManageMode, PausedReason, Routine, RoutineStatus, evolve
from domain.schedule import next_run_at
from domain.scopes import Route, Scope
from domain.triggers import Trigger

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
# What the service itself gives begins with `routine_`; `routine-` would look too much like it.
_RESERVED = "routine-"
_NAME_RULE = (
    "1 to 63 of a-z, 0-9 and '-', beginning with a letter or digit and not with 'routine-', "
    "such as morning-brief"
)

CREATE_KEYS = (
    "id",
    "title",
    "prompt",
    "fresh",
    "schedule",
    *SHORTHANDS,
    "trigger",
    "action",
    "guardrails",
    "notify",
    "manage_mode",
    "max_runs",
    "enabled",
    "next_run_at",
)
_ADVICE = {"cron": "use schedule.cron_expr", "name": "use id", "status": "use enabled"}


def validate_name(name: object, field: str = "id") -> str:
    """Check a name that a caller chose for a routine.

    Returns:
        The name, trimmed.

    Raises:
        DomainError: `missing_field` when blank, `invalid_field` when it breaks the rule.
    """
    text = name.strip() if isinstance(name, str) else name
    if text is None or text == "":
        raise DomainError(
            ErrorKind.MISSING_FIELD, field, f"{field} is required: {_NAME_RULE}", [_NAME_RULE]
        )
    if isinstance(text, str) and _NAME.fullmatch(text) and not text.startswith(_RESERVED):
        return text
    raise DomainError(
        ErrorKind.INVALID_FIELD,
        field,
        f"{field} must have {_NAME_RULE}, not {shown(name)}",
        [_NAME_RULE],
    )


def new_routine(
    body: Mapping[str, object],
    *,
    id: str,
    scope: Scope,
    route: Route,
    creator: Actor,
    now: datetime,
    default_timezone: str = "UTC",
    session_key: str = "",
    resume_thread_id: str | None = None,
    source_message_id: str | None = None,
) -> Routine:
    """Make a routine from a create body.

    Args:
        body: The JSON object as it was given.
        id: The routine's id: the name the caller chose, or what the service assigned.
        scope: Who will see it.
        route: Where it speaks.
        creator: Who creates it.
        now: When; the first interval is counted from here.
        default_timezone: The zone of a schedule that names none.
        session_key: The session its runs speak in; blank for none.
        resume_thread_id: The agent thread its runs continue.
        source_message_id: The message its replies hang under.

    Returns:
        The routine, active unless `enabled` is false, with `next_run_at` where it is timed.

    Raises:
        DomainError: The first problem in validation order; `errors` lists all where there are
        several.
    """
    reader = read_body(body)
    refuse_unknown_keys(reader, body, CREATE_KEYS, _ADVICE)
    if reader.given("id"):
        _read_name(reader, id)
    owners = _read_owners(reader, scope, route, creator)
    definition = _read_definition(reader, now, default_timezone)
    reader.close()
    routine = Routine.model_validate(
        {
            **owners,
            **definition,
            "id": id,
            "session_key": session_key,
            "resume_thread_id": resume_thread_id,
            "source_message_id": source_message_id,
            "created_at": now,
            "updated_at": now,
        }
    )
    return _with_first_time(routine, now)


def _read_name(reader: FieldReader, chosen: str) -> None:
    name = reader.check(lambda: validate_name(reader.raw("id")))
    if name is not None and name != chosen:
        reader.invalid("id", f"is {name!r}, but the routine is created as {chosen!r}")


def _read_owners(
    reader: FieldReader, scope: Scope, route: Route, creator: Actor
) -> dict[str, object]:
    return {
        "scope": reader.check(lambda: validate_scope(scope.model_dump())),
        "route": reader.check(lambda: validate_route(route.model_dump())),
        "creator": reader.check(lambda: validate_creator(creator.model_dump())),
    }


def _read_definition(
    reader: FieldReader, now: datetime, default_timezone: str
) -> dict[str, object]:
    """The fields a caller gives, in validation order."""
    manage_mode = read_word(reader, "manage_mode", ManageMode, ManageMode.CREATOR_ONLY)
    title = read_title(reader)
    action = read_action(reader)
    shorthands = {key: reader.raw(key) for key in SHORTHANDS if reader.given(key)}
    schedule = read_schedule(reader, shorthands)
    trigger = read_trigger(reader, reader.raw("trigger"), schedule, now, default_timezone)
    enabled = reader.boolean("enabled", default=True)
    status = RoutineStatus.ACTIVE if enabled else RoutineStatus.PAUSED
    values: dict[str, object] = {
        "manage_mode": manage_mode,
        "title": title,
        "action": action,
        "trigger": trigger,
        "status": status,
        "paused_reason": None if enabled else PausedReason.USER,
        "max_runs": reader.optional_integer("max_runs", 0) or 0,
        "fresh": reader.boolean("fresh", default=False),
        "guardrails": read_guardrails(reader, trigger),
        "notify": reader.check(lambda: validate_notify(reader.raw("notify"))),
    }
    explicit = _read_explicit(reader, status, trigger)
    return {**values, "next_run_at": explicit, "next_run_explicit": explicit is not None}


def _read_explicit(
    reader: FieldReader, status: RoutineStatus, trigger: Trigger | None
) -> datetime | None:
    explicit = read_time(reader, "next_run_at")
    wrong = explicit_time_problem(status, trigger) if trigger else None
    if explicit is not None and wrong is not None:
        reader.invalid("next_run_at", wrong)
    return explicit


def _with_first_time(routine: Routine, now: datetime) -> Routine:
    """The new routine with the first time that its schedule says, unless one was set by hand."""
    active = routine.status == RoutineStatus.ACTIVE
    if routine.schedule is None or not active or routine.next_run_explicit:
        return routine
    return evolve(routine, {"next_run_at": next_run_at(now, routine.schedule)})
