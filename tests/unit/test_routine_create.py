"""Creating routines (automation.md §4-6, §14; triggers-and-actions.md §12)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.actor import Actor
from domain.routine import Routine, new_routine, validate_name, validate_routine
from domain.scopes import Route, Scope, ScopeKind
from tests.support.routines import NOW, WEBHOOK, assert_refused, refusal

DAILY = {"cron_expr": "0 9 * * *"}
EVENT = {"type": "event", "pattern": "help"}
JOB = {"type": "full_job", "title": "t", "description": "d"}


def create(body: dict[str, object], **context: Any) -> Routine:
    given: dict[str, Any] = {
        "id": "morning-brief",
        "scope": Scope(kind=ScopeKind.USER, id="me"),
        "route": Route(receive_id_type="console"),
        "creator": Actor(user_id="me"),
        "now": NOW,
        **context,
    }
    return new_routine(body, **given)


def body(**changes: object) -> dict[str, object]:
    merged = {"prompt": "hello", "every_seconds": 1800, **changes}
    return {key: value for key, value in merged.items() if value is not ...}


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


class TestNames:
    @pytest.mark.parametrize("name", ["a", "0", "morning-brief", "a-", "routine", "a" * 63])
    def test_accepted(self, name: str) -> None:
        assert validate_name(name) == name
        assert validate_name(f" {name} ") == name

    @pytest.mark.parametrize(
        "name", ["-a", "A", "a_b", "a.b", "ä", "a/b", "a" * 64, "routine-1", "routine-", "a\nb", 5]
    )
    def test_refused(self, name: object) -> None:
        error = refusal(lambda: validate_name(name))
        assert_refused(error, "invalid_field", "id", "a-z", "routine-", "63")

    @pytest.mark.parametrize("name", ["", "  ", None])
    def test_blank(self, name: object) -> None:
        assert_refused(refusal(lambda: validate_name(name)), "missing_field", "id", "id")

    def test_the_name_in_the_body_is_that_of_the_routine(self) -> None:
        assert create(body(id="morning-brief")).id == "morning-brief"
        error = refusal(lambda: create(body(id="other")))
        assert_refused(error, "invalid_field", "id", "other", "morning-brief")
        assert_refused(refusal(lambda: create(body(id="No"))), "invalid_field", "id")

    def test_an_assigned_id_needs_no_name(self) -> None:
        assert create(body(), id="routine_01kabc").id == "routine_01kabc"


class TestNewRoutine:
    def test_a_prompt_and_an_interval_are_enough(self) -> None:
        made = create(body(prompt=" hello "))
        assert (made.prompt, made.title, made.fresh) == ("hello", "", False)
        assert made.next_run_at == NOW + timedelta(minutes=30)
        assert made.next_run_explicit is False
        assert (made.revision, made.run_count, made.max_runs) == (0, 0, 0)
        assert (made.created_at, made.updated_at) == (NOW, NOW)
        assert (made.status, made.paused_reason) == ("active", None)
        assert made.action.type == "lightweight"
        assert made.trigger.type == "interval"
        assert made.schedule is not None
        assert made.schedule.model_dump() == {
            "every_seconds": 1800,
            "cron_expr": None,
            "run_at": None,
            "timezone": "UTC",
            "catchup": "once",
            "catchup_window_seconds": None,
        }

    def test_everything_that_can_be_given_is_kept(self) -> None:
        made = create(
            {
                "title": " Brief ",
                "action": JOB,
                "fresh": True,
                "trigger": EVENT,
                "guardrails": {"max_concurrent": 2},
                "notify": {"on_success": True},
                "manage_mode": "Scope_All",
                "max_runs": 5,
                "enabled": True,
            }
        )
        assert (made.title, made.fresh, made.manage_mode) == ("Brief", True, "scope_all")
        assert (made.prompt, made.action.type, made.max_runs) == (None, "full_job", 5)
        assert (made.trigger.type, made.schedule, made.next_run_at) == ("event", None, None)
        assert (made.guardrails.max_concurrent, made.guardrails.overlap) == (2, "skip")
        assert made.notify.on_success is True

    def test_the_context_is_kept(self) -> None:
        made = create(
            body(),
            session_key="chat_id:oc|thread:1",
            resume_thread_id="t",
            source_message_id="om",
            route=Route(receive_id_type="chat_id", receive_id="oc"),
        )
        assert made.session_key == "chat_id:oc|thread:1"
        assert (made.resume_thread_id, made.source_message_id) == ("t", "om")
        assert made.scope.text == "user:me"
        assert made.route.text == "chat_id:oc"

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            ({"schedule": {"every_seconds": 3600}}, "2026-02-01T13:00:00Z"),
            ({"schedule": DAILY}, "2026-02-02T09:00:00Z"),
            ({"cron_expr": "every 2h"}, "2026-02-01T14:00:00Z"),
            ({"cron_expr": "0 9 * * *", "timezone": "Europe/Berlin"}, "2026-02-02T08:00:00Z"),
            ({"schedule": DAILY, "timezone": "Europe/Berlin"}, "2026-02-02T08:00:00Z"),
            ({"run_at": "2026-02-01T13:00:00+01:00", "schedule": None}, None),
            ({"run_at": "2026-02-01T14:00:00+01:00"}, "2026-02-01T13:00:00Z"),
            ({"trigger": {"type": "cron", "schedule": "@daily"}}, "2026-02-02T00:00:00Z"),
            ({"every_seconds": 60, "enabled": False}, ...),
            ({"trigger": WEBHOOK}, ...),
            ({"trigger": {"type": "manual"}, "enabled": False}, ...),
        ],
    )
    def test_the_first_time(self, given: dict[str, object], expected: Any) -> None:
        if expected is None:
            error = refusal(lambda: create({"prompt": "p", **given}))
            assert_refused(error, "invalid_field", "schedule.run_at", "future")
            return
        made = create({"prompt": "p", **given})
        assert made.next_run_at == (None if expected is ... else at(expected))
        assert made.next_run_explicit is False

    def test_the_zone_defaults_to_that_of_the_deployment(self) -> None:
        made = create(body(every_seconds=..., **DAILY), default_timezone="Asia/Tokyo")
        assert made.timezone == "Asia/Tokyo"
        assert made.next_run_at == at("2026-02-02T00:00:00Z")

    @pytest.mark.parametrize("given", ["2026-02-01T18:00:00.75+01:00", "2020-01-01T00:00:00Z"])
    def test_an_explicit_first_time_is_taken_also_in_the_past(self, given: str) -> None:
        made = create(body(next_run_at=given))
        assert made.next_run_at == at(given).replace(microsecond=0)
        assert made.next_run_explicit is True

    def test_not_enabled_is_paused_by_the_user(self) -> None:
        made = create(body(enabled=False))
        assert (made.status, made.paused_reason, made.next_run_at) == ("paused", "user", None)

    def test_words_stay_in_the_trigger(self) -> None:
        made = create(body(every_seconds=..., cron_expr=" Every  90 Minutes "))
        assert made.trigger.model_dump()["schedule"] == "every 90 minutes"
        assert made.schedule is not None
        assert made.schedule.every_seconds == 5400

    def test_what_is_made_is_valid(self) -> None:
        made = create(body(max_runs=3, title="t"))
        assert validate_routine(made.model_dump(mode="json")) == made


REFUSED: list[tuple[str, dict[str, object], str, str, tuple[str, ...]]] = [
    ("1", body(prompt=...), "missing_field", "prompt", ("prompt",)),
    ("1", body(prompt="  "), "missing_field", "prompt", ("prompt",)),
    (
        "2",
        {"prompt": "p"},
        "missing_field",
        "schedule",
        ("every_seconds", "cron_expr", "run_at"),
    ),
    ("2", body(every_seconds=..., timezone="UTC"), "missing_field", "schedule", ("run_at",)),
    ("3", body(every_seconds=59), "invalid_field", "schedule.every_seconds", ("60", "31536000")),
    ("3", body(every_seconds=0), "invalid_field", "schedule.every_seconds", ("60", "31536000")),
    ("3", body(every_seconds=-5), "invalid_field", "schedule.every_seconds", ("60", "31536000")),
    ("4", body(every_seconds="60"), "invalid_field", "schedule.every_seconds", ("integer",)),
    ("4", body(every_seconds=60.5), "invalid_field", "schedule.every_seconds", ("integer",)),
    ("4", body(every_seconds=True), "invalid_field", "schedule.every_seconds", ("integer",)),
    ("5", body(every_seconds=31_536_001), "invalid_field", "schedule.every_seconds", ("31536000",)),
    (
        "6",
        body(cron_expr="0 9 * * *"),
        "invalid_field",
        "schedule",
        ("exactly one of", "every_seconds", "cron_expr", "run_at"),
    ),
    ("6", body(schedule=DAILY), "invalid_field", "schedule", ("exactly one of",)),
    (
        "7",
        body(every_seconds=..., cron_expr="bad expr"),
        "invalid_field",
        "schedule.cron_expr",
        ("5 fields", "2"),
    ),
    (
        "7b",
        body(every_seconds=..., cron_expr=" "),
        "missing_field",
        "schedule.cron_expr",
        ("cron_expr",),
    ),
    ("16", body(timezone="Mars/Base"), "invalid_field", "schedule.timezone", ("IANA",)),
    (
        "17",
        body(every_seconds=..., cron_expr="TZ=UTC 0 9 * * *", timezone="Europe/Berlin"),
        "invalid_field",
        "schedule.timezone",
        ("UTC", "Europe/Berlin"),
    ),
    (
        "18",
        {"prompt": "p", "run_at": "2026-02-01T12:00:00Z"},
        "invalid_field",
        "schedule.run_at",
        ("future",),
    ),
    ("18b", body(catchup="never"), "invalid_field", "schedule.catchup", ("once", "skip", "all")),
    (
        "18b",
        body(catchup="all", catchup_window_seconds=59),
        "invalid_field",
        "schedule.catchup_window_seconds",
        ("60", "31536000"),
    ),
    (
        "18b",
        body(catchup_window_seconds=60),
        "invalid_field",
        "schedule.catchup_window_seconds",
        ("all",),
    ),
    (
        "19",
        {"prompt": "p", "run_at": "2026-02-02T12:00:00"},
        "invalid_field",
        "schedule.run_at",
        ("RFC 3339",),
    ),
    ("19", body(next_run_at="soon"), "invalid_field", "next_run_at", ("RFC 3339",)),
    ("20", body(max_runs=-1), "invalid_field", "max_runs", (">= 0",)),
    ("20", body(max_runs=1.5), "invalid_field", "max_runs", (">= 0",)),
    (
        "23",
        body(manage_mode="everyone"),
        "invalid_field",
        "manage_mode",
        ("creator_only", "scope_all"),
    ),
    ("27", body(cron="0 9 * * *"), "unknown_field", "cron", ("schedule.cron_expr",)),
    ("27", body(promt="x"), "unknown_field", "promt", ("prompt",)),
    (
        "27",
        body(schedule={"cron": "x"}, every_seconds=...),
        "unknown_field",
        "schedule.cron",
        ("schedule.cron_expr",),
    ),
    ("27", body(name="x"), "unknown_field", "name", ("use id",)),
    ("27", body(status="paused"), "unknown_field", "status", ("use enabled",)),
    ("27", body(route={}), "unknown_field", "route", ("accepted keys", "prompt")),
    ("32", body(title="x" * 201), "invalid_field", "title", ("200",)),
    ("32", body(prompt="x" * 65_537), "invalid_field", "prompt", ("65536",)),
    (
        "42",
        body(every_seconds=..., cron_expr="every 30 seconds"),
        "invalid_field",
        "schedule.cron_expr",
        ("60",),
    ),
    ("t1", body(every_seconds=..., trigger={}), "missing_field", "trigger.type", ("type",)),
    (
        "t1",
        body(every_seconds=..., trigger={"type": "lunar"}),
        "invalid_field",
        "trigger.type",
        ("webhook",),
    ),
    ("t1", body(every_seconds=..., trigger="cron"), "invalid_field", "trigger", ("object",)),
    (
        "t2",
        body(trigger=EVENT),
        "invalid_field",
        "trigger",
        ("exactly one of", "trigger", "schedule"),
    ),
    (
        "t2",
        body(every_seconds=..., trigger=EVENT, timezone="UTC"),
        "invalid_field",
        "trigger",
        ("exactly one of",),
    ),
    (
        "t15",
        body(guardrails={"overlap": "allow"}),
        "invalid_field",
        "guardrails.overlap",
        ("skip",),
    ),
    (
        "t18",
        body(prompt=..., action={"type": "script"}),
        "invalid_field",
        "action.type",
        ("full_job",),
    ),
    ("t21", body(action=JOB), "invalid_field", "action", ("exactly one of",)),
    (
        "§13",
        body(schedule={"every_seconds": 60}),
        "invalid_field",
        "schedule",
        ("not both", "every_seconds"),
    ),
    ("§13", body(schedule="0 9 * * *"), "invalid_field", "schedule", ("object",)),
    ("§6", body(enabled="no"), "invalid_field", "enabled", ("true",)),
    (
        "§6",
        body(enabled=False, next_run_at="2026-03-01T00:00:00Z"),
        "invalid_field",
        "next_run_at",
        ("active",),
    ),
    (
        "t§1",
        body(every_seconds=..., trigger=WEBHOOK, next_run_at="2026-03-01T00:00:00Z"),
        "invalid_field",
        "next_run_at",
        ("webhook",),
    ),
    ("t§9", body(notify={"on_success": "x"}), "invalid_field", "notify.on_success", ()),
    ("§2", body(fresh=1), "invalid_field", "fresh", ()),
]


@pytest.mark.parametrize(("row", "given", "kind", "field", "contains"), REFUSED)
def test_bad_input(
    row: str, given: dict[str, object], kind: str, field: str, contains: tuple[str, ...]
) -> None:
    assert_refused(refusal(lambda: create(given)), kind, field, *contains)


def test_14_30_no_object() -> None:
    odd: Any = ["prompt"]
    assert_refused(refusal(lambda: create(odd)), "invalid_field", "body", "JSON object")


@pytest.mark.parametrize(
    ("context", "field"),
    [
        ({"creator": Actor(name="x")}, "creator"),
        ({"route": Route(receive_id_type="chat_id")}, "route.receive_id"),
        ({"scope": Scope(kind=ScopeKind.USER, id=" ")}, "scope.id"),
    ],
)
def test_an_incomplete_context_makes_no_routine(context: dict[str, object], field: str) -> None:
    assert_refused(refusal(lambda: create(body(), **context)), "missing_field", field)


def test_all_problems_are_told_in_validation_order() -> None:
    wrong = body(
        notify=5,
        max_runs=-1,
        every_seconds=1,
        prompt="",
        title="x" * 201,
        manage_mode="x",
        next_run_at="x",
        colour="red",
    )
    error = refusal(lambda: create(wrong))
    assert [problem.field for problem in error.errors] == [
        "colour",
        "manage_mode",
        "title",
        "prompt",
        "schedule.every_seconds",
        "max_runs",
        "notify",
        "next_run_at",
    ]


def test_a_bad_trigger_does_not_hide_what_else_is_wrong() -> None:
    wrong = body(
        every_seconds=...,
        trigger={"type": "event"},
        guardrails={"max_concurrent": 0},
        next_run_at="2026-03-01T00:00:00Z",
    )
    error = refusal(lambda: create(wrong))
    assert [problem.field for problem in error.errors] == [
        "trigger.pattern",
        "guardrails.max_concurrent",
    ]
