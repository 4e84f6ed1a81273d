"""What the server is told: structured calendars and intervals."""

from datetime import UTC, datetime

import pytest

from domain.schedule import Calendar, CalendarRange, IntervalSpec, Schedule, to_temporal_spec

NEW_YEAR = "2026-01-01T00:00:00Z"
MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS = ("0-59", "0-23", "1-31", "1-12", "0-6")


def written(ranges: list[CalendarRange]) -> str:
    """Ranges as text: `5`, `1-5` or `0-59/15`."""
    texts: list[str] = []
    for item in ranges:
        span = str(item.start) if item.start == item.end else f"{item.start}-{item.end}"
        texts.append(span if item.step == 1 else f"{span}/{item.step}")
    return ",".join(texts)


def fields(calendar: Calendar) -> tuple[str, ...]:
    """Minute to day of the week, as text; second and year are always the same."""
    assert written(calendar.second) == "0"
    assert calendar.year == []
    return tuple(
        written(ranges)
        for ranges in (
            calendar.minute,
            calendar.hour,
            calendar.day_of_month,
            calendar.month,
            calendar.day_of_week,
        )
    )


def calendars(expr: str, zone: str = "Europe/Berlin") -> list[tuple[str, ...]]:
    spec = to_temporal_spec(Schedule(cron_expr=expr, timezone=zone), NEW_YEAR)
    assert spec.intervals == []
    assert spec.start_at is None
    return [fields(calendar) for calendar in spec.calendars]


def zone_of(expr: str, zone: str, anchor: str = NEW_YEAR) -> str:
    return to_temporal_spec(Schedule(cron_expr=expr, timezone=zone), anchor).timezone_name


class TestCalendars:
    @pytest.mark.parametrize(
        ("expr", "expected"),
        [
            ("* * * * *", (MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS)),
            ("? ? ? ? ?", (MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS)),
            ("*/1 */1 */1 */1 */1", (MINUTES, HOURS, DAYS, MONTHS, WEEKDAYS)),
            ("30 9 * * *", ("30", "9", DAYS, MONTHS, WEEKDAYS)),
            ("*/15 9-17/2 * * *", ("0-59/15", "9-17/2", DAYS, MONTHS, WEEKDAYS)),
            ("5/20 20/1 * * *", ("5-59/20", "20-23", DAYS, MONTHS, WEEKDAYS)),
            ("30,0,15 9,07 * * *", ("30,0,15", "9,7", DAYS, MONTHS, WEEKDAYS)),
            ("0 0 1,15-20/5 * *", ("0", "0", "1,15-20/5", MONTHS, WEEKDAYS)),
            ("0 0 1 JAN,jun-Dec *", ("0", "0", "1", "1,6-12", WEEKDAYS)),
            ("0 9 * * MON-FRI", ("0", "9", DAYS, MONTHS, "1-5")),
            ("0 9 * * */2", ("0", "9", DAYS, MONTHS, "0-6/2")),
            ("0 9 * * 5/1", ("0", "9", DAYS, MONTHS, "5-6")),
            ("@weekly", ("0", "0", DAYS, MONTHS, "0")),
            ("0 9 1-31 * *", ("0", "9", "1-31", MONTHS, WEEKDAYS)),
        ],
    )
    def test_have_one_range_per_item_in_the_order_written(
        self, expr: str, expected: tuple[str, ...]
    ) -> None:
        assert calendars(expr) == [expected]

    @pytest.mark.parametrize(
        ("weekday", "expected"),
        [
            ("7", "0"),
            ("5-7", "5,6,0"),
            ("FRI-7", "5,6,0"),
            ("1-7/2", "1,3,5,0"),
            ("4-7/2", "4,6"),
            ("7,1-2", "0,1-2"),
            ("7-7", "0"),
        ],
    )
    def test_write_what_reaches_day_7_as_single_days(self, weekday: str, expected: str) -> None:
        assert calendars(f"0 9 * * {weekday}") == [("0", "9", DAYS, MONTHS, expected)]

    def test_are_two_when_both_day_fields_are_restricted(self) -> None:
        assert calendars("0 0 13,20 6 5-7") == [
            ("0", "0", "13,20", "6", WEEKDAYS),
            ("0", "0", DAYS, "6", "5,6,0"),
        ]

    def test_are_one_when_a_day_field_is_unrestricted(self) -> None:
        for free in ("*", "?", "*/1"):
            assert calendars(f"0 0 {free} * 5") == [("0", "0", DAYS, MONTHS, "5")]
            assert calendars(f"0 0 13 * {free}") == [("0", "0", "13", MONTHS, WEEKDAYS)]


class TestZoneOfCalendars:
    @pytest.mark.parametrize("expr", ["0 * * * *", "*/5 ? */1 * ?", "@hourly", "* * * * *"])
    def test_is_utc_when_only_minutes_are_restricted_and_offsets_are_whole_hours(
        self, expr: str
    ) -> None:
        for zone in ("America/New_York", "Europe/Berlin", "Asia/Tokyo", "UTC"):
            assert zone_of(expr, zone) == "UTC"

    @pytest.mark.parametrize(
        "expr", ["0 9 * * *", "0 0-23 * * *", "0 * 1 * *", "0 * * 3 *", "0 * * * 1", "0 */2 * * *"]
    )
    def test_is_the_routines_own_when_anything_else_is_restricted(self, expr: str) -> None:
        assert zone_of(expr, "America/New_York") == "America/New_York"

    @pytest.mark.parametrize(
        "zone",
        [
            "Asia/Kolkata",
            "Asia/Kathmandu",
            "Australia/Lord_Howe",
            "Australia/Adelaide",
            "America/St_Johns",
        ],
    )
    def test_is_the_routines_own_when_an_offset_is_not_whole_hours(self, zone: str) -> None:
        assert zone_of("0 * * * *", zone) == zone

    def test_looks_at_the_offset_now_and_after_the_next_two_changes(self) -> None:
        # Pyongyang: +9 until 2015-08-14, +8:30 until 2018-05-04, then +9.
        zone = "Asia/Pyongyang"
        assert zone_of("0 * * * *", zone, "2015-01-01T00:00:00Z") == zone
        assert zone_of("0 * * * *", zone, "2016-01-01T00:00:00Z") == zone
        assert zone_of("0 * * * *", zone, "2018-06-01T00:00:00Z") == "UTC"
        # Lord Howe is at +11 in January, but not after the next change.
        assert zone_of("0 * * * *", "Australia/Lord_Howe") == "Australia/Lord_Howe"


class TestIntervals:
    def test_count_from_the_anchor_and_start_after_it(self) -> None:
        spec = to_temporal_spec(Schedule(every_seconds=3600), "2026-01-01T10:07:00.5Z")
        assert spec.calendars == []
        assert spec.intervals == [IntervalSpec(every_seconds=3600, offset_seconds=420)]
        assert spec.start_at == datetime(2026, 1, 1, 10, 7, 1, tzinfo=UTC)
        assert spec.timezone_name == "UTC"

    def test_may_be_words_and_keep_the_zone_of_the_routine(self) -> None:
        spec = to_temporal_spec({"cron_expr": "every 1d", "timezone": "Asia/Tokyo"}, NEW_YEAR)
        assert spec.intervals == [IntervalSpec(every_seconds=86_400, offset_seconds=0)]
        assert spec.timezone_name == "Asia/Tokyo"

    def test_a_one_shot_is_an_interval_as_long_as_its_distance_from_1970(self) -> None:
        schedule = {"run_at": "2026-02-03T04:05:06.7Z", "timezone": "Europe/Berlin"}
        spec = to_temporal_spec(schedule, NEW_YEAR)
        assert spec.calendars == []
        assert spec.intervals == [IntervalSpec(every_seconds=1_770_091_506, offset_seconds=0)]
        assert spec.start_at is None
        assert spec.timezone_name == "Europe/Berlin"
