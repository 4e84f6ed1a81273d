"""Booking outcomes (automation.md §7.8-13)."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.outcome import Outcome, OutcomeKind
from domain.routine import Routine, record_outcome
from tests.support.routines import NEXT, NOW, ONE_SHOT, WEBHOOK, assert_refused, refusal, routine

OK = {"kind": "ok"}
ERROR = {"kind": "error", "message": " boom "}
INTERRUPTED = {"kind": "interrupted"}
STOPPED = {"kind": "stopped"}
ALL = [OK, ERROR, INTERRUPTED, STOPPED]


def running(**changes: object) -> Routine:
    return routine(**{"running": True, "due_since": NOW, "last_run_at": NOW, **changes})


def test_success() -> None:
    after = record_outcome(running(consecutive_failures=2), OK, NOW)
    assert (after.consecutive_failures, after.last_result) == (0, "ok: 2026-02-01T12:00:00Z")
    assert (after.running, after.run_state, after.due_since) == (False, "idle", None)
    assert (after.run_count, after.status, after.next_run_at) == (3, "active", NEXT)
    assert (after.revision, after.updated_at) == (5, NOW)


def test_failure() -> None:
    after = record_outcome(running(consecutive_failures=1), ERROR, NOW)
    assert (after.consecutive_failures, after.last_result) == (2, "error: boom")
    assert (after.run_count, after.status, after.run_state) == (3, "active", "idle")


@pytest.mark.parametrize("message", [None, "", " "])
def test_a_failure_without_a_message_says_so(message: str | None) -> None:
    outcome = {"kind": "error", "message": message}
    assert record_outcome(running(), outcome, NOW).last_result == "error: unknown"


def test_three_failures_in_a_row_pause() -> None:
    after = record_outcome(running(consecutive_failures=2), ERROR, NOW)
    assert (after.status, after.paused_reason) == ("paused", "failures")
    assert (after.next_run_at, after.consecutive_failures) == (None, 3)


@pytest.mark.parametrize(("limit", "status"), [(1, "paused"), (2, "active")])
def test_the_limit_is_an_argument(limit: int, status: str) -> None:
    assert record_outcome(running(), ERROR, NOW, failure_limit=limit).status == status


def test_interrupted_runs_wait_again() -> None:
    after = record_outcome(running(consecutive_failures=1, last_result="ok: x"), INTERRUPTED, NOW)
    assert (after.run_count, after.run_state, after.due_since) == (2, "waiting_for_session", NOW)
    assert (after.running, after.consecutive_failures, after.last_result) == (False, 1, "ok: x")
    assert after.revision == 5


def test_interrupted_runs_of_a_paused_routine_are_dropped() -> None:
    after = record_outcome(running(status="paused", paused_reason="user"), INTERRUPTED, NOW)
    assert (after.run_state, after.due_since, after.run_count) == ("idle", None, 2)
    assert (after.status, after.paused_reason) == ("paused", "user")


def test_stopped_runs_do_not_count_and_do_not_fail() -> None:
    after = record_outcome(running(consecutive_failures=2), STOPPED, NOW)
    assert (after.run_count, after.last_result) == (2, "cancelled: stopped by user")
    assert (after.consecutive_failures, after.run_state, after.status) == (2, "idle", "active")
    assert after.next_run_at == NEXT


def test_a_stop_may_say_why() -> None:
    outcome = Outcome(kind=OutcomeKind.STOPPED, message="cancelled by ou_b")
    assert record_outcome(running(), outcome, NOW).last_result == "cancelled: cancelled by ou_b"


@pytest.mark.parametrize("outcome", [INTERRUPTED, STOPPED])
def test_the_count_never_falls_below_zero(outcome: dict[str, object]) -> None:
    assert record_outcome(running(run_count=0), outcome, NOW).run_count == 0


@pytest.mark.parametrize("outcome", ALL)
def test_a_deleted_routine_is_left_as_it_is(outcome: dict[str, object]) -> None:
    deleted = running(status="deleted", deleted_at=NOW)
    assert record_outcome(deleted, outcome, NOW) is deleted


class TestMaximum:
    @pytest.mark.parametrize("outcome", [OK, ERROR])
    def test_the_last_run_pauses(self, outcome: dict[str, object]) -> None:
        last = running(max_runs=3, next_run_at=None, consecutive_failures=2)
        after = record_outcome(last, outcome, NOW)
        assert (after.status, after.paused_reason) == ("paused", "max_runs")
        assert (after.next_run_at, after.running) == (None, False)

    @pytest.mark.parametrize("outcome", [INTERRUPTED, STOPPED])
    def test_a_last_run_that_does_not_count_makes_room_again(
        self, outcome: dict[str, object]
    ) -> None:
        last = running(max_runs=3, next_run_at=None)
        after = record_outcome(last, outcome, NOW)
        assert (after.status, after.next_run_at) == ("active", NOW + timedelta(minutes=30))
        anchor = NOW - timedelta(minutes=20)
        after = record_outcome(last, outcome, NOW, anchor=anchor)
        assert after.next_run_at == NOW + timedelta(minutes=10)

    def test_a_pause_by_the_user_keeps_its_reason(self) -> None:
        last = running(max_runs=3, status="paused", paused_reason="user", next_run_at=None)
        after = record_outcome(last, OK, NOW)
        assert (after.status, after.paused_reason, after.run_state) == ("paused", "user", "idle")


class TestOneShot:
    @pytest.mark.parametrize("outcome", [OK, ERROR, STOPPED])
    @pytest.mark.parametrize("next_run_at", [None, NOW, NEXT])
    def test_it_ends_with_its_run(
        self, outcome: dict[str, object], next_run_at: datetime | None
    ) -> None:
        after = record_outcome(running(schedule=ONE_SHOT, next_run_at=next_run_at), outcome, NOW)
        assert (after.status, after.paused_reason) == ("paused", "schedule_ended")
        assert after.next_run_at is None

    def test_an_interrupted_one_runs_again(self) -> None:
        after = record_outcome(running(schedule=ONE_SHOT, next_run_at=None), INTERRUPTED, NOW)
        assert (after.status, after.run_state) == ("active", "waiting_for_session")
        assert after.next_run_at is None

    def test_a_manual_run_before_its_time_does_not_end_it(self) -> None:
        later = {"run_at": NEXT.isoformat()}
        after = record_outcome(running(schedule=later, next_run_at=NEXT), OK, NOW)
        assert (after.status, after.next_run_at) == ("active", NEXT)

    def test_nor_does_a_run_before_a_time_set_by_hand(self) -> None:
        set_by_hand = running(schedule=ONE_SHOT, next_run_at=NEXT, next_run_explicit=True)
        after = record_outcome(set_by_hand, OK, NOW)
        assert (after.status, after.next_run_at, after.next_run_explicit) == ("active", NEXT, True)


def test_a_pushed_routine_gets_no_next_time() -> None:
    pushed = running(schedule=..., trigger=WEBHOOK, next_run_at=None)
    for outcome in ALL:
        after = record_outcome(pushed, outcome, NOW)
        assert (after.status, after.next_run_at) == ("active", None)


@pytest.mark.parametrize(
    ("outcome", "kind", "field"),
    [
        ({"kind": "fine"}, "invalid_field", "outcome.kind"),
        ({}, "missing_field", "outcome.kind"),
        ({"kind": "error", "message": 5}, "invalid_field", "outcome.message"),
        ({"kind": "ok", "at": 1}, "unknown_field", "outcome.at"),
        ("ok", "invalid_field", "outcome"),
    ],
)
def test_another_outcome_is_refused(outcome: Any, kind: str, field: str) -> None:
    assert_refused(refusal(lambda: record_outcome(running(), outcome, NOW)), kind, field)
