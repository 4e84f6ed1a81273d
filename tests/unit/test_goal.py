"""What may happen to a goal, its times, and its normal form (automation.md §2, §4, §9)."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.goal import (
    Goal,
    GoalEvent,
    GoalStatus,
    fast_loop_step,
    format_duration,
    is_terminal,
    iteration_timeout,
    normalize_goal,
    parse_deadline,
    parse_delay,
    parse_status_filter,
    transition,
    validate_goal,
)
from tests.support.routines import assert_refused, refusal

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EVENTS = "thread_ready pause resume complete delay extend deadline fast_loop delete"
# `waiting` is short for `waiting_for_session`.
TABLE = """
waiting active paused waiting complete waiting waiting timeout - deleted
active active paused active complete active active timeout paused deleted
paused paused paused active complete - paused timeout paused deleted
complete complete - - complete - - complete complete deleted
timeout timeout - - complete - active timeout timeout deleted
"""
SAME = {"goal_done": "complete", "wait": "delay", "failures": "fast_loop", "limit": "fast_loop"}


def expected(status: str, event: str, has_thread: bool) -> str:
    for line in TABLE.strip().splitlines():
        first, *cells = line.replace("waiting", "waiting_for_session").split()
        if first == status:
            cell = dict(zip(EVENTS.split(), cells, strict=True))[SAME.get(event, event)]
            moved = cell == "active" and (status, event) in {
                ("paused", "resume"),
                ("timeout", "extend"),
            }
            return "waiting_for_session" if moved and not has_thread else cell
    return "-"


@pytest.mark.parametrize(
    ("status", "event", "has_thread"),
    list(itertools.product([*GoalStatus, "deleted"], GoalEvent, [True, False])),
)
def test_the_table_is_exact(status: str, event: str, has_thread: bool) -> None:
    following = expected(status, event, has_thread)
    if following == "-":
        error = refusal(lambda: transition(status, event, has_thread))
        assert_refused(error, "conflict", "status", status)
    else:
        assert transition(status, event, has_thread) == following


def test_complete_and_timeout_are_the_ends() -> None:
    assert [s.value for s in GoalStatus if is_terminal(s)] == ["complete", "timeout"]


class TestTimes:
    @pytest.mark.parametrize(
        ("duration", "seconds"),
        [
            ("0", 0), ("0s", 0), ("0h0m", 0), ("60s", 60), ("1m", 60), (" 1.5h ", 5400),
            ("12h", 43200), ("1h30m", 5400), ("30m1h", 5400), (".5h", 1800), ("60000ms", 60),
            ("0.5d", 43200), ("60.9s", 60),
        ],
    )  # fmt: skip
    def test_a_delay(self, duration: str, seconds: int) -> None:
        assert parse_delay(duration, "waiting") == seconds

    @pytest.mark.parametrize(
        "duration",
        [
            "30s", "59s", "59.999s", "1ms", "12h1s", "12h0.001s", "-5m", "+5m", "abc", "5",
            "1h 30m", "1H", "1.h", "1w", "٣m", "9" * 5000 + "h", 300, True, 1.5, [], "00",
        ],
    )  # fmt: skip
    def test_a_delay_out_of_bounds_or_no_length_of_time_is_refused(self, duration: object) -> None:
        error = refusal(lambda: parse_delay(duration, "waiting"))
        assert_refused(error, "invalid_field", "duration", "0s", "1m", "12h")

    @pytest.mark.parametrize("duration", ["", "  ", None])
    def test_a_blank_delay_is_missing(self, duration: object) -> None:
        error = refusal(lambda: parse_delay(duration, ""))
        assert_refused(error, "missing_field", "duration", "0s", "1m", "12h")

    @pytest.mark.parametrize("reason", ["", " ", None])
    def test_a_delay_needs_a_reason(self, reason: object) -> None:
        error = refusal(lambda: parse_delay("0s", reason))
        assert_refused(error, "missing_field", "reason", "reason")

    @pytest.mark.parametrize(
        ("deadline_in", "seconds"),
        [
            (None, 172800),
            ("", 172800),
            ("90m", 5400),
            ("2160h", 7776000),
            ("90d", 7776000),
            ("1s", 1),
            ("1ms", 1),
            ("1m30.7s", 90),
        ],
    )
    def test_a_deadline(self, deadline_in: object, seconds: int) -> None:
        assert parse_deadline(deadline_in) == seconds

    @pytest.mark.parametrize(
        "deadline_in", ["soon", "300", "0s", "0", "-1h", "2161h", "2160h0.1s", 300, False]
    )
    def test_a_bad_deadline_is_refused(self, deadline_in: object) -> None:
        error = refusal(lambda: parse_deadline(deadline_in))
        assert_refused(error, "invalid_field", "deadline_in", "48h", "2160h")

    @pytest.mark.parametrize(
        ("run_timeout", "left", "seconds"),
        [(600, 300, 300), (600, 900, 600), (600, None, 600), (600, -5, 0), (600, 0.9, 0)],
    )
    def test_an_iteration_never_outlasts_the_deadline(
        self, run_timeout: int, left: float | None, seconds: int
    ) -> None:
        deadline = None if left is None else NOW + timedelta(seconds=left)
        assert iteration_timeout(run_timeout, deadline, NOW) == seconds

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0, "0s"),
            (-1, "0s"),
            (30, "30s"),
            (59.9, "59s"),
            (60, "1m0s"),
            (300, "5m0s"),
            (3599, "59m59s"),
            (3600, "1h0m"),
            (9000, "2h30m"),
            (180_000, "50h0m"),
        ],
    )
    def test_durations_are_told(self, seconds: float, text: str) -> None:
        assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "outcome", "elapsed", "delayed", "after", "pause"),
    [
        (0, "ok", 10, False, 1, False),
        (3, "ok", 179.9, False, 4, False),
        (4, "ok", 1, False, 0, True),
        (9, "ok", 1, False, 0, True),
        (4, "ok", 180, False, 0, False),
        (4, "ok", 1, True, 0, False),
        (4, "error", 1, False, 0, False),
        (4, "interrupted", 1, False, 0, False),
        (2, "timeout", 600, False, 0, False),
    ],
)
def test_short_successful_iterations_in_a_row_pause_the_goal(
    count: int, outcome: str, elapsed: float, delayed: bool, after: int, pause: bool
) -> None:
    step = fast_loop_step(count, outcome, elapsed, delayed)
    assert (step.count, step.pause) == (after, pause)


GOAL: dict[str, Any] = {
    "id": "goal_1",
    "objective": "  ship  ",
    "scope": {"kind": " CHAT", "id": "chat_id:oc_x|thread:om_1"},
    "route": {"receive_id_type": "chat_id", "receive_id": "oc_x"},
    "creator": {"user_id": "ou_a"},
    "status": "",
}


class TestRecord:
    def test_spelling_is_made_normal_and_twice_is_once(self) -> None:
        once = normalize_goal(GOAL)
        assert (once["objective"], once["status"]) == ("ship", "active")
        assert once["scope"] == {"kind": "chat", "id": "chat_id:oc_x|thread:om_1"}
        assert normalize_goal(once) == once
        assert normalize_goal({"scope": 5, "status": 7}) == {"scope": 5, "status": 7}

    def test_a_whole_record_comes_back_as_it_was(self) -> None:
        goal = validate_goal(
            GOAL
            | {"status": "Paused", "paused_reason": "FAST_LOOP", "waiting_for": "event"}
            | {"deadline_at": "2026-01-03T00:00:00Z", "iteration": 3, "running": False}
        )
        assert (goal.status, goal.paused_reason, goal.waiting_for) == (
            "paused",
            "fast_loop",
            "event",
        )
        assert goal.deadline_at == NOW + timedelta(days=2)
        assert validate_goal(goal.model_dump(mode="json")) == goal
        assert isinstance(goal, Goal)

    def test_a_reason_of_a_pause_goes_with_the_pause(self) -> None:
        assert validate_goal(GOAL | {"paused_reason": "user"}).paused_reason is None

    @pytest.mark.parametrize(
        ("change", "kind", "field", "contains"),
        [
            ({"id": " "}, "missing_field", "id", ["id"]),
            ({"objective": " "}, "missing_field", "objective", ["objective"]),
            ({"objective": "é" * 8193}, "invalid_field", "objective", ["16384"]),
            ({"scope": None}, "missing_field", "scope.kind", ["user", "chat"]),
            ({"scope": {"kind": "group", "id": "x"}}, "invalid_field", "scope.kind", ["chat"]),
            ({"scope": {"kind": "user"}}, "missing_field", "scope.id", ["id"]),
            (
                {"route": {"receive_id_type": "x"}},
                "missing_field",
                "route.receive_id",
                ["receive_id"],
            ),
            ({"creator": {}}, "missing_field", "creator", ["user_id", "open_id"]),
            ({"status": "done"}, "invalid_field", "status", list(GoalStatus)),
            ({"iteration": True}, "invalid_field", "iteration", ["integer"]),
            ({"deadline_at": "soon"}, "invalid_field", "deadline_at", ["RFC 3339"]),
            ({"goal": 1}, "unknown_field", "goal", ["objective"]),
        ],
    )
    def test_the_first_problem_is_told(
        self, change: dict[str, object], kind: str, field: str, contains: list[str]
    ) -> None:
        error = refusal(lambda: validate_goal(GOAL | change))
        assert_refused(error, kind, field, *contains)

    def test_all_problems_are_listed_in_order(self) -> None:
        error = refusal(lambda: validate_goal({"status": "done"}))
        assert_refused(error, "missing_field", "id")
        assert [problem.field for problem in error.errors] == [
            "id",
            "objective",
            "scope.kind",
            "scope.id",
            "route.receive_id_type",
            "route.receive_id",
            "creator",
            "status",
        ]

    def test_no_object_is_no_goal(self) -> None:
        error = refusal(lambda: validate_goal([]))  # type: ignore[arg-type]  # what a caller may send
        assert_refused(error, "invalid_field", "body", "JSON object")


def test_the_status_filter() -> None:
    assert parse_status_filter(None) is None
    assert parse_status_filter(" ") is None
    assert parse_status_filter(" Complete ") == "complete"
    error = refusal(lambda: parse_status_filter("x"))
    assert_refused(error, "invalid_field", "status", *GoalStatus)


def test_a_refusal_names_what_people_can_ask_for() -> None:
    error = refusal(lambda: transition("paused", "delay"))
    assert error.accepted == ["pause", "resume", "complete", "extend", "delete"]
