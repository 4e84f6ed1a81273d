"""Instants as text (automation.md §2)."""

from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.timestamps import format_timestamp, parse_timestamp, whole_second
from tests.support.routines import assert_refused, refusal

NINE = datetime(2026, 3, 1, 9, tzinfo=UTC)
HALF = NINE.replace(microsecond=500_000)


class NoZone(tzinfo):
    """A zone that does not know its offset."""

    def utcoffset(self, dt: datetime | None) -> None:
        return None

    def dst(self, dt: datetime | None) -> None:
        return None

    def tzname(self, dt: datetime | None) -> None:
        return None


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-03-01T09:00:00Z", NINE),
        (" 2026-03-01t09:00:00z ", NINE),
        ("2026-03-01 10:00:00+01:00", NINE),
        ("2026-03-01T09:00:00-00:00", NINE),
        ("2026-03-01T09:00:00.5Z", HALF),
        ("2026-03-01T09:00:00.500000000Z", HALF),
        (datetime(2026, 3, 1, 10, tzinfo=timezone(timedelta(hours=1))), NINE),
    ],
)
def test_times_with_an_offset(text: object, instant: datetime) -> None:
    found = parse_timestamp(text, "run_at")
    assert (found, found.tzinfo) == (instant, UTC)


@pytest.mark.parametrize(
    "value",
    [
        "2026-03-01T09:00:00",
        "2026-03-01",
        "2026-03-01T09:00Z",
        "2026-02-30T09:00:00Z",
        "2026-03-01T25:00:00Z",
        "2026-03-01T09:00:00+25:00",
        "20260301T090000Z",
        "٢٠٢٦-03-01T09:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "soon",
        "",
        None,
        True,
        1_770_000_000,
        NINE.replace(tzinfo=None),
        NINE.replace(tzinfo=NoZone()),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
    ],
)
def test_anything_else_is_refused(value: object) -> None:
    error = refusal(lambda: parse_timestamp(value, "schedule.run_at"))
    assert_refused(error, "invalid_field", "schedule.run_at", "RFC 3339", "offset")
    assert error.accepted


@given(st.datetimes(timezones=st.just(UTC)))
def test_what_is_written_can_be_read(instant: datetime) -> None:
    text = format_timestamp(instant)
    assert text.endswith("Z")
    assert parse_timestamp(text, "x") == instant


def test_only_what_there_is_gets_written() -> None:
    assert format_timestamp(NINE) == "2026-03-01T09:00:00Z"
    assert format_timestamp(HALF) == "2026-03-01T09:00:00.500000Z"
    zone = timezone(timedelta(hours=-5))
    assert format_timestamp(NINE.astimezone(zone)) == "2026-03-01T09:00:00Z"
    assert whole_second(HALF) == NINE
