"""Counting runs and recording how they ended (automation.md §7)."""

import pytest

from domain.admission import NoticeKind, RunEnded, RunMark
from domain.routine import PausedReason, RoutineStatus, RunState
from domain.runs import RunStatus
from tests.support.bookings import NOT_OPEN, Bookings, run
from tests.support.routines import NEXT, NOW

ACCEPTED = RunEnded(accepted=True)


class TestMark:
    def test_an_unknown_run(self) -> None:
        assert Bookings().mark("m-1", RunMark.RUNNING) == NOT_OPEN

    @pytest.mark.parametrize("granted", [False, True])
    def test_a_queued_run_cannot_be_counted(self, granted: bool) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.begin("m-2")
        if granted:
            booked.end("m-1")
        assert booked.mark("m-2", RunMark.RUNNING) == NOT_OPEN
        assert booked.state.routine.run_count == 1

    def test_an_interrupted_run_keeps_its_admission(self) -> None:
        booked = Bookings()
        verdict = booked.begin("m-1")
        admitted_at = booked.state.last_admitted_at

        booked.pass_seconds(5)
        assert booked.mark("m-1", RunMark.WAITING) == ACCEPTED

        waiting = booked.state.routine
        assert (waiting.run_count, waiting.run_state) == (0, RunState.WAITING_FOR_SESSION)
        assert (waiting.due_since, waiting.last_result) == (NOW, None)
        assert booked.open("m-1").holds_place
        assert booked.begin("m-1") == verdict

        booked.pass_seconds(5)
        assert booked.mark("m-1", RunMark.RUNNING) == ACCEPTED
        running = booked.state.routine
        assert (running.run_count, running.run_state) == (1, RunState.RUNNING)
        assert (running.last_run_at, running.due_since) == (booked.now, NOW)
        assert running.revision == waiting.revision + 1
        assert booked.state.last_admitted_at == admitted_at

    @pytest.mark.parametrize("mark", [RunMark.RUNNING, RunMark.WAITING])
    def test_marking_twice_is_marking_once(self, mark: RunMark) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.mark("m-1", mark)
        before = booked.state.model_copy(deep=True)
        assert booked.mark("m-1", mark) == ACCEPTED
        assert booked.state == before

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"status": RoutineStatus.PAUSED}, "paused"),
            ({"status": RoutineStatus.DELETED}, "deleted"),
            ({"max_runs": 1, "run_count": 1}, "max_runs"),
        ],
    )
    def test_what_is_no_longer_wanted_is_not_counted(
        self, changes: dict[str, object], reason: str
    ) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.mark("m-1", RunMark.WAITING)
        booked.state.routine = booked.state.routine.model_copy(update=changes)
        before = booked.state.model_copy(deep=True)
        answer = booked.mark("m-1", RunMark.RUNNING)
        assert answer == RunEnded(accepted=False, reason=reason)
        assert booked.state == before

    def test_a_counted_run_is_answered_again_although_the_routine_was_paused(self) -> None:
        booked = Bookings(max_runs=1)
        booked.begin("m-1")
        paused = {"status": RoutineStatus.PAUSED}
        booked.state.routine = booked.state.routine.model_copy(update=paused)
        assert booked.mark("m-1", RunMark.RUNNING) == ACCEPTED

    def test_the_last_run_is_answered_again(self) -> None:
        booked = Bookings(max_runs=1)
        booked.begin("m-1")
        assert booked.mark("m-1", RunMark.RUNNING) == ACCEPTED

    def test_a_run_of_a_deleted_routine_stays_counted(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        deleted = {"status": RoutineStatus.DELETED}
        booked.state.routine = booked.state.routine.model_copy(update=deleted)
        answer = booked.mark("m-1", RunMark.WAITING)
        assert answer == RunEnded(accepted=False, reason="deleted")
        assert booked.open("m-1").counted

    def test_an_interruption_of_the_last_run_makes_room(self) -> None:
        booked = Bookings(max_runs=1)
        booked.begin("m-1")
        assert booked.state.routine.next_run_at is None
        booked.mark("m-1", RunMark.WAITING)
        assert booked.state.routine.next_run_at == NEXT


class TestEnd:
    def test_an_unknown_run(self) -> None:
        booked = Bookings()
        before = booked.state.model_copy(deep=True)
        assert booked.end("m-1") == NOT_OPEN
        assert booked.state == before

    @pytest.mark.parametrize("status", [RunStatus.OK, RunStatus.ATTENTION])
    def test_success(self, status: RunStatus) -> None:
        booked = Bookings(consecutive_failures=2)
        booked.begin("m-1")
        booked.pass_seconds(5)

        answer = booked.end("m-1", status, summary="x" * 300, warnings=["w"] * 9)

        after = booked.state.routine
        assert answer == RunEnded(
            accepted=True,
            recorded=True,
            next_run_at=after.next_run_at,
            scope="user:ou_a",
            title="routine_01",
        )
        assert after.last_result == "ok: 2026-02-01T12:00:05Z"
        assert (after.run_count, after.run_state, after.due_since) == (1, RunState.IDLE, None)
        assert booked.state.open_runs == {}
        assert booked.kept.status == status
        assert booked.kept.summary == "x" * 200
        assert booked.kept.warnings == ["w"] * 5

    def test_failures_in_a_row_pause_the_routine(self) -> None:
        booked = Bookings()
        answers = []
        for number in range(3):
            booked.begin(f"m-{number}")
            answers.append(booked.end(f"m-{number}", RunStatus.FAILED, error="boom"))
        assert [item.notices for item in answers] == [
            [NoticeKind.FIRST_FAILURE],
            [],
            [NoticeKind.ROUTINE_PAUSED],
        ]
        assert [item.consecutive_failures for item in answers] == [1, 2, 3]
        after = booked.state.routine
        assert (after.status, after.paused_reason) == (
            RoutineStatus.PAUSED,
            PausedReason.FAILURES,
        )
        assert after.last_result == "error: boom"
        assert booked.state.schedule_revision == 1

    def test_the_limit_is_the_workers_setting(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        answer = booked.end("m-1", RunStatus.TIMED_OUT, failure_limit=1)
        assert answer.notices == [NoticeKind.ROUTINE_PAUSED]
        assert booked.state.routine.last_result == "error: timed_out"

    def test_lost_runs_obey_the_limit_that_was_told_last(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.end("m-1", RunStatus.OK, failure_limit=2)
        for name in ("m-2", "m-3"):
            booked.begin(name)
            booked.lose(name)
        assert booked.state.routine.paused_reason == PausedReason.FAILURES

    def test_a_cancelled_run_does_not_count(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.end("m-1", RunStatus.CANCELLED)
        after = booked.state.routine
        assert (after.run_count, after.last_result) == (0, "cancelled: stopped by user")

    def test_the_last_run_pauses(self) -> None:
        booked = Bookings(max_runs=1)
        booked.begin("m-1")
        booked.end("m-1")
        assert booked.state.routine.paused_reason == PausedReason.MAX_RUNS

    @pytest.mark.parametrize("status", [RunStatus.SKIPPED, RunStatus.CANCELLED, RunStatus.FAILED])
    def test_a_run_that_waits_for_its_session_ends_without_a_result(
        self, status: RunStatus
    ) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.mark("m-1", RunMark.WAITING)
        before = booked.state.routine

        answer = booked.end("m-1", status)

        after = booked.state.routine
        assert (answer.accepted, answer.notices) == (True, [])
        assert (after.run_state, after.due_since) == (RunState.IDLE, None), "no flag is left"
        assert (after.run_count, after.last_result) == (0, None)
        assert after.revision == before.revision + 1

    def test_a_lost_run_that_waited_for_its_session_leaves_no_flag(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.mark("m-1", RunMark.WAITING)
        booked.lose("m-1")
        after = booked.state.routine
        assert (after.run_state, after.consecutive_failures) == (RunState.IDLE, 0)

    def test_a_queued_run_that_is_cancelled_leaves_the_routine_alone(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.begin("m-2")
        before = booked.state.routine
        booked.end("m-2", RunStatus.CANCELLED)
        assert booked.state.routine == before
        assert list(booked.state.open_runs) == [run("m-1")]

    def test_another_run_goes_on(self) -> None:
        booked = Bookings(guardrails={"max_concurrent": 2})
        booked.begin("m-1")
        booked.pass_seconds(5)
        booked.begin("m-2")
        booked.end("m-1")
        after = booked.state.routine
        assert (after.running, after.run_state) == (True, RunState.RUNNING)
        assert after.due_since == booked.now

    def test_a_deleted_routine_keeps_no_running_run(self) -> None:
        booked = Bookings(guardrails={"max_concurrent": 2})
        booked.begin("m-1")
        booked.begin("m-2")
        deleted = {"status": RoutineStatus.DELETED, "running": False, "run_state": RunState.IDLE}
        booked.state.routine = booked.state.routine.model_copy(update=deleted)
        before = booked.state.routine
        booked.end("m-1", RunStatus.CANCELLED)
        booked.end("m-2", RunStatus.FAILED)
        assert booked.state.routine == before
