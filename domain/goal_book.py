"""The book of one goal: every change of its state, and what its loop does next.

Owns the decisions; the workflow carries them out and the notices. Source: automation.md §9.
Lifecycle and invariants: docs/lifecycles/goal.md.

Invariants (numbers of docs/lifecycles/goal.md):
    1. The status changes by the table of `domain.goal.transition` only.
    2. A deadline is never noticed late: nothing waits beyond it.
    3. An iteration number is announced once, and begun again only after a user's turn.
    4. What the model alone says never completes a goal: it takes proof, or a second look.
    5. Each brake pauses with a reason and a notice that says what to do.
    6. An iteration's cost is counted whatever came of it, and so is the judge's.
    9. Each change of status is told as an event once.
    11. Nothing changes a goal that was deleted, and nothing more is told of it.
    12. Rounds and events belong to the chain of the event that has woken the goal.
"""

from datetime import datetime, timedelta
from typing import Final

from domain import goal_notices as notices
from domain.emissions import EmittedEvent
from domain.errors import DomainError, ErrorKind
from domain.goal import AfterEvent, GoalEvent, is_terminal, transition
from domain.goal_events import event_of_change
from domain.goal_progress import progress_text
from domain.goal_record import Goal, GoalPausedReason, GoalStatus, GoalWaiting
from domain.goal_state import (
    MAX_WAITING_EVENTS,
    ClaimAnswer,
    CompletionClaim,
    GoalNotice,
    GoalNoticeKind,
    GoalState,
    IterationEnd,
    IterationEnded,
    NextStep,
    WhatNext,
)
from domain.goal_timing import IterationOutcome, fast_loop_step
from domain.runs import hex32
from domain.trigger_matching import SystemEvent, match_system_event
from domain.trigger_models import SystemEventTrigger
from domain.usage import Spent

_INSIDE: Final = (GoalWaiting.APPROVAL, GoalWaiting.SYSTEM_PAUSED)
BACK_OFF: Final = (timedelta(seconds=30), timedelta(seconds=60))

_OUTCOMES: Final = {
    IterationEnd.OK: IterationOutcome.OK,
    IterationEnd.ERROR: IterationOutcome.ERROR,
    IterationEnd.TIMEOUT: IterationOutcome.TIMEOUT,
}


class GoalBook:
    """Changes a `GoalState`; one instance lives in the goal's workflow."""

    def __init__(self, state: GoalState) -> None:
        self._state = state

    @property
    def state(self) -> GoalState:
        """What goes through continue-as-new."""
        return self._state

    @property
    def goal(self) -> Goal:
        """The record as it stands."""
        return self._state.goal

    # What people and tools do

    def check_there(self) -> None:
        """Refuse whoever wants something of a goal that was deleted; each change asks by itself.

        Raises:
            DomainError: `not_found` on `goal`.
        """
        if self._state.deleted:
            raise DomainError(ErrorKind.NOT_FOUND, "goal", "there is no goal here any more")

    def pause(self, now: datetime, reason: GoalPausedReason = GoalPausedReason.USER) -> None:
        """Stop after the present iteration.

        Raises:
            DomainError: `conflict` on `status` when the goal has ended.
        """
        self._follow(GoalEvent.PAUSE, now, paused_reason=reason, **self._rested())
        self._state.wait_event = None

    def resume(self, now: datetime) -> None:
        """Go on at once, all brakes released.

        Raises:
            DomainError: `conflict` on `status` when the goal has ended.
        """
        self._follow(GoalEvent.RESUME, now, paused_reason=None, **self._rested())
        state = self._state
        state.wait_event = None
        state.fast_count = state.failures = state.same_results = 0
        state.hop = 0
        # Whoever resumes a goal that used up its limits wants it to go on for as much again.
        state.rounds_before, state.spent_before = self.goal.iteration, state.spent

    def complete(self, now: datetime, summary: str = "") -> None:
        """The goal is reached, says whoever may; a second time nothing is told again."""
        done = self.goal.status == GoalStatus.COMPLETE
        self._follow(GoalEvent.COMPLETE, now, paused_reason=None, **self._rested())
        # What the judge was to look at is decided.
        self._state.wait_event = self._state.claim = None
        if not done:
            self._state.summary = summary.strip()
            text = notices.complete_notice(self.goal, now, summary)
            self._tell(GoalNoticeKind.COMPLETE, text)

    def delay(self, seconds: int, reason: str, now: datetime, event: str | None = None) -> None:
        """Rest for a while; 0 goes on at once.

        Args:
            seconds: As `domain.goal.parse_delay` reads it.
            reason: Why.
            now: The goal's clock.
            event: `source:event_type` that wakes it earlier.

        Raises:
            DomainError: `conflict` on `status` when it is paused or has ended.
        """
        state, resting = self._state, seconds > 0
        wake_at = now + timedelta(seconds=seconds) if resting else None
        self._follow(
            GoalEvent.WAIT if event else GoalEvent.DELAY,
            now,
            next_run_at=wake_at,
            delay_reason=reason if resting else None,
            waiting_for=self._inside or (GoalWaiting.EVENT if event and resting else None),
        )
        state.wait_event = event if resting else None
        state.delayed = state.delayed or resting
        # Whoever rests does not hurry, whether it was said in a round or between two.
        state.fast_count = 0 if resting else state.fast_count
        if wake_at is None:
            self._tell(GoalNoticeKind.CONTINUED, notices.continue_notice(self.goal, reason))
        else:
            text = notices.delay_notice(self.goal, seconds, wake_at, state.timezone, reason)
            self._tell(GoalNoticeKind.DELAYED, text)

    def event_came(self, event: SystemEvent, now: datetime) -> bool:
        """An event has come; false when it does not wait for this one."""
        source, _, event_type = (self._state.wait_event or "").partition(":")
        waited_for = SystemEventTrigger(source=source, event_type=event_type)
        if not source or not match_system_event(waited_for, event).matched:
            return False
        self._state.hop = event.hop
        self._wake(now)
        return True

    def extend(self, seconds: int, now: datetime) -> None:
        """Move the deadline; a goal that timed out is reopened.

        Raises:
            DomainError: `conflict` on `status` when it is complete.
        """
        self._follow(GoalEvent.EXTEND, now, deadline_at=now + timedelta(seconds=seconds))
        self._state.wrapped_up = False

    def delete(self, now: datetime) -> None:
        """Nothing of it goes on."""
        self._state.wait_event = None
        self._state.deleted = transition(self.goal.status, GoalEvent.DELETE) == AfterEvent.DELETED
        self._note(now, **self._rested())

    def thread_ready(self, thread_id: str, now: datetime) -> None:
        """The session has a thread to work in; a paused goal keeps it for later."""
        if not (self._state.deleted or is_terminal(self.goal.status)):
            self._follow(GoalEvent.THREAD_READY, now, thread_id=thread_id)

    def waits_inside(self, waiting: GoalWaiting | None, now: datetime) -> None:
        """The iteration's job waits for a person, or for everything to go on; or no longer."""
        if waiting is None and self._state.wait_event:
            waiting = GoalWaiting.EVENT
        if waiting != self.goal.waiting_for:
            self._note(now, waiting_for=waiting)

    # The loop

    def next_step(self, now: datetime) -> WhatNext:
        """What to do now."""
        goal, state = self.goal, self._state
        if state.deleted or is_terminal(goal.status):
            return WhatNext(step=NextStep.CLOSE)
        if goal.deadline_at is not None and now >= goal.deadline_at:
            wraps_up = goal.status == GoalStatus.ACTIVE and goal.thread_id and not state.wrapped_up
            return WhatNext(step=NextStep.WRAP_UP if wraps_up else NextStep.TIME_OUT)
        if goal.status != GoalStatus.ACTIVE:
            return WhatNext(step=NextStep.WAIT, until=goal.deadline_at)
        if state.claim is not None:
            return WhatNext(step=NextStep.JUDGE)
        if goal.next_run_at is not None and now < goal.next_run_at:
            times = [at for at in (goal.next_run_at, goal.deadline_at) if at is not None]
            return WhatNext(step=NextStep.WAIT, until=min(times))
        return WhatNext(step=NextStep.ITERATE)

    def begin_iteration(self, job_id: str, now: datetime) -> None:
        """An iteration begins; one that a user's turn interrupted keeps its number."""
        state = self._state
        number = self.goal.iteration if state.interrupted else self.goal.iteration + 1
        state.interrupted = state.delayed = False
        state.job_id, state.jobs = job_id, state.jobs + 1
        state.wait_event = None
        if self.goal.delay_reason is not None:
            # The time has woken it, no event: nobody's chain goes on here.
            state.hop = 0
        self._note(now, iteration=number, running=True, **self._rested())
        if number > state.announced:
            state.announced = number
            self._tell(GoalNoticeKind.ITERATION, notices.iteration_notice(self.goal))

    def begin_wrap_up(self, job_id: str | None, now: datetime) -> None:
        """The closing report is asked for, or left out because the session is busy."""
        state = self._state
        state.wrapped_up, state.job_id = True, job_id
        self._note(now, running=job_id is not None, waiting_for=None)

    def end_wrap_up(self, ended: IterationEnded, now: datetime) -> None:
        """The closing report is written, or could not be."""
        self._close_iteration(ended, now)

    def time_out(self, now: datetime) -> None:
        """The deadline has passed."""
        self._follow(GoalEvent.DEADLINE, now, paused_reason=None, **self._rested())
        self._state.wait_event = None
        self._tell(GoalNoticeKind.TIMEOUT, notices.timeout_notice(self.goal, now))

    def end_iteration(self, ended: IterationEnded, now: datetime) -> None:
        """Count an iteration that ended, and brake where one of the limits is reached."""
        self._close_iteration(ended, now)
        state = self._state
        state.interrupted = ended.end == IterationEnd.INTERRUPTED
        if not state.interrupted:
            state.judge_note = ""
        outcome = _OUTCOMES.get(ended.end, IterationOutcome.INTERRUPTED)
        limits = state.limits
        loop = fast_loop_step(
            state.fast_count,
            outcome,
            ended.elapsed_seconds,
            state.delayed,
            limits.fast_loop_limit,
            limits.fast_loop_seconds,
        )
        state.fast_count = loop.count
        if not self._is_active:
            return
        match ended.end:
            case IterationEnd.STOPPED:
                self.pause(now, GoalPausedReason.STOPPED_BY_USER)
            case IterationEnd.ERROR:
                self._failed(ended.error or "unknown", now)
            case IterationEnd.BUDGET:
                self._brake(GoalEvent.LIMIT, GoalPausedReason.BUDGET, now)
            case IterationEnd.OK:
                self._succeeded(ended, now, fast=loop.pause)
            case _:
                self._check_limits(now)

    def claim(self, claim: CompletionClaim, now: datetime, *, judged: bool) -> ClaimAnswer:
        """A model says that the goal is reached.

        Args:
            claim: What it says, and whether its evidence was found.
            now: The goal's clock.
            judged: Whether a judge has to agree before the goal is complete.

        Raises:
            DomainError: `conflict` on `status` when the goal has ended.
        """
        self.check_there()
        # Refused like a completion by hand where the table refuses that.
        transition(self.goal.status, GoalEvent.GOAL_DONE)
        state, number = self._state, self.goal.iteration
        looked_again = state.claimed_in is not None and state.claimed_in < number
        state.claimed_in = state.claimed_in if looked_again else number
        if not claim.proven and state.used_tools:
            return ClaimAnswer.REFUSED
        if not claim.proven and not looked_again:
            return ClaimAnswer.CHECK
        if judged:
            # Names that prove nothing are of no use to the judge.
            state.claim = claim if claim.proven else claim.model_copy(update={"evidence": []})
            return ClaimAnswer.JUDGE
        self.complete(now, claim.summary)
        return ClaimAnswer.ACCEPTED

    def judge_agreed(self, spent: Spent, now: datetime) -> None:
        """The judge sees the goal reached."""
        claim = self._close_judgement(spent)
        if claim is not None and not (self._state.deleted or is_terminal(self.goal.status)):
            self.complete(now, claim.summary)

    def judge_refused(self, reason: str, spent: Spent, now: datetime) -> None:
        """The judge does not see the goal reached: the next round is told why."""
        self._close_judgement(spent)
        self._state.judge_note = reason.strip() or "no reason given"
        if self._is_active:
            self._check_limits(now)

    def judge_stopped(self, spent: Spent, *, given_up: bool = False) -> None:
        """The judge's look ended without a result; a claim that still counts is looked at again.

        Args:
            spent: What the look has cost.
            given_up: It was broken off: whoever looks again asks anew.
        """
        self._count(spent)
        self._state.judged += given_up

    def judge_unpaid(self, spent: Spent, now: datetime) -> None:
        """No money is left to judge the claim; whoever resumes the goal has it judged then."""
        self._count(spent)
        if self._is_active:
            self._brake(GoalEvent.LIMIT, GoalPausedReason.BUDGET, now)

    def judge_failed(self, error: str, spent: Spent, now: datetime) -> None:
        """The judge gave no verdict: a person has to decide."""
        self._close_judgement(spent)
        if self._is_active:
            self._note(now, last_error=error)
            self._brake(GoalEvent.LIMIT, GoalPausedReason.JUDGE_ERROR, now)

    def take_notices(self) -> list[GoalNotice]:
        """What has to be told, oldest first; taken once."""
        state = self._state
        taken, state.notices = state.notices, []
        if state.left_out:
            text = notices.left_out_notice(self.goal, state.left_out)
            taken = [self._notice(GoalNoticeKind.LEFT_OUT, text, state.left_out), *taken]
            state.left_out = 0
        return taken

    def take_events(self) -> list[EmittedEvent]:
        """What routines are told, oldest first; taken once."""
        taken, self._state.events = self._state.events, []
        return taken

    def put_back(self, told: list[GoalNotice], events: list[EmittedEvent]) -> None:
        """What was taken could not be told: it waits in front of what has come since."""
        state = self._state
        state.events = [*events, *state.events][-MAX_WAITING_EVENTS:]
        self._keep([*told, *state.notices])

    @property
    def has_news(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self._state.notices or self._state.events)

    def progress(self, said: str) -> bool:
        """Tell what an iteration says of itself; false when it says nothing, or the same again."""
        text = None if self._state.deleted else progress_text(said)
        if text is not None and (digest := hex32(text)) != self._state.last_progress:
            self._state.last_progress = digest
            self._tell(GoalNoticeKind.PROGRESS, text)
            return True
        return False

    # Inside

    def _close_judgement(self, spent: Spent) -> CompletionClaim | None:
        self._count(spent)
        state = self._state
        claim, state.claim, state.judged = state.claim, None, state.judged + 1
        return claim

    def _count(self, spent: Spent) -> None:
        state = self._state
        state.spent = state.spent.plus(spent.tokens_in, spent.tokens_out, spent.cost_micros)

    def _close_iteration(self, ended: IterationEnded, now: datetime) -> None:
        self._count(ended.spent)
        state = self._state
        state.used_tools = state.used_tools or ended.tool_actions > 0
        state.job_id = None
        self._note(
            now,
            running=False,
            waiting_for=GoalWaiting.EVENT if state.wait_event else None,
            thread_id=ended.thread_id or self.goal.thread_id,
        )

    def _failed(self, error: str, now: datetime) -> None:
        state = self._state
        state.failures += 1
        self._note(now, last_error=error)
        if state.failures > len(BACK_OFF):
            state.failures = 0
            self._brake(GoalEvent.FAILURES, GoalPausedReason.FAILURES, now)
            return
        wake_at = now + BACK_OFF[state.failures - 1]
        self._note(now, next_run_at=max(wake_at, self.goal.next_run_at or wake_at))
        self._check_limits(now)

    def _succeeded(self, ended: IterationEnded, now: datetime, *, fast: bool) -> None:
        state = self._state
        state.failures = 0
        self._note(now, last_error=None)
        same = ended.result_digest == state.last_digest and ended.tool_actions == 0
        state.same_results = state.same_results + 1 if same else 1 - min(1, ended.tool_actions)
        state.last_digest = ended.result_digest
        if fast:
            self._brake(GoalEvent.FAST_LOOP, GoalPausedReason.FAST_LOOP, now)
        elif state.same_results >= state.limits.no_progress_limit:
            state.same_results = 0
            self._brake(GoalEvent.LIMIT, GoalPausedReason.NO_PROGRESS, now)
        else:
            self._check_limits(now)

    def _check_limits(self, now: datetime) -> None:
        state, limits = self._state, self._state.limits
        before = state.spent_before
        tokens = (state.spent.tokens or 0) - (before.tokens or 0)
        cost = (state.spent.cost_micros or 0) - (before.cost_micros or 0)
        rounds = self.goal.iteration - state.rounds_before - state.interrupted
        if limits.max_iterations is not None and rounds >= limits.max_iterations:
            self._brake(GoalEvent.LIMIT, GoalPausedReason.MAX_ITERATIONS, now)
        elif (limits.max_tokens_total is not None and tokens >= limits.max_tokens_total) or (
            limits.max_cost_micros is not None and cost >= limits.max_cost_micros
        ):
            self._brake(GoalEvent.LIMIT, GoalPausedReason.BUDGET, now)

    def _brake(self, event: GoalEvent, reason: GoalPausedReason, now: datetime) -> None:
        self._follow(event, now, paused_reason=reason, **self._rested())
        self._state.wait_event = None
        spent = self._state.spent.cost_micros
        text = notices.paused_notice(self.goal, self._state.limits, spent)
        self._tell(GoalNoticeKind.PAUSED, text)

    def _wake(self, now: datetime) -> None:
        self._state.wait_event = None
        self._note(now, **self._rested())

    def _rested(self) -> dict[str, object]:
        """The fields of a goal that does not rest; what its iteration waits for is not its rest."""
        return {"next_run_at": None, "delay_reason": None, "waiting_for": self._inside}

    @property
    def _is_active(self) -> bool:
        return self.goal.status == GoalStatus.ACTIVE and not self._state.deleted

    @property
    def _inside(self) -> GoalWaiting | None:
        """What the iteration that runs, or the judge's look, waits for."""
        return self.goal.waiting_for if self.goal.waiting_for in _INSIDE else None

    def _follow(self, event: GoalEvent, now: datetime, **changes: object) -> None:
        self.check_there()
        before = self.goal
        after = transition(before.status, event, has_thread=before.thread_id is not None)
        self._note(now, status=GoalStatus(after), **changes)
        told = event_of_change(before, self.goal, self._state.hop)
        if told is not None:
            self._state.events = [*self._state.events, told][-MAX_WAITING_EVENTS:]

    def _note(self, now: datetime, **changes: object) -> None:
        known = {"updated_at": now, "revision": self.goal.revision + 1}
        self._state.goal = self.goal.model_copy(update={**changes, **known})

    def _tell(self, kind: GoalNoticeKind, text: str) -> None:
        self._keep([*self._state.notices, self._notice(kind, text)])

    def _notice(self, kind: GoalNoticeKind, text: str, stands_for: int = 1) -> GoalNotice:
        self._state.told += 1
        part = f"{kind}-{self._state.told}"
        return GoalNotice(kind=kind, part=part, text=text, stands_for=stands_for)

    def _keep(self, waiting: list[GoalNotice]) -> None:
        """Let notices wait, as far as they may; the others are counted."""
        kept = notices.newest_notices(waiting)
        lost = waiting[: len(waiting) - len(kept)]
        self._state.notices = kept
        self._state.left_out += sum(notice.stands_for for notice in lost)
