"""Occurrences against independent truths: croniter, and a walk over real minutes.

croniter knows the five fields but not our DST rule, so it is asked where the clock never changes.
Around changes the oracle is the clock itself: every minute of UTC is shown on the zone's clock, and
the rule of automation.md §5 is applied to what was seen, without computing any offset backwards.
"""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

import pytest
from croniter import croniter
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from domain.schedule import (
    Schedule,
    TemporalSpec,
    count_between,
    hour_is_fixed,
    is_occurrence,
    load_zone,
    next_run_at,
    next_transitions,
    occurrences,
    single_instants,
    to_temporal_spec,
)
from tests.unit.cron_texts import CronCase, cron_cases

# How many random expressions each comparison sees in a normal run.
CRONITER_CASES = 2000
ORACLE_CASES_PER_ZONE = 60
COVER_CASES_PER_ZONE = 25

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
# Days around which the clock changes: far enough for a skipped day.
REACH = timedelta(hours=40)

CHANGES = {
    "America/New_York": ["2026-03-08T07:00", "2026-11-01T06:00", "2041-03-10T07:00"],
    "Europe/Berlin": ["2026-03-29T01:00", "2026-10-25T01:00", "2045-03-26T01:00"],
    "Europe/Dublin": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "Australia/Lord_Howe": ["2026-04-04T15:00", "2026-10-03T15:30", "1981-02-28T14:00"],
    "Asia/Kolkata": ["1941-09-30T18:30", "1945-10-14T17:30"],
    "Asia/Kathmandu": ["1985-12-31T18:30"],
    "America/Sao_Paulo": ["2018-02-18T02:00", "2018-11-04T03:00", "2019-02-17T02:00"],
    "Pacific/Apia": ["2011-12-30T10:00", "2011-09-24T14:00", "2012-03-31T14:00"],
    "Africa/Casablanca": ["2026-02-15T02:00", "2026-03-22T02:00"],
    "Antarctica/Troll": ["2026-03-29T01:00", "2026-10-25T01:00"],
    "Asia/Pyongyang": ["2015-08-14T15:00", "2018-05-04T15:00"],
}


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def cron(expr: str, zone: str) -> Schedule:
    return Schedule(cron_expr=expr, timezone=zone)


@settings(
    max_examples=CRONITER_CASES,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
)
@given(
    case=cron_cases(["*"]),
    start=st.datetimes(datetime(2000, 1, 1), datetime(2060, 1, 1)),  # noqa: DTZ001  # as hypothesis wants it
    zone=st.sampled_from(["UTC", "Asia/Kolkata", "Asia/Kathmandu", "Etc/GMT+5"]),
)
def test_croniter_agrees_where_the_clock_never_changes(
    case: CronCase, start: datetime, zone: str
) -> None:
    assume(case.can_fire)
    # To croniter a weekday field that names all seven days is no restriction, whatever its text.
    assume(len(case.day_of_week.values) < 7 or not case.day_of_week.restricted)
    local = start.replace(microsecond=0, tzinfo=load_zone(zone))
    oracle = croniter(case.expr, local.replace(tzinfo=UTC), max_years_between_matches=10)
    expected = [oracle.get_next(datetime) for _ in range(3)]
    found = occurrences(local, cron(case.expr, zone), 3)
    shown = [at.astimezone(local.tzinfo).replace(tzinfo=UTC) for at in found]
    assert shown == expected, case.expr


class Walk:
    """What a zone's clock shows, minute by minute, around one change."""

    def __init__(self, zone: str, change: datetime) -> None:
        self.first, self.last = change - REACH, change + REACH
        clock = load_zone(zone)
        self.shown: dict[datetime, list[datetime]] = {}
        self.missing: list[tuple[datetime, datetime]] = []
        before: datetime | None = None
        at = self.first
        while at <= self.last:
            wall = at.astimezone(clock).replace(tzinfo=None)
            self.shown.setdefault(wall, []).append(at)
            skipped = wall if before is None else before + MINUTE
            length = wall - skipped
            # As if the clock had gone on unchanged: the n-th missing minute is n minutes on.
            self.missing += [
                (skipped + n * MINUTE, at + n * MINUTE) for n in range(max(length // MINUTE, 0))
            ]
            before, at = wall, at + MINUTE

    def occurrences(self, case: CronCase) -> list[datetime]:
        found: set[datetime] = set()
        for wall, instants in self.shown.items():
            if names(case, wall):
                found.update(instants[:1] if case.hour.plain else instants)
        found.update(instant for wall, instant in self.missing if names(case, wall))
        return sorted(found)


def names(case: CronCase, wall: datetime) -> bool:
    """Whether an expression names a wall time."""
    if wall.minute not in case.minute.values or wall.hour not in case.hour.values:
        return False
    by_date = wall.day in case.day_of_month.values
    by_weekday = wall.isoweekday() % 7 in case.day_of_week.values
    either = case.day_of_month.restricted and case.day_of_week.restricted
    return wall.month in case.month.values and (
        by_date or by_weekday if either else by_date and by_weekday
    )


@lru_cache
def walk(zone: str, change: str) -> Walk:
    return Walk(zone, utc(change))


@pytest.mark.parametrize(
    ("zone", "change"), [(z, c) for z, found in CHANGES.items() for c in found]
)
def test_the_clock_changes_there(zone: str, change: str) -> None:
    assert next_transitions(zone, utc(change) - MINUTE, 1) == [utc(change)]


@pytest.mark.parametrize("zone", CHANGES)
def test_the_clock_itself_agrees_around_its_changes(zone: str) -> None:
    @settings(
        max_examples=ORACLE_CASES_PER_ZONE,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(
        case=cron_cases(by_night=True),
        change=st.sampled_from(CHANGES[zone]),
        after=st.integers(0, 2 * REACH // MINUTE),
    )
    def compare(case: CronCase, change: str, after: int) -> None:
        seen = walk(zone, change)
        schedule = cron(case.expr, zone)
        expected = seen.occurrences(case)
        found = occurrences_until(seen.first - MINUTE, seen.last, schedule)
        assert found == expected, case.expr
        assert hour_is_fixed(case.expr) == case.hour.plain
        start = seen.first + after * MINUTE
        later = [at for at in expected if at > start]
        upcoming = next_run_at(start, schedule)
        if later:
            assert upcoming == later[0]
        else:
            assert upcoming is None or upcoming > seen.last
        assert is_occurrence(start, schedule) == (start in expected)

    compare()


def occurrences_until(after: datetime, until: datetime, schedule: Schedule) -> list[datetime]:
    return occurrences(after, schedule, count_between(after, until, schedule))


class TestServer:
    """What the server is told covers the truth, whatever it does around changes.

    The server is taken at its worst: within three hours of a change its calendars fire nothing.
    """

    WORST = 3 * HOUR
    ZONES = (
        "America/New_York",
        "America/Sao_Paulo",
        "Antarctica/Troll",
        "Asia/Kathmandu",
        "Asia/Kolkata",
        "Australia/Lord_Howe",
        "Europe/Berlin",
        "Europe/Dublin",
        "Africa/Casablanca",
        "UTC",
    )

    @pytest.mark.parametrize("zone", ZONES)
    def test_every_occurrence_until_the_second_change_is_covered(self, zone: str) -> None:
        @settings(
            max_examples=COVER_CASES_PER_ZONE,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        @given(
            case=cron_cases(by_night=True),
            anchor=st.datetimes(datetime(2010, 1, 1), datetime(2060, 1, 1)),  # noqa: DTZ001  # as hypothesis wants it
        )
        def compare(case: CronCase, anchor: datetime) -> None:
            start = anchor.replace(tzinfo=UTC)
            schedule = cron(case.expr, zone)
            changes = next_transitions(zone, start, 2)
            spec, instants = to_temporal_spec(schedule, start), single_instants(schedule, start)
            assert spec.intervals == []
            end = changes[1] + self.WORST if len(changes) == 2 else start + timedelta(days=400)
            probes = [start, *(change - 5 * HOUR for change in changes)]
            for probe in (probe for probe in probes if probe >= start):
                until = min(end, probe + timedelta(days=100))
                for at in occurrences_until(probe, until, schedule)[:600]:
                    near = any(abs(at - change) <= self.WORST for change in changes)
                    safe = spec.timezone_name == "UTC" or not near
                    covered = at in instants or (safe and fires(spec, at))
                    assert covered, (case.expr, at)

        compare()


def fires(spec: TemporalSpec, at: datetime) -> bool:
    """Whether a calendar of the server matches, all its fields together."""
    wall = at.astimezone(load_zone(spec.timezone_name))
    values = {
        "second": wall.second,
        "minute": wall.minute,
        "hour": wall.hour,
        "day_of_month": wall.day,
        "month": wall.month,
        "day_of_week": wall.isoweekday() % 7,
    }
    return any(
        all(
            any(value in range(item.start, item.end + 1, item.step) for item in ranges)
            for field, value in values.items()
            if (ranges := getattr(calendar, field))
        )
        for calendar in spec.calendars
    )
