"""Time zones by IANA name: which names exist, and when a zone's offset from UTC changes.

Owns reading the pinned `tzdata` package. Never looks at the host's zone files, at TZPATH or at the
environment: another version of a file would change decisions when a workflow is replayed.
Does not own what a change means for a schedule (`domain.recurrence`).
Source: automation.md §5 "Zones and DST".

Invariants:
    1. A name is accepted only in the spelling of the package's own index.
    2. A change is listed only where the offset differs; a new abbreviation alone is no change.
    3. Instants and offsets are whole seconds, instants since 1970-01-01T00:00:00Z.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from itertools import pairwise
from zoneinfo import ZoneInfo

from domain.errors import DomainError, ErrorKind
from domain.fields import shown

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = 86_400
# Two days inside what datetime can hold, so that no offset leads out of it.
FIRST_INSTANT = (datetime(1, 1, 3, tzinfo=UTC) - EPOCH) // timedelta(seconds=1)
LAST_INSTANT = (datetime(9999, 12, 30, tzinfo=UTC) - EPOCH) // timedelta(seconds=1)

# RFC 8536: magic, version; the counts of UT marks, standard marks, leaps, times, types, characters.
_HEADER = struct.Struct(">4sc15x6l")
# The two changes of a yearly rule lie months apart.
_PROBE = 10 * DAY


@dataclass(frozen=True, slots=True)
class OffsetChange:
    """One change of a zone's offset.

    Attributes:
        at: First instant with the new offset.
        before: Offset from UTC until then, in seconds, east positive.
        after: Offset from then on.
    """

    at: int
    before: int
    after: int

    @property
    def forward(self) -> int:
        """By how many seconds the clock jumps ahead; negative when it is put back."""
        return self.after - self.before


@dataclass(frozen=True, slots=True)
class ZoneOffsets:
    """The offsets of one zone over time.

    Attributes:
        name: IANA name.
        info: The same zone for `datetime`.
        listed: The changes that the file lists, in order.
        follows_rule: Whether a yearly rule goes on after the last listed change.
    """

    name: str
    info: ZoneInfo
    listed: tuple[OffsetChange, ...]
    follows_rule: bool

    def at(self, instant: int) -> int:
        """The offset from UTC at an instant, in seconds, east positive."""
        return _offset(self.info, min(max(instant, FIRST_INSTANT), LAST_INSTANT))

    def changes_after(self, instant: int) -> Iterator[OffsetChange]:
        """All changes strictly after an instant, in order; with a rule, up to the year 9998."""
        yield from self.listed[bisect_right(self.listed, instant, key=_moment) :]
        if self.follows_rule:
            start = max(instant, self.listed[-1].at) if self.listed else instant
            for year in range(instant_to_utc(start).year, 9999):
                yield from (c for c in _changes_by_rule(self.name, year) if c.at > start)


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every zone name of the package."""
    return frozenset(files("tzdata").joinpath("zones").read_text(encoding="utf-8").split())


def require_zone(value: object, field: str) -> str:
    """Check the name of a zone.

    Args:
        value: What was given; blanks around it do not count.
        field: Dotted path for the error.

    Returns:
        The name as the index spells it.

    Raises:
        DomainError: `invalid_field` on `field`, with the right spelling if only the case is wrong.
    """
    name = value.strip() if isinstance(value, str) else value
    if isinstance(name, str) and name in zone_names():
        return name
    lowered = name.lower() if isinstance(name, str) else ""
    accepted = [known for known in zone_names() if known.lower() == lowered]
    hint = f"; did you mean {accepted[0]!r}?" if accepted else ", such as 'Europe/Berlin' or 'UTC'"
    message = f"{field} must be an IANA time zone name, not {shown(name)}{hint}"
    raise DomainError(ErrorKind.INVALID_FIELD, field, message, accepted)


def optional_zone(value: object, field: str) -> str | None:
    """As `require_zone`, for a zone that may be left out: null and blank are None."""
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    return require_zone(value, field)


def load_zone(name: str, field: str = "timezone") -> ZoneInfo:
    """A zone for use with `datetime`, from the package and never from the host.

    Raises:
        DomainError: `invalid_field` on `field` when there is no such zone.
    """
    return zone_offsets(require_zone(name, field)).info


@lru_cache(maxsize=1024)
def zone_offsets(name: str) -> ZoneOffsets:
    """The offsets of a zone whose name `require_zone` has accepted."""
    data = files("tzdata").joinpath("zoneinfo", *name.split("/")).read_bytes()
    info = ZoneInfo.from_file(BytesIO(data), key=name)
    times = (time for time in _transition_times(data) if time > FIRST_INSTANT)
    steps = (OffsetChange(t, _offset(info, t - 1), _offset(info, t)) for t in times)
    # The file ends in a POSIX rule between line ends; only one with daylight time has a comma.
    follows_rule = b"," in data.rsplit(b"\n", 2)[1]
    return ZoneOffsets(name, info, tuple(step for step in steps if step.forward), follows_rule)


def utc_to_instant(moment: datetime) -> int:
    """Whole seconds since 1970 of an aware time; a fraction of a second is dropped."""
    return (moment - EPOCH) // timedelta(seconds=1)


def instant_to_utc(instant: int) -> datetime:
    """The time in UTC of an instant."""
    return EPOCH + timedelta(seconds=instant)


def _offset(info: ZoneInfo, instant: int) -> int:
    offset = instant_to_utc(instant).astimezone(info).utcoffset() or timedelta()
    return offset // timedelta(seconds=1)


def _moment(change: OffsetChange) -> int:
    return change.at


def _transition_times(data: bytes) -> tuple[int, ...]:
    """The instants of the 64-bit block of a zone file (RFC 8536); the 32-bit block is skipped."""
    _, _, ut_marks, std_marks, leaps, times, types, chars = _HEADER.unpack_from(data)
    second = _HEADER.size + times * 5 + types * 6 + chars + leaps * 8 + std_marks + ut_marks
    count = _HEADER.unpack_from(data, second)[5]
    return struct.unpack_from(f">{count}q", data, second + _HEADER.size)


@lru_cache(maxsize=8192)
def _changes_by_rule(name: str, year: int) -> tuple[OffsetChange, ...]:
    """What the zone's rule does in a year."""
    info = zone_offsets(name).info
    start, end = (utc_to_instant(datetime(y, 1, 1, tzinfo=UTC)) for y in (year, year + 1))
    probes = [(instant, _offset(info, instant)) for instant in (*range(start, end, _PROBE), end)]
    return tuple(
        OffsetChange(_first_with(info, after, low, high), before, after)
        for (low, before), (high, after) in pairwise(probes)
        if before != after
    )


def _first_with(info: ZoneInfo, offset: int, low: int, high: int) -> int:
    """The first instant in (low, high] that has the offset, which high has and low has not."""
    while high - low > 1:
        middle = (low + high) // 2
        if _offset(info, middle) == offset:
            high = middle
        else:
            low = middle
    return high
