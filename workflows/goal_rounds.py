"""One round of a goal: an iteration as a job, or the closing report.

Owns holding the session while the job works, giving it away while the job waits, and ending the job
when something else comes first. The job's side of the hold is `workflows.job_hold`'s; what a round
means for the goal is `domain.goal_book`'s. Source: automation.md §8 and §9, DESIGN §3 rule 11.

Invariants:
    1. A round has ended when its job has: the goal never goes on, nor continues as new, beside it.
    2. The job works only while the session is held; whatever happens, it is let go in the end.
    3. A round ends early for one reason, the first one; what it has spent until then is counted.
    4. Nothing waits beyond the deadline, but for a moment for the session of the closing report.
    5. What the session grants to a round that does not want it any more is given back.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception
from temporalio.exceptions import TimeoutError as ActivityTimeout

from workflows.bounded_waits import end_task, wait_until
from workflows.run_job import JobUnwritten, carry_job
from workflows.session_gate import SessionGate, give_back
from workflows.ulids import new_ulid

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.goals import AskRoundPrompt, GoalActivities, GoalRound
    from activities.jobs import PutJob
    from domain.goal import is_terminal
    from domain.goal_book import GoalBook
    from domain.goal_iteration import iteration_ended, iteration_job
    from domain.goal_messages import IterationWaits, JobWaits
    from domain.goal_prompts import with_judge_note
    from domain.goal_record import GoalWaiting
    from domain.goal_state import (
        WRAP_UP_SECONDS,
        IterationEnd,
        IterationEnded,
        NextStep,
    )
    from domain.job_messages import JobEnded, StartJob
    from domain.job_state import JobState
    from domain.jobs import JobStatus, job_workflow_id
    from domain.lease_queue_state import Granted, LeaseRef
    from domain.threads import Thread, ThreadKind

SESSION = "waiting for the conversation"
BUDGET = "budget"
# What the goal's record has no word for.
_WAITS = {"slot": "its job waits for a slot", "paused": "its job is paused"}
# A session that is free answers at once.
ASK_FOR_REPORT = timedelta(seconds=5)


class GoalRounds:
    """Makes the rounds of one goal, one at a time."""

    def __init__(self, book: GoalBook) -> None:
        self._book = book
        self._owner = workflow.info().workflow_id
        self._gate: SessionGate | None = None
        self._cut: IterationEnd | None = None
        self._error: str | None = None
        self._report_until: datetime | None = None
        self._waits: list[IterationWaits] = []
        self._job_waits: JobWaits | None = None
        self._doing = ""

    @property
    def stage(self) -> str:
        """What the present round does, in words; blank between rounds."""
        waits = _WAITS.get(self._job_waits or "")
        return f"{self._doing}: {waits}" if waits else self._doing

    # What comes from outside

    async def granted(self, grant: Granted) -> None:
        """The session has given this goal its turn."""
        if self._gate is not None and self._gate.wants(grant.lease):
            self._gate.granted(grant)
        else:
            await self._give_back(grant.token)

    async def interrupt(self, lease: LeaseRef) -> None:
        """A user wants the session."""
        if self._gate is not None and self._gate.wants(lease.request_id):
            self._gate.interrupt(lease)
        else:
            await self._give_back(lease.token)

    async def waits(self, waits: IterationWaits) -> None:
        """The round's job waits, or may go on; that of a goal that is gone ends."""
        if waits.job_id == self._book.state.job_id:
            self._waits.append(waits)
        else:
            await _signal_job(waits.job_id, "cancel")

    def cut(self, end: IterationEnd) -> bool:
        """End the round that runs, for this reason; false when none does."""
        if self._book.state.job_id is None:
            return False
        self._cut = self._cut or end
        return True

    @property
    def is_cut(self) -> bool:
        """Whether the round that runs was told to end."""
        return self._cut is not None

    # The rounds

    async def iterate(self) -> None:
        """Make one iteration, unless something else comes while the session is waited for."""
        book, job_id = self._book, f"job_{new_ulid()}"
        self._begin(job_id, timedelta(seconds=book.state.limits.run_timeout_seconds))
        try:
            self._doing = SESSION
            held = await self._acquire(lambda: book.next_step(workflow.now()).step)
            if not (held or self._error):
                return
            book.begin_iteration(job_id, workflow.now())
            self._doing = f"round {book.goal.iteration} is at work"
            if held:
                ended, text = await self._work(job_id, GoalRound.CONTINUE)
            else:
                ended, text = IterationEnded(end=IterationEnd.ERROR, error=self._error), ""
        finally:
            await self._end()
        if text:
            book.progress(text)
        book.end_iteration(ended, workflow.now())

    async def wrap_up(self) -> None:
        """Ask for the closing report, unless the session is busy."""
        book, job_id = self._book, f"job_{new_ulid()}"
        limit = timedelta(seconds=WRAP_UP_SECONDS)
        self._begin(job_id, limit)
        self._report_until = workflow.now() + limit
        try:
            self._doing = "writing the closing report"
            free = await self._is_free()
            if not self._wants_report:
                return
            if not free:
                book.begin_wrap_up(None, workflow.now())
                return
            book.begin_wrap_up(job_id, workflow.now())
            ended, text = await self._work(job_id, GoalRound.TIMEOUT)
        finally:
            await self._end()
        if text:
            book.progress(text)
        book.end_wrap_up(ended, workflow.now())

    def _begin(self, job_id: str, limit: timedelta) -> None:
        state = self._book.state
        self._cut, self._error, self._report_until, self._waits = None, None, None, []
        self._gate, self._job_waits = None, None
        if state.goal.session_key:
            self._gate = SessionGate(
                state.goal.session_key,
                self._owner,
                limit,
                work=job_id,
                rejoins=state.interrupted,
            )

    async def _end(self) -> None:
        self._doing, self._job_waits = "", None
        gate, self._gate = self._gate, None
        if gate is not None:
            await gate.release()

    # The session

    async def _acquire(self, wanted: Callable[[], NextStep]) -> bool:
        """Wait for the session as long as an iteration is what the goal wants."""
        if self._gate is None:
            return True
        return await self._until_held(lambda: wanted() != NextStep.ITERATE)

    @property
    def _wants_report(self) -> bool:
        """Whether a closing report still is what comes next."""
        return self._book.next_step(workflow.now()).step is NextStep.WRAP_UP

    async def _is_free(self) -> bool:
        """Take the session unless it is busy, silent, or cannot be taken."""
        if self._gate is None:
            return True
        taking, until = asyncio.create_task(self._gate.try_acquire()), _soon(ASK_FOR_REPORT)
        try:
            while not taking.done() and self._wants_report and workflow.now() < until:
                await wait_until(
                    lambda: taking.done() or not self._wants_report, lambda: until, SESSION
                )
        finally:
            given_up = not taking.done()
            if given_up:
                await end_task(taking)
        error = None if taking.cancelled() else taking.exception()
        if given_up or taking.cancelled():
            return False
        if error is None:
            return taking.result()
        if not isinstance(error, ActivityError):
            raise error
        workflow.logger.error("there will be no closing report", exc_info=error)
        return False

    async def _until_held(self, over: Callable[[], bool]) -> bool:
        """Take the session; false when something was over first, and it is waited for no more."""
        gate = self._gate
        assert gate is not None  # there is a session
        taking = asyncio.create_task(gate.acquire())
        try:
            while not (taking.done() or over()):
                await wait_until(lambda: taking.done() or over(), lambda: self._until)
        finally:
            given_up = not taking.done()
            if given_up:
                await end_task(taking)
        error = None if taking.cancelled() else taking.exception()
        if not (given_up or error or over()):
            return True
        await gate.release()
        if isinstance(error, ActivityError) and not given_up:
            # A session that refuses is a failure of the round, to be tried again later.
            self._cut, self._error = IterationEnd.ERROR, f"the session refused: {error.cause}"
        elif error is not None and not given_up:
            raise error
        return False

    async def _give_back(self, token: str) -> None:
        key = self._book.goal.session_key
        if key:
            await give_back(key, token)

    @property
    def _until(self) -> datetime | None:
        """When the round's time is over; the deadline may be moved meanwhile."""
        return self._report_until or self._book.goal.deadline_at

    # The job

    async def _work(self, job_id: str, begins: GoalRound) -> tuple[IterationEnded, str]:
        """Carry the round's job to its end; gives how it ended and what it said."""
        task = asyncio.create_task(self._carry(job_id, begins))
        try:
            while not task.done():
                await wait_until(
                    lambda: task.done() or self._is_over() or bool(self._waits),
                    lambda: self._until,
                )
                if task.done():
                    break
                if self._is_over():
                    await end_task(task)
                elif self._waits:
                    await self._follow(self._waits.pop(0), task)
        finally:
            if not task.done():
                await end_task(task)
        return self._outcome(task)

    def _is_over(self) -> bool:
        """Whether the round has to end now; notes why."""
        if self._cut is None:
            if self._gate is not None and self._gate.interrupted:
                self._cut = IterationEnd.INTERRUPTED
            elif self._until is not None and workflow.now() >= self._until:
                self._cut = IterationEnd.TIMEOUT
            elif self._is_in_vain:
                self._cut = IterationEnd.CANCELLED
        return self._cut is not None

    @property
    def _is_in_vain(self) -> bool:
        """Whether the job waits though the goal has ended without it."""
        return is_terminal(self._book.goal.status) and self._job_waits is not None

    async def _follow(self, waits: IterationWaits, task: "asyncio.Task[JobEnded]") -> None:
        """Give the session away while the job waits, and take it before it goes on."""
        book, waiting = self._book, waits.waiting_for
        if waiting == BUDGET:
            self._cut = self._cut or IterationEnd.BUDGET
        elif waiting is not None:
            self._job_waits = waiting
            inside = waiting if isinstance(waiting, GoalWaiting) else None
            book.waits_inside(inside, workflow.now())
            if self._gate is not None:
                await self._gate.release()
        elif self._gate is None or await self._until_held(lambda: task.done() or self._is_over()):
            self._job_waits = None
            book.waits_inside(None, workflow.now())
            await _signal_job(waits.job_id, "release_hold")

    async def _carry(self, job_id: str, begins: GoalRound) -> JobEnded:
        state, prompt = self._book.state, await self._prompt(begins)
        wrap_up = WRAP_UP_SECONDS if begins is GoalRound.TIMEOUT else None
        if wrap_up is None:
            prompt = with_judge_note(prompt, state.judge_note)
        start = iteration_job(
            state, self._owner, prompt, workflow.now(), job_id=job_id, wrap_up=wrap_up
        )
        return await carry_job(JobState(start=start), self._row(start))

    async def _prompt(self, begins: GoalRound) -> str:
        state = self._book.state
        request = AskRoundPrompt(
            goal=state.goal, round=begins, timezone=state.timezone, now=workflow.now()
        )
        # Nothing to wait for: a normal one would cost each round six events.
        prompt = await workflow.execute_local_activity_method(
            GoalActivities.round_prompt,
            request,
            start_to_close_timeout=timeouts.ENTITY_START_TO_CLOSE,
            retry_policy=timeouts.LOCAL_RETRY,
            summary=f"round {state.goal.iteration}: prompt",
        )
        return prompt.text

    def _row(self, start: StartJob) -> PutJob:
        record, goal = start.record, self._book.goal
        thread = Thread(
            id=start.record.thread_id or goal.id,
            scope=record.scope,
            session_key=goal.session_key,
            kind=ThreadKind.SESSION if goal.session_key else ThreadKind.GOAL,
            created_at=goal.created_at or record.created_at,
        )
        return PutJob(record=record, thread=thread)

    def _outcome(self, task: "asyncio.Task[JobEnded]") -> tuple[IterationEnded, str]:
        if task.cancelled():
            return IterationEnded(end=self._cut or IterationEnd.CANCELLED), ""
        error = task.exception()
        if error is None:
            ended = task.result()
            said = ended.text if ended.status == JobStatus.COMPLETED else ""
            return iteration_ended(ended, self._cut, self._error), said
        # What a local activity said last, and on replay also that its time was over, comes without
        # an `ActivityError` around it.
        if not isinstance(error, ActivityError | ApplicationError | ActivityTimeout | JobUnwritten):
            raise error
        if self._cut is not None or is_cancelled_exception(error):
            return IterationEnded(end=self._cut or IterationEnd.CANCELLED), ""
        workflow.logger.error("a round of a goal did not begin", exc_info=error)
        return IterationEnded(end=IterationEnd.ERROR, error=f"it did not begin: {error}"), ""


def _soon(within: timedelta) -> datetime:
    now: datetime = workflow.now()
    return now + within


async def _signal_job(job_id: str, signal: str) -> None:
    job = workflow.get_external_workflow_handle(job_workflow_id(job_id))
    try:
        await job.signal(signal)
    except ApplicationError:
        workflow.logger.info("job %s has ended meanwhile", job_id)
