"""The fields of a schedule: what each may hold, and its normal form.

Owns the model `Schedule` and the checks of its fields, one by one, so that a trigger can use them
under its own names. Does not own what cron and words mean (`domain.cron`, `domain.words`) nor when
a schedule fires (`domain.schedule`). Source: automation.md §2 "Schedule", §5, §14 rows 2-19.

Invariants:
    1. A validated schedule has exactly one of interval, cron expression and time, and a zone.
    2. `catchup_window_seconds` is set exactly when `catchup` is `all`.
"""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, cast

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from domain.cron import validate_cron
from domain.errors import DomainError, ErrorKind, FieldProblem
from domain.fields import FieldReader, shown
from domain.timestamps import format_timestamp, parse_timestamp, whole_second
from domain.words import MAX_EVERY_SECONDS, MIN_EVERY_SECONDS, is_words, parse_words
from domain.zones import optional_zone

ALTERNATIVES = ("every_seconds", "cron_expr", "run_at")
DEFAULT_CATCHUP_WINDOW_SECONDS = 604_800


class Catchup(StrEnum):
    """What happens to times that were missed in an outage."""

    ONCE = "once"
    SKIP = "skip"
    ALL = "all"


class Schedule(BaseModel):
    """When a routine fires: one of interval, cron expression and time, in a zone.

    The model itself checks types only; `validate_schedule` makes one that obeys the rules.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    every_seconds: Annotated[int, Field(strict=True)] | None = None
    cron_expr: str | None = None
    run_at: AwareDatetime | None = None
    timezone: str = "UTC"
    catchup: Catchup = Catchup.ONCE
    catchup_window_seconds: Annotated[int, Field(strict=True)] | None = None


KEYS = tuple(Schedule.model_fields)


def schedule_values(schedule: object, prefix: str = "schedule") -> Mapping[str, object]:
    """A schedule as its given keys and values, whether it comes as model or as JSON.

    Raises:
        DomainError: `missing_field` when null, `invalid_field` when it is no object.
    """
    if isinstance(schedule, Schedule):
        return schedule.model_dump(exclude_unset=True)
    if schedule is None:
        raise _no_alternative(prefix)
    if not isinstance(schedule, Mapping):
        message = f"{prefix} must be a JSON object with {_exactly_one()}, not {shown(schedule)}"
        raise DomainError(ErrorKind.INVALID_FIELD, prefix, message, ALTERNATIVES)
    return cast("Mapping[str, object]", schedule)


def chosen_alternative(values: Mapping[str, object], prefix: str = "schedule") -> str:
    """Which of the three ways to say when is given.

    Raises:
        DomainError: On the prefix: `missing_field` when none is, `invalid_field` when several are.
    """
    given = [key for key in ALTERNATIVES if values.get(key) is not None]
    if not given:
        raise _no_alternative(prefix)
    if len(given) > 1:
        message = f"{prefix} must have {_exactly_one()}, not {' and '.join(given)}"
        raise DomainError(ErrorKind.INVALID_FIELD, prefix, message, ALTERNATIVES)
    return given[0]


def validate_every_seconds(value: object, field: str = "schedule.every_seconds") -> int:
    """Check the length of an interval.

    Raises:
        DomainError: `missing_field` when null, `invalid_field` when no integer or out of bounds.
    """
    prefix, _, key = field.rpartition(".")
    reader = FieldReader({key: value}, prefix)
    seconds = reader.integer(key, MIN_EVERY_SECONDS, MAX_EVERY_SECONDS, 0)
    if value is None:
        reader.missing(key)
    reader.close()
    return seconds


def validate_run_at(value: object, now: datetime, field: str = "schedule.run_at") -> datetime:
    """Check the time of a one-shot.

    Returns:
        The time in UTC; a fraction of a second is dropped.

    Raises:
        DomainError: `missing_field` when null, `invalid_field` when no time or not after now.
    """
    if value is None:
        raise DomainError(ErrorKind.MISSING_FIELD, field, f"{field} is required")
    at = whole_second(parse_timestamp(value, field))
    if at <= now:
        message = (
            f"{field} must lie in the future: {shown(value)} is not after {format_timestamp(now)}"
        )
        raise DomainError(ErrorKind.INVALID_FIELD, field, message)
    return at


def validate_timezone(
    value: object, field: str = "schedule.timezone", default_timezone: str = "UTC"
) -> str:
    """Check a zone's name; null or blank means the default.

    Raises:
        DomainError: `invalid_field` when there is no such IANA name.
    """
    return optional_zone(value, field) or default_timezone


def validate_catchup(
    catchup: object, catchup_window_seconds: object, prefix: str = "schedule"
) -> tuple[Catchup, int | None]:
    """Check what happens to missed times, and how far back.

    Returns:
        The choice, and its window: null unless it is `all`.

    Raises:
        DomainError: `invalid_field` on either key below the prefix.
    """
    values = {"catchup": catchup, "catchup_window_seconds": catchup_window_seconds}
    reader = FieldReader(values, prefix)
    choice = Catchup(reader.choice("catchup", tuple(Catchup), Catchup.ONCE))
    known = not reader.problems
    low, high = MIN_EVERY_SECONDS, MAX_EVERY_SECONDS
    window = reader.integer("catchup_window_seconds", low, high, DEFAULT_CATCHUP_WINDOW_SECONDS)
    if choice == Catchup.ALL:
        reader.close()
        return choice, window
    if known and catchup_window_seconds is not None:
        reader.invalid("catchup_window_seconds", f"({low} to {high}) goes only with catchup 'all'")
    reader.close()
    return choice, None


def validate_schedule(
    schedule: object,
    now: datetime | str,
    *,
    prefix: str = "schedule",
    default_timezone: str = "UTC",
) -> Schedule:
    """Check a schedule that somebody gave, and bring it into its normal form.

    Args:
        schedule: A JSON object, or a `Schedule` not checked yet; null keys count as absent.
        now: A one-shot must lie after it.
        prefix: Dotted path of the schedule, for errors.
        default_timezone: The zone where none is given.

    Returns:
        The schedule with words as `every_seconds`, zone and catch-up filled in.

    Raises:
        DomainError: The first problem; `errors` lists all where there are several. Order: unknown
            keys, which of the alternatives is given, then the fields in the order of the model.
    """
    moment = parse_timestamp(now, "now")
    values = schedule_values(schedule, prefix)
    reader = FieldReader(values, prefix)
    _refuse_unknown(reader, values)
    chosen = reader.check(lambda: chosen_alternative(values, prefix))
    found: dict[str, object] = {}
    if chosen == "cron_expr" and not is_words(values["cron_expr"]):
        found |= reader.check(lambda: _cron(values, prefix, default_timezone)) or {}
    else:
        found |= reader.check(lambda: _interval_or_time(values, chosen, moment, prefix)) or {}
        zone, zone_field = values.get("timezone"), reader.field("timezone")
        found["timezone"] = reader.check(
            lambda: validate_timezone(zone, zone_field, default_timezone)
        )
    found |= reader.check(lambda: _catchup(values, prefix)) or {}
    reader.close()
    return Schedule.model_validate(found)


def _cron(values: Mapping[str, object], prefix: str, default_timezone: str) -> dict[str, object]:
    text = validate_cron(
        values["cron_expr"],
        values.get("timezone"),
        field=f"{prefix}.cron_expr",
        timezone_field=f"{prefix}.timezone",
        default_timezone=default_timezone,
    )
    return text.model_dump()


def _interval_or_time(
    values: Mapping[str, object], chosen: str | None, now: datetime, prefix: str
) -> dict[str, object]:
    field = f"{prefix}.{chosen}"
    match chosen:
        case "every_seconds":
            return {chosen: validate_every_seconds(values[chosen], field)}
        case "run_at":
            return {chosen: validate_run_at(values[chosen], now, field)}
        case "cron_expr":
            words = parse_words(values[chosen], field)
            return words.model_dump() if words else {}
        case _:
            return {}


def _catchup(values: Mapping[str, object], prefix: str) -> dict[str, object]:
    window = values.get("catchup_window_seconds")
    catchup, seconds = validate_catchup(values.get("catchup"), window, prefix)
    return {"catchup": catchup, "catchup_window_seconds": seconds}


def _refuse_unknown(reader: FieldReader, values: Mapping[str, object]) -> None:
    for key in values:
        if key not in KEYS:
            field = reader.field(key)
            advice = f"; use {reader.field('cron_expr')}" if key == "cron" else ""
            message = f"{field} is not known{advice}; accepted keys: {', '.join(KEYS)}"
            reader.problems.append(
                FieldProblem(
                    kind=ErrorKind.UNKNOWN_FIELD, field=field, message=message, accepted=list(KEYS)
                )
            )


def _exactly_one() -> str:
    return f"exactly one of {', '.join(ALTERNATIVES)}"


def _no_alternative(prefix: str) -> DomainError:
    message = f"{prefix} is required: give {_exactly_one()}"
    return DomainError(ErrorKind.MISSING_FIELD, prefix, message, ALTERNATIVES)
