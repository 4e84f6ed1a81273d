"""When a routine fires: intervals, one-shots, cron and the clock's changes, example by example."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone

import pytest

from domain.errors import DomainError, ErrorKind
from domain.schedule import (
    ClockMark,
    Schedule,
    clock_mark,
    count_between,
    is_occurrence,
    load_zone,
    next_run_at,
    next_transitions,
    occurrences,
    single_instants,
)
from domain.timestamps import format_timestamp


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def cron(expr: str, zone: str = "UTC") -> Schedule:
    return Schedule(cron_expr=expr, timezone=zone)


def fires(expr: str, zone: str, first: str, last: str, *, year: int | None = None) -> list[str]:
    """Occurrences in [first, last], as `DDTHH:MM` in UTC."""
    prefix = "" if year is None else f"{year}-"
    start, end = (utc(f"{prefix}{text}Z") for text in (first, last))
    found: list[str] = []
    at = next_run_at(start - timedelta(seconds=1), cron(expr, zone))
    while at is not None and at <= end:
        found.append(at.strftime("%dT%H:%M"))
        at = next_run_at(at, cron(expr, zone))
    return found


def refused(schedule: Schedule | Mapping[str, object]) -> DomainError:
    with pytest.raises(DomainError) as caught:
        next_run_at("2026-01-01T00:00:00Z", schedule)
    return caught.value


class TestInterval:
    EVERY = Schedule(every_seconds=3600)

    def test_without_anchor_counts_from_after(self) -> None:
        assert next_run_at("2026-01-01T10:07:00Z", self.EVERY) == utc("2026-01-01T11:07:00Z")

    @pytest.mark.parametrize(
        ("after", "expected"),
        [
            ("2025-12-31T00:00:00Z", "2026-01-01T11:07:00Z"),
            ("2026-01-01T10:07:00Z", "2026-01-01T11:07:00Z"),
            ("2026-01-01T11:06:59Z", "2026-01-01T11:07:00Z"),
            ("2026-01-01T11:07:00Z", "2026-01-01T12:07:00Z"),
            ("2026-03-29T12:00:00Z", "2026-03-29T12:07:00Z"),
        ],
    )
    def test_with_anchor_is_anchor_plus_multiples(self, after: str, expected: str) -> None:
        found = next_run_at(after, self.EVERY, "2026-01-01T10:07:00Z")
        assert found == utc(expected)

    def test_drops_fractions_of_a_second(self) -> None:
        anchor = "2026-01-01T00:00:00.999Z"
        assert next_run_at("2026-01-01T00:59:59.9Z", self.EVERY, anchor) == utc(
            "2026-01-01T01:00:00Z"
        )
        assert next_run_at("2026-01-01T00:00:00.7Z", self.EVERY) == utc("2026-01-01T01:00:00Z")

    def test_ignores_the_zone(self) -> None:
        schedule = Schedule(every_seconds=86_400, timezone="Europe/Berlin")
        anchor = utc("2026-03-27T09:00:00Z")
        found = occurrences(anchor, schedule, 4, anchor)
        assert {at.hour for at in found} == {9}

    def test_words_are_intervals(self) -> None:
        found = next_run_at("2026-01-01T00:00:00Z", {"cron_expr": "every 2h"})
        assert found == utc("2026-01-01T02:00:00Z")

    def test_ends_with_the_years(self) -> None:
        assert next_run_at("9999-12-31T00:00:00Z", self.EVERY) is None


class TestOneShot:
    SCHEDULE = Schedule(run_at=utc("2026-02-03T04:05:06.7Z"))

    def test_occurs_once(self) -> None:
        at = utc("2026-02-03T04:05:06Z")
        assert next_run_at("2026-01-01T00:00:00Z", self.SCHEDULE) == at
        assert next_run_at(at - timedelta(seconds=1), self.SCHEDULE) == at
        assert next_run_at(at, self.SCHEDULE) is None
        assert occurrences("2026-01-01T00:00:00Z", self.SCHEDULE, 5) == [at]
        assert is_occurrence(at, self.SCHEDULE)

    def test_may_come_as_json(self) -> None:
        found = next_run_at("2026-01-01T00:00:00Z", {"run_at": "2026-02-03T05:05:06+01:00"})
        assert found == utc("2026-02-03T04:05:06Z")


class TestCron:
    def test_is_strictly_after(self) -> None:
        daily = cron("0 9 * * *")
        assert next_run_at("2026-01-01T08:59:59Z", daily) == utc("2026-01-01T09:00:00Z")
        assert next_run_at("2026-01-01T09:00:00Z", daily) == utc("2026-01-02T09:00:00Z")
        assert next_run_at("2026-01-01T09:00:00.5Z", daily) == utc("2026-01-02T09:00:00Z")

    @pytest.mark.parametrize(
        ("zone", "expected"),
        [
            ("UTC", "2026-01-02T09:00:00Z"),
            ("Europe/Berlin", "2026-01-02T08:00:00Z"),
            ("America/New_York", "2026-01-01T14:00:00Z"),
            ("Asia/Kolkata", "2026-01-02T03:30:00Z"),
            ("Asia/Kathmandu", "2026-01-02T03:15:00Z"),
            ("Pacific/Kiritimati", "2026-01-01T19:00:00Z"),
        ],
    )
    def test_follows_the_clock_of_the_zone(self, zone: str, expected: str) -> None:
        assert next_run_at("2026-01-01T12:00:00Z", cron("0 9 * * *", zone)) == utc(expected)

    def test_weekdays_are_those_of_the_zone(self) -> None:
        # Monday morning in Auckland is still Sunday in UTC.
        found = next_run_at("2026-01-01T00:00:00Z", cron("0 9 * * 1", "Pacific/Auckland"))
        assert found == utc("2026-01-04T20:00:00Z")

    def test_both_day_fields_restricted_means_either(self) -> None:
        found = occurrences("2026-02-01T00:00:00Z", cron("0 0 13 * 1"), 5)
        assert [at.day for at in found] == [2, 9, 13, 16, 23]

    def test_a_stored_one_that_never_fires_has_no_next_time(self) -> None:
        never = cron("0 0 30 2 *", "America/New_York")
        assert next_run_at("2026-01-01T00:00:00Z", never) is None
        assert occurrences("2026-01-01T00:00:00Z", never, 3) == []
        assert not is_occurrence("2026-03-02T05:00:00Z", never)
        assert single_instants(never, "2026-01-01T00:00:00Z") == []

    def test_leap_days_are_found_across_eight_years(self) -> None:
        found = next_run_at("2096-02-29T00:00:00Z", cron("0 0 29 2 *"))
        assert found == utc("2104-02-29T00:00:00Z")

    def test_ends_with_the_years(self) -> None:
        assert next_run_at("9999-12-31T00:00:00Z", cron("* * * * *", "Europe/Berlin")) is None
        assert next_run_at("9997-01-01T00:00:00Z", cron("0 0 29 2 *")) is None

    def test_begins_with_the_years(self) -> None:
        found = next_run_at("0001-01-01T00:00:00Z", cron("0 0 1 2 *"))
        assert found == utc("0001-02-01T00:00:00Z")

    def test_takes_a_zone_prefix(self) -> None:
        for values in (
            {"cron_expr": "TZ=Asia/Kolkata 0 9 * * *"},
            {"cron_expr": "TZ=Asia/Kolkata 0 9 * * *", "timezone": "Asia/Kolkata"},
            Schedule(cron_expr="CRON_TZ=Asia/Kolkata 0 9 * * *"),
        ):
            assert next_run_at("2026-01-01T00:00:00Z", values) == utc("2026-01-01T03:30:00Z")


class TestSpringForward:
    """A wall time that does not exist fires once, moved by the length of the gap."""

    def test_daily(self) -> None:
        berlin = fires("30 2 * * *", "Europe/Berlin", "03-28T00:00", "03-31T00:00", year=2026)
        assert berlin == ["28T01:30", "29T01:30", "30T00:30"]
        york = fires("30 2 * * *", "America/New_York", "03-07T00:00", "03-10T00:00", year=2026)
        assert york == ["07T07:30", "08T07:30", "09T06:30"]

    def test_merges_with_an_equal_occurrence(self) -> None:
        york = fires("0 2,3 * * *", "America/New_York", "03-08T00:00", "03-09T12:00", year=2026)
        assert york == ["08T07:00", "09T06:00", "09T07:00"]

    def test_an_hourly_cadence_is_kept(self) -> None:
        found = fires("0 * * * *", "America/New_York", "03-08T05:00", "03-08T10:00", year=2026)
        assert found == ["08T05:00", "08T06:00", "08T07:00", "08T08:00", "08T09:00", "08T10:00"]

    def test_the_missing_hour_every_quarter(self) -> None:
        found = fires("*/15 2 * * *", "Europe/Berlin", "03-29T00:00", "03-29T03:00", year=2026)
        assert found == ["29T01:00", "29T01:15", "29T01:30", "29T01:45"]

    def test_moved_and_shown_ones_come_in_order(self) -> None:
        found = fires("10 2 * * *", "Europe/Berlin", "03-29T00:00", "03-29T03:00", year=2026)
        assert found == ["29T01:10"]
        both = fires("10,50 2-3 * * *", "Europe/Berlin", "03-29T00:00", "03-29T03:00", year=2026)
        assert both == ["29T01:10", "29T01:50"]
        mixed = cron("0-59/20 2,3 29 3 *", "Europe/Berlin")
        assert [at.minute for at in occurrences("2026-03-28T12:00:00Z", mixed, 3)] == [0, 20, 40]

    def test_half_an_hour(self) -> None:
        found = fires("15 2 * * *", "Australia/Lord_Howe", "10-02T12:00", "10-05T00:00", year=2026)
        # 02:15 is 15:45 before (+10:30), shown as 02:45 that day, and 15:15 after (+11).
        assert found == ["02T15:45", "03T15:45", "04T15:15"]

    def test_day_fields_are_tested_on_the_missing_wall_time(self) -> None:
        # In 2018 the clock of Sao Paulo went from Saturday midnight to Sunday 01:00.
        sunday = fires("0 0 * * 0", "America/Sao_Paulo", "11-03T00:00", "11-06T00:00", year=2018)
        assert sunday == ["04T03:00"]
        saturday = fires("30 0 * * 6", "America/Sao_Paulo", "11-03T00:00", "11-06T00:00", year=2018)
        assert saturday == ["03T03:30"]

    def test_a_day_that_does_not_exist(self) -> None:
        # Apia went from Thursday 2011-12-29 to Saturday 2011-12-31.
        friday = fires("0 9 * * 5", "Pacific/Apia", "12-28T00:00", "12-31T23:00", year=2011)
        assert friday == ["30T19:00"]
        assert (
            load_zone("Pacific/Apia")
            .fromutc(datetime(2011, 12, 30, 19, tzinfo=load_zone("Pacific/Apia")))
            .strftime("%a %d %H:%M")
            == "Sat 31 09:00"
        )
        daily = fires("0 9 * * *", "Pacific/Apia", "12-28T00:00", "12-31T23:00", year=2011)
        assert daily == ["28T19:00", "29T19:00", "30T19:00", "31T19:00"]
        thirtieth = fires("0 9 30 12 *", "Pacific/Apia", "12-28T00:00", "12-31T23:00", year=2011)
        assert thirtieth == ["30T19:00"]

    def test_after_lies_inside_the_hour_that_was_moved_to(self) -> None:
        schedule = cron("0,30 2 * * *", "Europe/Berlin")
        assert next_run_at("2026-03-29T01:00:00Z", schedule) == utc("2026-03-29T01:30:00Z")
        assert next_run_at("2026-03-29T01:30:00Z", schedule) == utc("2026-03-30T00:00:00Z")


class TestFallBack:
    """A wall time that occurs twice fires once with a fixed hour, twice without."""

    def test_fixed_hours_fire_the_first_time(self) -> None:
        york = fires("30 1 * * *", "America/New_York", "10-31T00:00", "11-03T00:00", year=2026)
        assert york == ["31T05:30", "01T05:30", "02T06:30"]
        berlin = fires("30 2 * * *", "Europe/Berlin", "10-24T00:00", "10-27T00:00", year=2026)
        assert berlin == ["24T00:30", "25T00:30", "26T01:30"]

    def test_every_minute_of_a_fixed_hour_fires_once(self) -> None:
        found = fires("* 1 * * *", "America/New_York", "11-01T00:00", "11-01T12:00", year=2026)
        assert found == [f"01T05:{minute:02}" for minute in range(60)]

    @pytest.mark.parametrize("hour", ["*", "1-1", "*/1", "1/24", "0-1"])
    def test_other_hours_fire_both_times(self, hour: str) -> None:
        found = fires(
            f"30 {hour} * * *", "America/New_York", "11-01T05:00", "11-01T06:59", year=2026
        )
        assert found == ["01T05:30", "01T06:30"]

    def test_after_lies_between_the_two(self) -> None:
        fixed, free = (
            cron("30 1 * * *", "America/New_York"),
            cron("30 */1 * * *", "America/New_York"),
        )
        between = "2026-11-01T06:10:00Z"
        assert next_run_at(between, fixed) == utc("2026-11-02T06:30:00Z")
        assert next_run_at(between, free) == utc("2026-11-01T06:30:00Z")

    def test_half_an_hour(self) -> None:
        # On 2026-04-05 at 02:00 (+11) Lord Howe puts the clock back to 01:30 (+10:30).
        fixed = fires("45 1 * * *", "Australia/Lord_Howe", "04-03T12:00", "04-06T00:00", year=2026)
        assert fixed == ["03T14:45", "04T14:45", "05T15:15"]
        free = fires("45 1-1 * * *", "Australia/Lord_Howe", "04-04T12:00", "04-05T00:00", year=2026)
        assert free == ["04T14:45", "04T15:15"]

    def test_at_midnight_the_day_is_shown_twice(self) -> None:
        # In 2018 the clock of Sao Paulo went from Sunday midnight back to Saturday 23:00.
        fixed = fires("0 23 * * 6", "America/Sao_Paulo", "02-17T00:00", "02-19T00:00", year=2018)
        assert fixed == ["18T01:00"]
        free = fires("0 23-23 * * 6", "America/Sao_Paulo", "02-17T00:00", "02-19T00:00", year=2018)
        assert free == ["18T01:00", "18T02:00"]

    def test_negative_daylight_time(self) -> None:
        # By the letter of its law Dublin has daylight time in winter; the clock is the same.
        found = fires("30 1 * * *", "Europe/Dublin", "10-24T00:00", "10-26T12:00", year=2026)
        assert found == ["24T00:30", "25T00:30", "26T01:30"]


class TestQuestions:
    def test_occurrences_are_as_many_as_asked(self) -> None:
        found = occurrences("2026-01-01T00:00:00Z", cron("0 9 * * *"), 3)
        assert found == [utc(f"2026-01-0{day}T09:00:00Z") for day in (1, 2, 3)]
        assert occurrences("2026-01-01T00:00:00Z", cron("0 9 * * *"), 0) == []

    def test_times_may_come_in_any_zone(self) -> None:
        after = datetime(2026, 1, 1, 9, tzinfo=timezone(timedelta(hours=2)))
        found = next_run_at(after, cron("0 9 * * *"))
        assert found == utc("2026-01-01T09:00:00Z")
        assert found is not None
        assert found.tzinfo is UTC

    def test_is_occurrence(self) -> None:
        schedule = cron("30 1 * * *", "America/New_York")
        assert is_occurrence("2026-11-01T05:30:00Z", schedule)
        assert is_occurrence("2026-11-01T05:30:00.4Z", schedule)
        assert not is_occurrence("2026-11-01T06:30:00Z", schedule)
        assert not is_occurrence("2026-11-01T05:30:01Z", schedule)

    def test_is_occurrence_of_an_interval_asks_for_its_anchor(self) -> None:
        schedule = Schedule(every_seconds=3600)
        anchor = "2026-01-01T10:07:00Z"
        assert is_occurrence("2026-01-01T11:07:00Z", schedule, anchor)
        assert not is_occurrence(anchor, schedule, anchor)
        assert not is_occurrence("2026-01-01T11:00:00Z", schedule, anchor)
        assert not is_occurrence("2026-01-01T11:07:00Z", schedule)

    def test_count_excludes_the_start_and_includes_the_end(self) -> None:
        hourly = cron("0 * * * *")
        assert count_between("2026-01-01T00:00:00Z", "2026-01-01T03:00:00Z", hourly) == 3
        assert count_between("2026-01-01T00:00:00Z", "2026-01-01T02:59:59Z", hourly) == 2
        assert count_between("2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", hourly) == 0
        assert count_between("2026-01-02T00:00:00Z", "2026-01-01T00:00:00Z", hourly) == 0

    def test_count_of_intervals_and_one_shots(self) -> None:
        every, anchor = Schedule(every_seconds=60), "2026-01-01T00:00:30Z"
        span = ("2026-01-01T00:00:00Z", "2026-01-01T00:10:30Z")
        assert count_between(*span, every, anchor) == 10
        assert count_between(*span, every) == 10
        assert count_between(*span, every, limit=4) == 4
        assert count_between(*span, {"run_at": "2026-01-01T00:10:30Z"}) == 1
        assert count_between(*span, {"run_at": "2026-01-01T00:10:31Z"}) == 0

    def test_count_stops_at_the_limit(self) -> None:
        minutely = cron("* * * * *")
        assert count_between("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z", minutely, limit=7) == 7

    def test_next_transitions(self) -> None:
        found = next_transitions("Europe/Berlin", "2026-01-01T00:00:00Z")
        assert found == [utc("2026-03-29T01:00:00Z"), utc("2026-10-25T01:00:00Z")]
        assert next_transitions("Europe/Berlin", found[0], 1) == [found[1]]
        assert next_transitions("Asia/Kolkata", "2026-01-01T00:00:00Z") == []
        with pytest.raises(DomainError, match="IANA"):
            next_transitions("Mars/Base", "2026-01-01T00:00:00Z")

    @pytest.mark.parametrize(
        ("at", "expr", "mark"),
        [
            ("2026-03-29T01:30:00Z", "30 2 * * *", ClockMark.MOVED),
            ("2026-03-29T01:30:00Z", "30 2,3 * * *", None),
            ("2026-03-29T02:00:00Z", "0 4 * * *", None),
            ("2026-03-28T01:30:00Z", "30 2 * * *", None),
            ("2026-10-24T23:30:00Z", "30 1 * * *", None),
            ("2026-10-25T00:00:00Z", "0 2 * * *", ClockMark.REPEATED),
            ("2026-10-25T00:30:00Z", "30 2 * * *", ClockMark.REPEATED),
            ("2026-10-25T01:30:00Z", "30 * * * *", ClockMark.REPEATED),
            ("2026-10-25T02:00:00Z", "0 * * * *", None),
            ("2026-07-01T00:00:00Z", "0 2 * * *", None),
        ],
    )
    def test_the_preview_marks_moved_and_repeated_times(
        self, at: str, expr: str, mark: ClockMark | None
    ) -> None:
        schedule = cron(expr, "Europe/Berlin")
        assert is_occurrence(at, schedule)
        assert clock_mark(at, schedule) == mark

    def test_without_changes_or_clock_there_is_no_mark(self) -> None:
        assert clock_mark("2026-07-01T00:00:00Z", cron("0 0 * * *")) is None
        assert clock_mark("2026-07-01T00:00:00Z", Schedule(every_seconds=60)) is None


class TestSingleInstants:
    def test_are_the_occurrences_within_three_hours_of_each_change(self) -> None:
        found = single_instants(cron("0 * * * *", "Europe/Berlin"), "2026-01-01T00:00:00Z")
        spring = [f"2026-03-28T{hour}:00:00Z" for hour in (22, 23)]
        spring += [f"2026-03-29T0{hour}:00:00Z" for hour in range(5)]
        autumn = [f"2026-10-24T{hour}:00:00Z" for hour in (22, 23)]
        autumn += [f"2026-10-25T0{hour}:00:00Z" for hour in range(5)]
        assert [format_timestamp(at) for at in found] == spring + autumn

    def test_of_a_daily_rule(self) -> None:
        found = single_instants(cron("30 2 * * *", "America/New_York"), "2026-01-01T00:00:00Z")
        assert found == [utc("2026-03-08T07:30:00Z"), utc("2026-11-01T07:30:00Z")]

    def test_count_changes_strictly_after_the_anchor(self) -> None:
        schedule = cron("30 2 * * *", "America/New_York")
        found = single_instants(schedule, "2026-03-08T07:00:00Z", 1)
        assert found == [utc("2026-11-01T07:30:00Z")]
        assert single_instants(schedule, "2026-03-08T06:59:59Z", 1) == [utc("2026-03-08T07:30:00Z")]
        assert len(single_instants(schedule, "2026-01-01T00:00:00Z", 5)) == 5
        assert single_instants(schedule, "2026-01-01T00:00:00Z", 0) == []

    @pytest.mark.parametrize(
        "schedule",
        [
            Schedule(every_seconds=60, timezone="Europe/Berlin"),
            {"cron_expr": "every 1h", "timezone": "Europe/Berlin"},
            Schedule(run_at=utc("2026-03-29T01:00:00Z"), timezone="Europe/Berlin"),
            cron("30 2 * * *"),
            cron("30 2 * * *", "Asia/Kolkata"),
            cron("0 12 * * *", "Europe/Berlin"),
        ],
    )
    def test_are_none_elsewhere(self, schedule: Schedule | dict[str, object]) -> None:
        assert single_instants(schedule, "2026-01-01T00:00:00Z") == []


class TestUnreadable:
    @pytest.mark.parametrize(
        ("schedule", "kind", "field"),
        [
            ({}, ErrorKind.MISSING_FIELD, "schedule"),
            (Schedule(), ErrorKind.MISSING_FIELD, "schedule"),
            (
                {"every_seconds": 60, "cron_expr": "* * * * *"},
                ErrorKind.INVALID_FIELD,
                "schedule",
            ),
            ({"every_seconds": 0}, ErrorKind.INVALID_FIELD, "schedule.every_seconds"),
            ({"every_seconds": "60"}, ErrorKind.INVALID_FIELD, "schedule.every_seconds"),
            ({"every_seconds": True}, ErrorKind.INVALID_FIELD, "schedule.every_seconds"),
            ({"cron_expr": "bad"}, ErrorKind.INVALID_FIELD, "schedule.cron_expr"),
            ({"cron_expr": "every 5"}, ErrorKind.INVALID_FIELD, "schedule.cron_expr"),
            (
                {"cron_expr": "0 9 * * *", "timezone": "Mars/Base"},
                ErrorKind.INVALID_FIELD,
                "schedule.timezone",
            ),
            ({"run_at": "soon"}, ErrorKind.INVALID_FIELD, "schedule.run_at"),
        ],
    )
    def test_schedules(
        self, schedule: Schedule | dict[str, object], kind: ErrorKind, field: str
    ) -> None:
        error = refused(schedule)
        assert (error.kind, error.field) == (kind, field)

    @pytest.mark.parametrize("after", ["2026-01-01T00:00:00", "now", datetime(2026, 1, 1)])  # noqa: DTZ001  # naive on purpose
    def test_times(self, after: datetime | str) -> None:
        with pytest.raises(DomainError, match="RFC 3339") as caught:
            next_run_at(after, cron("0 9 * * *"))
        assert caught.value.field == "after"
        with pytest.raises(DomainError) as caught:
            next_run_at("2026-01-01T00:00:00Z", Schedule(every_seconds=60), after)
        assert caught.value.field == "anchor"


class TestSpeed:
    """Bounds are ten times what is usual, so that a busy machine does not matter."""

    def test_a_year_without_occurrence_costs_little(self) -> None:
        schedule = cron("0 0 29 2 *", "America/New_York")
        started = time.perf_counter()
        assert next_run_at("2196-03-01T00:00:00Z", schedule) is not None
        assert time.perf_counter() - started < 0.1

    def test_a_thousand_daily_occurrences(self) -> None:
        schedule = cron("0 9 * * *", "Europe/Berlin")
        occurrences("2026-01-01T00:00:00Z", schedule, 1000)
        started = time.perf_counter()
        assert len(occurrences("2026-01-01T00:00:00Z", schedule, 1000)) == 1000
        assert time.perf_counter() - started < 0.1
