"""The fields of a routine as somebody gives them, on creation and in a patch.

Owns the names that are accepted, the shorthands for a schedule, and the reading of each field. What
is inside a trigger, an action, guardrails or `notify` is read by the modules of those nouns; what a
change means for the routine is `domain.routine_patch`'s. Source: automation.md §4 and §6.

Invariants:
    1. Fields are read in the validation order, so the first problem is the one to be told.
    2. Of trigger and schedule, and of action and prompt, one is given and never both.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import TypeVar, cast

from domain.actions import (
    MAX_PROMPT_BYTES,
    MAX_TITLE_CHARS,
    Action,
    LightweightAction,
    validate_action,
)
from domain.errors import ErrorKind, FieldProblem
from domain.fields import FieldReader
from domain.guardrails import Guardrails, validate_guardrails
from domain.routine_model import RoutineStatus
from domain.schedule import validate_schedule
from domain.timestamps import parse_timestamp, whole_second
from domain.triggers import Trigger, TriggerType, from_schedule, validate_trigger

SHORTHANDS = (
    "every_seconds",
    "cron_expr",
    "run_at",
    "timezone",
    "catchup",
    "catchup_window_seconds",
)
TIMED_TYPES = frozenset({TriggerType.CRON, TriggerType.INTERVAL, TriggerType.AT})
_ADVICE = {"cron": "use schedule.cron_expr", "enabled": "use status"}

_Word = TypeVar("_Word", bound=StrEnum)


def read_body(body: object) -> FieldReader:
    """Start reading a request's body.

    Raises:
        DomainError: `invalid_field` on `body` when it is no JSON object.
    """
    FieldReader.of(body, "body")
    return FieldReader(cast("Mapping[str, object]", body), "")


def refuse_unknown_keys(
    reader: FieldReader,
    keys: Iterable[str],
    accepted: Collection[str],
    advice: Mapping[str, str] = _ADVICE,
) -> None:
    """Record every key that is not accepted, with what to use instead where that is known."""
    for key in keys:
        if key not in accepted:
            hint = f"; {advice[key]}" if key in advice else ""
            reader.problems.append(
                FieldProblem(
                    kind=ErrorKind.UNKNOWN_FIELD,
                    field=key,
                    message=f"{key} is not known{hint}; accepted keys: {', '.join(accepted)}",
                    accepted=list(accepted),
                )
            )


def read_word(reader: FieldReader, key: str, words: type[_Word], default: _Word) -> _Word:
    """One of a fixed set of words, in any case; the default when absent or blank."""
    value = reader.raw(key)
    lowered = value.strip().lower() if isinstance(value, str) else value
    accepted = [word.value for word in words]
    if isinstance(lowered, str) and lowered in accepted:
        return words(lowered)
    return words(reader.choice(key, accepted, default))


def read_title(reader: FieldReader) -> str:
    """A title of at most 200 characters; blank is allowed."""
    title = reader.text("title") or ""
    if len(title) > MAX_TITLE_CHARS:
        reader.invalid("title", f"must have at most {MAX_TITLE_CHARS} characters, not {len(title)}")
    return title


def read_prompt(reader: FieldReader) -> str:
    """A prompt of 1 to 65536 bytes; "" when it is wrong."""
    return reader.required_text("prompt", max_bytes=MAX_PROMPT_BYTES)


def read_action(reader: FieldReader) -> Action | None:
    """What the routine does: an action, or a prompt alone; null when neither can be read."""
    if not reader.given("action"):
        prompt = read_prompt(reader)
        return LightweightAction(prompt=prompt) if prompt else None
    if reader.text("prompt") is not None:
        reader.invalid("action", "excludes prompt: give exactly one of prompt, action")
    return reader.check(lambda: validate_action(reader.raw("action")))


def read_schedule(reader: FieldReader, shorthands: Mapping[str, object]) -> object:
    """The schedule as it was given, with the shorthands beside it; null when there is neither."""
    inner = reader.raw("schedule")
    if inner is None:
        return shorthands or None
    if not isinstance(inner, Mapping):
        return inner
    values = cast("Mapping[str, object]", inner)
    twice = [key for key, value in shorthands.items() if value is not None and key in values]
    if twice:
        reader.invalid(
            "schedule",
            f"and the top level both give {', '.join(twice)}; give it under schedule or at top "
            "level, not both",
        )
    return {**values, **shorthands}


def read_trigger(
    reader: FieldReader, trigger: object, schedule: object, now: datetime, default_timezone: str
) -> Trigger | None:
    """What makes the routine fire: a trigger or a schedule; null when it cannot be read.

    Args:
        reader: Where problems are recorded.
        trigger: The trigger as it was given; null when it was not.
        schedule: The schedule as it was given, shorthands included; null when it was not.
        now: A one-shot must lie after it.
        default_timezone: The zone where none is given.
    """
    if trigger is not None and schedule is not None:
        reader.invalid("trigger", "excludes schedule: give exactly one of trigger, schedule")
        return None
    if trigger is None:
        valid = reader.check(
            lambda: validate_schedule(schedule, now, default_timezone=default_timezone)
        )
        if valid is None:
            return None
        # Words stay words: the trigger is made from what was written, not from what it compiles to.
        trigger = from_schedule(schedule)
    return reader.check(lambda: validate_trigger(trigger, now, default_timezone))


def read_guardrails(reader: FieldReader, trigger: Trigger | None) -> Guardrails | None:
    """The guardrails, whose defaults follow the trigger's type; null when they cannot be read."""
    kind = TriggerType(trigger.type) if trigger else TriggerType.MANUAL
    return reader.check(lambda: validate_guardrails(reader.raw("guardrails"), kind))


def read_time(reader: FieldReader, key: str) -> datetime | None:
    """A time in UTC, whole seconds; null when absent or wrong."""
    if not reader.given(key):
        return None
    value = reader.check(lambda: parse_timestamp(reader.raw(key), key))
    return whole_second(value) if value else None


def explicit_time_problem(status: RoutineStatus, trigger: Trigger) -> str | None:
    """Why a routine can have no `next_run_at` set by hand; null when it can."""
    if trigger.type not in TIMED_TYPES:
        return f"cannot be set: trigger {trigger.type!r} does not fire by time"
    if status != RoutineStatus.ACTIVE:
        return (
            f"cannot be set while the routine is {status}: only an active routine has a next time"
        )
    return None
