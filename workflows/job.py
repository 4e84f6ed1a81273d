"""A job: an agent that calls models and tools in turn until it has an answer.

Owns the messages of the workflow, when a step may be made, and when something is told. A step is
`workflows.job_steps`', the slot `workflows.job_slot`'s, what is written and told
`workflows.job_telling`'s, every decision `domain.job_book`'s. Lifecycle and invariants:
docs/lifecycles/job.md.
Source: DESIGN §3, triggers-and-actions.md §6 and §8.
"""

import asyncio
import functools
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, is_cancelled_exception

from workflows.handlers import guarded, guarded_signal, undisturbed
from workflows.job_hold import NO_GOAL, GoalGone, JobHold
from workflows.job_slot import JobSlot
from workflows.job_steps import JobSteps, StepResult
from workflows.job_telling import JobTelling
from workflows.parking import park
from workflows.session_gate import SAYING_LIMIT, SessionGate

with workflow.unsafe.imports_passed_through():
    from activities.failures import application_error_of
    from domain.approvals import Approval, ApprovalStatus
    from domain.goal_record import GoalWaiting
    from domain.job_book import JobBook, NextStep
    from domain.job_events import (
        JOB_STARTED,
        JOB_STUCK,
        end_part,
        event_of_end,
        job_event,
        stuck_part,
    )
    from domain.job_messages import (
        CancelJob,
        DecideApproval,
        ExtendApproval,
        JobEnded,
        JobStage,
        JobView,
        SteerJob,
    )
    from domain.job_state import JobState
    from domain.job_view import job_details
    from domain.jobs import JobStatus, JobWaiting
    from domain.lease_queue_state import Granted, LeaseRef
    from domain.redaction import redact_reason
    from domain.session import gate_key
    from domain.standing_grants import granted_by

_AGREED = {ApprovalStatus.APPROVED, ApprovalStatus.CONSUMED}


@workflow.defn(name="Job")
class Job:
    """Workflow `job/<id>`; its result is how the job ended."""

    @workflow.init
    def __init__(self, state: JobState) -> None:
        self._state = state
        self._book = JobBook(state)
        self._steps = JobSteps(state, self._book)
        self._slot = JobSlot(state)
        self._hold = JobHold(state.start)
        owner = workflow.info().workflow_id
        self._gate = SessionGate(state.start.result_session, owner, SAYING_LIMIT)
        self._telling = JobTelling(state, self._book, self._gate)
        self._stage = JobStage.SLOT
        self._resumed = False
        self._work: asyncio.Task[None] | None = None

    @workflow.run
    async def run(self, _state: JobState) -> JobEnded:
        """Carry the job to its end, whatever happens on the way."""
        self._work = asyncio.create_task(self._live())
        try:
            await self._work
        except asyncio.CancelledError:
            self._end_cancelled()
        except GoalGone:
            self._state.cancel_wanted = self._state.cancel_wanted or NO_GOAL
            self._end_cancelled()
        except Exception as error:
            if is_cancelled_exception(error) or self._state.cancel_wanted is not None:
                self._end_cancelled()
            else:
                self._end_broken(error)
        self._work = None
        await undisturbed(asyncio.create_task(self._finish()))
        await workflow.wait_condition(workflow.all_handlers_finished)
        return self._book.result()

    def _end_cancelled(self) -> None:
        # What has ended a moment before it was told to stays as it ended.
        if not self._book.ended:
            reason = self._state.cancel_wanted
            self._book.cancel(reason or CancelJob().reason, workflow.now())

    def _end_broken(self, error: Exception) -> None:
        """End it for a fault that nobody has an answer to; its owner must not wait for ever."""
        workflow.logger.error("job %s is broken", self._book.record.id, exc_info=error)
        cause = application_error_of(error) if isinstance(error, ActivityError) else None
        said = str(error) if isinstance(error, ActivityError) else f"internal: {error!r}"
        self._book.fault(cause.message if cause else said, workflow.now())

    # Messages

    @workflow.signal
    @guarded_signal
    def granted(self, grant: Granted | None = None) -> None:
        """A slot is free, or the chat; without a grant: everything goes on after a pause."""
        if grant is None:
            self._resumed = True
        else:
            self._slot.granted(grant)
            self._gate.granted(grant)

    @workflow.signal
    @guarded_signal
    def interrupt(self, lease: LeaseRef) -> None:
        """A user wants the chat: a result that is being said is said, another one waits."""
        self._gate.interrupt(lease)

    @workflow.signal
    @guarded_signal
    def release_hold(self) -> None:
        """Everything goes on after a pause; a goal's: it holds its session again."""
        self._resumed = True
        self._hold.held()

    @workflow.update(name="pause")
    @guarded
    def pause_update(self) -> JobView:
        """Pause before the next step."""
        self._book.want_pause()
        return self.view()

    @workflow.signal(name="pause")
    @guarded_signal
    def pause_signal(self) -> None:
        """The same as the update, for senders that need no answer."""
        self._book.want_pause()

    @workflow.update(name="resume")
    @guarded
    def resume_update(self) -> JobView:
        """Go on after a pause, also one for lack of budget."""
        self._book.resume()
        return self.view()

    @workflow.signal(name="resume")
    @guarded_signal
    def resume_signal(self) -> None:
        """The same as the update."""
        self._book.resume()

    @workflow.update(name="cancel")
    @guarded
    def cancel_update(self, request: CancelJob | None = None) -> JobView:
        """End the job as cancelled; what runs is cancelled with it."""
        self._cancel(request)
        return self.view()

    @workflow.signal(name="cancel")
    @guarded_signal
    def cancel_signal(self, request: CancelJob | None = None) -> None:
        """The same as the update."""
        self._cancel(request)

    @workflow.update(name="steer")
    @guarded
    def steer_update(self, request: SteerJob) -> JobView:
        """Say something that the model reads before its next step."""
        self._book.steer(request.text, request.key)
        return self.view()

    @workflow.signal(name="steer")
    @guarded_signal
    def steer_signal(self, request: SteerJob) -> None:
        """The same as the update."""
        self._book.steer(request.text, request.key)

    @workflow.update
    @guarded
    def decide_approval(self, request: DecideApproval) -> Approval:
        """Approve or deny a call that waits."""
        former = [item.approval for item in self._state.approvals]
        approval = self._book.approvals.decide(request, workflow.now())
        if not any(approval is one for one in former):
            self._telling.decided.append(approval)
        if request.always and approval.status in _AGREED:
            routine = self._book.record.routine_id or ""
            self._telling.grants.append(granted_by(approval, routine, workflow.now()))
        return approval

    @workflow.update
    @guarded
    def extend_approval(self, request: ExtendApproval) -> Approval:
        """Give a call that waits more time."""
        approval = self._book.approvals.extend(request, workflow.now())
        self._telling.changed.append(approval)
        return approval

    @workflow.query
    def view(self) -> JobView:
        """Everything known of this job."""
        return self._book.view(self._stage)

    def _cancel(self, request: CancelJob | None) -> None:
        reason = redact_reason((request or CancelJob()).reason)
        if self._book.ended:
            # Refused where it has ended another way.
            self._book.cancel(reason, workflow.now())
            return
        if self._state.cancel_wanted is None:
            self._state.cancel_wanted = reason
        if self._work is not None:
            self._work.cancel()

    # The loop

    async def _live(self) -> None:
        await self._telling.begin()
        while not self._book.ended:
            self._steps.stop_if_cancelled()
            await self._become_running()
            if self._steps.out_of_time:
                self._book.fail(self._steps.timeout_text, workflow.now(), timed_out=True)
                break
            await self._telling.write_decisions()
            self._steps.stop_if_cancelled()
            await self._react(await self._step())
            await self._renew()

    async def _step(self) -> StepResult:
        if self._state.tools is None:
            self._show(JobStage.TOOLS)
            refusal = await self._steps.offer()
            if refusal:
                self._book.fail(refusal, workflow.now())
            return StepResult()
        match self._book.next_step():
            case NextStep.ASK:
                self._show(JobStage.MODEL)
                return await self._steps.ask()
            case NextStep.CALLS:
                self._show(JobStage.TOOLS)
                return await self._steps.call_tools()
            case _:
                self._book.wait_for_approvals()
                return StepResult()

    async def _react(self, result: StepResult) -> None:
        """What has to be told of a step, and what stands in the way of the next."""
        self._telling.changed += result.stale
        self._telling.asked |= result.asked
        self._steps.stop_if_cancelled()
        if result.news:
            await self._telling.tell_approvals(result.news)
        if self._book.ended:
            return
        if result.lost is not None:
            await self._recover(result.lost)
        elif result.parked:
            await self._park()
        elif result.budget is not None:
            self._book.warn([result.budget])
            self._book.pause_now(JobWaiting.BUDGET)

    async def _become_running(self) -> None:
        """Wait until the job may work: not paused, nothing to be decided, with slot and session."""
        book = self._book
        while book.status != JobStatus.RUNNING or self._state.wants_pause or self._hold.is_away:
            self._steps.stop_if_cancelled()
            match book.status:
                case JobStatus.RUNNING if self._state.wants_pause:
                    book.pause_now()
                case JobStatus.RUNNING:
                    await self._hold.come_back()
                case JobStatus.PAUSED:
                    budget = book.record.waiting_for == JobWaiting.BUDGET
                    self._show(JobStage.BUDGET if budget else JobStage.PAUSED)
                    # Without budget, of a goal's iteration it is the end: the goal pauses instead.
                    await self._hold.give_way("budget" if budget else "paused")
                    await self._rest(lambda: book.status != JobStatus.PAUSED)
                case JobStatus.WAITING_APPROVAL:
                    self._show(JobStage.APPROVAL)
                    await self._hold.give_way(GoalWaiting.APPROVAL)
                    await self._rest(self._is_decided)
                    if book.status == JobStatus.WAITING_APPROVAL:
                        book.approvals_decided()
                case _:
                    await self._take_slot()

    def _is_decided(self) -> bool:
        # Approvals of one batch are independent: one that is decided does not wait for the others.
        return self._book.status != JobStatus.WAITING_APPROVAL or bool(self._book.open_calls())

    async def _take_slot(self) -> None:
        book = self._book
        book.wait_for(JobWaiting.SLOT)
        self._show(JobStage.SLOT)
        first = book.record.started_at is None
        if self._state.start.needs_slot and not await self._slot.acquire(
            lambda: book.status == JobStatus.PENDING, lambda: self._hold.give_way("slot")
        ):
            return
        book.start(workflow.now())
        self._telling.show()
        if first:
            await self._telling.write(
                events=job_event(JOB_STARTED, book.record, self._state.start.hop)
            )

    async def _rest(self, over: Callable[[], bool]) -> None:
        """Wait without a slot; approvals are reminded of, expire and are written down meanwhile."""
        await self._slot.release()
        self._telling.show()
        await self._telling.write()
        while not over():
            due = self._book.approvals.next_time()
            news = self._book.approvals.due(workflow.now())
            if news:
                await self._telling.tell_approvals(news)
                continue
            await self._telling.write_decisions()
            wait = None if due is None else max(due - workflow.now(), timedelta(milliseconds=1))
            self._steps.stop_if_cancelled()
            try:
                await workflow.wait_condition(
                    lambda: (
                        over()
                        or bool(self._telling.decided)
                        or self._book.approvals.next_time() != due  # noqa: B023 - waited for here
                    ),
                    timeout=wait,
                    timeout_summary="remind of an approval, or deny it",
                )
            except TimeoutError:
                continue

    async def _park(self) -> None:
        """Wait until everything goes on; `resume_all` finds the job by its status and wakes it."""
        self._resumed = False
        self._book.wait_for(JobWaiting.SYSTEM_PAUSED)
        self._show(JobStage.SYSTEM_PAUSED)
        await self._hold.give_way(GoalWaiting.SYSTEM_PAUSED)
        self._steps.stop_if_cancelled()
        await park(lambda: self._resumed, self._book.status)
        self._book.wait_for(None)
        await self._hold.come_back()

    async def _recover(self, why: str) -> None:
        """A step was lost: say so once, then do it again, or give up."""
        news = self._book.stall()
        self._telling.show()
        if news:
            record, start = self._book.record, self._state.start
            await self._telling.write(
                events=job_event(JOB_STUCK, record, start.hop), notices=[stuck_part(record, start)]
            )
        self._book.recover(why, workflow.now())
        self._telling.show()

    async def _renew(self) -> None:
        """Go on as a new execution when the history is long; nothing is open between two steps."""
        if not workflow.info().is_continue_as_new_suggested() or self._book.ended:
            return
        await self._telling.write_decisions()
        await workflow.wait_condition(workflow.all_handlers_finished)
        self._steps.stop_if_cancelled()
        if not self._telling.is_behind:
            workflow.continue_as_new(self._state)

    # The end

    async def _finish(self) -> None:
        await self._slot.release()
        record, start = self._book.record, self._state.start
        self._telling.changed += self._book.approvals.withdraw()
        self._show(JobStage.ENDED)
        self._telling.show()
        part = None if start.owner else end_part(record, start)
        waits = part is not None and gate_key(start.result_session) != ""
        await self._telling.write(
            events=event_of_end(record, start.hop), result=None if waits else part
        )
        if waits:
            self._show(JobStage.SESSION)
            await self._gate.acquire()
            show = functools.partial(self._show, JobStage.SESSION)
            await self._gate.say(lambda: self._telling.write(result=part), show)
            await self._gate.release()
            self._show(JobStage.ENDED)
        if start.owner is not None:
            owner = workflow.get_external_workflow_handle(start.owner)
            try:
                await owner.signal("job_ended", self._book.result())
            except ApplicationError:
                workflow.logger.info("nobody waits for job %s any more", record.id)

    def _show(self, stage: JobStage) -> None:
        self._stage = stage
        workflow.set_current_details(job_details(self.view(), workflow.info().namespace))
