"""From schedule to trigger and back (triggers-and-actions.md §1 and §14)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import DomainError, ErrorKind
from domain.schedule import Schedule, validate_schedule
from domain.triggers import compile_schedule, from_schedule, validate_trigger

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = "2026-03-01T09:00:00Z"


def compiled(**trigger: object) -> Schedule | None:
    return compile_schedule(validate_trigger(trigger, NOW))


class TestCompile:
    @pytest.mark.parametrize(
        ("trigger", "schedule"),
        [
            ({"type": "cron", "schedule": "0 9 * * *"}, Schedule(cron_expr="0 9 * * *")),
            ({"type": "cron", "schedule": "@daily"}, Schedule(cron_expr="@daily")),
            (
                {"type": "cron", "schedule": "0 9 * * *", "timezone": "Asia/Tokyo"},
                Schedule(cron_expr="0 9 * * *", timezone="Asia/Tokyo"),
            ),
            ({"type": "cron", "schedule": "Every 2 Hours"}, Schedule(every_seconds=7200)),
            ({"type": "interval", "every_seconds": 90}, Schedule(every_seconds=90)),
            (
                {"type": "interval", "every_seconds": 90, "catchup": "all"},
                Schedule.model_validate(
                    {"every_seconds": 90, "catchup": "all", "catchup_window_seconds": 604_800}
                ),
            ),
            (
                {"type": "at", "run_at": LATER, "catchup": "skip"},
                Schedule.model_validate({"run_at": LATER, "catchup": "skip"}),
            ),
        ],
    )
    def test_a_timed_trigger_has_a_schedule(
        self, trigger: dict[str, Any], schedule: Schedule
    ) -> None:
        assert compiled(**trigger) == schedule

    @pytest.mark.parametrize(
        "trigger",
        [
            {"type": "event", "pattern": "x"},
            {"type": "system_event", "source": "a", "event_type": "b"},
            {"type": "webhook", "allow_unsigned": True},
            {"type": "manual"},
        ],
    )
    def test_pushed_and_manual_triggers_have_none(self, trigger: dict[str, Any]) -> None:
        assert compiled(**trigger) is None


class TestShorthand:
    @pytest.mark.parametrize(
        ("schedule", "trigger"),
        [
            ({"cron_expr": "0 9 * * *"}, {"type": "cron", "schedule": "0 9 * * *"}),
            ({"cron_expr": "every 2h"}, {"type": "cron", "schedule": "every 2h"}),
            ({"every_seconds": 60}, {"type": "interval", "every_seconds": 60}),
            ({"run_at": LATER}, {"type": "at", "run_at": LATER}),
            (
                {
                    "every_seconds": 60,
                    "cron_expr": None,
                    "timezone": "Asia/Tokyo",
                    "catchup": "all",
                    "catchup_window_seconds": 60,
                },
                {
                    "type": "interval",
                    "every_seconds": 60,
                    "timezone": "Asia/Tokyo",
                    "catchup": "all",
                    "catchup_window_seconds": 60,
                },
            ),
            (
                {"every_seconds": 60, "timezone": None, "catchup": None},
                {"type": "interval", "every_seconds": 60},
            ),
        ],
    )
    def test_zone_and_catch_up_are_carried_only_if_given(
        self, schedule: dict[str, Any], trigger: dict[str, Any]
    ) -> None:
        assert from_schedule(schedule) == trigger

    def test_a_schedule_model_stands_for_a_trigger_too(self) -> None:
        assert from_schedule(Schedule(every_seconds=60)) == {
            "type": "interval",
            "every_seconds": 60,
        }

    @pytest.mark.parametrize(
        ("schedule", "kind", "field", "contains"),
        [
            (None, ErrorKind.MISSING_FIELD, "schedule", ["every_seconds", "cron_expr", "run_at"]),
            ({}, ErrorKind.MISSING_FIELD, "schedule", ["every_seconds", "cron_expr", "run_at"]),
            (
                {"every_seconds": 60, "cron_expr": "@daily"},
                ErrorKind.INVALID_FIELD,
                "schedule",
                ["exactly one of", "every_seconds", "cron_expr", "run_at"],
            ),
            ("@daily", ErrorKind.INVALID_FIELD, "schedule", ["object"]),
            (
                {"every_seconds": 60, "every": 5},
                ErrorKind.UNKNOWN_FIELD,
                "schedule.every",
                ["every_seconds"],
            ),
        ],
    )
    def test_exactly_one_alternative_is_given(
        self, schedule: object, kind: ErrorKind, field: str, contains: list[str]
    ) -> None:
        with pytest.raises(DomainError) as caught:
            from_schedule(schedule)
        assert (caught.value.kind, caught.value.field) == (kind, field)
        assert all(text in caught.value.message for text in contains)


catchups = st.one_of(
    st.just({}),
    st.sampled_from([{"catchup": "once"}, {"catchup": "skip"}]),
    st.builds(
        lambda window: {"catchup": "all", "catchup_window_seconds": window},
        st.integers(60, 31_536_000),
    ),
)
alternatives = st.one_of(
    st.builds(lambda seconds: {"every_seconds": seconds}, st.integers(60, 31_536_000)),
    st.sampled_from(
        ["0 9 * * 1-5", "@hourly", "every 2h", "EVERY  day", "TZ=Asia/Tokyo 0 9 1 * *"]
    ).map(lambda text: {"cron_expr": text}),
    st.builds(
        lambda moment: {"run_at": moment.isoformat()},
        st.datetimes(datetime(2026, 1, 2), datetime(2099, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    ),
)


@given(alternatives, catchups, st.sampled_from(["UTC", "Europe/Berlin"]))
def test_a_schedule_and_its_trigger_mean_the_same(
    when: dict[str, Any], catchup: dict[str, Any], default: str
) -> None:
    schedule = {**when, **catchup}
    trigger = validate_trigger(from_schedule(schedule), NOW, default)
    assert compile_schedule(trigger) == validate_schedule(schedule, NOW, default_timezone=default)
