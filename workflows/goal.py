"""A goal: one objective of a scope, worked on round after round until it is reached.

Owns the messages of the workflow and its loop. A round is `workflows.goal_rounds`', what is told
`workflows.goal_telling`'s, every decision `domain.goal_book`'s. Lifecycle and invariants:
docs/lifecycles/goal.md. Source: DESIGN §3, automation.md §9.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.bounded_waits import wait_until
from workflows.goal_judge import GoalJudging
from workflows.goal_rounds import GoalRounds
from workflows.goal_telling import TRY_AGAIN, GoalTelling, show
from workflows.handlers import guarded, guarded_signal
from workflows.renewal import is_renewal_due, time_until

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.goals import FindThread, GoalActivities
    from domain.errors import DomainError, ErrorKind
    from domain.goal_bodies import GoalVerb, read_claim, read_progress, read_request
    from domain.goal_book import GoalBook
    from domain.goal_iteration import claim_message
    from domain.goal_messages import (
        CancelIteration,
        ClaimAnswered,
        ClaimGoal,
        CompleteGoal,
        CreateGoal,
        DelayGoal,
        DeleteGoal,
        EventCame,
        ExtendGoal,
        GoalStart,
        GoalView,
        IterationWaits,
        PauseGoal,
        ProgressTold,
        ReportProgress,
        ThreadReady,
        WaitGoal,
    )
    from domain.goal_record import GoalPausedReason, GoalStatus
    from domain.goal_state import GoalState, IterationEnd, NextStep, WhatNext
    from domain.goal_timing import parse_deadline, parse_delay
    from domain.goal_view import (
        check_creation,
        first_state,
        goal_view,
        is_repeated,
        new_state,
    )
    from domain.identifiers import RUNS_QUEUE
    from domain.job_messages import JobEnded
    from domain.lease_queue_state import Granted, LeaseRef
    from domain.session import conflicts
    from domain.session_messages import StopSession
    from domain.trigger_matching import SystemEvent

JUDGING = "the judge looks at a claim"
NOTHING_TO_DO = "a goal begins with a creation, a view or a state"


class _Goal:
    """One goal in the hands of the workflow; the next one of the scope is another."""

    def __init__(self, state: GoalState) -> None:
        self.state = state
        self.book = GoalBook(state)
        self.telling = GoalTelling(self.book)
        self.rounds = GoalRounds(self.book)
        self.judging = GoalJudging(self.book)

    def cut(self, end: IterationEnd) -> None:
        """End what is being done for it: the round that runs, or the judge's look."""
        self.rounds.cut(end)
        self.judging.cut()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to be done for it."""
        return self.book.next_step(workflow.now()).step is NextStep.CLOSE


@workflow.defn(name="Goal")
class GoalWorkflow:
    """Workflow `goal/<kind>/<scope id>`; its result is the goal as it ended."""

    @workflow.init
    def __init__(self, start: GoalStart) -> None:
        state = first_state(start, workflow.now())
        if state is None:
            raise ApplicationError(NOTHING_TO_DO, type=ErrorKind.INVALID_FIELD, non_retryable=True)
        self._goal = _Goal(state)
        # Somebody wants something of a goal that has ended: without that it would end at once.
        self._expected = start.view is not None
        self._finding: asyncio.Task[None] | None = None

    @workflow.run
    async def run(self, _start: GoalStart) -> GoalView:
        """Work on the goal until it has ended, and on the next one that came meanwhile."""
        showing = asyncio.create_task(self._keep_shown())
        while True:
            goal = self._goal
            telling = asyncio.create_task(goal.telling.go_on())
            try:
                await self._live(goal)
            except asyncio.CancelledError:
                # Who ends the workflow itself wants nothing of the goal to go on.
                goal.book.delete(workflow.now())
            told = await goal.telling.tell_rest()
            telling.cancel()
            if not told:
                await self._try_again_later(goal)
            await workflow.wait_condition(workflow.all_handlers_finished)
            # While the end was told, somebody may have reopened it, or begun the next one.
            if goal is self._goal and goal.is_over and not goal.book.has_news:
                showing.cancel()
                show(self._view(), goal.state.user_id)
                return self._view(whole=True)

    # Messages of people

    @workflow.update
    @guarded
    async def create(self, request: CreateGoal) -> GoalView:
        """A new goal; the same creation again is the same one, another is refused beside it."""
        self._expected = False
        goal = self._goal
        if goal.is_over and not is_repeated(goal.state, request):
            goal.rounds.cut(IterationEnd.CANCELLED)
            self._goal = _Goal(new_state(request, workflow.now()))
        check_creation(self._goal.state, request)
        await self._find_thread()
        return self._view()

    @workflow.update
    @guarded
    async def extend(self, request: ExtendGoal) -> GoalView:
        """Move the deadline; a goal that timed out is reopened."""
        self._expected = False
        read_request(GoalVerb.EXTEND, request.model_dump(exclude={"goal_id"}))
        self._check_meant(request.goal_id)
        self._goal.book.extend(parse_deadline(request.deadline_in), workflow.now())
        await self._find_thread()
        return self._view()

    @workflow.update
    @guarded
    def delay(self, request: DelayGoal) -> GoalView:
        """Rest for a while; `0s` goes on at once."""
        read_request(GoalVerb.DELAY, request.model_dump(exclude={"job_id"}))
        return self._rest(request.duration, request.reason, request.job_id)

    @workflow.update
    @guarded
    def wait(self, request: WaitGoal) -> GoalView:
        """Rest for a while, or until an event comes."""
        read_request(GoalVerb.WAIT, request.model_dump(exclude={"job_id"}))
        return self._rest(request.duration, request.reason, request.job_id, request.event.strip())

    @workflow.update
    @guarded
    def delete(self, request: DeleteGoal | None = None) -> GoalView:
        """End the iteration that runs, and the goal without a word."""
        self._goal.book.check_there()
        self._check_meant(None if request is None else request.goal_id)
        self._expected = False
        self._goal.book.delete(workflow.now())
        self._goal.rounds.cut(IterationEnd.CANCELLED)
        return self._view()

    @workflow.update(name="pause")
    @guarded
    def pause_update(self, request: PauseGoal | None = None) -> GoalView:
        """Pause after the iteration that runs, or now."""
        self._pause(request)
        return self._view()

    @workflow.signal(name="pause")
    @guarded_signal
    def pause_signal(self, request: PauseGoal | None = None) -> None:
        """The same as the update, for senders that need no answer."""
        self._pause(request)

    @workflow.update(name="resume")
    @guarded
    async def resume_update(self) -> GoalView:
        """Go on at once, all brakes released."""
        self._goal.book.resume(workflow.now())
        await self._find_thread()
        return self._view()

    @workflow.signal(name="resume")
    @guarded_signal
    def resume_signal(self) -> None:
        """The same as the update."""
        self._goal.book.resume(workflow.now())
        self._start_finding()

    @workflow.update(name="complete")
    @guarded
    def complete_update(self, request: CompleteGoal | None = None) -> GoalView:
        """The goal is reached; the iteration that runs ends normally."""
        self._complete(request)
        return self._view()

    @workflow.signal(name="complete")
    @guarded_signal
    def complete_signal(self, request: CompleteGoal | None = None) -> None:
        """The same as the update."""
        self._complete(request)

    @workflow.update(name="cancel_iteration")
    @guarded
    def cancel_iteration_update(self, request: CancelIteration | None = None) -> GoalView:
        """End the iteration that runs; the next one follows."""
        self._cancel_iteration(request)
        return self._view()

    @workflow.signal(name="cancel_iteration")
    @guarded_signal
    def cancel_iteration_signal(self, request: CancelIteration | None = None) -> None:
        """The same as the update."""
        self._cancel_iteration(request)

    @workflow.query
    def view(self) -> GoalView:
        """Everything known of this goal."""
        return self._view()

    # Messages of the iteration

    @workflow.update
    @guarded
    def claim(self, request: ClaimGoal) -> ClaimAnswered:
        """The model says that the goal is reached."""
        self._check_job(request.job_id)
        judged = self._goal.state.judge is not None
        answer = self._goal.book.claim(read_claim(request), workflow.now(), judged=judged)
        return ClaimAnswered(answer=answer, message=claim_message(answer))

    @workflow.update
    @guarded
    def progress(self, request: ReportProgress) -> ProgressTold:
        """The model says how it stands."""
        self._check_job(request.job_id)
        self._goal.book.check_there()
        return ProgressTold(told=self._goal.book.progress(read_progress(request)))

    @workflow.signal
    @guarded_signal
    async def iteration_waits(self, waits: IterationWaits) -> None:
        """The iteration's job waits, or may go on."""
        await self._goal.rounds.waits(waits)

    @workflow.signal
    @guarded_signal
    def job_ended(self, _ended: JobEnded) -> None:
        """Known already: the job is a child."""

    # Messages of others

    @workflow.signal
    @guarded_signal
    async def granted(self, grant: Granted | None = None) -> None:
        """The session has given this goal its turn; without a grant: everything goes on."""
        if grant is None:
            self._goal.judging.resume()
        else:
            await self._goal.rounds.granted(grant)

    @workflow.signal
    @guarded_signal
    def release_hold(self) -> None:
        """Everything goes on after a pause."""
        self._goal.judging.resume()

    @workflow.signal
    @guarded_signal
    async def interrupt(self, lease: LeaseRef) -> None:
        """A user wants the session."""
        await self._goal.rounds.interrupt(lease)

    @workflow.signal
    @guarded_signal
    def cancel(self, _request: StopSession | None = None) -> None:
        """The user has told all that goes on in the conversation to stop."""
        # A round may still run though its goal has ended.
        self._goal.cut(IterationEnd.STOPPED)
        if not self._goal.is_over:
            self._goal.book.pause(workflow.now(), GoalPausedReason.STOPPED_BY_USER)

    @workflow.signal
    @guarded_signal
    def thread_ready(self, ready: ThreadReady) -> None:
        """The conversation has a thread; that of another conversation is not for this goal."""
        goal = self._goal.state.goal
        if goal.thread_id is None and conflicts(ready.session_key, goal.session_key):
            self._goal.book.thread_ready(ready.thread_id, workflow.now())

    @workflow.signal
    @guarded_signal
    def event_came(self, event: EventCame) -> None:
        """An event has come that the goal may wait for; none hears of itself."""
        came = SystemEvent(source=event.source, event_type=event.event_type, hop=event.hop)
        if event.goal_id != self._goal.state.goal.id:
            self._goal.book.event_came(came, workflow.now())

    # What the messages have in common

    def _pause(self, request: PauseGoal | None) -> None:
        self._goal.book.pause(workflow.now())
        if request is not None and request.now:
            self._goal.cut(IterationEnd.CANCELLED)

    def _complete(self, request: CompleteGoal | None) -> None:
        self._expected = False
        wanted = request or CompleteGoal()
        read_request(GoalVerb.COMPLETE, wanted.model_dump(exclude={"goal_id"}))
        self._check_meant(wanted.goal_id)
        self._goal.book.complete(workflow.now(), wanted.summary)

    def _cancel_iteration(self, _request: CancelIteration | None) -> None:
        self._goal.book.check_there()
        if not self._goal.rounds.cut(IterationEnd.CANCELLED):
            status = self._goal.state.goal.status
            message = f"status is {status}: no iteration runs that could be cancelled"
            raise DomainError(ErrorKind.CONFLICT, "status", message)

    def _rest(
        self, duration: str, reason: str, job_id: str | None, event: str | None = None
    ) -> GoalView:
        if job_id is not None:
            self._check_job(job_id)
        seconds = parse_delay(duration, reason)
        self._goal.book.delay(seconds, reason.strip(), workflow.now(), event)
        return self._view()

    def _check_meant(self, goal_id: str | None) -> None:
        """Refuse what was meant for a goal whose place another one has taken since."""
        now = self._goal.state.goal
        if goal_id is not None and goal_id != now.id:
            message = f"there is another goal by now: {now.id} is {now.status}, not {goal_id}"
            raise DomainError(ErrorKind.CONFLICT, "goal", message, [now.id])

    def _check_job(self, job_id: str) -> None:
        # Of a round that was told to end nothing more is heard: a stop means stop.
        if job_id != self._goal.state.job_id or self._goal.rounds.is_cut:
            message = f"job_id {job_id} is not the iteration that runs: this round is over"
            raise DomainError(ErrorKind.CONFLICT, "job_id", message)

    def _view(self, *, whole: bool = False) -> GoalView:
        return goal_view(self._goal.state, self._stage, workflow.now(), whole=whole)

    @property
    def _stage(self) -> str:
        return JUDGING if self._goal.judging.at_work else self._goal.rounds.stage

    # The loop

    async def _live(self, goal: _Goal) -> None:
        if self._expected:
            await self._wait_for_request()
        self._start_finding()
        while True:
            what = goal.book.next_step(workflow.now())
            match what.step:
                case NextStep.CLOSE:
                    return
                case NextStep.WAIT:
                    await self._wait(goal, what)
                case NextStep.JUDGE:
                    await goal.judging.look()
                case NextStep.WRAP_UP:
                    await goal.rounds.wrap_up()
                case NextStep.TIME_OUT:
                    goal.book.time_out(workflow.now())
                case NextStep.ITERATE:
                    await goal.rounds.iterate()
            await self._renew(goal)

    async def _try_again_later(self, goal: _Goal) -> None:
        """Wait before the end is told once more, unless somebody wants something meanwhile."""
        until = workflow.now() + TRY_AGAIN
        await wait_until(
            lambda: goal is not self._goal or not goal.is_over,
            lambda: until,
            "the end was not recorded",
        )
        await self._renew(goal)

    async def _wait_for_request(self) -> None:
        try:
            await workflow.wait_condition(
                lambda: not self._expected,
                timeout=timeouts.ENTITY_START_TO_CLOSE,
                timeout_summary="what is wanted of a goal that has ended",
            )
        except TimeoutError:
            self._expected = False

    async def _wait(self, goal: _Goal, what: WhatNext) -> None:
        """Wait for a message, at the longest until the goal wakes or its time is over."""
        rests = goal.state.goal.status == GoalStatus.ACTIVE
        try:
            await workflow.wait_condition(
                lambda: goal.book.next_step(workflow.now()) != what,
                timeout=None if what.until is None else time_until(what.until),
                timeout_summary="rest" if rests else "the deadline",
            )
        except TimeoutError:
            return

    async def _renew(self, goal: _Goal) -> None:
        """Go on as a new execution when the history is long; no job is open between two rounds."""
        if not is_renewal_due():
            return
        # Looked at again after each wait: others have gone on meanwhile.
        while not self._is_idle(goal):
            await workflow.wait_condition(lambda: self._is_idle(goal))
        if goal is self._goal and (goal.book.has_news or not goal.is_over):
            workflow.continue_as_new(GoalStart(state=goal.state))

    def _is_idle(self, goal: _Goal) -> bool:
        searching = self._finding is not None and not self._finding.done()
        return workflow.all_handlers_finished() and not goal.telling.is_telling and not searching

    # The conversation

    def _start_finding(self) -> None:
        if self._goal.state.goal.status == GoalStatus.WAITING_FOR_SESSION and (
            self._finding is None or self._finding.done()
        ):
            self._finding = asyncio.create_task(self._look_for_thread(self._goal))

    async def _find_thread(self) -> None:
        """Look whether the conversation has a thread, so that an answer says how it stands."""
        self._start_finding()
        if self._finding is not None:
            await self._finding

    async def _look_for_thread(self, goal: _Goal) -> None:
        state = goal.state
        found = await workflow.execute_activity_method(
            GoalActivities.find_thread,
            FindThread(
                session_key=state.goal.session_key, scope=state.work_scope or state.goal.scope
            ),
            task_queue=RUNS_QUEUE,
            start_to_close_timeout=timeouts.ENTITY_START_TO_CLOSE,
            retry_policy=timeouts.ENTITY_RETRY,
            summary="has the conversation a thread?",
        )
        if found.thread_id is not None and state.goal.thread_id is None:
            goal.book.thread_ready(found.thread_id, workflow.now())

    # What others see

    async def _keep_shown(self) -> None:
        """Write how the goal stands whenever it has changed."""
        while True:
            shown = self._mark()
            show(self._view(), self._goal.state.user_id)
            await workflow.wait_condition(lambda: self._mark() != shown)  # noqa: B023 - waited for here

    def _mark(self) -> object:
        """What is shown anew when it has changed."""
        state = self._goal.state
        return state.goal.id, state.goal.revision, self._stage, state.job_id
