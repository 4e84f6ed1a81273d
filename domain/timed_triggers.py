"""Triggers that a clock fires: cron, interval, at; and the schedules they stand for.

Owns reading them and the way from and to a schedule. What a schedule's fields may hold and when it
fires is `domain.schedule`'s. Source: triggers-and-actions.md §1.

Invariants:
    1. A trigger's zone is the one it names, else the deployment's; never the host's.
    2. A schedule and the trigger made from it mean the same.
"""

from datetime import datetime
from typing import TypeVar

from domain.fields import FieldReader
from domain.schedule import (
    Schedule,
    validate_catchup,
    validate_cron,
    validate_every_seconds,
    validate_run_at,
    validate_timezone,
)
from domain.schedule_fields import chosen_alternative, schedule_values
from domain.trigger_models import AtTrigger, CronTrigger, IntervalTrigger, Trigger, TriggerType
from domain.words import is_words, normalize_words, parse_words

_Timed = TypeVar("_Timed", CronTrigger, IntervalTrigger, AtTrigger)

_TIMING = ("timezone", "catchup", "catchup_window_seconds")
_SHORTHANDS = {
    "cron_expr": (TriggerType.CRON, "schedule"),
    "every_seconds": (TriggerType.INTERVAL, "every_seconds"),
    "run_at": (TriggerType.AT, "run_at"),
}


def read_cron(reader: FieldReader, default_timezone: str) -> CronTrigger:
    """Read a cron trigger; words are kept as text, in lower case with single blanks."""
    given, field = reader.raw("schedule"), reader.field("schedule")
    if isinstance(given, str) and is_words(given):
        reader.check(lambda: parse_words(given, field))
        fields: dict[str, object] = {"schedule": normalize_words(given)}
        return _finish(CronTrigger, reader, default_timezone, fields)
    cron = reader.check(
        lambda: validate_cron(
            given,
            reader.raw("timezone"),
            field=field,
            timezone_field=reader.field("timezone"),
            default_timezone=default_timezone,
        )
    )
    # The zone may stand in the expression's prefix, so it is read with the expression.
    schedule, zone = (cron.cron_expr, cron.timezone) if cron else (None, None)
    fields = {"schedule": schedule, "timezone": zone}
    return _finish(CronTrigger, reader, default_timezone, fields)


def read_interval(reader: FieldReader, default_timezone: str) -> IntervalTrigger:
    """Read an interval trigger."""
    every = reader.check(
        lambda: validate_every_seconds(reader.raw("every_seconds"), reader.field("every_seconds"))
    )
    return _finish(IntervalTrigger, reader, default_timezone, {"every_seconds": every})


def read_at(reader: FieldReader, default_timezone: str, now: datetime) -> AtTrigger:
    """Read a one-shot, which must lie after `now`."""
    run_at = reader.check(
        lambda: validate_run_at(reader.raw("run_at"), now, reader.field("run_at"))
    )
    return _finish(AtTrigger, reader, default_timezone, {"run_at": run_at})


def compile_schedule(trigger: Trigger) -> Schedule | None:
    """The schedule behind a trigger; null when it is pushed or manual.

    Words compile to an interval: they count elapsed seconds and follow no clock.
    """
    when: dict[str, object]
    match trigger:
        case CronTrigger(schedule=text):
            words = parse_words(text, "trigger.schedule")
            when = {"every_seconds": words.every_seconds} if words else {"cron_expr": text}
        case IntervalTrigger(every_seconds=every_seconds):
            when = {"every_seconds": every_seconds}
        case AtTrigger(run_at=run_at):
            when = {"run_at": run_at}
        case _:
            return None
    timing = {key: getattr(trigger, key) for key in _TIMING}
    return Schedule.model_validate({**when, **timing})


def from_schedule(schedule: object) -> dict[str, object]:
    """The trigger that a plain schedule stands for.

    Args:
        schedule: The JSON object as it was given, or a `Schedule`.

    Returns:
        Input for `validate_trigger`: the values as given; zone and catch-up only if given.

    Raises:
        DomainError: On `schedule` unless exactly one of its three alternatives is given;
            `unknown_field` for a key it does not have.
    """
    values = schedule_values(schedule)
    reader = FieldReader(values, "schedule")
    reader.refuse_unknown(tuple(Schedule.model_fields))
    reader.close()
    chosen = chosen_alternative(values)
    kind, key = _SHORTHANDS[chosen]
    timing = {key: values[key] for key in _TIMING if values.get(key) is not None}
    return {"type": kind.value, key: values[chosen], **timing}


def _finish(
    model: type[_Timed], reader: FieldReader, default_timezone: str, fields: dict[str, object]
) -> _Timed:
    """Read what timed triggers have in common, and make the trigger."""
    if "timezone" not in fields:
        zone, field = reader.raw("timezone"), reader.field("timezone")
        fields["timezone"] = reader.check(lambda: validate_timezone(zone, field, default_timezone))
    catchup, window = reader.raw("catchup"), reader.raw("catchup_window_seconds")
    policy = reader.check(lambda: validate_catchup(catchup, window, prefix=reader.path))
    reader.close()
    fields["catchup"], fields["catchup_window_seconds"] = policy or (None, None)
    return model.model_validate(fields)
