"""Routines as records: model, spelling, validity, routes, permission (automation.md §2-4, §10)."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from domain.routine import (
    PausedReason,
    Routine,
    RoutineStatus,
    RunState,
    can_manage,
    effective_route,
    normalize_routine,
    parse_status_filter,
    validate_routine,
)
from domain.scopes import Route
from tests.support.routines import (
    ONE_SHOT,
    RECORD,
    WEBHOOK,
    assert_refused,
    record,
    refusal,
    routine,
)

JOB = {"type": "full_job", "title": "t", "description": "d"}
LIGHTWEIGHT = {"type": "lightweight", "prompt": "hello"}
INTERVAL = {"type": "interval", "every_seconds": 1800}


class TestModel:
    def test_a_partial_record_is_completed(self) -> None:
        found = Routine.model_validate(RECORD)
        assert found.trigger.model_dump() == {
            **INTERVAL,
            "timezone": "UTC",
            "catchup": "once",
            "catchup_window_seconds": None,
        }
        assert found.action.model_dump() == {
            **LIGHTWEIGHT,
            "context_paths": [],
            "max_tokens": 4096,
            "use_tools": False,
            "max_tool_rounds": 3,
        }
        assert found.guardrails.overlap == "queue_one"
        assert (found.status, found.run_state, found.revision) == ("active", "idle", 0)
        assert found.timezone == "UTC"

    def test_the_schedule_is_what_the_trigger_compiles_to(self) -> None:
        words = {"type": "cron", "schedule": "every 2h", "timezone": "Europe/Berlin"}
        found = Routine.model_validate(record(schedule=..., trigger=words))
        assert found.schedule is not None
        assert (found.schedule.every_seconds, found.timezone) == (7200, "Europe/Berlin")

    def test_a_pushed_trigger_has_no_schedule_and_guardrails_of_its_own(self) -> None:
        found = Routine.model_validate(record(schedule=..., trigger=WEBHOOK))
        assert found.schedule is None
        assert (found.guardrails.cooldown_seconds, found.guardrails.overlap) == (300, "skip")
        assert found.timezone == "UTC"

    def test_the_prompt_is_that_of_the_action(self) -> None:
        lightweight = Routine.model_validate(record(prompt=..., action=LIGHTWEIGHT))
        assert lightweight.prompt == "hello"
        assert Routine.model_validate(record(prompt=..., action=JOB)).prompt is None

    @pytest.mark.parametrize(
        ("given", "state"),
        [
            ({}, RunState.IDLE),
            ({"running": True}, RunState.RUNNING),
            ({"run_state": "running"}, RunState.RUNNING),
            ({"running": True, "run_state": "idle"}, RunState.IDLE),
            ({"running": False, "run_state": "waiting_for_session"}, RunState.WAITING_FOR_SESSION),
        ],
    )
    def test_running_says_what_run_state_says(
        self, given: dict[str, object], state: RunState
    ) -> None:
        found = Routine.model_validate(record(**given))
        assert found.run_state == state
        assert found.running == (state == RunState.RUNNING)

    def test_it_survives_json_also_when_read_strictly(self) -> None:
        full = routine(
            last_run_at=datetime(2026, 2, 1, 11, 40, tzinfo=UTC),
            status="paused",
            paused_reason="failures",
            notify={"route": {"receive_id_type": "console"}},
        )
        text = full.model_dump_json()
        assert Routine.model_validate_json(text) == full
        assert TypeAdapter(Routine).validate_json(text, strict=True) == full

    @pytest.mark.parametrize(
        "wrong",
        [
            {"schedule": {}},
            {"schedule": ...},
            {"prompt": ...},
            {"trigger": {"type": "lunar"}},
            {"created_at": "yesterday"},
            {"created_at": 5.5, "status": "active", "max_runs": "many"},
        ],
    )
    def test_what_is_no_routine_is_a_validation_error(self, wrong: dict[str, object]) -> None:
        with pytest.raises(ValidationError):
            Routine.model_validate(record(**wrong))

    def test_another_thing_than_an_object_is_a_validation_error(self) -> None:
        with pytest.raises(ValidationError):
            Routine.model_validate("routine_01")

    @pytest.mark.parametrize(
        ("max_runs", "run_count", "expected"), [(0, 9, False), (3, 2, False), (3, 3, True)]
    )
    def test_at_maximum(self, max_runs: int, run_count: int, expected: bool) -> None:
        assert routine(max_runs=max_runs, run_count=run_count).at_maximum is expected


class TestStatusFilter:
    @pytest.mark.parametrize(
        ("raw", "status", "include_deleted"),
        [
            (None, None, False),
            ("", None, False),
            ("  ", None, False),
            ("active", "active", False),
            (" PAUSED ", "paused", False),
            ("deleted", "deleted", True),
            ("All", None, True),
        ],
    )
    def test_accepted(self, raw: str | None, status: str | None, include_deleted: bool) -> None:
        expected = {"status": status, "include_deleted": include_deleted}
        assert parse_status_filter(raw).model_dump() == expected

    @pytest.mark.parametrize("raw", ["x", "completed", "active,paused", 5])
    def test_14_25_anything_else_is_refused(self, raw: Any) -> None:
        error = refusal(lambda: parse_status_filter(raw))
        assert_refused(error, "invalid_field", "status", "active", "paused", "deleted", "all")


class TestEffectiveRoute:
    @pytest.mark.parametrize("message_id", [None, "", "  "])
    def test_it_is_the_route_without_a_source_message(self, message_id: str | None) -> None:
        found = effective_route(routine(source_message_id=message_id))
        assert found == Route(receive_id_type="user_id", receive_id="ou_a")

    def test_a_known_source_message_comes_first(self) -> None:
        found = effective_route(routine(source_message_id=" om_1 "))
        assert found == Route(receive_id_type="source_message_id", receive_id="om_1")


class TestCanManage:
    @pytest.mark.parametrize(
        ("mode", "creator", "actor", "allowed"),
        [
            ("creator_only", {"user_id": "ou_a"}, "ou_a", True),
            ("creator_only", {"user_id": "ou_a"}, " ou_a ", True),
            ("creator_only", {"user_id": "ou_a"}, "ou_b", False),
            ("creator_only", {"user_id": "ou_a", "open_id": "o"}, "o", False),
            ("creator_only", {"open_id": "o"}, "o", True),
            ("creator_only", {}, "", False),
            ("scope_all", {"user_id": "ou_a"}, "ou_b", True),
            ("scope_all", {"user_id": "ou_a"}, "  ", False),
            ("scope_all", {"user_id": "ou_a"}, None, False),
        ],
    )
    def test_rule(
        self, mode: str, creator: dict[str, str], actor: str | None, allowed: bool
    ) -> None:
        assert can_manage(routine(manage_mode=mode, creator=creator), actor) is allowed


class TestNormalize:
    def test_texts_are_trimmed_and_words_lowered(self) -> None:
        found = normalize_routine(
            record(
                prompt="  hello ",
                scope={"kind": " CHAT ", "id": " oc "},
                manage_mode=" Scope_All ",
                status=" PAUSED ",
                schedule={"cron_expr": " 0  9 * *\t1 "},
                notify={"route": {"receive_id_type": " console "}},
                action={"context_paths": [" a "], "use_tools": True},
            )
        )
        assert found["prompt"] == "hello"
        assert found["scope"] == {"kind": "chat", "id": "oc"}
        assert (found["manage_mode"], found["status"]) == ("scope_all", "paused")
        assert found["schedule"] == {"cron_expr": "0 9 * * 1"}
        assert found["notify"] == {"route": {"receive_id_type": "console"}}
        assert found["action"] == {"context_paths": ["a"], "use_tools": True}

    @pytest.mark.parametrize("blank", [..., None, "", " "])
    def test_blank_words_get_their_defaults(self, blank: object) -> None:
        found = normalize_routine(record(manage_mode=blank, status=blank))
        assert (found["manage_mode"], found["status"]) == ("creator_only", "active")

    def test_deleted_at_goes_unless_deleted(self) -> None:
        at = "2026-01-01T00:00:00Z"
        assert "deleted_at" not in normalize_routine(record(deleted_at=at))
        assert normalize_routine(record(deleted_at=at, status="Deleted"))["deleted_at"] == at

    def test_a_pattern_is_kept_verbatim(self) -> None:
        trigger = {"type": "event", "pattern": " x "}
        assert normalize_routine(record(schedule=..., trigger=trigger))["trigger"] == trigger

    def test_nothing_is_judged(self) -> None:
        odd = {"status": 5, "scope": "me", "schedule": {"every_seconds": 1, "cron_expr": 5}, "x": 1}
        assert normalize_routine(odd) == {**odd, "manage_mode": "creator_only"}

    def test_14_30_no_object(self) -> None:
        odd: Any = ["routine"]
        assert_refused(
            refusal(lambda: normalize_routine(odd)), "invalid_field", "body", "JSON object"
        )

    @given(
        st.dictionaries(
            st.sampled_from(["id", "status", "manage_mode", "scope", "schedule", "deleted_at"]),
            st.recursive(
                st.none() | st.text() | st.integers(),
                lambda inner: st.dictionaries(st.sampled_from(["kind", "cron_expr"]), inner),
                max_leaves=4,
            ),
        )
    )
    def test_twice_is_once(self, values: dict[str, object]) -> None:
        once = normalize_routine(values)
        assert normalize_routine(once) == once


class TestValidRecords:
    def test_the_base_is_valid_and_complete(self) -> None:
        assert validate_routine(RECORD) == Routine.model_validate(RECORD)

    @pytest.mark.parametrize(
        "changes",
        [
            {"title": "ä" * 200},
            {"prompt": "ä" * 32_768},
            {"route": {"receive_id_type": "console", "receive_id": ""}},
            {"route": {"receive_id_type": "file"}},
            {"creator": {"open_id": "o"}},
            {"scope": {"kind": "Chat", "id": "chat_id:oc_x"}},
            {"schedule": ONE_SHOT},
            {"schedule": ..., "trigger": {"type": "manual"}},
            {"prompt": ..., "action": JOB},
            {"action": LIGHTWEIGHT},
            {"trigger": INTERVAL},
            {"max_runs": 3, "run_count": 2},
            {"max_runs": 3, "run_count": 3, "running": True},
            {"max_runs": 3, "run_count": 3, "run_state": "running"},
            {"max_runs": 3, "run_count": 3, "status": "paused"},
            {"max_runs": 0, "run_count": 7},
            {"title": None, "max_runs": None, "guardrails": None, "notify": None},
        ],
    )
    def test_accepted(self, changes: dict[str, object]) -> None:
        validate_routine(record(**changes))

    def test_every_field_is_kept(self) -> None:
        full = routine(
            title="Brief",
            status="paused",
            paused_reason="failures",
            notify={"on_success": True},
            guardrails={"max_concurrent": 2},
            resume_thread_id="t",
            session_key="s",
            last_result="error: x",
            due_since="2026-02-01T11:00:00Z",
            run_state="waiting_for_session",
            next_run_explicit=True,
            collapsed=2,
            consecutive_failures=3,
        )
        assert validate_routine(json.loads(full.model_dump_json())) == full

    def test_a_reason_goes_with_the_pause(self) -> None:
        assert validate_routine(record(paused_reason="user")).paused_reason is None
        paused = validate_routine(record(status="paused", paused_reason="Max_Runs"))
        assert paused.paused_reason == PausedReason.MAX_RUNS

    def test_words_become_an_interval_and_stay_words_in_the_trigger(self) -> None:
        found = validate_routine(record(schedule={"cron_expr": "Every  2H"}))
        assert found.schedule is not None
        assert found.schedule.every_seconds == 7200
        assert found.trigger.model_dump()["schedule"] == "every 2h"

    def test_times_are_read_with_any_offset(self) -> None:
        found = validate_routine(record(next_run_at="2026-02-01T13:00:00.9+01:00"))
        assert found.next_run_at == datetime(2026, 2, 1, 13, tzinfo=timezone(timedelta(hours=1)))


REFUSED: list[tuple[dict[str, object], str, str, tuple[str, ...]]] = [
    ({"id": " "}, "missing_field", "id", ("id",)),
    ({"id": ...}, "missing_field", "id", ("id",)),
    ({"id": 5}, "invalid_field", "id", ("string",)),
    ({"scope": ...}, "missing_field", "scope.kind", ("user", "chat")),
    ({"scope": {"kind": "", "id": "x"}}, "missing_field", "scope.kind", ("user", "chat")),
    ({"scope": {"kind": 5, "id": "x"}}, "invalid_field", "scope.kind", ("string",)),
    ({"scope": {"kind": "group", "id": "x"}}, "invalid_field", "scope.kind", ("user", "chat")),
    ({"scope": {"kind": "user", "id": " "}}, "missing_field", "scope.id", ()),
    ({"scope": "me"}, "invalid_field", "scope", ("object",)),
    ({"route": {"receive_id": "x"}}, "missing_field", "route.receive_id_type", ()),
    ({"route": {"receive_id_type": "user_id"}}, "missing_field", "route.receive_id", ()),
    ({"route": {"receive_id_type": "console", "to": 1}}, "unknown_field", "route.to", ()),
    ({"creator": ...}, "missing_field", "creator", ("user_id", "open_id")),
    ({"creator": {"name": "x", "user_id": " "}}, "missing_field", "creator", ("open_id",)),
    ({"creator": {"user_id": 5}}, "invalid_field", "creator.user_id", ("string",)),
    ({"manage_mode": "everyone"}, "invalid_field", "manage_mode", ("creator_only", "scope_all")),
    ({"title": "x" * 201}, "invalid_field", "title", ("200",)),
    ({"title": 5}, "invalid_field", "title", ("string",)),
    ({"prompt": ...}, "missing_field", "prompt", ("prompt",)),
    ({"prompt": "  "}, "missing_field", "prompt", ("prompt",)),
    ({"prompt": "x" * 65_537}, "invalid_field", "prompt", ("65536",)),
    ({"prompt": "ä" * 32_769}, "invalid_field", "prompt", ("65536",)),
    ({"action": {**LIGHTWEIGHT, "prompt": "else"}}, "invalid_field", "action", ("exactly one of",)),
    ({"action": JOB}, "invalid_field", "action", ("exactly one of",)),
    ({"prompt": ..., "action": {"type": "x"}}, "invalid_field", "action.type", ("full_job",)),
    ({"action": {"type": "x"}}, "invalid_field", "action.type", ("full_job",)),
    (
        {"schedule": ...},
        "missing_field",
        "schedule",
        ("every_seconds", "cron_expr", "run_at"),
    ),
    ({"schedule": {"every_seconds": 59}}, "invalid_field", "schedule.every_seconds", ("60",)),
    ({"schedule": {"cron_expr": "bad expr"}}, "invalid_field", "schedule.cron_expr", ("5 fields",)),
    (
        {"trigger": {**INTERVAL, "every_seconds": 60}},
        "invalid_field",
        "trigger",
        ("exactly one of",),
    ),
    ({"trigger": WEBHOOK}, "invalid_field", "trigger", ("exactly one of", "schedule")),
    ({"trigger": {"type": "x"}}, "invalid_field", "trigger.type", ("webhook",)),
    ({"status": "done"}, "invalid_field", "status", ("active", "paused", "deleted")),
    ({"max_runs": -1}, "invalid_field", "max_runs", (">= 0",)),
    ({"max_runs": 1.5}, "invalid_field", "max_runs", (">= 0",)),
    ({"max_runs": True}, "invalid_field", "max_runs", ("integer",)),
    ({"run_count": -1}, "invalid_field", "run_count", (">= 0",)),
    ({"run_count": "1"}, "invalid_field", "run_count", ("integer",)),
    ({"max_runs": 2, "run_count": 3}, "invalid_field", "max_runs", ("3",)),
    ({"max_runs": 3, "run_count": 3}, "invalid_field", "max_runs", ("3",)),
    ({"fresh": "yes"}, "invalid_field", "fresh", ("true",)),
    ({"guardrails": {"max_concurrent": 0}}, "invalid_field", "guardrails.max_concurrent", ()),
    ({"notify": {"on_failure": 1}}, "invalid_field", "notify.on_failure", ()),
    ({"next_run_at": "2026-02-01T09:00:00"}, "invalid_field", "next_run_at", ("RFC 3339",)),
    ({"run_state": "busy"}, "invalid_field", "run_state", ("waiting_for_session",)),
    ({"running": 1}, "invalid_field", "running", ("true",)),
    ({"cron": "0 9 * * *"}, "unknown_field", "cron", ("schedule.cron_expr",)),
    ({"promt": "x"}, "unknown_field", "promt", ("prompt",)),
]


@pytest.mark.parametrize(("changes", "kind", "field", "contains"), REFUSED)
def test_a_bad_record_is_refused(
    changes: dict[str, object], kind: str, field: str, contains: tuple[str, ...]
) -> None:
    error = refusal(lambda: validate_routine(record(**changes)))
    assert_refused(error, kind, field, *contains)


def test_all_problems_are_told_in_validation_order() -> None:
    error = refusal(
        lambda: validate_routine(
            {
                "run_count": -1,
                "max_runs": -1,
                "status": "done",
                "schedule": {},
                "prompt": "",
                "title": "x" * 201,
                "manage_mode": "all",
                "extra": 1,
            }
        )
    )
    assert [problem.field for problem in error.errors] == [
        "extra",
        "id",
        "scope.kind",
        "scope.id",
        "route.receive_id_type",
        "route.receive_id",
        "creator",
        "manage_mode",
        "title",
        "prompt",
        "schedule",
        "status",
        "max_runs",
        "run_count",
    ]
    assert (error.kind, error.field) == (error.errors[0].kind, "extra")


def test_a_routine_of_any_status_can_be_stored() -> None:
    for status in RoutineStatus:
        assert validate_routine(record(status=status)).status == status
