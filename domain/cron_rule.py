"""A cron rule: which wall times an expression names.

Owns the day rule (both day fields restricted: either matches) and what counts as a fixed hour. Does
not own the text (`domain.cron`), zones and DST (`domain.recurrence`), nor the server's form of a
rule (`domain.calendars`). Source: automation.md §5 "Day rule" and "Zones and DST".

Invariants:
    1. A rule names a date at least every eight years, or `can_fire` is false.
    2. Wall times are seconds since 1970-01-01T00:00 as a clock on the wall shows them.
"""

from bisect import bisect_left
from calendar import monthrange
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property

_DAY = 86_400
_DAYS_IN_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


@dataclass(frozen=True, slots=True)
class Span:
    """One comma-separated item of a field: start to end, both included, in steps."""

    start: int
    end: int
    step: int

    @property
    def values(self) -> range:
        """The numbers of the item; Sunday written as 7 is still 7."""
        return range(self.start, self.end + 1, self.step)


@dataclass(frozen=True, slots=True)
class CronField:
    """One field of an expression, as written and as read.

    Attributes:
        text: As written.
        spans: Its items, in the order written.
        values: All its numbers; Sunday is 0.
    """

    text: str
    spans: tuple[Span, ...]
    values: frozenset[int]

    @property
    def restricted(self) -> bool:
        """Whether the day rule counts the field; only `*`, `?` and `*/1` are unrestricted."""
        return self.text not in {"*", "?", "*/1"}

    @property
    def plain(self) -> bool:
        """Whether every item is a plain number."""
        return all(item.isdecimal() for item in self.text.split(","))


@dataclass(frozen=True)
class CronRule:
    """The five fields of an expression."""

    minute: CronField
    hour: CronField
    day_of_month: CronField
    month: CronField
    day_of_week: CronField

    @property
    def hour_is_fixed(self) -> bool:
        """Whether a wall time that occurs twice fires only the first time."""
        return self.hour.plain

    @cached_property
    def can_fire(self) -> bool:
        """Whether any date matches: 29 February is one, 30 February is not."""
        if self.day_of_week.restricted:
            return True
        first = min(self.day_of_month.values)
        return any(first <= _DAYS_IN_MONTH[month - 1] for month in self.month.values)

    @cached_property
    def times_of_day(self) -> tuple[int, ...]:
        """The times of a matching day, in seconds since midnight, in order."""
        minutes = sorted(self.minute.values)
        return tuple(h * 3600 + m * 60 for h in sorted(self.hour.values) for m in minutes)

    def matches(self, wall: int) -> bool:
        """Whether a wall time is named."""
        return any(True for _ in self.walls(wall, wall + 1))

    def walls(self, low: int, high: int) -> Iterator[int]:
        """The wall times named in [low, high), in order."""
        day, second = divmod(low, _DAY)
        times = self.times_of_day[bisect_left(self.times_of_day, second) :]
        while (midnight := day * _DAY) < high:
            on = date.fromordinal(_EPOCH_ORDINAL + day)
            if on.month not in self.month.values:
                day += monthrange(on.year, on.month)[1] - on.day
            elif self._names_day(on):
                for time in times:
                    if midnight + time >= high:
                        return
                    yield midnight + time
            day, times = day + 1, self.times_of_day

    @cached_property
    def _either_day(self) -> bool:
        return self.day_of_month.restricted and self.day_of_week.restricted

    def _names_day(self, on: date) -> bool:
        by_date = on.day in self.day_of_month.values
        by_weekday = on.isoweekday() % 7 in self.day_of_week.values
        if self._either_day:
            return by_date or by_weekday
        return by_date and by_weekday
