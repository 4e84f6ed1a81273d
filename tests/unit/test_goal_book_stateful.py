"""A goal under anything that may happen to it, in any order, keeps the promises of its lifecycle.

The numbers are those of docs/lifecycles/goal.md.
"""

from datetime import timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from domain.errors import DomainError, ErrorKind
from domain.goal import GoalStatus, is_terminal, transition
from domain.goal_record import GoalPausedReason, GoalWaiting
from domain.goal_state import (
    ClaimAnswer,
    CompletionClaim,
    GoalLimits,
    GoalNoticeKind,
    GoalState,
    IterationEnd,
    IterationEnded,
    NextStep,
)
from domain.trigger_matching import SystemEvent
from domain.usage import Spent
from tests.unit.test_goal_book import NOON, a_book

DONE = SystemEvent(source="ci", event_type="done")


class GoalUnderWay(RuleBasedStateMachine):
    """One goal with its workflow's loop in slow motion."""

    def __init__(self) -> None:
        super().__init__()
        self.book = a_book(limits=GoalLimits(max_iterations=9, max_tokens_total=500))
        self.now = NOON
        self.iterating = self.wrapping = False
        self.spent = 0
        self.told: list[tuple[str, str]] = []
        self.proven = False
        self.by_hand = False

    def attempt(self, event: str, *calls: object) -> bool:
        """Do it if the table allows; otherwise it must be refused and change nothing."""
        before = self.book.state.model_copy(deep=True)
        action, arguments = calls[0], calls[1:]
        assert callable(action)
        goal = self.book.goal
        if before.deleted:
            with pytest.raises(DomainError) as caught:
                action(*arguments)
            assert (caught.value.kind, caught.value.field) == (ErrorKind.NOT_FOUND, "goal")
            assert self.book.state == before
            return False
        try:
            expected = str(transition(goal.status, event, goal.thread_id is not None))
        except DomainError:
            with pytest.raises(DomainError) as caught:
                action(*arguments)
            assert (caught.value.kind, caught.value.field) == (ErrorKind.CONFLICT, "status")
            assert self.book.state == before
            return False
        action(*arguments)
        assert str(self.book.goal.status) == expected
        return True

    @rule(minutes=st.integers(0, 600))
    def time_passes(self, minutes: int) -> None:
        self.now += timedelta(minutes=minutes)

    @rule()
    def pause(self) -> None:
        self.attempt("pause", self.book.pause, self.now)

    @rule()
    def resume(self) -> None:
        self.attempt("resume", self.book.resume, self.now)

    @rule()
    def complete(self) -> None:
        self.by_hand = self.attempt("complete", self.book.complete, self.now) or self.by_hand

    @rule(seconds=st.sampled_from([0, 60, 3600, 43_200]), event=st.booleans())
    def delay(self, seconds: int, event: bool) -> None:
        name = "ci:done" if event else None
        self.attempt("delay", self.book.delay, seconds, "why", self.now, name)

    @rule()
    def event_comes(self) -> None:
        waited = self.book.goal.waiting_for == GoalWaiting.EVENT
        assert self.book.event_came(DONE, self.now) == waited

    @rule(hours=st.integers(1, 100))
    def extend(self, hours: int) -> None:
        self.attempt("extend", self.book.extend, hours * 3600, self.now)

    @precondition(lambda self: self.book.goal.iteration > 4)
    @rule()
    def delete(self) -> None:
        self.book.delete(self.now)

    @rule(proven=st.booleans())
    def claim(self, proven: bool) -> None:
        try:
            answer = self.book.claim(CompletionClaim(proven=proven), self.now, judged=False)
        except DomainError:
            return
        if answer == ClaimAnswer.ACCEPTED:
            # Invariant 4: proof, or a second look where there was nothing that could prove it.
            assert proven or not self.book.state.used_tools
            self.proven = True

    @precondition(lambda self: self.iterating)
    @rule(
        end=st.sampled_from(IterationEnd),
        seconds=st.sampled_from([1, 179, 180, 900]),
        digest=st.sampled_from(["a", "b", None]),
        actions=st.integers(0, 2),
        tokens=st.integers(0, 80),
    )
    def iteration_ends(
        self, end: IterationEnd, seconds: int, digest: str | None, actions: int, tokens: int
    ) -> None:
        ended = IterationEnded(
            end=end,
            elapsed_seconds=seconds,
            result_digest=digest,
            tool_actions=actions,
            spent=Spent(tokens_in=tokens),
        )
        if self.wrapping:
            self.book.end_wrap_up(ended, self.now)
        else:
            self.book.end_iteration(ended, self.now)
        self.iterating = self.wrapping = False
        self.spent += tokens

    @precondition(lambda self: not self.iterating)
    @rule(busy=st.booleans())
    def the_loop_goes_on(self, busy: bool) -> None:
        now, book = self.now, self.book
        following = book.next_step(now)
        match following.step:
            case NextStep.ITERATE:
                assert book.goal.status == GoalStatus.ACTIVE
                book.begin_iteration("job", now)
                self.iterating = True
            case NextStep.WRAP_UP:
                book.begin_wrap_up(None if busy else "job", now)
                self.iterating = self.wrapping = not busy
            case NextStep.TIME_OUT:
                book.time_out(now)
            case NextStep.CLOSE:
                assert book.state.deleted or is_terminal(book.goal.status)
            case NextStep.WAIT:
                deadline = book.goal.deadline_at
                assert deadline is not None
                assert following.until is not None
                # Invariant 2: it never waits beyond its deadline, nor for what is past.
                assert now < following.until <= deadline

    @rule()
    def state_is_carried_on(self) -> None:
        text = self.book.state.model_dump_json()
        assert GoalState.model_validate_json(text) == self.book.state

    @rule()
    def notices_go_out(self) -> None:
        self.told += [(one.kind, one.part) for one in self.book.take_notices()]

    @invariant()
    def the_reason_belongs_to_the_pause(self) -> None:
        goal = self.book.goal
        assert (goal.paused_reason is not None) == (goal.status == GoalStatus.PAUSED)
        if goal.status == GoalStatus.PAUSED:
            assert goal.next_run_at is None

    @invariant()
    def brakes_are_told(self) -> None:
        """Invariant 5."""
        told = self.told + [(one.kind, one.part) for one in self.book.state.notices]
        by_itself = {GoalPausedReason.USER, GoalPausedReason.STOPPED_BY_USER, None}
        if self.book.goal.paused_reason not in by_itself:
            assert GoalNoticeKind.PAUSED in {kind for kind, _ in told}

    @invariant()
    def each_iteration_is_announced_once(self) -> None:
        """Invariant 3; and no two notices have one place in the outbox."""
        told = self.told + [(one.kind, one.part) for one in self.book.state.notices]
        assert len({part for _, part in told}) == len(told)
        announced = sum(kind == GoalNoticeKind.ITERATION for kind, _ in told)
        assert announced == self.book.goal.iteration

    @invariant()
    def all_that_was_spent_is_counted(self) -> None:
        """Invariant 6."""
        assert (self.book.state.spent.tokens or 0) == self.spent

    @invariant()
    def nobody_else_completes_it(self) -> None:
        if self.book.goal.status == GoalStatus.COMPLETE:
            assert self.by_hand or self.proven


TestGoalUnderWay = GoalUnderWay.TestCase
TestGoalUnderWay.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
