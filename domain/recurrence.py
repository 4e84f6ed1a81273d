"""Recurrences: at which instants an interval, a one-shot or a cron rule occurs.

Owns the anchoring of intervals and the DST rule. Does not own what a cron expression names
(`domain.cron_rule`), when a zone changes its offset (`domain.zones`) nor the JSON around it
(`domain.schedule`). Source: automation.md §5 "Interval" and "Zones and DST".

Invariants:
    1. Instants are whole seconds since 1970 in UTC, strictly ascending.
    2. Between two changes of the offset a cron rule occurs where the clock shows a time it names.
    3. A named wall time that a change leaves out occurs once, at the instant the offset before the
       change gives it; if that is an occurrence already, the two are one.
    4. A named wall time that a change repeats occurs the first time; the second time only where the
       hour is not fixed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from heapq import merge
from itertools import chain, groupby

from domain.cron_rule import CronRule
from domain.zones import DAY, FIRST_INSTANT, LAST_INSTANT, OffsetChange, ZoneOffsets

# The clock is never put forward or back by more than a day; no two changes are that close.
_REACH = 2 * DAY


class ClockMark(StrEnum):
    """How a change of the clock touches an occurrence."""

    MOVED = "moved"
    REPEATED = "repeated"


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many seconds, counted from an anchor."""

    every: int

    def instants_after(self, after: int, anchor: int | None = None) -> range:
        """Occurrences strictly after an instant; the anchor, by default that instant, is none."""
        start = after if anchor is None else anchor
        first = start + max((after - start) // self.every + 1, 1) * self.every
        return range(first, LAST_INSTANT, self.every)


@dataclass(frozen=True, slots=True)
class OneShot:
    """Once, at an instant."""

    at: int

    def instants_after(self, after: int, anchor: int | None = None) -> range:
        """The instant, if it is strictly after the given one."""
        del anchor
        return range(self.at, self.at + (self.at > after))


@dataclass(frozen=True, slots=True)
class CronTimes:
    """Where a zone's clock shows a time that a cron rule names."""

    rule: CronRule
    zone: ZoneOffsets

    def instants_after(self, after: int, anchor: int | None = None) -> Iterator[int]:
        """Occurrences strictly after an instant."""
        del anchor
        if not self.rule.can_fire:
            return
        begin = max(after - _REACH, FIRST_INSTANT)
        opening = OffsetChange(begin, self.zone.at(begin), self.zone.at(begin))
        closing = OffsetChange(LAST_INSTANT, 0, 0)
        for change in chain(self.zone.changes_after(begin), [closing]):
            if change.at > after:
                yield from self._between(opening, change.at, max(after + 1, opening.at))
            opening = change

    def mark(self, at: int) -> ClockMark | None:
        """How a change of the clock touches an occurrence.

        Args:
            at: An occurrence.

        Returns:
            `moved` when the wall time it stands for is missing that day, `repeated` when the clock
            shows its wall time twice, else None.
        """
        for change in self.zone.changes_after(at - _REACH):
            forward = change.forward
            if change.at + forward <= at < change.at - forward:
                return ClockMark.REPEATED
            in_gap = change.at <= at < change.at + forward
            if in_gap and not self.rule.matches(at + change.after):
                return ClockMark.MOVED
            if change.at > at:
                break
        return None

    def _between(self, opening: OffsetChange, end: int, low: int) -> Iterator[int]:
        """Occurrences in [low, end), up to the change that follows the opening one."""
        offset = opening.after
        seen = opening.at + opening.before
        first = low + offset
        if self.rule.hour_is_fixed:
            # What the clock showed before it was put back has fired already.
            first = max(first, seen)
        shown = (wall - offset for wall in self.rule.walls(first, end + offset))
        if opening.forward <= 0 or low >= opening.at + opening.forward:
            return shown
        missing = self.rule.walls(low + opening.before, opening.at + offset)
        moved = (wall - opening.before for wall in missing)
        return (instant for instant, _ in groupby(merge(moved, shown)))


Recurrence = Interval | OneShot | CronTimes
