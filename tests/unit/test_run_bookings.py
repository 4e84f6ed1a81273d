"""Booking runs: admission, its repetition, its limits (DESIGN §3 rules 2 and 4)."""

from datetime import timedelta

import pytest

from domain.actions import LightweightAction
from domain.admission import Decision, NoticeKind
from domain.guardrails import Reason, RecentHash
from domain.outcome import Notify
from domain.routine import PausedReason, RoutineStatus, RunState
from domain.routine_state import RoutineState
from domain.run_bookings import KEPT_RUNS
from domain.runs import FireKind, RunStatus
from domain.scopes import Route
from tests.support.bookings import (
    HALF_HOUR,
    NOT_OPEN,
    QUEUE,
    RUN,
    Bookings,
    begin,
    decision,
    refused,
    run,
    scheduled,
    state,
)
from tests.support.routines import NEXT, NOW, WEBHOOK


class TestAdmission:
    def test_an_admitted_run_gets_the_definition(self) -> None:
        notify = {"route": {"receive_id_type": "webhook", "receive_id": "alerts"}}
        booked = Bookings(title="Brief", session_key="oc_x", fresh=True, notify=notify)

        verdict = booked.begin("m-1")

        assert decision(verdict) == RUN
        assert (verdict.started_at, verdict.late_seconds, verdict.stands_for) == (NOW, 0, 1)
        assert verdict.definition is not None
        found = verdict.definition
        assert (found.routine_id, found.title, found.session_key) == (
            "routine_01",
            "Brief",
            "oc_x",
        )
        assert isinstance(found.action, LightweightAction)
        assert (found.timezone, found.action.prompt, found.fresh) == ("UTC", "hello", True)
        assert found.route == Route(receive_id_type="webhook", receive_id="alerts")
        assert found.notify == Notify.model_validate(notify)
        assert found.run_timeout_seconds == 600

    def test_without_a_title_or_a_route_of_its_own(self) -> None:
        booked = Bookings(guardrails={"run_timeout_seconds": 30}, resume_thread_id="thread-1")

        found = booked.begin("m-1", run_timeout_seconds=900).definition

        assert found is not None
        assert (found.title, found.run_timeout_seconds) == ("routine_01", 30)
        assert found.route == Route(receive_id_type="user_id", receive_id="ou_a")
        assert found.resume_thread_id == "thread-1"

    @pytest.mark.parametrize(("fresh", "thread"), [(True, None), (False, "thread-1")])
    def test_a_fresh_run_continues_no_thread(self, fresh: bool, thread: str | None) -> None:
        found = Bookings(fresh=fresh, resume_thread_id="thread-1").begin("m-1").definition
        assert found is not None
        assert found.resume_thread_id == thread

    def test_it_counts_at_once(self) -> None:
        booked = Bookings()

        booked.begin("m-1")

        after = booked.state.routine
        assert (after.run_count, after.last_run_at, after.revision) == (1, NOW, 5)
        assert (after.running, after.run_state, after.due_since) == (True, RunState.RUNNING, NOW)
        assert (after.next_run_at, after.updated_at) == (NEXT, NOW), "a manual run moves no time"
        open_run = booked.open("m-1")
        assert (open_run.counted, open_run.holds_place) == (True, True)
        assert open_run.record.status == RunStatus.RUNNING

    @pytest.mark.parametrize(
        ("changes", "fields", "reason"),
        [
            ({"status": "deleted", "deleted_at": NOW}, {}, Reason.DELETED),
            ({"status": "paused"}, {}, Reason.PAUSED),
            ({}, {"system_paused": True}, Reason.SYSTEM_PAUSED),
            ({"max_runs": 2, "run_count": 2}, {}, Reason.MAX_RUNS),
        ],
    )
    def test_a_refusal_is_recorded_and_counted(
        self, changes: dict[str, object], fields: dict[str, object], reason: Reason
    ) -> None:
        booked = Bookings(**changes)
        before = booked.state.routine

        verdict = booked.begin("m-1", trigger_detail="by hand", hop=2, **fields)

        assert decision(verdict) == refused(reason)
        assert (verdict.definition, verdict.started_at) == (None, None)
        assert booked.state.routine == before, "a refused fire changes nothing"
        assert booked.state.skipped == {reason: 1}
        assert booked.state.open_runs == {}
        kept = booked.kept
        assert (kept.id, kept.status, kept.reason) == (run("m-1"), RunStatus.SKIPPED, reason)
        assert (kept.trigger_detail, kept.hop, kept.cost_micros) == ("by hand", 2, None)
        assert (kept.started_at, kept.finished_at) == (None, NOW)

    def test_force_runs_a_paused_routine(self) -> None:
        booked = Bookings(status="paused", paused_reason="user", next_run_at=None)
        assert decision(booked.begin("m-1", force=True)) == RUN
        assert booked.state.routine.running
        booked.end("m-1")
        after = booked.state.routine
        assert (after.status, after.paused_reason) == (RoutineStatus.PAUSED, PausedReason.USER)

    @pytest.mark.parametrize(
        ("manage_mode", "actor", "expected"),
        [
            ("creator_only", "ou_a", Decision.RUN),
            ("creator_only", "ou_b", Decision.SKIP),
            ("scope_all", "ou_b", Decision.RUN),
            ("creator_only", None, Decision.RUN),
        ],
    )
    def test_who_may_trigger(self, manage_mode: str, actor: str | None, expected: str) -> None:
        booked = Bookings(manage_mode=manage_mode)

        verdict = booked.begin("m-1", actor_id=actor)

        assert verdict.decision == expected
        if expected == Decision.SKIP:
            assert verdict.reason == "permission_denied"
            assert "creator_only" in verdict.message
            assert booked.state == state(manage_mode=manage_mode), "nothing is booked"

    def test_lateness_is_counted_from_the_planned_time(self) -> None:
        booked = Bookings()
        booked.now = NEXT + timedelta(seconds=90.5)
        verdict = booked.ask(scheduled("s-1", NEXT, occurred_at=booked.now))
        assert verdict.late_seconds == 90

    def test_it_is_never_early(self) -> None:
        assert Bookings().begin("m-1", occurred_at=NOW + HALF_HOUR).late_seconds == 0

    @pytest.mark.parametrize(
        ("route", "said_in"),
        [(None, "chat_id:oc_x"), ({"receive_id_type": "chat_id", "receive_id": "oc_y"}, "")],
    )
    def test_a_job_works_in_no_session_and_has_a_time_of_its_own(
        self, route: dict[str, str] | None, said_in: str
    ) -> None:
        action = {"type": "full_job", "title": "t", "description": "d"}
        notify = {"notify": {"route": route}} if route else {}
        booked = Bookings(action=action, prompt=..., session_key="chat_id:oc_x", **notify)
        verdict = booked.begin("m-1")
        assert verdict.definition is not None
        # Its result is said in the chat, unless it goes elsewhere.
        assert (verdict.definition.session_key, verdict.definition.result_session) == ("", said_in)
        assert verdict.definition.run_timeout_seconds == 3600
        assert booked.state.routine.run_count == 1


class TestScheduledTimes:
    def test_an_occurrence_runs_and_moves_the_next_time(self) -> None:
        booked = Bookings()
        booked.now = NEXT

        verdict = booked.ask(scheduled("s-1", NEXT))

        assert decision(verdict) == RUN
        after = booked.state.routine
        assert (after.next_run_at, after.due_since) == (NEXT + HALF_HOUR, NEXT)
        assert booked.open("s-1").record.scheduled_at == NEXT

    @pytest.mark.parametrize("late", [timedelta(seconds=1), timedelta(minutes=10)])
    def test_any_other_time_is_superseded(self, late: timedelta) -> None:
        booked = Bookings()
        booked.now = NEXT + late
        assert decision(booked.ask(scheduled("s-1", booked.now))) == refused(Reason.SUPERSEDED)
        assert booked.state.skipped == {Reason.SUPERSEDED: 1}
        booked.ask(scheduled("s-2", booked.now))
        assert booked.state.skipped == {Reason.SUPERSEDED: 2}

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"status": "paused"}, Reason.PAUSED),
            ({"max_runs": 1, "run_count": 1}, Reason.MAX_RUNS),
            ({"guardrails": {"max_age_seconds": 1}}, Reason.EXPIRED),
        ],
    )
    def test_earlier_rows_are_asked_first(self, changes: dict[str, object], reason: Reason) -> None:
        fire = scheduled("s-1", NOW - timedelta(minutes=7))
        assert decision(Bookings(**changes).ask(fire)) == refused(reason)

    def test_later_rows_are_asked_afterwards(self) -> None:
        booked = Bookings(guardrails={"cooldown_seconds": 3600})
        booked.begin("m-1")
        booked.end("m-1")
        wrong = scheduled("s-1", NEXT + timedelta(minutes=7))
        assert decision(booked.ask(wrong)) == refused(Reason.SUPERSEDED)

    def test_a_late_run_stands_for_the_times_it_collapsed(self) -> None:
        booked = Bookings()
        booked.now = NEXT + 3 * HALF_HOUR + timedelta(minutes=1)
        verdict = booked.ask(scheduled("s-1", NEXT))
        assert verdict.stands_for == 4
        assert booked.open("s-1").record.stands_for == 4
        booked.end("s-1")
        rest = [booked.ask(scheduled(f"late-{n}", NEXT + n * HALF_HOUR)) for n in (1, 2, 3)]
        assert [decision(item) for item in rest] == [refused(Reason.SUPERSEDED)] * 3

    def test_a_refused_time_is_over(self) -> None:
        booked = Bookings()
        booked.now = NEXT
        verdict = booked.ask(scheduled("s-1", NEXT, system_paused=True))
        assert decision(verdict) == refused(Reason.SYSTEM_PAUSED)
        after = booked.state.routine
        assert (after.next_run_at, after.revision) == (NEXT + HALF_HOUR, 4)


class TestRepetition:
    """Invariant 1."""

    def test_an_open_run_gets_its_verdict_again(self) -> None:
        booked = Bookings()
        first = booked.begin("m-1")
        before = booked.state.model_copy(deep=True)
        booked.pass_seconds(5)
        assert booked.begin("m-1") == first
        assert booked.ask(begin("m-1", system_paused=True)) == first
        assert booked.state == before

    def test_a_queued_run_stays_queued(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        first = booked.begin("m-2")
        assert decision(first) == QUEUE
        assert booked.begin("m-2") == first

    def test_a_refused_run_gets_its_refusal_again(self) -> None:
        booked = Bookings(guardrails={"cooldown_seconds": 60, "max_concurrent": 2})
        booked.begin("m-1")
        first = booked.begin("e-1", FireKind.EVENT)
        assert decision(first) == refused(Reason.COOLDOWN)
        assert first.retry_at == NOW + timedelta(seconds=60)
        booked.pass_seconds(61)
        assert booked.begin("e-1", FireKind.EVENT) == first
        assert booked.state.skipped == {Reason.COOLDOWN: 1}
        assert len(booked.state.ended_runs) == 1

    def test_a_run_that_ended_is_not_run_again(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.end("m-1")
        verdict = booked.begin("m-1")
        assert decision(verdict) == refused(Reason.DUPLICATE)
        assert verdict.duplicate_of == run("m-1")
        assert booked.state.routine.run_count == 1

    def test_an_end_is_counted_once_and_answered_again(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        first = booked.end("m-1", RunStatus.FAILED, error="boom")
        assert first.notices == [NoticeKind.FIRST_FAILURE]
        assert booked.end("m-1", RunStatus.FAILED, error="boom") == first
        assert booked.state.routine.consecutive_failures == 1
        assert len(booked.state.ended_runs) == 1

    def test_answers_survive_a_new_execution(self) -> None:
        booked = Bookings()
        booked.begin("m-0")
        refusal = booked.begin("e-1", FireKind.EVENT, system_paused=True)
        ended = booked.end("m-0", RunStatus.FAILED)
        loaded = RoutineState.model_validate_json(booked.state.model_dump_json())
        assert loaded == booked.state
        again = Bookings(loaded)
        assert again.begin("e-1", FireKind.EVENT) == refusal
        assert again.end("m-0", RunStatus.FAILED) == ended

    def test_as_many_are_remembered_as_are_kept(self) -> None:
        booked = Bookings(status="paused")
        for number in range(KEPT_RUNS + 1):
            booked.begin(f"m-{number}")
        assert len(booked.state.ended_runs) == len(booked.state.refusals) == KEPT_RUNS
        assert run("m-0") not in booked.state.refusals

    def test_ends_are_remembered_as_long(self) -> None:
        booked = Bookings()
        for number in range(KEPT_RUNS + 1):
            booked.begin(f"m-{number}")
            booked.end(f"m-{number}")
        assert len(booked.state.endings) == KEPT_RUNS
        assert booked.end("m-0") == NOT_OPEN


class TestLimits:
    def test_starts_are_remembered_for_the_rate_limit_only(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        assert booked.state.recent_starts == []
        assert booked.state.last_admitted_at == NOW

    def test_old_starts_are_forgotten(self) -> None:
        limits = {"rate_limit": {"max_runs": 2, "window_seconds": 60}, "max_concurrent": 10}
        booked = Bookings(guardrails=limits)
        for name in ("e-1", "e-2"):
            booked.begin(name, FireKind.EVENT)
        verdict = booked.begin("e-3", FireKind.EVENT)
        assert decision(verdict) == refused(Reason.RATE_LIMITED)
        assert verdict.retry_at == NOW + timedelta(seconds=60)
        booked.pass_seconds(60)
        assert decision(booked.begin("e-4", FireKind.EVENT)) == RUN
        assert booked.state.recent_starts == [booked.now]

    def test_digests_are_remembered_for_five_minutes_at_least(self) -> None:
        booked = Bookings(trigger=WEBHOOK, schedule=..., guardrails={"max_concurrent": 10})
        booked.begin("d-1", FireKind.WEBHOOK, content_hash="c", delivery_digest="d")
        assert booked.state.recent_hashes == [
            RecentHash(hash="c", at=NOW, run_id=run("d-1")),
            RecentHash(hash="d", at=NOW, run_id=run("d-1")),
        ]
        booked.pass_seconds(299)
        verdict = booked.begin("d-2", FireKind.WEBHOOK, delivery_digest="d")
        assert decision(verdict) == refused(Reason.DUPLICATE)
        assert verdict.duplicate_of == run("d-1")
        booked.pass_seconds(1)
        assert decision(booked.begin("d-3", FireKind.WEBHOOK, delivery_digest="d")) == RUN
        assert [item.run_id for item in booked.state.recent_hashes] == [run("d-3")]

    def test_a_longer_window_remembers_longer(self) -> None:
        limits = {"dedup_window_seconds": 600, "max_concurrent": 10}
        booked = Bookings(guardrails=limits)
        booked.begin("e-1", FireKind.EVENT, content_hash="c")
        booked.pass_seconds(599)
        booked.begin("e-2", FireKind.EVENT, content_hash="other")
        verdict = booked.begin("e-3", FireKind.EVENT, content_hash="c")
        assert decision(verdict) == refused(Reason.DUPLICATE)
