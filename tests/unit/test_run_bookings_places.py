"""Places of a routine: who holds one, who waits, who looks after them (DESIGN §3 rules 4 and 7)."""

from datetime import timedelta

from domain.admission import Decision
from domain.guardrails import Reason
from domain.run_bookings import LEASE_GRACE, QUEUED_LEASE, STUCK_LEASE, RunBookings
from domain.runs import FireKind, RunStatus
from domain.watchdog import Alert, AlertKind
from tests.support.bookings import QUEUE, RUN, Bookings, begin, decision, refused, run, state
from tests.support.routines import NOW


class TestPlaces:
    """Invariants 2 and 3."""

    def test_a_full_routine_asks_to_look_at_the_holders(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        before = booked.state.model_copy(deep=True)

        verdict = booked.ask(begin("m-2"))

        assert decision(verdict) == (Decision.CHECK, None)
        assert verdict.holders == [run("m-1")]
        assert booked.state == before, "nothing is booked"

    def test_a_place_with_room_needs_no_look(self) -> None:
        booked = Bookings(guardrails={"max_concurrent": 2})
        assert decision(booked.ask(begin("m-1"))) == RUN
        assert decision(booked.ask(begin("m-2"))) == RUN
        verdict = booked.ask(begin("m-3"))
        assert verdict.holders == [run("m-1"), run("m-2")]

    def test_one_waits_and_the_next_is_refused(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        queued = booked.begin("m-2")
        assert (decision(queued), queued.definition, queued.started_at) == (QUEUE, None, None)
        assert booked.open("m-2").record.status == RunStatus.QUEUED
        verdict = booked.ask(begin("m-3"))
        assert verdict.decision == Decision.CHECK, "also before a refusal"
        assert verdict.holders == [run("m-1"), run("m-2")]
        assert decision(booked.begin("m-3")) == refused(Reason.MAX_CONCURRENT)

    def test_a_pushed_fire_does_not_wait(self) -> None:
        booked = Bookings(guardrails={"overlap": "skip"})
        booked.begin("m-1")
        assert decision(booked.begin("e-1", FireKind.EVENT)) == refused(Reason.MAX_CONCURRENT)
        assert decision(booked.begin("m-2")) == QUEUE

    def test_a_holder_that_is_gone_makes_room(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.pass_seconds(10)

        verdict = booked.begin("m-2", closed=[run("m-1"), run("m-unknown")])

        assert decision(verdict) == RUN
        assert (booked.kept.id, booked.kept.status) == (run("m-1"), RunStatus.FAILED)
        assert (booked.kept.error, booked.kept.finished_at) == ("lost", booked.now)
        after = booked.state.routine
        assert (after.last_result, after.consecutive_failures) == ("error: lost", 1)
        assert (after.run_count, after.running) == (2, True)

    def test_the_place_of_a_lost_run_goes_to_the_one_that_waits(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.begin("m-2")
        assert decision(booked.begin("m-3", closed=[run("m-1")])) == QUEUE
        assert booked.open("m-2").granted
        assert booked.state.grants == [run("m-2")]

    def test_a_lost_run_that_waited_leaves_its_turn(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.begin("m-2")
        booked.lose("m-2")
        after = booked.state.routine
        assert (after.consecutive_failures, after.run_count) == (0, 1)
        assert booked.kept.error == "lost"
        assert decision(booked.begin("m-3")) == QUEUE

    def test_an_unknown_run_cannot_be_lost(self) -> None:
        booked = Bookings()
        before = booked.state.model_copy(deep=True)
        booked.lose("m-1")
        assert booked.state == before


class TestTurns:
    def _granted(self, **changes: object) -> Bookings:
        booked = Bookings(**changes)
        booked.begin("m-1")
        booked.begin("m-2", occurred_at=NOW)
        booked.pass_seconds(100)
        booked.end("m-1")
        assert booked.state.grants == [run("m-2")]
        return booked

    def test_the_end_of_a_run_grants_the_next(self) -> None:
        booked = self._granted()
        assert booked.open("m-2").granted
        assert booked.open("m-2").holds_place
        assert not booked.open("m-2").counted
        assert decision(booked.begin("m-3")) == QUEUE, "the place is taken"

    def test_a_granted_run_is_decided_at_last(self) -> None:
        booked = self._granted()

        verdict = booked.begin("m-2")

        assert decision(verdict) == RUN
        assert (verdict.started_at, verdict.late_seconds) == (booked.now, 100)
        assert verdict.definition is not None
        assert booked.state.routine.run_count == 2
        assert booked.begin("m-2") == verdict

    def test_its_turn_may_have_gone(self) -> None:
        booked = self._granted()
        booked.begin("m-3")
        verdict = booked.begin("m-2", system_paused=True)
        assert decision(verdict) == refused(Reason.SYSTEM_PAUSED)
        assert booked.kept.id == run("m-2")
        assert booked.begin("m-2") == verdict
        assert booked.state.grants == [run("m-2"), run("m-3")], "the place goes on"
        assert booked.open("m-3").granted

    def test_only_some_rows_are_asked_again(self) -> None:
        booked = Bookings(guardrails={"cooldown_seconds": 300, "overlap": "queue_one"})
        booked.begin("m-1")
        booked.pass_seconds(301)
        booked.begin("e-1", FireKind.EVENT)
        booked.end("m-1")
        booked.state.last_admitted_at = booked.now
        assert decision(booked.begin("e-1", FireKind.EVENT)) == RUN

    def test_the_routine_may_have_paused_itself(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.begin("m-2")
        booked.end("m-1", RunStatus.FAILED, failure_limit=1)
        assert decision(booked.begin("m-2")) == refused(Reason.PAUSED)
        assert booked.state.open_runs == {}

    def test_a_lowered_limit_grants_nothing(self) -> None:
        booked = Bookings(guardrails={"max_concurrent": 3})
        for name in ("m-1", "m-2", "m-3", "m-4"):
            booked.begin(name)
        limits = booked.state.routine.guardrails.model_copy(update={"max_concurrent": 1})
        booked.state.routine = booked.state.routine.model_copy(update={"guardrails": limits})
        booked.end("m-1")
        assert booked.state.grants == []
        booked.end("m-2")
        booked.end("m-3")
        assert booked.state.grants == [run("m-4")]


class TestLeases:
    def test_nothing_open_needs_no_look(self) -> None:
        book = RunBookings(state())
        assert book.next_lease() is None
        assert book.due_leases(NOW) == []

    def test_a_lease_ends_with_the_runs_time_and_some_grace(self) -> None:
        booked = Bookings(guardrails={"run_timeout_seconds": 100})
        booked.begin("m-1")
        due = NOW + timedelta(seconds=100) + LEASE_GRACE
        assert booked.book.next_lease() == due
        assert booked.book.due_leases(due - timedelta.resolution) == []
        assert booked.book.due_leases(due) == [run("m-1")]
        assert list(booked.state.open_runs) == [run("m-1")], "a look frees nothing"

    def test_a_queued_run_is_looked_after_too(self) -> None:
        booked = Bookings(guardrails={"run_timeout_seconds": 86_400})
        booked.begin("m-1")
        booked.begin("m-2")
        assert booked.book.next_lease() == NOW + QUEUED_LEASE

    def test_a_run_that_was_seen_open_goes_on(self) -> None:
        booked = Bookings()
        booked.begin("m-1")
        booked.pass_seconds(5000)
        booked.book.extend(run("m-1"), booked.now)
        booked.book.extend(run("m-unknown"), booked.now)
        assert booked.book.next_lease() == booked.now + STUCK_LEASE

    def test_the_next_look_is_when_it_would_count_as_stuck(self) -> None:
        booked = Bookings(guardrails={"run_timeout_seconds": 100})
        booked.begin("m-1")
        booked.pass_seconds(160)
        booked.book.extend(run("m-1"), booked.now)
        assert booked.state.alerts == []
        assert booked.book.next_lease() == NOW + timedelta(seconds=100 + 120)
        booked.pass_seconds(60)
        booked.book.extend(run("m-1"), booked.now)
        assert booked.state.alerts == [Alert(kind=AlertKind.STUCK, running_for=220)]
        assert booked.book.next_lease() == booked.now + STUCK_LEASE

    def test_a_queued_run_is_never_stuck(self) -> None:
        booked = Bookings(guardrails={"run_timeout_seconds": 100})
        booked.begin("m-1")
        booked.begin("m-2")
        booked.pass_seconds(5000)
        booked.book.extend(run("m-2"), booked.now)
        assert booked.state.alerts == []
        assert booked.open("m-2").lease_until == booked.now + QUEUED_LEASE
