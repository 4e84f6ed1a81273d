"""What a schedule will do: its next times, and what changes of the clock do to them.

Owns the preview and the wording of its notes. When a schedule fires is `domain.schedule`'s; the
words for a schedule as such need a library and are `client.schedules`'. Source: automation.md §5
"Preview" and "Zones and DST", §14 row 51.

Invariants:
    1. The occurrences are those of `domain.schedule`, one by one and in order.
    2. A note stands only where a change of the clock has to do with an occurrence: one that moved,
       one whose wall time comes twice, or the first one after a change.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta, tzinfo
from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.cron import read_cron
from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.recurrence import ClockMark
from domain.schedule import Schedule, clock_mark, hour_is_fixed, occurrences, validate_timezone
from domain.schedule_fields import schedule_values
from domain.timestamps import format_timestamp, parse_timestamp, whole_second
from domain.words import is_words
from domain.zones import (
    DAY,
    OffsetChange,
    ZoneOffsets,
    instant_to_utc,
    utc_to_instant,
    zone_offsets,
)

DEFAULT_COUNT = 5
MAX_COUNT = 50


class NoteKind(StrEnum):
    """What a change of the clock has to do with an occurrence."""

    MOVED = "moved"
    FIRST_OF_TWO = "first_of_two"
    SECOND_OF_TWO = "second_of_two"
    ONLY_FIRST = "only_first"
    OFFSET_CHANGED = "offset_changed"


class ClockChange(BaseModel):
    """A change of a zone's offset: when, and both offsets as `+01:00`."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    offset_before: str
    offset_after: str


class OccurrenceNote(BaseModel):
    """A note on one occurrence, with the change of the clock that is the reason for it."""

    model_config = ConfigDict(frozen=True)

    kind: NoteKind
    text: str
    change: ClockChange


class PreviewedOccurrence(BaseModel):
    """One occurrence: in UTC, as the zone's clock shows it (RFC 3339), and what is odd about it."""

    model_config = ConfigDict(frozen=True)

    at: AwareDatetime
    local: str
    note: OccurrenceNote | None = None


class SchedulePreview(BaseModel):
    """The next occurrences of a schedule in its zone; fewer than asked for where it ends."""

    model_config = ConfigDict(frozen=True)

    timezone: str
    occurrences: list[PreviewedOccurrence]


def validate_count(value: object) -> int:
    """Check how many occurrences are wanted.

    Raises:
        DomainError: `invalid_field` on `count` unless it is an integer from 1 to 50.
    """
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_COUNT:
        return value
    message = f"count must be an integer from 1 to {MAX_COUNT}, not {shown(value)}"
    raise DomainError(ErrorKind.INVALID_FIELD, "count", message)


def preview_schedule(
    schedule: Schedule | Mapping[str, object],
    after: object,
    count: int = DEFAULT_COUNT,
    anchor: datetime | str | None = None,
) -> SchedulePreview:
    """The next occurrences of a schedule, with notes.

    Args:
        schedule: A schedule, read as it stands: what has ended has no occurrences.
        after: Occurrences are strictly after this time.
        count: How many, 1 to 50.
        anchor: What an interval counts from; without it, from `after`.

    Raises:
        DomainError: `invalid_field` on `count` or `after`, or when the schedule cannot be read.
    """
    start = whole_second(parse_timestamp(after, "after"))
    found = occurrences(start, schedule, validate_count(count), anchor)
    zone = zone_offsets(_zone_name(schedule))
    notes = [
        _note(schedule, zone, before, at)
        for before, at in zip([start, *found], found, strict=False)
    ]
    return SchedulePreview(
        timezone=zone.name,
        occurrences=[
            PreviewedOccurrence(at=at, local=local_text(at, zone.info), note=note)
            for at, note in zip(found, notes, strict=True)
        ],
    )


def local_text(at: datetime, zone: tzinfo) -> str:
    """A time on the clock of a zone, RFC 3339; in UTC where that would be after the year 9999."""
    try:
        return at.astimezone(zone).isoformat()
    except OverflowError:
        return at.isoformat()


def _zone_name(schedule: Schedule | Mapping[str, object]) -> str:
    """The zone; of a cron expression it may stand in the prefix."""
    values = schedule_values(schedule)
    expr, zone = values.get("cron_expr"), values.get("timezone")
    if expr is None or is_words(expr):
        return validate_timezone(zone)
    return read_cron(expr, zone)[0].timezone


def _note(
    schedule: Schedule | Mapping[str, object], zone: ZoneOffsets, before: datetime, at: datetime
) -> OccurrenceNote | None:
    """The note on an occurrence; `before` is the one before it, or where the preview begins."""
    instant = utc_to_instant(at)
    match clock_mark(at, schedule):
        case ClockMark.MOVED:
            change = _change_around(zone, instant, forward=True)
            missing = _clock(instant + change.before, instant + change.after)
            text = f"{missing} does not exist that day: moved by {_length(change.forward)}"
            return _noted(NoteKind.MOVED, text, change)
        case ClockMark.REPEATED:
            change = _change_around(zone, instant, forward=False)
            shows = _clock(instant + zone.at(instant), instant + zone.at(instant))
            kind, which = _which_of_two(schedule, instant, change)
            return _noted(kind, f"{shows} comes twice that day: {which}", change)
        case _:
            return _offset_note(zone, utc_to_instant(before), instant)


def _which_of_two(
    schedule: Schedule | Mapping[str, object], instant: int, change: OffsetChange
) -> tuple[NoteKind, str]:
    if hour_is_fixed(schedule_values(schedule)["cron_expr"]):
        return NoteKind.ONLY_FIRST, "fires the first time only"
    if instant < change.at:
        return NoteKind.FIRST_OF_TWO, "this is the first time"
    return NoteKind.SECOND_OF_TWO, "this is the second time"


def _offset_note(zone: ZoneOffsets, before: int, instant: int) -> OccurrenceNote | None:
    """That the clock was changed since the occurrence before; null when it shows no difference."""
    if zone.at(before) == zone.at(instant):
        return None
    last = next(zone.changes_after(before))
    for change in zone.changes_after(before):
        if change.at > instant:
            break
        last = change
    text = f"the clock was changed from {_offset(last.before)} to {_offset(last.after)}"
    return _noted(NoteKind.OFFSET_CHANGED, text, last)


def _change_around(zone: ZoneOffsets, instant: int, *, forward: bool) -> OffsetChange:
    """The change that puts an instant into a gap (forward) or into a repetition."""
    return next(
        change
        for change in zone.changes_after(instant - 2 * DAY)
        if (change.forward > 0) == forward
        and change.at + min(change.forward, 0) <= instant < change.at + abs(change.forward)
    )


def _noted(kind: NoteKind, text: str, change: OffsetChange) -> OccurrenceNote:
    told = ClockChange(
        at=instant_to_utc(change.at),
        offset_before=_offset(change.before),
        offset_after=_offset(change.after),
    )
    return OccurrenceNote(kind=kind, text=text, change=told)


def _clock(wall: int, shown_wall: int) -> str:
    """What a clock shows, to the minute; with its date where the occurrence has another one."""
    moment, other = instant_to_utc(wall), instant_to_utc(shown_wall)
    text = format_timestamp(moment)[:16]
    return text[11:] if moment.date() == other.date() else text.replace("T", " ")


def _offset(seconds: int) -> str:
    """`+05:30`; with seconds where a zone of old has them."""
    sign = "-" if seconds < 0 else "+"
    hours, rest = divmod(abs(seconds), 3600)
    text = f"{sign}{hours:02}:{rest // 60:02}"
    return f"{text}:{rest % 60:02}" if rest % 60 else text


def _length(seconds: int) -> str:
    hours, minutes = divmod(timedelta(seconds=seconds) // timedelta(minutes=1), 60)
    return " ".join(f"{n} {unit}" for n, unit in ((hours, "h"), (minutes, "min")) if n)
