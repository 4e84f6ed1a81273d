"""What the list of runs is told: refusals in a row, lost runs, when to try again, what was sent."""

from datetime import timedelta

import pytest

from domain.admission import NoticeKind
from domain.guardrails import Reason
from domain.routine_book import RoutineBook
from domain.routine_state import RoutineState
from domain.run_bookings import FULL_STREAK, KEPT_MESSAGES
from domain.runs import FireKind, RunStatus
from domain.watchdog import Alert, AlertKind
from tests.support.bookings import (
    HALF_HOUR,
    NOT_OPEN,
    QUEUE,
    RUN,
    Bookings,
    decision,
    refused,
    run,
    scheduled,
)
from tests.support.routines import NEXT, NOW, WEBHOOK

FULL = refused(Reason.MAX_CONCURRENT)


def full(**changes: object) -> Bookings:
    """A routine with one place, which is taken; what comes then is not queued."""
    booked = Bookings(**{"guardrails": {"overlap": "skip"}, **changes})
    booked.begin("m-0")
    return booked


class TestNoPlace:
    """triggers-and-actions.md §4: three refusals in a row call for one notice."""

    def refuse(self, booked: Bookings, *names: str) -> list[list[NoticeKind]]:
        verdicts = [booked.begin(name, FireKind.EVENT) for name in names]
        assert {decision(verdict) for verdict in verdicts} == {FULL}
        for verdict in verdicts:
            assert (verdict.definition is None) == (verdict.notices == [])
        return [verdict.notices for verdict in verdicts]

    def test_the_third_in_a_row_and_no_other(self) -> None:
        names = [f"e-{number}" for number in range(2 * FULL_STREAK)]
        notices = self.refuse(full(), *names)
        assert notices == [[], [], [NoticeKind.MAX_CONCURRENT], [], [], []]

    def test_it_says_how_to_tell(self) -> None:
        booked = full(title="Brief")
        self.refuse(booked, "e-1", "e-2")
        verdict = booked.begin("e-3", FireKind.EVENT)
        assert verdict.definition is not None
        assert verdict.definition.title == "Brief"
        assert verdict.definition.route.receive_id == "ou_a"
        assert verdict.started_at is None

    def test_asking_again_repeats_the_notice_and_counts_nothing(self) -> None:
        booked = full()
        self.refuse(booked, "e-1", "e-2")
        third = booked.begin("e-3", FireKind.EVENT)
        before = booked.state.model_copy(deep=True)
        assert booked.begin("e-3", FireKind.EVENT) == third
        assert booked.state == before

    def test_asking_one_question_three_times_is_no_row(self) -> None:
        booked = full()
        assert self.refuse(booked, "e-1", "e-1", "e-1") == [[], [], []]

    def test_a_look_at_the_holders_counts_nothing(self) -> None:
        booked = full()
        for name in ("e-1", "e-2", "e-3"):
            booked.begin(name, FireKind.EVENT, checked=False)
        assert booked.state.full_streak == 0

    def test_another_refusal_breaks_the_row(self) -> None:
        booked = full()
        self.refuse(booked, "e-1", "e-2")
        other = booked.begin("e-3", FireKind.EVENT, system_paused=True)
        assert decision(other) == refused(Reason.SYSTEM_PAUSED)
        assert self.refuse(booked, "e-4", "e-5") == [[], []]
        assert self.refuse(booked, "e-6") == [[NoticeKind.MAX_CONCURRENT]]

    def test_a_fire_that_is_let_in_breaks_it(self) -> None:
        booked = full()
        self.refuse(booked, "e-1", "e-2")
        booked.end("m-0")
        assert decision(booked.begin("m-1")) == RUN
        assert self.refuse(booked, "e-3", "e-4") == [[], []]

    def test_so_does_one_that_is_queued(self) -> None:
        booked = full()
        self.refuse(booked, "e-1", "e-2")
        assert decision(booked.begin("m-1")) == QUEUE
        assert self.refuse(booked, "e-3", "e-4") == [[], []]

    def test_a_run_that_ends_meanwhile_does_not(self) -> None:
        booked = full()
        assert decision(booked.begin("m-1")) == QUEUE
        self.refuse(booked, "e-1", "e-2")
        booked.end("m-0")
        assert self.refuse(booked, "e-3") == [[NoticeKind.MAX_CONCURRENT]], "m-1 has the place"

    def test_a_row_goes_on_in_the_next_execution(self) -> None:
        booked = full()
        self.refuse(booked, "e-1", "e-2")
        loaded = RoutineState.model_validate_json(booked.state.model_dump_json())
        assert self.refuse(Bookings(loaded), "e-3") == [[NoticeKind.MAX_CONCURRENT]]

    def test_refused_fires_of_the_clock_are_in_the_row_too(self) -> None:
        booked = full()
        verdicts = []
        for number in range(FULL_STREAK):
            at = NEXT + number * HALF_HOUR
            booked.now = at
            verdicts.append(booked.ask(scheduled(f"s-{number}", at, checked=True)))
        assert [decision(verdict) for verdict in verdicts] == [FULL] * FULL_STREAK
        assert verdicts[-1].notices == [NoticeKind.MAX_CONCURRENT]


class TestLost:
    """Nobody else records and tells the end of a run whose workflow is gone."""

    def test_its_end_waits_to_be_recorded_and_told(self) -> None:
        booked = Bookings(title="Brief")
        begun = booked.begin("m-1")
        booked.pass_seconds(5)

        booked.lose("m-1")

        [lost] = booked.state.lost
        assert (lost.record.id, lost.record.status, lost.record.error) == (
            run("m-1"),
            RunStatus.FAILED,
            "lost",
        )
        assert (lost.record.started_at, lost.record.finished_at) == (NOW, booked.now)
        assert lost.definition == begun.definition
        assert (lost.notices, lost.consecutive_failures) == ([NoticeKind.FIRST_FAILURE], 1)

    def test_somebody_has_to_tell_until_it_is_told(self) -> None:
        booked = Bookings()
        book = RoutineBook(booked.state)
        booked.begin("m-1")
        assert not book.has_to_tell()
        booked.lose("m-1")
        assert book.has_to_tell()
        booked.state.lost.clear()
        assert not book.has_to_tell()
        booked.state.alerts.append(Alert(kind=AlertKind.STUCK, running_for=720))
        assert book.has_to_tell()

    def test_the_last_of_a_streak_pauses_and_says_so(self) -> None:
        booked = Bookings()
        for name in ("m-1", "m-2", "m-3"):
            booked.begin(name)
            booked.lose(name)
        assert [(lost.notices, lost.consecutive_failures) for lost in booked.state.lost] == [
            ([NoticeKind.FIRST_FAILURE], 1),
            ([], 2),
            ([NoticeKind.ROUTINE_PAUSED], 3),
        ]

    def test_one_that_waited_has_nothing_to_tell(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.begin("m-2")
        booked.lose("m-2")
        [lost] = booked.state.lost
        assert (lost.record.id, lost.notices, lost.definition) == (run("m-2"), [], None)

    def test_one_is_lost_once(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.lose("m-1")
        booked.lose("m-1")
        assert len(booked.state.lost) == 1
        assert booked.end("m-1", RunStatus.OK) == NOT_OPEN, "its end was recorded"

    def test_one_that_reported_its_end_is_not_lost(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.end("m-1")
        booked.lose("m-1")
        assert booked.state.lost == []

    def test_it_survives_a_new_execution(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.lose("m-1")
        loaded = RoutineState.model_validate_json(booked.state.model_dump_json())
        assert loaded.lost == booked.state.lost


class TestKept:
    def test_when_a_refused_fire_would_have_passed(self) -> None:
        booked = Bookings(guardrails={"cooldown_seconds": 300})
        booked.begin("m-1")
        booked.end("m-1")
        booked.pass_seconds(10)
        verdict = booked.begin("e-1", FireKind.EVENT)
        assert decision(verdict) == refused(Reason.COOLDOWN)
        assert verdict.retry_at == NOW + timedelta(seconds=300)
        kept = booked.state.ended_runs[-1]
        assert (kept.status, kept.reason) == (RunStatus.SKIPPED, Reason.COOLDOWN)
        assert kept.retry_at == verdict.retry_at

    def test_no_time_where_none_is_known(self) -> None:
        booked = full()
        booked.begin("e-1", FireKind.EVENT)
        assert booked.state.ended_runs[-1].retry_at is None

    def test_a_repeated_delivery_names_the_first(self) -> None:
        booked = Bookings(trigger=WEBHOOK, schedule=..., guardrails={"cooldown_seconds": 0})
        booked.begin("d-1", FireKind.WEBHOOK, delivery_digest="d")
        booked.end("d-1")
        booked.begin("d-2", FireKind.WEBHOOK, delivery_digest="d")
        kept = booked.state.ended_runs[-1]
        assert (kept.duplicate_of, kept.retry_at) == (run("d-1"), NOW + timedelta(seconds=300))

    def test_what_channels_call_the_messages(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.end("m-1", message_ids=["om_1", "om_2"])
        assert booked.state.ended_runs[-1].message_ids == ["om_1", "om_2"]

    def test_as_many_as_there_is_room_for(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        sent = [f"om_{number}" for number in range(KEPT_MESSAGES + 1)]
        booked.end("m-1", message_ids=sent)
        assert booked.state.ended_runs[-1].message_ids == sent[:KEPT_MESSAGES]

    @pytest.mark.parametrize("status", [RunStatus.OK, RunStatus.FAILED, RunStatus.TIMED_OUT])
    def test_a_hook_is_told_of_what_was_recorded(self, status: RunStatus) -> None:
        booked = Bookings()
        booked.begin("m-1")
        assert booked.end("m-1", status).recorded

    @pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.SKIPPED])
    def test_and_of_nothing_else(self, status: RunStatus) -> None:
        booked = Bookings()
        booked.begin("m-1")
        assert not booked.end("m-1", status).recorded


class TestLateness:
    """A backfill is late on purpose."""

    LONG_AGO = NOW - timedelta(days=3)

    def test_a_backfill_counts_from_when_it_was_asked_for(self) -> None:
        booked = Bookings()
        booked.pass_seconds(7)
        verdict = booked.begin("b-1", FireKind.BACKFILL, scheduled_at=self.LONG_AGO)
        assert (decision(verdict), verdict.late_seconds) == (RUN, 7)
        assert booked.open("b-1").record.scheduled_at == self.LONG_AGO

    def test_a_fire_of_the_clock_counts_from_its_time(self) -> None:
        booked = Bookings()
        booked.now = NEXT + timedelta(seconds=90)
        late = scheduled("s-1", NEXT, occurred_at=booked.now)
        assert booked.ask(late).late_seconds == 90

    def test_nothing_is_early(self) -> None:
        booked = Bookings()
        early = booked.begin("m-1", occurred_at=NOW + timedelta(seconds=5))
        assert early.late_seconds == 0

    def test_a_backfill_moves_no_time_and_stands_for_itself(self) -> None:
        booked = Bookings()
        verdict = booked.begin("b-1", FireKind.BACKFILL, scheduled_at=self.LONG_AGO)
        assert (verdict.stands_for, verdict.next_run_at) == (1, NEXT)
        assert booked.state.routine.next_run_at == NEXT
