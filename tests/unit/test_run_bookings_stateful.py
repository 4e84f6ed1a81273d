"""Runs of one routine in any order of events (docs/lifecycles/routine.md, invariants 2-4 and 6).

The machine plays the world: workflows that begin, are marked, end, die without a word, ask again;
a person who pauses, resumes, deletes and restores. Beside the bookings it keeps its own simple
account of every run, and after each step the two are compared. Each step continues on a copy of the
state that went through JSON, as after continue-as-new.
"""

from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from domain.admission import BeginRun, Decision, RunEnded, RunMark, Verdict
from domain.errors import DomainError
from domain.guardrails import Reason
from domain.routine import RoutineStatus
from domain.routine_book import RoutineBook
from domain.routine_requests import ChangeRoutine, DeleteRoutine
from domain.routine_state import RoutineState
from domain.runs import FireKind, RunStatus
from domain.schedule import next_run_at
from tests.support.bookings import ANCHOR, begin, ending, mark, run, scheduled, state
from tests.support.routines import NOW

UNCOUNTING = {RunStatus.CANCELLED, RunStatus.INTERRUPTED}
ENDS = [
    RunStatus.OK,
    RunStatus.ATTENTION,
    RunStatus.FAILED,
    RunStatus.TIMED_OUT,
    RunStatus.SKIPPED,
    *sorted(UNCOUNTING),
]


@dataclass
class Account:
    """What the machine knows of a run by itself."""

    request: BeginRun
    verdict: Verdict
    open: bool
    counted: bool = False
    alive: bool = True
    end: RunEnded | None = None


class RunsOfARoutine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.accounts: dict[str, Account] = {}
        self.ended_and_counted = 0
        self.book = RoutineBook(state())

    @initialize(
        max_concurrent=st.integers(1, 3),
        overlap=st.sampled_from(["queue_one", "skip"]),
        max_runs=st.sampled_from([0, 2, 3]),
        cooldown=st.sampled_from([0, 0, 40]),
    )
    def create(self, max_concurrent: int, overlap: str, max_runs: int, cooldown: int) -> None:
        limits = {
            "max_concurrent": max_concurrent,
            "overlap": overlap,
            "cooldown_seconds": cooldown,
        }
        self.book = RoutineBook(state(guardrails=limits, max_runs=max_runs, fresh=True))

    # Fires

    @rule(force=st.booleans())
    def fire_by_hand(self, force: bool) -> None:
        self._fire(FireKind.MANUAL, force=force)

    @rule(kind=st.sampled_from([FireKind.MANUAL, FireKind.EVENT]), paused=st.booleans())
    def fire(self, kind: FireKind, paused: bool) -> None:
        self._fire(kind, system_paused=paused)

    def _fire(self, kind: FireKind, **fields: bool) -> None:
        name = f"f-{len(self.accounts)}"
        self._admit(name, begin(name, kind, occurred_at=self.now, **fields))

    @rule(true_time=st.booleans())
    def schedule_fires(self, true_time: bool) -> None:
        name = f"s-{len(self.accounts)}"
        schedule = self.book.routine.schedule
        assert schedule is not None
        at = next_run_at(self.now, schedule, ANCHOR if true_time else None)
        assert at is not None
        self.now = at
        self._admit(name, scheduled(name, at))

    def _admit(self, name: str, request: BeginRun) -> None:
        verdict = self._ask(request)
        if verdict.decision == Decision.CHECK:
            assert set(verdict.holders) == {run(key) for key in self._open()}
            closed = [run(key) for key in self._open() if not self.accounts[key].alive]
            for key in [key for key in self._open() if not self.accounts[key].alive]:
                self._close_lost(key)
            verdict = self._ask(request.model_copy(update={"checked": True, "closed": closed}))
        assert verdict.decision != Decision.CHECK
        self.accounts[name] = Account(
            request=request,
            verdict=verdict,
            open=verdict.decision != Decision.SKIP,
            counted=verdict.decision == Decision.RUN,
        )

    @precondition(lambda self: self.accounts)
    @rule(data=st.data())
    def ask_again(self, data: st.DataObject) -> None:
        """A repeated question: the same answer, save where a run that waited has its turn."""
        name = self._any(data)
        account = self.accounts[name]
        granted = run(name) in self._granted()
        verdict = self._ask(account.request)
        if account.end is not None or (not account.open and _was_let_in(account)):
            assert verdict.reason == Reason.DUPLICATE
            assert verdict.duplicate_of == run(name)
        elif granted and account.verdict.decision == Decision.QUEUE:
            self._take_turn(account, verdict)
        else:
            assert verdict == account.verdict

    @rule()
    def signals_go_out(self) -> None:
        """Granted runs take their turn; of those that died the routine hears from the server."""
        for run_id in self.book.take_grants():
            name = run_id.partition("/")[2]
            account = self.accounts[name]
            if not account.alive:
                self.book.bookings.lose(run_id, self.now)
                self._close_lost(name)
            elif account.open and account.verdict.decision == Decision.QUEUE:
                self._take_turn(account, self._ask(account.request))

    def _take_turn(self, account: Account, verdict: Verdict) -> None:
        assert verdict.decision in {Decision.RUN, Decision.SKIP}
        account.verdict = verdict
        account.open = account.counted = verdict.decision == Decision.RUN

    # Runs

    @precondition(lambda self: self._open())
    @rule(data=st.data(), wanted=st.sampled_from(RunMark))
    def mark(self, data: st.DataObject, wanted: RunMark) -> None:
        self._mark(data.draw(st.sampled_from(self._open())), wanted)

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), wanted=st.sampled_from(RunMark))
    def mark_any(self, data: st.DataObject, wanted: RunMark) -> None:
        self._mark(self._any(data), wanted)

    def _mark(self, name: str, wanted: RunMark) -> None:
        account = self.accounts[name]
        answer = self.book.bookings.mark_run(mark(name, wanted), self.now)
        assert answer.accepted or answer.reason
        if not (account.open and account.verdict.decision == Decision.RUN):
            assert not answer.accepted
        elif answer.accepted:
            account.counted = wanted == RunMark.RUNNING
        else:
            routine = self.book.routine
            assert routine.status != RoutineStatus.ACTIVE or routine.at_maximum

    @precondition(lambda self: self._open())
    @rule(data=st.data(), status=st.sampled_from(ENDS), failure_limit=st.integers(2, 4))
    def end(self, data: st.DataObject, status: RunStatus, failure_limit: int) -> None:
        self._end(data.draw(st.sampled_from(self._open())), status, failure_limit)

    @precondition(lambda self: self.accounts)
    @rule(data=st.data(), status=st.sampled_from(ENDS))
    def end_again(self, data: st.DataObject, status: RunStatus) -> None:
        self._end(self._any(data), status, 3)

    def _end(self, name: str, status: RunStatus, failure_limit: int) -> None:
        account = self.accounts[name]
        deleted = self.book.routine.status == RoutineStatus.DELETED
        request = ending(name, status, failure_limit=failure_limit)
        answer = self.book.bookings.end_run(request, self.now)
        if account.open:
            assert answer.accepted
            self.ended_and_counted += account.counted and (deleted or status not in UNCOUNTING)
            account.open, account.counted, account.end = False, False, answer
        else:
            assert answer == (account.end or RunEnded(accepted=False, reason="not_open"))

    @precondition(lambda self: self._open())
    @rule(data=st.data(), noticed=st.booleans())
    def die(self, data: st.DataObject, noticed: bool) -> None:
        """A workflow is terminated; somebody finds out now, or the end of its lease does."""
        name = data.draw(st.sampled_from(self._open()))
        self.accounts[name].alive = False
        if noticed:
            self.book.bookings.lose(run(name), self.now)
            self._close_lost(name)

    @rule(seconds=st.sampled_from([0, 700, 4000, 90_000]))
    def look_at_leases(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        for run_id in self.book.bookings.due_leases(self.now):
            name = run_id.partition("/")[2]
            if self.accounts[name].alive:
                self.book.bookings.extend(run_id, self.now)
            else:
                self.book.bookings.lose(run_id, self.now)
                self._close_lost(name)
        due = self.book.bookings.next_lease()
        assert due is None or due > self.now

    def _close_lost(self, name: str) -> None:
        account = self.accounts[name]
        if account.open:
            self.ended_and_counted += account.counted
            account.open = account.counted = False

    # The world

    @rule(seconds=st.integers(1, 100))
    def time_goes_on(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule(status=st.sampled_from(RoutineStatus))
    def somebody_changes_the_status(self, status: RoutineStatus) -> None:
        self._change_status(status)

    @rule()
    def somebody_resumes(self) -> None:
        self._change_status(RoutineStatus.ACTIVE)

    def _change_status(self, status: RoutineStatus) -> None:
        refused = status == RoutineStatus.ACTIVE != self.book.routine.status
        if refused and self.book.routine.at_maximum:
            with pytest.raises(DomainError, match="max_runs"):
                self.book.change(ChangeRoutine(), {"status": status}, self.now)
            return
        if status == RoutineStatus.DELETED:
            self.book.delete(DeleteRoutine(), self.now)
        else:
            self.book.change(ChangeRoutine(), {"status": status}, self.now)
        assert self.book.routine.status == status

    @precondition(lambda self: self.book.routine.status != RoutineStatus.DELETED)
    @rule()
    def somebody_raises_the_limit(self) -> None:
        limits = self.book.routine.guardrails
        raised = min(limits.max_concurrent + 1, 4)
        patch = {"guardrails": {**limits.model_dump(), "max_concurrent": raised}}
        self.book.change(ChangeRoutine(), patch, self.now)

    # What holds after every step

    @invariant()
    def the_state_survives_json(self) -> None:
        text = self.book.state.model_dump_json()
        loaded = RoutineState.model_validate_json(text)
        assert loaded == self.book.state
        assert loaded.model_dump_json() == text
        self.book = RoutineBook(loaded)

    @invariant()
    def open_is_what_was_let_in_and_not_closed(self) -> None:
        assert set(self.book.state.open_runs) == {run(name) for name in self._open()}

    @invariant()
    def places_are_not_overbooked_and_nobody_waits_for_a_free_one(self) -> None:
        runs = self.book.state.open_runs.values()
        holding = sum(item.holds_place for item in runs)
        waiting = len(runs) - holding
        places = self.book.routine.guardrails.max_concurrent
        assert holding <= places
        assert waiting <= 1
        assert not waiting or holding == places

    @invariant()
    def every_run_is_counted_once(self) -> None:
        counted = [name for name in self._open() if self.accounts[name].counted]
        open_runs = self.book.state.open_runs
        assert [open_runs[run(name)].counted for name in self._open()] == [
            name in counted for name in self._open()
        ]
        routine = self.book.routine
        assert routine.run_count == self.ended_and_counted + len(counted)
        assert not routine.max_runs or routine.run_count <= routine.max_runs

    @invariant()
    def no_flag_is_left_behind(self) -> None:
        routine = self.book.routine
        if not self._open():
            assert (routine.running, routine.due_since) == (False, None)
        if routine.status == RoutineStatus.DELETED:
            assert not routine.running

    @invariant()
    def each_run_is_kept_once(self) -> None:
        kept = [record.id for record in self.book.state.ended_runs]
        assert len(kept) == len(set(kept))
        assert not set(kept) & set(self.book.state.open_runs)

    @invariant()
    def every_lease_is_looked_after(self) -> None:
        due = self.book.bookings.next_lease()
        assert (due is None) == (not self._open())

    # Inside

    def _ask(self, request: BeginRun) -> Verdict:
        return self.book.bookings.begin_run(request, self.now)

    def _open(self) -> list[str]:
        return [name for name, account in self.accounts.items() if account.open]

    def _any(self, data: st.DataObject) -> str:
        return data.draw(st.sampled_from(list(self.accounts)))

    def _granted(self) -> set[str]:
        return {key for key, item in self.book.state.open_runs.items() if item.granted}


def _was_let_in(account: Account) -> bool:
    return account.verdict.decision != Decision.SKIP


RunsOfARoutine.TestCase.settings = settings(
    max_examples=80,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestRunsOfARoutine = RunsOfARoutine.TestCase
