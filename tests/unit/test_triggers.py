"""Triggers: normal forms and refusals (triggers-and-actions.md §1 to §3, §12 rows 1-14)."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import TypeAdapter

from domain.errors import DomainError, ErrorKind
from domain.triggers import Trigger, TriggerType, validate_trigger

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ALL_TYPES = [kind.value for kind in TriggerType]
TIMING: dict[str, Any] = {"timezone": "UTC", "catchup": "once", "catchup_window_seconds": None}
SECRET = "0123456789abcdef"


def cron(schedule: object = "0 9 * * *", **fields: object) -> dict[str, Any]:
    return {"type": "cron", "schedule": schedule, **fields}


def event(pattern: object = ".*", **fields: object) -> dict[str, Any]:
    return {"type": "event", "pattern": pattern, **fields}


def system_event(**fields: object) -> dict[str, Any]:
    return {"type": "system_event", "source": "github", "event_type": "issue.opened", **fields}


def webhook(**fields: object) -> dict[str, Any]:
    return {"type": "webhook", "secret": SECRET, **fields}


def normal(trigger: object, default_timezone: str = "UTC") -> dict[str, Any]:
    return validate_trigger(trigger, NOW, default_timezone).model_dump(mode="json")


def refused(trigger: object) -> DomainError:
    with pytest.raises(DomainError) as caught:
        validate_trigger(trigger, NOW)
    return caught.value


class TestNormalForms:
    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (cron(), {**cron(), **TIMING}),
            (cron("  0   9 * *  1-5 "), {**cron("0 9 * * 1-5"), **TIMING}),
            (cron("@daily"), {**cron("@daily"), **TIMING}),
            (
                {"type": "interval", "every_seconds": 60},
                {"type": "interval", "every_seconds": 60, **TIMING},
            ),
            (
                {"type": "at", "run_at": "2026-01-01T01:00:01+01:00"},
                {"type": "at", "run_at": "2026-01-01T00:00:01Z", **TIMING},
            ),
            (event(" x "), {"type": "event", "channel": None, "pattern": " x "}),
            (event(channel=" Slack "), {"type": "event", "channel": "slack", "pattern": ".*"}),
            (event(channel=" "), {"type": "event", "channel": None, "pattern": ".*"}),
            (system_event(), {**system_event(), "filters": {}}),
            (
                webhook(),
                {**webhook(), "path": None, "scheme": "auto", "allow_unsigned": False},
            ),
            ({"type": "manual"}, {"type": "manual"}),
        ],
    )
    def test_every_key_of_the_type_is_present(
        self, given: dict[str, Any], expected: dict[str, Any]
    ) -> None:
        assert normal(given) == expected

    def test_the_type_is_trimmed_and_lower_cased(self) -> None:
        assert normal({"type": " Manual "}) == {"type": "manual"}

    @pytest.mark.parametrize(
        "trigger",
        [
            cron(catchup="all"),
            cron("every 2 Hours"),
            {"type": "interval", "every_seconds": 61, "timezone": "Asia/Kolkata"},
            {"type": "at", "run_at": "2026-01-01T01:00:01Z"},
            event("(?i)a", channel="slack"),
            system_event(filters={"n": 42}),
            webhook(path="hook", scheme="github"),
            webhook(secret=[{"env": "A"}, {"file": "/b"}, SECRET]),
            {"type": "webhook", "allow_unsigned": True},
            {"type": "manual"},
        ],
    )
    def test_the_json_of_a_trigger_is_its_normal_form_again(self, trigger: dict[str, Any]) -> None:
        adapter: TypeAdapter[Trigger] = TypeAdapter(Trigger)
        first = validate_trigger(trigger, NOW)
        assert adapter.validate_json(first.model_dump_json()) == first
        assert validate_trigger(first.model_dump(mode="json"), NOW) == first


class TestTimed:
    def test_the_zone_is_given_or_the_deployments(self) -> None:
        assert normal(cron(), "Europe/Berlin")["timezone"] == "Europe/Berlin"
        assert normal(cron(timezone="Asia/Tokyo"), "Europe/Berlin")["timezone"] == "Asia/Tokyo"
        for words in ("every 2h", "EVERY hour"):
            assert normal(cron(words), "Europe/Berlin")["timezone"] == "Europe/Berlin"
        interval = {"type": "interval", "every_seconds": 60}
        assert normal(interval, "Europe/Berlin")["timezone"] == "Europe/Berlin"

    def test_a_zone_prefix_becomes_the_zone(self) -> None:
        for zone in (None, "Europe/Berlin"):
            given = cron("CRON_TZ=Europe/Berlin 0 9 * * *", timezone=zone)
            assert normal(given, "Asia/Tokyo") == {**cron(), **TIMING, "timezone": "Europe/Berlin"}

    @pytest.mark.parametrize(
        ("words", "kept"),
        [
            ("every 2h", "every 2h"),
            ("  Every  90   MINUTES ", "every 90 minutes"),
            ("every hour", "every hour"),
            ("every 60 s", "every 60 s"),
            ("every 365d", "every 365d"),
        ],
    )
    def test_words_keep_their_text(self, words: str, kept: str) -> None:
        assert normal(cron(words))["schedule"] == kept

    @pytest.mark.parametrize(
        ("catchup", "window", "kept"),
        [
            ("once", None, None),
            ("skip", None, None),
            ("all", None, 604_800),
            ("all", 60, 60),
            ("all", 31_536_000, 31_536_000),
        ],
    )
    def test_a_catch_up_window_goes_with_all(
        self, catchup: str, window: int | None, kept: int | None
    ) -> None:
        for trigger in (cron(), cron("every 2h"), {"type": "interval", "every_seconds": 60}):
            given = {**trigger, "catchup": catchup, "catchup_window_seconds": window}
            result = normal(given)
            assert (result["catchup"], result["catchup_window_seconds"]) == (catchup, kept)


class TestPushed:
    def test_the_longest_pattern_and_names_are_accepted(self) -> None:
        assert normal(event("ä" * 1000))["pattern"] == "ä" * 1000
        assert normal(system_event(source="a" * 200))["source"] == "a" * 200
        assert normal(webhook(path="p" * 128))["path"] == "p" * 128

    @pytest.mark.parametrize(
        "event_type", ["issue", "issue.opened", "issue.*", "a.b.*", "A_b:c/d-e", "a..*"]
    )
    def test_event_types_may_end_in_a_wildcard(self, event_type: str) -> None:
        assert normal(system_event(event_type=f" {event_type} "))["event_type"] == event_type

    @pytest.mark.parametrize(
        ("given", "stored"),
        [
            (" a ", " a "),
            ("", ""),
            (True, "true"),
            (False, "false"),
            (42, "42"),
            (42.0, "42.0"),
            (1.5, "1.5"),
            (-0.25, "-0.25"),
            (1e22, "1e+22"),
        ],
    )
    def test_filter_values_are_stored_as_text(self, given: object, stored: str) -> None:
        assert normal(system_event(filters={"x.y": given}))["filters"] == {"x.y": stored}

    def test_filters_keep_their_order(self) -> None:
        filters = {f"k{number}": "v" for number in range(31, -1, -1)}
        assert list(normal(system_event(filters=filters))["filters"]) == list(filters)
        assert normal(system_event(filters=None))["filters"] == {}

    @pytest.mark.parametrize("path", ["hook", "A-b_c.d", "-x", "0", "Routine_x", "routine"])
    def test_a_path_is_one_segment(self, path: str) -> None:
        assert normal(webhook(path=f" {path} "))["path"] == path

    @pytest.mark.parametrize("path", [None, "", "  "])
    def test_no_path_is_the_routines_id(self, path: str | None) -> None:
        assert normal(webhook(path=path))["path"] is None

    @pytest.mark.parametrize("scheme", ["auto", "standard", "slack", "github", "generic"])
    def test_schemes(self, scheme: str) -> None:
        assert normal(webhook(scheme=scheme))["scheme"] == scheme

    @pytest.mark.parametrize("secret", [None, "", "  "])
    def test_an_unsigned_webhook_says_so(self, secret: str | None) -> None:
        given = {"type": "webhook", "secret": secret, "allow_unsigned": True}
        assert normal(given)["secret"] is None

    def test_allow_unsigned_keeps_a_secret(self) -> None:
        assert normal(webhook(allow_unsigned=True))["secret"] == SECRET


INVALID = ErrorKind.INVALID_FIELD
MISSING = ErrorKind.MISSING_FIELD
UNKNOWN = ErrorKind.UNKNOWN_FIELD


class TestRefusals:
    @pytest.mark.parametrize(
        ("trigger", "kind", "field", "contains"),
        [
            pytest.param({}, MISSING, "type", ["type"], id="row 1"),
            pytest.param({"type": "  "}, MISSING, "type", ["type"], id="row 1 blank"),
            pytest.param({"type": "lunar"}, INVALID, "type", ALL_TYPES, id="row 1 lunar"),
            pytest.param({"type": 5}, INVALID, "type", ALL_TYPES, id="row 1 number"),
            pytest.param(
                {"type": "manual", "schedule": "@daily"}, UNKNOWN, "schedule", ["type"], id="row 3"
            ),
            pytest.param(cron(every_seconds=60), UNKNOWN, "every_seconds", ["catchup"], id="row 3"),
            pytest.param(cron("every 30 seconds"), INVALID, "schedule", ["60"], id="row 4"),
            pytest.param(cron("every 0m"), INVALID, "schedule", ["60"], id="row 4 zero"),
            pytest.param(cron("every 366d"), INVALID, "schedule", ["31536000"], id="row 4 long"),
            pytest.param(
                cron("every 1h30m"), INVALID, "schedule", ["whole number", "unit"], id="row 5"
            ),
            pytest.param(cron("every 1.5h"), INVALID, "schedule", ["whole number", "unit"]),
            pytest.param(cron("every 5"), INVALID, "schedule", ["whole number", "unit"]),
            pytest.param(cron("every day at 9"), INVALID, "schedule", ["cron"], id="row 5 time"),
            pytest.param(
                cron(catchup="some"), INVALID, "catchup", ["once", "skip", "all"], id="row 5b"
            ),
            pytest.param(
                cron(catchup="all", catchup_window_seconds=59),
                INVALID,
                "catchup_window_seconds",
                ["60"],
                id="row 5b short",
            ),
            pytest.param(
                cron("every 2h", catchup_window_seconds=60),
                INVALID,
                "catchup_window_seconds",
                ["all"],
                id="row 5b without all",
            ),
            pytest.param(cron("bad expr"), INVALID, "schedule", ["5 fields", "2"], id="row 6"),
            pytest.param(cron("60 * * * *"), INVALID, "schedule", ["minute", "0-59"]),
            pytest.param(cron("0 0 30 2 *"), INVALID, "schedule", ["never"]),
            pytest.param(cron("@every 5m"), INVALID, "schedule", ["every_seconds"]),
            pytest.param(cron(timezone="Mars/Base"), INVALID, "timezone", ["IANA"]),
            pytest.param(cron("every 2h", timezone="Mars/Base"), INVALID, "timezone", ["IANA"]),
            pytest.param(cron("TZ=Mars/Base 0 9 * * *"), INVALID, "timezone", ["IANA"]),
            pytest.param(
                cron("TZ=Asia/Tokyo 0 9 * * *", timezone="Europe/Berlin"),
                INVALID,
                "timezone",
                ["Asia/Tokyo", "Europe/Berlin"],
            ),
            pytest.param(cron(None), MISSING, "schedule", ["schedule"]),
            pytest.param(cron(" "), MISSING, "schedule", ["schedule"]),
            pytest.param({"type": "interval"}, MISSING, "every_seconds", ["every_seconds"]),
            pytest.param(
                {"type": "interval", "every_seconds": 59}, INVALID, "every_seconds", ["60"]
            ),
            pytest.param(
                {"type": "interval", "every_seconds": True}, INVALID, "every_seconds", ["integer"]
            ),
            pytest.param(
                {"type": "interval", "every_seconds": "60"}, INVALID, "every_seconds", ["integer"]
            ),
            pytest.param({"type": "at"}, MISSING, "run_at", ["run_at"]),
            pytest.param(
                {"type": "at", "run_at": "2026-01-01T00:00:00Z"}, INVALID, "run_at", ["future"]
            ),
            pytest.param(
                {"type": "at", "run_at": "2027-01-01T00:00:00"}, INVALID, "run_at", ["RFC 3339"]
            ),
            pytest.param({"type": "event"}, MISSING, "pattern", ["pattern"], id="row 7"),
            pytest.param(event(""), MISSING, "pattern", ["pattern"], id="row 7 empty"),
            pytest.param(
                event("(?=x)y"), INVALID, "pattern", ["RE2", "look-around"], id="row 8 ahead"
            ),
            pytest.param(
                event(r"(a)\1"), INVALID, "pattern", ["RE2", "back-reference"], id="row 8 back"
            ),
            pytest.param(event("("), INVALID, "pattern", ["RE2"], id="row 8 open"),
            pytest.param(event("x" * 1001), INVALID, "pattern", ["1000"], id="row 9"),
            pytest.param(event(5), INVALID, "pattern", ["string"]),
            pytest.param(event("a\ud800"), INVALID, "pattern", ["RE2"]),
            pytest.param(event(channel=5), INVALID, "channel", ["string"]),
            pytest.param(system_event(event_type="*"), INVALID, "event_type", [".*"], id="row 10"),
            pytest.param(system_event(event_type="issue*"), INVALID, "event_type", [".*"]),
            pytest.param(system_event(event_type="a.*.b"), INVALID, "event_type", [".*"]),
            pytest.param(system_event(event_type=".*"), INVALID, "event_type", [".*"]),
            pytest.param(system_event(event_type="a b"), INVALID, "event_type", ["letters"]),
            pytest.param(system_event(event_type="ä"), INVALID, "event_type", ["letters"]),
            pytest.param(system_event(event_type="a" * 201), INVALID, "event_type", ["200"]),
            pytest.param(system_event(event_type=None), MISSING, "event_type", ["event_type"]),
            pytest.param(system_event(source=" "), MISSING, "source", ["source"]),
            pytest.param(system_event(source="git.*"), INVALID, "source", ["letters"]),
            pytest.param(system_event(source="a" * 201), INVALID, "source", ["200"]),
            pytest.param(
                system_event(filters={"x": None}),
                INVALID,
                "filters.x",
                ["string", "number", "boolean"],
                id="row 11",
            ),
            pytest.param(
                system_event(filters={"x": [1]}),
                INVALID,
                "filters.x",
                ["string", "number", "boolean"],
                id="row 11 array",
            ),
            pytest.param(system_event(filters={"x": {}}), INVALID, "filters.x", ["string"]),
            pytest.param(system_event(filters={"x": "\ud800"}), INVALID, "filters.x", ["string"]),
            pytest.param(system_event(filters=["x"]), INVALID, "filters", ["object"]),
            pytest.param(
                system_event(filters={str(n): "" for n in range(33)}), INVALID, "filters", ["32"]
            ),
            pytest.param({"type": "webhook"}, MISSING, "secret", ["allow_unsigned"], id="row 12"),
            pytest.param(
                webhook(secret=" ", allow_unsigned=False), MISSING, "secret", ["allow_unsigned"]
            ),
            pytest.param(webhook(secret="x" * 15), INVALID, "secret", ["16"], id="row 13"),
            pytest.param(
                webhook(secret="whsec_" + "!" * 32), INVALID, "secret", ["base64"], id="row 13"
            ),
            pytest.param(
                webhook(secret={"vault": "x"}), INVALID, "secret", ["env", "file"], id="row 13"
            ),
            pytest.param(webhook(path="a/b"), INVALID, "path", ["segment"], id="row 14"),
            pytest.param(webhook(path=".x"), INVALID, "path", ["segment"], id="row 14 dot"),
            pytest.param(webhook(path="routine_x"), INVALID, "path", ["routine_"], id="row 14 id"),
            pytest.param(webhook(path="p" * 129), INVALID, "path", ["segment", "128"]),
            pytest.param(webhook(path="ä"), INVALID, "path", ["segment"]),
            pytest.param(webhook(path="a b"), INVALID, "path", ["segment"]),
            pytest.param(webhook(path=5), INVALID, "path", ["string"]),
            pytest.param(
                webhook(scheme="sha1"),
                INVALID,
                "scheme",
                ["auto", "standard", "slack", "github", "generic"],
            ),
            pytest.param(webhook(allow_unsigned="yes"), INVALID, "allow_unsigned", ["true"]),
        ],
    )
    def test_bad_input_is_named(
        self, trigger: object, kind: ErrorKind, field: str, contains: list[str]
    ) -> None:
        error = refused(trigger)
        assert (error.kind, error.field) == (kind, f"trigger.{field}")
        assert [text for text in contains if text not in error.message] == []

    @pytest.mark.parametrize("trigger", [None, "cron", ["cron"], 5])
    def test_only_an_object_is_a_trigger(self, trigger: object) -> None:
        error = refused(trigger)
        assert (error.kind, error.field) == (INVALID, "trigger")

    @pytest.mark.parametrize(
        ("trigger", "fields"),
        [
            (
                cron("bad", timezone="Mars/Base", catchup="some", odd=1),
                ["odd", "schedule", "timezone", "catchup"],
            ),
            (
                cron("every 5", timezone="Mars/Base", catchup_window_seconds=60),
                ["schedule", "timezone", "catchup_window_seconds"],
            ),
            (event("(", channel=5), ["channel", "pattern"]),
            (
                system_event(source="", event_type="*", filters={"a": None, "b": []}),
                ["source", "event_type", "filters.a", "filters.b"],
            ),
            (
                {"type": "webhook", "path": "/", "scheme": "x", "allow_unsigned": 1},
                ["path", "secret", "scheme", "allow_unsigned"],
            ),
            (webhook(secret="short", scheme="x"), ["secret", "scheme"]),
        ],
    )
    def test_all_wrong_fields_are_listed_in_the_order_of_the_table(
        self, trigger: object, fields: list[str]
    ) -> None:
        problems = refused(trigger).errors
        assert [problem.field for problem in problems] == [f"trigger.{field}" for field in fields]

    def test_a_time_of_asking_without_offset_is_a_mistake_of_the_caller(self) -> None:
        with pytest.raises(DomainError, match="RFC 3339"):
            validate_trigger({"type": "manual"}, datetime(2026, 1, 1))  # noqa: DTZ001
