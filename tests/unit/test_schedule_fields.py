"""What a schedule may hold, and its normal form."""

from datetime import UTC, datetime

import pytest
from pydantic import ValidationError

from domain.errors import DomainError, ErrorKind
from domain.schedule import (
    Catchup,
    Schedule,
    validate_catchup,
    validate_every_seconds,
    validate_run_at,
    validate_schedule,
    validate_timezone,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def refusal(schedule: object) -> DomainError:
    with pytest.raises(DomainError) as caught:
        validate_schedule(schedule, NOW)
    return caught.value


class TestNormalForm:
    @pytest.mark.parametrize(
        ("given", "normal"),
        [
            ({"every_seconds": 60}, Schedule(every_seconds=60)),
            ({"every_seconds": 31_536_000}, Schedule(every_seconds=31_536_000)),
            ({"cron_expr": "every 2h"}, Schedule(every_seconds=7200)),
            ({"cron_expr": " EVERY 90 Minutes "}, Schedule(every_seconds=5400)),
            (
                {"cron_expr": " 0  9 * * * ", "timezone": " Europe/Berlin "},
                Schedule(cron_expr="0 9 * * *", timezone="Europe/Berlin"),
            ),
            (
                {"cron_expr": "TZ=Asia/Tokyo @daily"},
                Schedule(cron_expr="@daily", timezone="Asia/Tokyo"),
            ),
            (
                {"every_seconds": 60, "timezone": "Asia/Tokyo"},
                Schedule(every_seconds=60, timezone="Asia/Tokyo"),
            ),
            (
                {"run_at": "2026-01-02T09:00:00+01:00"},
                Schedule(run_at=datetime(2026, 1, 2, 8, tzinfo=UTC)),
            ),
            (
                {"run_at": "2026-01-01T00:00:01.999Z"},
                Schedule(run_at=datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)),
            ),
            (
                {"every_seconds": 60, "catchup": " skip "},
                Schedule(every_seconds=60, catchup=Catchup.SKIP),
            ),
            (
                {"every_seconds": 60, "catchup": "all"},
                Schedule(every_seconds=60, catchup=Catchup.ALL, catchup_window_seconds=604_800),
            ),
            (
                {"every_seconds": 60, "catchup": "all", "catchup_window_seconds": 31_536_000},
                Schedule(every_seconds=60, catchup=Catchup.ALL, catchup_window_seconds=31_536_000),
            ),
            (
                {
                    "every_seconds": 60,
                    "cron_expr": None,
                    "run_at": None,
                    "timezone": None,
                    "catchup": None,
                    "catchup_window_seconds": None,
                },
                Schedule(every_seconds=60),
            ),
        ],
    )
    def test_of_what_was_given(self, given: object, normal: Schedule) -> None:
        assert validate_schedule(given, NOW) == normal

    def test_is_its_own_normal_form(self) -> None:
        given = {"cron_expr": "CRON_TZ=Asia/Tokyo 0 9 * * 1-5", "catchup": "all"}
        normal = validate_schedule(given, NOW)
        assert validate_schedule(normal, NOW) == normal
        assert validate_schedule(normal.model_dump(), NOW) == normal

    def test_survives_json(self) -> None:
        normal = validate_schedule({"run_at": "2026-01-02T09:00:00Z"}, "2026-01-01T00:00:00Z")
        text = normal.model_dump_json()
        assert '"run_at":"2026-01-02T09:00:00Z"' in text
        assert Schedule.model_validate_json(text, strict=True) == normal

    def test_takes_the_callers_default_zone(self) -> None:
        for given in ({"every_seconds": 60}, {"cron_expr": "0 9 * * *", "timezone": " "}):
            schedule = validate_schedule(given, NOW, default_timezone="Asia/Tokyo")
            assert schedule.timezone == "Asia/Tokyo"


class TestRefused:
    @pytest.mark.parametrize(
        ("schedule", "kind", "field", "words"),
        [
            (None, "missing_field", "", ["every_seconds", "cron_expr", "run_at"]),
            ({}, "missing_field", "", ["every_seconds", "cron_expr", "run_at"]),
            ({"timezone": "UTC"}, "missing_field", "", ["exactly one of"]),
            ({"every_seconds": None}, "missing_field", "", ["cron_expr"]),
            ("0 9 * * *", "invalid_field", "", ["object", "cron_expr"]),
            ([], "invalid_field", "", ["object"]),
            ({"every_seconds": 59}, "invalid_field", ".every_seconds", ["60", "31536000"]),
            ({"every_seconds": 0}, "invalid_field", ".every_seconds", ["60", "31536000"]),
            ({"every_seconds": -5}, "invalid_field", ".every_seconds", ["60", "31536000"]),
            ({"every_seconds": 31_536_001}, "invalid_field", ".every_seconds", ["31536000"]),
            ({"every_seconds": "60"}, "invalid_field", ".every_seconds", ["integer"]),
            ({"every_seconds": 60.5}, "invalid_field", ".every_seconds", ["integer"]),
            ({"every_seconds": 60.0}, "invalid_field", ".every_seconds", ["integer"]),
            ({"every_seconds": True}, "invalid_field", ".every_seconds", ["integer"]),
            ({"every_seconds": [60]}, "invalid_field", ".every_seconds", ["integer"]),
            ({"every_seconds": 10**5000}, "invalid_field", ".every_seconds", ["31536000"]),
            (
                {"every_seconds": 60, "cron_expr": "0 9 * * *"},
                "invalid_field",
                "",
                ["exactly one of", "every_seconds", "cron_expr", "run_at"],
            ),
            (
                {"cron_expr": "0 9 * * *", "run_at": "2026-02-01T00:00:00Z"},
                "invalid_field",
                "",
                ["exactly one of"],
            ),
            ({"cron_expr": ""}, "missing_field", ".cron_expr", ["cron_expr"]),
            ({"cron_expr": " "}, "missing_field", ".cron_expr", ["cron_expr"]),
            ({"cron_expr": "bad expr"}, "invalid_field", ".cron_expr", ["5 fields", "2"]),
            ({"cron_expr": "every 30 seconds"}, "invalid_field", ".cron_expr", ["60"]),
            ({"cron_expr": "every 1h30m"}, "invalid_field", ".cron_expr", ["one unit"]),
            ({"cron_expr": "every day at 9"}, "invalid_field", ".cron_expr", ["cron"]),
            ({"cron_expr": 5}, "invalid_field", ".cron_expr", ["text"]),
            ({"cron_expr": "0 0 30 2 *"}, "invalid_field", ".cron_expr", ["never"]),
            ({"run_at": "2026-01-02T09:00:00"}, "invalid_field", ".run_at", ["RFC 3339"]),
            ({"run_at": "tomorrow"}, "invalid_field", ".run_at", ["RFC 3339"]),
            ({"run_at": ""}, "invalid_field", ".run_at", ["RFC 3339"]),
            ({"run_at": 1_770_091_506}, "invalid_field", ".run_at", ["RFC 3339"]),
            ({"run_at": "2025-12-31T23:59:59Z"}, "invalid_field", ".run_at", ["future"]),
            ({"run_at": "2026-01-01T00:00:00Z"}, "invalid_field", ".run_at", ["future"]),
            ({"run_at": "2026-01-01T00:00:00.5Z"}, "invalid_field", ".run_at", ["future"]),
            (
                {"every_seconds": 60, "timezone": "Mars/Base"},
                "invalid_field",
                ".timezone",
                ["IANA"],
            ),
            (
                {"cron_expr": "TZ=UTC 0 9 * * *", "timezone": "Asia/Tokyo"},
                "invalid_field",
                ".timezone",
                ["UTC", "Asia/Tokyo"],
            ),
            (
                {"every_seconds": 60, "catchup": "never"},
                "invalid_field",
                ".catchup",
                ["once", "skip", "all"],
            ),
            ({"every_seconds": 60, "catchup": "ALL"}, "invalid_field", ".catchup", ["all"]),
            ({"every_seconds": 60, "catchup": True}, "invalid_field", ".catchup", ["once"]),
            (
                {"every_seconds": 60, "catchup": "all", "catchup_window_seconds": 59},
                "invalid_field",
                ".catchup_window_seconds",
                ["60", "31536000"],
            ),
            (
                {"every_seconds": 60, "catchup": "all", "catchup_window_seconds": 31_536_001},
                "invalid_field",
                ".catchup_window_seconds",
                ["60", "31536000"],
            ),
            (
                {"every_seconds": 60, "catchup": "all", "catchup_window_seconds": "60"},
                "invalid_field",
                ".catchup_window_seconds",
                ["integer"],
            ),
            (
                {"every_seconds": 60, "catchup_window_seconds": 3600},
                "invalid_field",
                ".catchup_window_seconds",
                ["all"],
            ),
            (
                {"every_seconds": 60, "catchup": "skip", "catchup_window_seconds": 3600},
                "invalid_field",
                ".catchup_window_seconds",
                ["all"],
            ),
            (
                {"cron": "0 9 * * *"},
                "unknown_field",
                ".cron",
                ["use schedule.cron_expr", "every_seconds"],
            ),
            ({"every_seconds": 60, "until": 1}, "unknown_field", ".until", ["catchup"]),
        ],
    )
    def test_with_kind_field_and_what_is_accepted(
        self, schedule: object, kind: str, field: str, words: list[str]
    ) -> None:
        error = refusal(schedule)
        assert (error.kind, error.field) == (kind, "schedule" + field)
        assert [word for word in ["schedule" + field, *words] if word not in error.message] == []

    def test_all_problems_are_told_in_the_order_of_the_model(self) -> None:
        error = refusal(
            {
                "catchup_window_seconds": 5,
                "catchup": "never",
                "timezone": "Mars/Base",
                "every_seconds": 5,
                "when": "now",
            }
        )
        assert error.field == "schedule.when"
        assert [problem.field for problem in error.errors] == [
            "schedule.when",
            "schedule.every_seconds",
            "schedule.timezone",
            "schedule.catchup",
            "schedule.catchup_window_seconds",
        ]

    def test_nothing_is_told_twice(self) -> None:
        error = refusal({"cron_expr": "60 * * * *", "timezone": "Mars/Base"})
        assert [problem.field for problem in error.errors] == [
            "schedule.cron_expr",
            "schedule.timezone",
        ]

    def test_without_an_alternative_the_other_fields_are_checked_too(self) -> None:
        error = refusal({"timezone": "Mars/Base"})
        assert [problem.field for problem in error.errors] == ["schedule", "schedule.timezone"]

    def test_under_the_callers_prefix(self) -> None:
        with pytest.raises(DomainError) as caught:
            validate_schedule({"cron_expr": "x", "catchup": "y"}, NOW, prefix="body.schedule")
        fields = [problem.field for problem in caught.value.errors]
        assert fields == ["body.schedule.cron_expr", "body.schedule.catchup"]


class TestOneField:
    """The checks a trigger uses under its own names."""

    def test_every_seconds(self) -> None:
        assert validate_every_seconds(60, "trigger.every_seconds") == 60
        with pytest.raises(DomainError) as caught:
            validate_every_seconds(59, "trigger.every_seconds")
        assert caught.value.field == "trigger.every_seconds"
        with pytest.raises(DomainError) as caught:
            validate_every_seconds(None, "trigger.every_seconds")
        assert caught.value.kind == ErrorKind.MISSING_FIELD

    def test_run_at(self) -> None:
        at = validate_run_at("2026-01-01T02:00:00.9+01:00", NOW, "trigger.run_at")
        assert at == datetime(2026, 1, 1, 1, tzinfo=UTC)
        with pytest.raises(DomainError) as caught:
            validate_run_at("2025-01-01T00:00:00Z", NOW, "trigger.run_at")
        assert caught.value.field == "trigger.run_at"
        with pytest.raises(DomainError) as caught:
            validate_run_at(None, NOW, "trigger.run_at")
        assert caught.value.kind == ErrorKind.MISSING_FIELD

    def test_timezone(self) -> None:
        assert validate_timezone(None, "trigger.timezone", "Asia/Tokyo") == "Asia/Tokyo"
        assert validate_timezone("UTC", "trigger.timezone", "Asia/Tokyo") == "UTC"
        with pytest.raises(DomainError) as caught:
            validate_timezone("Mars/Base", "trigger.timezone")
        assert caught.value.field == "trigger.timezone"

    def test_catchup(self) -> None:
        assert validate_catchup(None, None, "trigger") == (Catchup.ONCE, None)
        assert validate_catchup("all", 60, "trigger") == (Catchup.ALL, 60)
        with pytest.raises(DomainError) as caught:
            validate_catchup("once", 60, "trigger")
        assert caught.value.field == "trigger.catchup_window_seconds"


class TestModel:
    def test_may_be_empty(self) -> None:
        schedule = Schedule()
        assert schedule.every_seconds is None
        assert schedule.cron_expr is None
        assert schedule.run_at is None
        assert schedule.timezone == "UTC"

    def test_is_frozen_and_takes_no_other_keys(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            Schedule().timezone = "Asia/Tokyo"  # type: ignore[misc]  # that it fails is the point
        with pytest.raises(ValidationError, match="cron"):
            Schedule.model_validate({"cron": "0 9 * * *"})
