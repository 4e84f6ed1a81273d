"""When a routine fires: the only truth about occurrences.

Owns the questions that others ask about a schedule: the next times, whether a time is one of them,
how many were missed, and what the server is told. Preview, `next_run_at`, catch-up, lateness and
admission all ask here; a fire of the server that is no occurrence is not admitted.
Does not own the pieces, which it hands on under their names: fields (`domain.schedule_fields`),
cron (`domain.cron`), words (`domain.words`), recurrences and DST (`domain.recurrence`), zones
(`domain.zones`), the form for the server (`domain.calendars`).
Source: automation.md §3 and §5, DESIGN §3 "When it fires".

Invariants:
    1. No clock and no host: the answer depends on the arguments and on the pinned `tzdata` package.
    2. Occurrences are whole seconds in UTC; fractions of a second in arguments are dropped.
    3. A schedule that never fires again has no next time; that never means now.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import islice, takewhile

from domain.calendars import (
    Calendar,
    CalendarRange,
    IntervalSpec,
    TemporalSpec,
    compile_cron,
    compile_interval,
    compile_one_shot,
)
from domain.cron import CronText, hour_is_fixed, read_cron, validate_cron
from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.recurrence import ClockMark, CronTimes, Interval, OneShot, Recurrence
from domain.schedule_fields import (
    Catchup,
    Schedule,
    chosen_alternative,
    schedule_values,
    validate_catchup,
    validate_every_seconds,
    validate_run_at,
    validate_schedule,
    validate_timezone,
)
from domain.timestamps import format_timestamp, parse_timestamp
from domain.words import WordsInterval, normalize_words, parse_words
from domain.zones import instant_to_utc, load_zone, utc_to_instant, zone_offsets

__all__ = [
    "Calendar",
    "CalendarRange",
    "Catchup",
    "ClockMark",
    "CronText",
    "IntervalSpec",
    "Schedule",
    "TemporalSpec",
    "WordsInterval",
    "clock_mark",
    "count_between",
    "fits_single_instant",
    "hour_is_fixed",
    "is_occurrence",
    "load_zone",
    "next_run_at",
    "next_transitions",
    "normalize_words",
    "occurrences",
    "parse_words",
    "schedule_text",
    "single_instants",
    "to_temporal_spec",
    "validate_catchup",
    "validate_cron",
    "validate_every_seconds",
    "validate_run_at",
    "validate_schedule",
    "validate_timezone",
]

_AROUND_CHANGE_SECONDS = 3 * 3600


def next_run_at(
    after: datetime | str,
    schedule: Schedule | Mapping[str, object],
    anchor: datetime | str | None = None,
) -> datetime | None:
    """The first occurrence strictly after a time.

    Args:
        after: The time.
        schedule: A schedule; cron expression and words are read as they stand.
        anchor: What an interval counts from; without it, from `after`.

    Returns:
        The occurrence in UTC, or None when there is none.

    Raises:
        DomainError: When the schedule or a time cannot be read.
    """
    return next(iter(occurrences(after, schedule, 1, anchor)), None)


def occurrences(
    after: datetime | str,
    schedule: Schedule | Mapping[str, object],
    count: int,
    anchor: datetime | str | None = None,
) -> list[datetime]:
    """The next occurrences strictly after a time, in order; fewer where there are no more."""
    instants = _instants(_instant(after, "after"), schedule, anchor)
    return [instant_to_utc(instant) for instant in islice(instants, count)]


def is_occurrence(
    at: datetime | str,
    schedule: Schedule | Mapping[str, object],
    anchor: datetime | str | None = None,
) -> bool:
    """Whether a time is an occurrence; an interval without anchor has none."""
    instant = _instant(at, "at")
    return next(iter(_instants(instant - 1, schedule, anchor)), None) == instant


def count_between(
    after: datetime | str,
    until: datetime | str,
    schedule: Schedule | Mapping[str, object],
    anchor: datetime | str | None = None,
    limit: int = 100_000,
) -> int:
    """How many occurrences lie in (after, until], counted up to a limit."""
    end = _instant(until, "until")
    instants = _instants(_instant(after, "after"), schedule, anchor)
    if isinstance(instants, range):
        return min(bisect_right(instants, end), limit)
    return sum(1 for _ in islice(takewhile(lambda instant: instant <= end, instants), limit))


def clock_mark(at: datetime | str, schedule: Schedule | Mapping[str, object]) -> ClockMark | None:
    """How a change of the clock touches an occurrence: moved, repeated, or (None) not at all."""
    match _recurrence(schedule):
        case CronTimes() as times:
            return times.mark(_instant(at, "at"))
        case _:
            return None


def next_transitions(timezone: str, after: datetime | str, count: int = 2) -> list[datetime]:
    """The next changes of a zone's offset strictly after a time; fewer where there are no more."""
    zone = zone_offsets(validate_timezone(timezone, "timezone"))
    changes = zone.changes_after(_instant(after, "after"))
    return [instant_to_utc(change.at) for change in islice(changes, count)]


def single_instants(
    schedule: Schedule | Mapping[str, object], anchor: datetime | str, changes: int = 2
) -> list[datetime]:
    """The occurrences around a zone's next changes, which calendars of the server get wrong.

    Args:
        schedule: A schedule.
        anchor: The time after which changes count.
        changes: How many of them.

    Returns:
        The occurrences from 3 h before to 3 h after each change, both included, in order; none for
        intervals, one-shots and zones without changes. They are wanted beside calendars in the
        zone; beside calendars in UTC, which follow no change, they may be left out.
    """
    match _recurrence(schedule):
        case CronTimes(zone=zone) as times:
            around: set[int] = set()
            for change in islice(zone.changes_after(_instant(anchor, "anchor")), changes):
                first, last = change.at - _AROUND_CHANGE_SECONDS, change.at + _AROUND_CHANGE_SECONDS
                around.update(takewhile(last.__ge__, times.instants_after(first - 1)))
            return [instant_to_utc(instant) for instant in sorted(around)]
        case _:
            return []


def fits_single_instant(instant: datetime, now: datetime) -> bool:
    """Whether a Schedule can have a time as a single instant, which fires then and never again.

    The server is told of an instant as an interval that counts from the epoch: it has to lie after
    the epoch, and its second multiple in the future. A time too long ago needs no Schedule.
    """
    return now.timestamp() < 2 * instant.timestamp()


def to_temporal_spec(
    schedule: Schedule | Mapping[str, object], anchor: datetime | str
) -> TemporalSpec:
    """What the server is told: fires at least at every occurrence, save those of `single_instants`.

    Args:
        schedule: A schedule.
        anchor: What an interval counts from; for cron, the time after which changes count.
    """
    start = _instant(anchor, "anchor")
    match _recurrence(schedule):
        case Interval() as interval:
            return compile_interval(interval, _timezone(schedule), start)
        case OneShot() as one_shot:
            return compile_one_shot(one_shot, _timezone(schedule))
        case times:
            return compile_cron(times, start)


def _instants(
    after: int, schedule: Schedule | Mapping[str, object], anchor: datetime | str | None
) -> Iterable[int]:
    origin = None if anchor is None else _instant(anchor, "anchor")
    return _recurrence(schedule).instants_after(after, origin)


def _instant(value: datetime | str, field: str) -> int:
    return utc_to_instant(parse_timestamp(value, field))


def _timezone(schedule: Schedule | Mapping[str, object]) -> str:
    return validate_timezone(schedule_values(schedule).get("timezone"))


def _recurrence(schedule: Schedule | Mapping[str, object]) -> Recurrence:
    """What a stored schedule means; its bounds were checked when it was made."""
    values = schedule_values(schedule)
    match chosen_alternative(values):
        case "every_seconds":
            return Interval(_stored_interval(values["every_seconds"]))
        case "run_at":
            return OneShot(utc_to_instant(parse_timestamp(values["run_at"], "schedule.run_at")))
        case _:
            words = parse_words(values["cron_expr"])
            if words is not None:
                return Interval(words.every_seconds)
            text, rule = read_cron(values["cron_expr"], values.get("timezone"))
            return CronTimes(rule, zone_offsets(text.timezone))


def _stored_interval(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value > 0:
        return value
    field = "schedule.every_seconds"
    message = f"{field} must be an integer above 0, not {shown(value)}"
    raise DomainError(ErrorKind.INVALID_FIELD, field, message)


def schedule_text(schedule: Schedule) -> str:
    """A schedule in one line: `once at …`, the cron text with its zone, `every 3600s`."""
    if schedule.run_at is not None:
        return f"once at {format_timestamp(schedule.run_at)}"
    if schedule.cron_expr is not None:
        return f"{schedule.cron_expr} {schedule.timezone}"
    return f"every {schedule.every_seconds}s"
