"""The server's form of a schedule: structured calendars and intervals, never a cron string.

Owns the compilation, which covers every true occurrence away from changes of the clock; those
around changes are added as single instants (`domain.schedule.single_instants`). The server may fire
more often than is true: admission asks `domain.schedule` about every fire. Does not own the SDK's
types.
Source: automation.md §3 (`to_temporal_spec`) and §5, DESIGN §3 "When it fires".

Invariants:
    1. The server ANDs the fields of a calendar, so two restricted day fields are two calendars.
    2. Calendars are in UTC only when every offset that matters is whole hours and nothing but the
       minute is restricted: then the minute means the same everywhere, and no transition matters.
"""

from itertools import islice

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.cron import FIELDS
from domain.cron_rule import CronField, CronRule, Span
from domain.recurrence import CronTimes, Interval, OneShot
from domain.zones import ZoneOffsets, instant_to_utc

_HOUR = 3600
_SUNDAY_AGAIN = 7


class CalendarRange(BaseModel):
    """Numbers from start to end, both included, in steps."""

    model_config = ConfigDict(frozen=True)

    start: int
    end: int
    step: int = 1


class Calendar(BaseModel):
    """Wall times that match in every field; an empty field matches always."""

    model_config = ConfigDict(frozen=True)

    second: list[CalendarRange]
    minute: list[CalendarRange]
    hour: list[CalendarRange]
    day_of_month: list[CalendarRange]
    month: list[CalendarRange]
    day_of_week: list[CalendarRange]
    year: list[CalendarRange] = []


class IntervalSpec(BaseModel):
    """Every so many seconds since 1970, shifted by the offset."""

    model_config = ConfigDict(frozen=True)

    every_seconds: int
    offset_seconds: int = 0


class TemporalSpec(BaseModel):
    """When the server fires: the union of calendars and intervals, not before `start_at`."""

    model_config = ConfigDict(frozen=True)

    calendars: list[Calendar] = []
    intervals: list[IntervalSpec] = []
    timezone_name: str
    start_at: AwareDatetime | None = None


_SECOND = [CalendarRange(start=0, end=0)]
_MINUTES, _HOURS, _DAYS, _MONTHS, _WEEKDAYS = (
    [CalendarRange(start=grammar.low, end=grammar.end)] for grammar in FIELDS
)


def compile_interval(interval: Interval, timezone: str, anchor: int) -> TemporalSpec:
    """An interval counted from its anchor, which itself is no occurrence."""
    spec = IntervalSpec(every_seconds=interval.every, offset_seconds=anchor % interval.every)
    return TemporalSpec(
        intervals=[spec], timezone_name=timezone, start_at=instant_to_utc(anchor + 1)
    )


def compile_one_shot(one_shot: OneShot, timezone: str) -> TemporalSpec:
    """A single instant: an interval as long as its distance from 1970 fires then."""
    return TemporalSpec(intervals=[IntervalSpec(every_seconds=one_shot.at)], timezone_name=timezone)


def compile_cron(times: CronTimes, anchor: int) -> TemporalSpec:
    """Calendars of a rule, as the zone's clock goes from the anchor over the next two changes."""
    rule = times.rule
    in_utc = _only_minute_restricted(rule) and _whole_hours(times.zone, anchor)
    days = [(_ranges(rule.day_of_month), _weekdays(rule.day_of_week))]
    if rule.day_of_month.restricted and rule.day_of_week.restricted:
        days = [(_ranges(rule.day_of_month), _WEEKDAYS), (_DAYS, _weekdays(rule.day_of_week))]
    return TemporalSpec(
        calendars=[
            Calendar(
                second=_SECOND,
                minute=_ranges(rule.minute),
                hour=_ranges(rule.hour),
                day_of_month=day_of_month,
                month=_ranges(rule.month),
                day_of_week=day_of_week,
            )
            for day_of_month, day_of_week in days
        ],
        timezone_name="UTC" if in_utc else times.zone.name,
    )


def _only_minute_restricted(rule: CronRule) -> bool:
    others = (rule.hour, rule.day_of_month, rule.month, rule.day_of_week)
    return not any(field.restricted for field in others)


def _whole_hours(zone: ZoneOffsets, anchor: int) -> bool:
    changes = islice(zone.changes_after(anchor), 2)
    return all(offset % _HOUR == 0 for offset in (zone.at(anchor), *(c.after for c in changes)))


def _ranges(field: CronField) -> list[CalendarRange]:
    """One range per item, in the order written."""
    return [_range(span) for span in field.spans]


def _weekdays(field: CronField) -> list[CalendarRange]:
    """As `_ranges`, with what reaches day 7 as single days: the server's week ends with 6."""
    ranges: list[CalendarRange] = []
    for span in field.spans:
        if span.end < _SUNDAY_AGAIN:
            ranges.append(_range(span))
        else:
            days = (day % _SUNDAY_AGAIN for day in span.values)
            ranges += [CalendarRange(start=day, end=day) for day in days]
    return ranges


def _range(span: Span) -> CalendarRange:
    return CalendarRange(start=span.start, end=span.end, step=span.step)
