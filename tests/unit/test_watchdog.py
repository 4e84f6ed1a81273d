"""The watchdog's judgement (automation.md §11)."""

from datetime import timedelta

import pytest

from domain.watchdog import Alert, AlertKind, classify, format_duration, may_alert
from tests.support.routines import NOW, WEBHOOK, routine

TIMEOUT = 600


def ago(seconds: float) -> object:
    return NOW - timedelta(seconds=seconds)


class TestClassify:
    @pytest.mark.parametrize(
        ("late", "overdue_by"), [(-60, None), (0, None), (119, None), (120, 120), (3600.9, 3600)]
    )
    def test_a_next_time_that_passed_is_overdue(self, late: float, overdue_by: int | None) -> None:
        found = classify(routine(next_run_at=ago(late)), NOW, TIMEOUT)
        expected = (
            None if overdue_by is None else Alert(kind=AlertKind.OVERDUE, overdue_by=overdue_by)
        )
        assert found == expected

    def test_a_waiting_run_counts_from_its_own_time(self) -> None:
        waiting = routine(run_state="waiting_for_session", due_since=ago(300))
        assert classify(waiting, NOW, TIMEOUT) == Alert(kind=AlertKind.OVERDUE, overdue_by=300)

    def test_a_waiting_run_that_is_not_late_hides_nothing_else(self) -> None:
        waiting = routine(run_state="waiting_for_session", due_since=ago(60))
        assert classify(waiting, NOW, TIMEOUT) is None

    def test_due_since_says_nothing_once_the_run_is_over(self) -> None:
        assert classify(routine(due_since=ago(300)), NOW, TIMEOUT) is None

    @pytest.mark.parametrize(("running", "running_for"), [(719, None), (720, 720), (7200, 7200)])
    def test_a_run_beyond_timeout_and_grace_is_stuck(
        self, running: int, running_for: int | None
    ) -> None:
        found = classify(
            routine(running=True, last_run_at=ago(running), next_run_at=ago(9999)), NOW, TIMEOUT
        )
        expected = (
            None if running_for is None else Alert(kind=AlertKind.STUCK, running_for=running_for)
        )
        assert found == expected

    def test_a_job_is_not_stuck_by_its_age(self) -> None:
        job = {"type": "full_job", "title": "t", "description": "d"}
        waits = routine(action=job, prompt=..., running=True, last_run_at=ago(999_999))
        assert classify(waits, NOW, TIMEOUT) is None

    def test_a_run_without_a_start_is_not_judged(self) -> None:
        assert classify(routine(running=True), NOW, TIMEOUT) is None

    @pytest.mark.parametrize("status", ["paused", "deleted"])
    def test_only_active_routines_are_watched(self, status: str) -> None:
        assert classify(routine(status=status, next_run_at=ago(9999)), NOW, TIMEOUT) is None

    def test_a_routine_without_a_next_time_is_never_overdue(self) -> None:
        pushed = routine(schedule=..., trigger=WEBHOOK, next_run_at=None)
        assert classify(pushed, NOW, TIMEOUT) is None

    def test_the_grace_is_an_argument(self) -> None:
        assert classify(routine(next_run_at=ago(30)), NOW, TIMEOUT, grace_seconds=30) is not None


@pytest.mark.parametrize(
    ("since", "allowed"), [(None, True), (0, False), (1799, False), (1800, True), (9999, True)]
)
def test_an_alert_is_repeated_after_half_an_hour(since: int | None, allowed: bool) -> None:
    last = None if since is None else NOW - timedelta(seconds=since)
    assert may_alert(last, NOW) is allowed


def test_the_cooldown_is_an_argument() -> None:
    assert may_alert(NOW - timedelta(seconds=10), NOW, cooldown_seconds=10)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "0s"),
        (0, "0s"),
        (42, "42s"),
        (59.9, "59s"),
        (60, "1m"),
        (300, "5m"),
        (3599, "59m"),
        (3600, "1h00m"),
        (7500, "2h05m"),
        (360_000, "100h00m"),
    ],
)
def test_durations_in_alerts(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
