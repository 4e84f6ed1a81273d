"""What a fire and an open run change in their routine (automation.md §2, §5, §7)."""

from datetime import datetime, timedelta

import pytest

from domain.admission import Decision, Verdict
from domain.guardrails import Reason
from domain.routine import Routine, RunState
from domain.routine_state import OpenRun
from domain.run_counting import (
    count_run,
    is_dropped,
    is_due,
    pass_over,
    show_present_run,
    times_stood_for,
)
from domain.runs import FireKind, RunRecord, RunStatus, run_workflow_id
from tests.support.bookings import ANCHOR, HALF_HOUR, Bookings, begin, run, scheduled
from tests.support.routines import NEXT, NOW, ONE_SHOT, WEBHOOK, routine

EXPLICIT = {"next_run_at": NEXT + timedelta(minutes=7), "next_run_explicit": True}
BY_HAND = NEXT + timedelta(minutes=7)
DAILY = {"cron_expr": "0 9 * * *", "timezone": "Europe/Berlin"}


def record(kind: FireKind, scheduled_at: datetime | None = None, name: str = "r") -> RunRecord:
    return RunRecord(
        id=run(name),
        routine_id="routine_01",
        workflow_id=run_workflow_id(run(name)),
        trigger_type=kind,
        occurred_at=NOW,
        scheduled_at=scheduled_at,
        started_at=NOW,
        status=RunStatus.RUNNING,
    )


class TestDue:
    @pytest.mark.parametrize("kind", [kind for kind in FireKind if kind != FireKind.SCHEDULE])
    def test_only_scheduled_fires_have_a_time(self, kind: FireKind) -> None:
        assert is_due(routine(), begin("x", kind, scheduled_at=NOW), ANCHOR)

    @pytest.mark.parametrize(
        ("at", "due"),
        [
            (NEXT, True),
            (NEXT + HALF_HOUR, True),
            (NEXT - HALF_HOUR, True),
            (NEXT + timedelta(seconds=1), False),
            (ANCHOR, False),
        ],
    )
    def test_times_of_the_schedule(self, at: datetime, due: bool) -> None:
        assert is_due(routine(), scheduled("x", at), ANCHOR) is due

    def test_a_fire_without_a_time_is_none(self) -> None:
        assert not is_due(routine(), begin("x", FireKind.SCHEDULE), ANCHOR)

    def test_a_replaced_trigger(self) -> None:
        pushed = routine(trigger=WEBHOOK, schedule=..., next_run_at=None)
        assert not is_due(pushed, scheduled("x", NEXT), ANCHOR)

    @pytest.mark.parametrize(
        ("at", "due"),
        [
            (BY_HAND, True),
            (NEXT, False),
            (NEXT - HALF_HOUR, False),
            (NEXT + HALF_HOUR, True),
            (BY_HAND + timedelta(seconds=1), False),
        ],
    )
    def test_a_time_set_by_hand_is_the_first(self, at: datetime, due: bool) -> None:
        assert is_due(routine(**EXPLICIT), scheduled("x", at), ANCHOR) is due

    def test_an_hour_that_does_not_exist_is_not_fired_at_its_own_time(self) -> None:
        spring = routine(schedule={"cron_expr": "30 2 * * *", "timezone": "Europe/Berlin"})
        moved = datetime.fromisoformat("2026-03-29T03:30:00+02:00")
        assert is_due(spring, scheduled("x", moved), ANCHOR)
        assert not is_due(spring, scheduled("x", moved + timedelta(hours=1)), ANCHOR)


class TestStandsFor:
    @pytest.mark.parametrize(
        ("late", "times"),
        [
            (timedelta(), 1),
            (timedelta(minutes=29), 1),
            (HALF_HOUR, 2),
            (timedelta(hours=24), 49),
        ],
    )
    def test_its_own_time_and_those_missed_since(self, late: timedelta, times: int) -> None:
        fire = scheduled("x", NEXT)
        assert times_stood_for(routine(), fire, NEXT + late, ANCHOR) == times

    def test_cron_is_counted_in_its_zone(self) -> None:
        fire = scheduled("x", datetime.fromisoformat("2026-03-27T09:00:00+01:00"))
        now = datetime.fromisoformat("2026-03-30T09:00:00+02:00")
        assert times_stood_for(routine(schedule=DAILY), fire, now, ANCHOR) == 4

    def test_with_catchup_all_each_time_has_its_run(self) -> None:
        every = {"every_seconds": 1800, "catchup": "all", "catchup_window_seconds": 3600}
        fire = scheduled("x", NEXT)
        assert times_stood_for(routine(schedule=every), fire, NEXT + 4 * HALF_HOUR, ANCHOR) == 1

    def test_a_time_set_by_hand_in_the_past_means_at_once(self) -> None:
        by_hand = routine(next_run_at=NOW - timedelta(days=1), next_run_explicit=True)
        fire = scheduled("x", NOW - timedelta(days=1))
        assert times_stood_for(by_hand, fire, NOW, ANCHOR) == 1

    @pytest.mark.parametrize("kind", [FireKind.MANUAL, FireKind.BACKFILL, FireKind.SCHEDULE])
    def test_fires_without_a_time_stand_for_themselves(self, kind: FireKind) -> None:
        assert times_stood_for(routine(), begin("x", kind), NOW, ANCHOR) == 1

    def test_so_do_those_of_a_replaced_trigger(self) -> None:
        pushed = routine(trigger=WEBHOOK, schedule=..., next_run_at=None)
        assert times_stood_for(pushed, scheduled("x", NOW), NOW, ANCHOR) == 1


class TestCount:
    def test_a_scheduled_run_moves_the_next_time(self) -> None:
        after = count_run(routine(), record(FireKind.SCHEDULE, NEXT), NEXT, ANCHOR)
        assert (after.run_count, after.last_run_at) == (4, NEXT)
        assert (after.next_run_at, after.revision) == (NEXT + HALF_HOUR, 5)

    def test_a_late_one_moves_it_after_now(self) -> None:
        late = NEXT + 5 * HALF_HOUR
        after = count_run(routine(), record(FireKind.SCHEDULE, NEXT), late, ANCHOR)
        assert after.next_run_at == late + HALF_HOUR

    @pytest.mark.parametrize("kind", [FireKind.MANUAL, FireKind.BACKFILL, FireKind.WEBHOOK])
    def test_other_runs_do_not(self, kind: FireKind) -> None:
        after = count_run(routine(**EXPLICIT), record(kind), NOW, ANCHOR)
        assert (after.next_run_at, after.next_run_explicit) == (BY_HAND, True)

    def test_a_time_set_by_hand_has_fired(self) -> None:
        fired = record(FireKind.SCHEDULE, BY_HAND)
        after = count_run(routine(**EXPLICIT), fired, BY_HAND, BY_HAND)
        assert (after.next_run_at, after.next_run_explicit) == (BY_HAND + HALF_HOUR, False)

    def test_nothing_follows_the_last_run(self) -> None:
        last = routine(max_runs=4, **EXPLICIT)
        after = count_run(last, record(FireKind.MANUAL), NOW, ANCHOR)
        assert (after.next_run_at, after.next_run_explicit) == (None, False)

    def test_a_one_shot_has_no_next_time(self) -> None:
        after = count_run(routine(schedule=ONE_SHOT), record(FireKind.SCHEDULE, NOW), NOW, ANCHOR)
        assert after.next_run_at is None

    def test_a_routine_without_a_schedule(self) -> None:
        pushed = routine(trigger=WEBHOOK, schedule=..., next_run_at=None)
        after = count_run(pushed, record(FireKind.SCHEDULE, NOW), NOW, ANCHOR)
        assert (after.run_count, after.next_run_at) == (4, None)


class TestPassOver:
    def test_a_refused_time_is_over(self) -> None:
        after = pass_over(routine(), scheduled("x", NEXT), NEXT, ANCHOR)
        assert (after.next_run_at, after.revision) == (NEXT + HALF_HOUR, 4)

    def test_a_time_set_by_hand_too(self) -> None:
        after = pass_over(routine(**EXPLICIT), scheduled("x", BY_HAND), BY_HAND, BY_HAND)
        assert (after.next_run_at, after.next_run_explicit) == (BY_HAND + HALF_HOUR, False)

    @pytest.mark.parametrize(
        ("subject", "fire"),
        [
            (routine(), scheduled("x", NEXT - timedelta(seconds=1))),
            (routine(), begin("x", FireKind.MANUAL)),
            (routine(), begin("x", FireKind.SCHEDULE)),
            (routine(status="paused", next_run_at=None), scheduled("x", NEXT)),
            (routine(trigger=WEBHOOK, schedule=..., next_run_at=None), scheduled("x", NEXT)),
        ],
        ids=["earlier", "by hand", "no time", "paused", "pushed"],
    )
    def test_anything_else_leaves_the_next_time(self, subject: Routine, fire: object) -> None:
        assert pass_over(subject, fire, NEXT, ANCHOR) is subject  # type: ignore[arg-type]

    def test_a_one_shot_keeps_its_time_so_that_it_shows(self) -> None:
        once = routine(schedule=ONE_SHOT, next_run_at=NOW)
        assert pass_over(once, scheduled("x", NOW), NOW, ANCHOR) is once


class TestPresentRun:
    def _run(self, decision: Decision, counted: bool, at: datetime | None = None) -> OpenRun:
        return OpenRun(
            record=record(FireKind.SCHEDULE, at),
            verdict=Verdict(decision=decision),
            counted=counted,
            lease_until=NOW,
        )

    def test_none(self) -> None:
        busy = routine(running=True, due_since=NOW)
        after = show_present_run(busy, [])
        assert (after.running, after.run_state, after.due_since) == (False, RunState.IDLE, None)

    def test_one_that_is_queued_is_not_shown(self) -> None:
        after = show_present_run(routine(), [self._run(Decision.QUEUE, counted=False)])
        assert after.run_state == RunState.IDLE

    def test_the_oldest_that_is_counted(self) -> None:
        runs = [
            self._run(Decision.RUN, counted=False, at=NEXT),
            self._run(Decision.RUN, counted=True, at=NEXT + HALF_HOUR),
            self._run(Decision.RUN, counted=True),
        ]
        after = show_present_run(routine(), runs)
        assert (after.running, after.run_state) == (True, RunState.RUNNING)
        assert after.due_since == NEXT + HALF_HOUR

    @pytest.mark.parametrize(
        ("status", "state", "due"),
        [
            ("active", RunState.WAITING_FOR_SESSION, NOW),
            ("paused", RunState.IDLE, None),
        ],
    )
    def test_else_one_that_waits_while_the_routine_is_active(
        self, status: str, state: RunState, due: datetime | None
    ) -> None:
        waiting = [self._run(Decision.RUN, counted=False)]
        after = show_present_run(routine(status=status), waiting)
        assert (after.running, after.run_state, after.due_since) == (False, state, due)

    def test_a_deleted_routine_shows_none(self) -> None:
        deleted = routine(status="deleted", deleted_at=NOW)
        assert show_present_run(deleted, [self._run(Decision.RUN, counted=True)]) is deleted


class TestDropped:
    """Automation.md §5: `skip` makes up for nothing that is more than a minute late."""

    @pytest.mark.parametrize(("late", "dropped"), [(0, False), (60, False), (61, True)])
    def test_a_late_fire_with_skip(self, late: int, dropped: bool) -> None:
        daily = routine(schedule={"cron_expr": "0 9 * * *", "catchup": "skip"})
        at = NOW - timedelta(seconds=late)
        assert is_dropped(daily, scheduled("s", at), NOW) is dropped

    def test_what_is_never_dropped(self) -> None:
        skip = {"every_seconds": 1800, "catchup": "skip"}
        at = NOW - timedelta(hours=1)
        once = routine()
        assert not is_dropped(once, scheduled("s", at), NOW)
        assert not is_dropped(routine(schedule=skip), begin("m", occurred_at=at), NOW)
        by_hand = routine(schedule=skip, next_run_at=at, next_run_explicit=True)
        assert not is_dropped(by_hand, scheduled("s", at), NOW)

    def test_admission_refuses_it(self) -> None:
        booked = Bookings(schedule={"every_seconds": 1800, "catchup": "skip"})
        at = NEXT - timedelta(hours=1)
        verdict = booked.ask(scheduled("s", at, checked=True))
        assert (verdict.decision, verdict.reason) == (Decision.SKIP, Reason.SUPERSEDED)


def test_a_time_set_by_hand_that_was_missed_stands_for_the_others_too() -> None:
    at = NOW - timedelta(hours=2)
    set_before = routine(next_run_at=at, next_run_explicit=True, updated_at=at - timedelta(hours=1))
    assert times_stood_for(set_before, scheduled("s", at), NOW, at) == 5
    set_after = routine(next_run_at=at, next_run_explicit=True, updated_at=NOW)
    assert times_stood_for(set_after, scheduled("s", at), NOW, at) == 1
