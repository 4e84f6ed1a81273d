"""Backfills: which times are meant, and when the next one may start (automation.md §6)."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.admission import RunMark
from domain.backfills import MAX_BACKFILL, take_backfill
from domain.guardrails import Reason
from domain.routine_book import RoutineBook
from domain.routine_requests import BackfillAnswer, BackfillRoutine, BackfillRun, ChangeRoutine
from domain.routine_state import PendingStart, RoutineState
from domain.run_start import StartRun
from domain.runs import FireKind, RunStatus, run_workflow_id
from domain.scopes import Scope, ScopeKind
from tests.support.bookings import (
    ANCHOR,
    HALF_HOUR,
    RUN,
    begin,
    decision,
    ending,
    mark,
    refused,
    run,
    state,
)
from tests.support.routines import NOW, assert_refused, refusal

# The base routine fires at ten minutes past and forty past: these are its last two times.
FIRST, SECOND = ANCHOR + 46 * HALF_HOUR, ANCHOR + 47 * HALF_HOUR
FIRST_RUN, SECOND_RUN = "b-2026-02-01T11:10:00Z", "b-2026-02-01T11:40:00Z"
EARLIEST = datetime.min.replace(tzinfo=UTC)
MINE = Scope(kind=ScopeKind.USER, id="ou_a")


def book(**changes: object) -> RoutineBook:
    return RoutineBook(state(**changes))


def asked(start: datetime = FIRST, end: datetime = NOW, **fields: Any) -> BackfillRoutine:
    return BackfillRoutine.model_validate({"start": start, "end": end, **fields})


def times(answer: BackfillAnswer) -> list[datetime]:
    return [item.scheduled_at for item in answer.runs]


def begun(made: RoutineBook, name: str) -> tuple[str, str | None]:
    """Admission of a backfill's run, as its workflow asks for it."""
    request = begin(name, FireKind.BACKFILL, occurred_at=NOW, checked=True)
    return decision(made.bookings.begin_run(request, NOW))


def planned(made: RoutineBook) -> list[str]:
    """The runs that the routine would start now."""
    made.plan_backfill(NOW)
    return [pending.workflow_id for pending in made.take_starts()]


class TestTimes:
    def test_both_ends_are_included(self) -> None:
        answer = book().backfill(asked(FIRST, SECOND), NOW)
        assert answer == BackfillAnswer(
            runs=[
                BackfillRun(scheduled_at=FIRST, run_id=run(FIRST_RUN)),
                BackfillRun(scheduled_at=SECOND, run_id=run(SECOND_RUN)),
            ]
        )

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (FIRST - timedelta(seconds=1), SECOND - timedelta.resolution, [FIRST]),
            (FIRST + timedelta.resolution, SECOND + timedelta(seconds=1), [SECOND]),
            (FIRST, FIRST, [FIRST]),
            (FIRST + timedelta(seconds=1), FIRST + timedelta(seconds=1), []),
            (SECOND, NOW, [SECOND]),
            (ANCHOR - timedelta(days=1), ANCHOR + HALF_HOUR, [ANCHOR + HALF_HOUR]),
        ],
    )
    def test_only_times_of_the_schedule(
        self, start: datetime, end: datetime, expected: list[datetime]
    ) -> None:
        assert times(book().backfill(asked(start, end), NOW)) == expected

    def test_a_rule_of_the_clock_knows_its_zone(self) -> None:
        """The daily 02:30 that spring skips in Berlin was due an hour later."""
        schedule = {"cron_expr": "30 2 * * *", "timezone": "Europe/Berlin"}
        start = datetime(2026, 3, 28, tzinfo=UTC)
        end = datetime(2026, 3, 31, tzinfo=UTC)
        found = times(book(schedule=schedule).backfill(asked(start, end), end))
        assert found == [
            datetime(2026, 3, 28, 1, 30, tzinfo=UTC),
            datetime(2026, 3, 29, 1, 30, tzinfo=UTC),
            datetime(2026, 3, 30, 0, 30, tzinfo=UTC),
        ]

    def test_a_hundred_times_and_no_more(self) -> None:
        made = book(schedule={"cron_expr": "* * * * *"})
        most = NOW - timedelta(minutes=MAX_BACKFILL - 1)
        assert len(made.backfill(asked(most), NOW).runs) == MAX_BACKFILL
        left = made.state.model_copy(deep=True)
        error = refusal(lambda: made.backfill(asked(most - timedelta(minutes=1)), NOW))
        assert_refused(error, "invalid_field", "end", "100", "parts")
        assert made.state == left

    @pytest.mark.parametrize("start", [EARLIEST, EARLIEST + timedelta.resolution])
    def test_the_beginning_of_the_calendar_is_no_problem(self, start: datetime) -> None:
        answer = book().backfill(asked(start, ANCHOR + HALF_HOUR), NOW)
        assert times(answer) == [ANCHOR + HALF_HOUR]

    def test_nor_is_it_where_the_clock_is_behind(self) -> None:
        schedule = {"cron_expr": "0 9 1 1 *", "timezone": "America/New_York"}
        error = refusal(lambda: book(schedule=schedule).backfill(asked(EARLIEST), NOW))
        assert_refused(error, "invalid_field", "end", "parts")


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "request_", "kind", "field", "contains"),
        [
            (
                {"schedule": ..., "trigger": {"type": "manual"}, "next_run_at": None},
                asked(),
                "invalid_field",
                "schedule",
                ["schedule is missing", "scheduled"],
            ),
            ({"status": "paused"}, asked(), "conflict", "status", ["paused", "resume"]),
            ({"status": "deleted"}, asked(), "conflict", "status", ["deleted"]),
            (
                {},
                asked(NOW, NOW - timedelta(seconds=1)),
                "invalid_field",
                "end",
                ["before start", "2026-02-01T12:00:00Z"],
            ),
            ({}, asked(NOW, NOW + timedelta.resolution), "invalid_field", "end", ["future"]),
            ({}, asked(actor_id="ou_b", scope=MINE), "permission_denied", "manage_mode", []),
            (
                {},
                asked(actor_id="ou_b", scope=Scope(kind=ScopeKind.USER, id="ou_b")),
                "not_found",
                "id",
                ["routine_01"],
            ),
        ],
        ids=["no-schedule", "paused", "deleted", "backwards", "future", "not-the-creator", "scope"],
    )
    def test_a_refused_backfill_changes_nothing(
        self,
        changes: dict[str, object],
        request_: BackfillRoutine,
        kind: str,
        field: str,
        contains: list[str],
    ) -> None:
        made = book(**changes)
        before = made.state.model_copy(deep=True)
        error = refusal(lambda: made.backfill(request_, NOW))
        assert_refused(error, kind, field, *contains)
        assert made.state == before

    def test_a_dry_run_only_tells(self) -> None:
        made = book()
        before = made.state.model_copy(deep=True)
        answer = made.backfill(asked(dry_run=True), NOW)
        assert (times(answer), answer.dry_run) == ([FIRST, SECOND], True)
        assert made.state == before
        assert planned(made) == []


class TestOneAfterTheOther:
    """Invariants 1 and 2."""

    def test_the_first_is_started_with_its_own_time(self) -> None:
        made = book()
        made.backfill(asked(), NOW)
        made.schedule_put(0)
        assert made.has_work()

        made.plan_backfill(NOW)

        start = StartRun(
            routine_id="routine_01",
            kind=FireKind.BACKFILL,
            trigger_detail="backfill",
            scheduled_at=FIRST,
            occurred_at=NOW,
        )
        wanted = PendingStart(workflow_id=run_workflow_id(run(FIRST_RUN)), start=start)
        assert made.take_starts() == [wanted]
        assert made.state.backfilling == run(FIRST_RUN)
        assert made.answer().backlog == 1
        assert not made.has_work(), "the second waits for the first"

    def test_the_next_waits_for_the_end_of_the_first(self) -> None:
        made = book()
        made.backfill(asked(), NOW)
        assert planned(made) == [run_workflow_id(run(FIRST_RUN))]
        assert planned(made) == []
        assert begun(made, FIRST_RUN) == RUN
        assert planned(made) == []
        made.bookings.end_run(ending(FIRST_RUN), NOW)
        assert planned(made) == [run_workflow_id(run(SECOND_RUN))]
        begun(made, SECOND_RUN)
        made.bookings.end_run(ending(SECOND_RUN), NOW)
        assert (planned(made), made.state.backfilling, made.state.backfills) == ([], None, [])

    def test_any_other_run_goes_first(self) -> None:
        made = book()
        made.bookings.begin_run(begin("m-1"), NOW)
        made.backfill(asked(), NOW)
        made.schedule_put(0)
        assert (planned(made), made.has_work()) == ([], False)
        made.bookings.end_run(ending("m-1"), NOW)
        assert made.has_work()
        assert planned(made) == [run_workflow_id(run(FIRST_RUN))]

    def test_an_interrupted_run_still_holds_its_turn(self) -> None:
        made = book()
        made.backfill(asked(), NOW)
        planned(made)
        begun(made, FIRST_RUN)
        made.bookings.mark_run(mark(FIRST_RUN, RunMark.WAITING), NOW)
        assert planned(made) == []

    def test_a_refused_run_gives_its_turn_on(self) -> None:
        made = book(guardrails={"cooldown_seconds": 60})
        made.bookings.begin_run(begin("m-1"), NOW)
        made.bookings.end_run(ending("m-1"), NOW)
        made.backfill(asked(), NOW)
        planned(made)
        assert begun(made, FIRST_RUN) == refused(Reason.COOLDOWN)
        assert planned(made) == [run_workflow_id(run(SECOND_RUN))]

    def test_a_lost_run_gives_its_turn_on(self) -> None:
        made = book()
        made.backfill(asked(), NOW)
        planned(made)
        begun(made, FIRST_RUN)
        made.bookings.lose(run(FIRST_RUN), NOW)
        assert planned(made) == [run_workflow_id(run(SECOND_RUN))]

    def test_the_end_of_another_run_is_not_its_end(self) -> None:
        made = book(guardrails={"max_concurrent": 2})
        made.backfill(asked(), NOW)
        planned(made)
        made.bookings.begin_run(begin("m-1"), NOW)
        made.bookings.end_run(ending("m-1"), NOW)
        assert made.state.backfilling == run(FIRST_RUN)
        assert planned(made) == []

    def test_asking_twice_is_asking_once(self) -> None:
        made = book()
        first = made.backfill(asked(SECOND), NOW)
        made.backfill(asked(FIRST), NOW)
        assert made.backfill(asked(SECOND), NOW) == first
        assert made.state.backfills == [FIRST, SECOND], "the oldest is first"

    def test_it_survives_a_new_execution(self) -> None:
        made = book()
        made.backfill(asked(), NOW)
        planned(made)
        loaded = RoutineState.model_validate_json(made.state.model_dump_json())
        assert loaded == made.state
        again = RoutineBook(loaded)
        assert (planned(again), again.state.backfills) == ([], [SECOND])


class TestMadeUpForBefore:
    def test_a_run_that_ended_long_ago_is_not_waited_for(self) -> None:
        made = book()
        made.backfill(asked(), NOW)
        made.plan_backfill(NOW)
        [pending] = made.take_starts()
        made.already_started(pending)
        assert planned(made) == [run_workflow_id(run(SECOND_RUN))]

    def test_one_that_is_open_is_waited_for(self) -> None:
        made = book()
        made.backfill(asked(), NOW)
        made.plan_backfill(NOW)
        [pending] = made.take_starts()
        begun(made, FIRST_RUN)
        made.already_started(pending)
        assert (planned(made), made.state.backfilling) == ([], run(FIRST_RUN))

    def test_another_run_that_existed_changes_nothing(self) -> None:
        made = book()
        made.backfill(asked(), NOW)
        made.plan_backfill(NOW)
        start = StartRun(routine_id="routine_01", kind=FireKind.MANUAL)
        made.already_started(PendingStart(workflow_id=run_workflow_id(run("m-1")), start=start))
        assert made.state.backfilling == run(FIRST_RUN)


class TestItsEnd:
    """Invariant 3."""

    @pytest.mark.parametrize("status", ["paused", "deleted"])
    def test_what_has_not_started_is_dropped(self, status: str) -> None:
        made = book()
        made.backfill(asked(), NOW)
        planned(made)
        begun(made, FIRST_RUN)
        made.change(ChangeRoutine(), {"status": status}, NOW)
        made.plan_backfill(NOW)
        assert (made.state.backfills, made.state.backfilling) == ([], None)
        assert made.take_starts() == []
        made.bookings.end_run(ending(FIRST_RUN), NOW)
        made.change(ChangeRoutine(), {"status": "active"}, NOW)
        assert planned(made) == []

    def test_the_pause_after_failures_too(self) -> None:
        made = book()
        made.backfill(asked(), NOW)
        planned(made)
        begun(made, FIRST_RUN)
        made.bookings.end_run(ending(FIRST_RUN, RunStatus.FAILED, failure_limit=1), NOW)
        assert planned(made) == []
        assert made.state.backfills == []

    def test_nothing_asked_for_is_nothing_to_take(self) -> None:
        assert take_backfill(state()) is None
