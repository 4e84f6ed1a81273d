"""The steps of a job: one call of the model, or calls of tools.

Owns making them, and what their failures mean for the loop. What comes of it is decided by
`domain.job_book`; when a step may be made is `workflows.job`'s. Source: triggers-and-actions.md §6.

Invariants:
    1. A step ends within its time, or is lost; a lost one is told to the loop, never repeated here.
    2. Working time is counted for every step, also for one that was lost.
    3. Calls run side by side only when none of them changes anything.
    4. Nothing is made of what a step brought after the job was told to end, except that it is
       counted.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception
from temporalio.exceptions import TimeoutError as ActivityTimeout
from temporalio.workflow import ActivityCancellationType

from workflows.model_calls import ModelCalls
from workflows.ulids import new_ulid

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.failures import (
        BUDGET_EXCEEDED,
        EMPTY_REPLY,
        RUN_TIMED_OUT,
        SYSTEM_PAUSED,
        application_error_of,
        budget_refusal_of,
        run_failure,
    )
    from activities.jobs import CallPlace
    from activities.models import CallModel
    from activities.tools.dispatch import ToolActivities
    from activities.tools.requests import (
        AnswerCall,
        CallMode,
        CallStatus,
        DispatchTool,
        OfferTools,
        ToolOutcome,
    )
    from domain.approvals import ID_PREFIX, Approval, ApprovalStatus
    from domain.identifiers import TOOLS_QUEUE
    from domain.job_approvals import ApprovalNews, WantedApproval
    from domain.job_book import CallEnd, JobBook
    from domain.job_prompts import GOAL_TEXT, SYSTEM_TEXT, denied_text
    from domain.job_state import BatchCall, JobState
    from domain.jobs import job_thread
    from domain.prompts import PromptFrame
    from domain.tool_specs import AskedCall, ToolCaller
    from domain.usage import Spent

MAX_TOKENS_TOTAL = "max_tokens_total"


@dataclass
class StepResult:
    """What came of a step, besides what is in the book.

    `lost` says why it has to be made again; `parked` that everything is paused, `budget` that no
    money is left. `news` are approvals that people have to be told of, `asked` says where the
    arguments of the new ones are; `stale` are those that do not count any more.
    """

    lost: str | None = None
    parked: bool = False
    budget: str | None = None
    news: list[tuple[Approval, ApprovalNews]] = field(
        default_factory=list[tuple[Approval, ApprovalNews]]
    )
    stale: list[Approval] = field(default_factory=list[Approval])
    asked: dict[str, CallPlace] = field(default_factory=dict[str, CallPlace])


class JobSteps:
    """The steps of one job."""

    def __init__(self, state: JobState, book: JobBook) -> None:
        self._state = state
        self._book = book
        self._heartbeat = timedelta(seconds=state.start.step_heartbeat_seconds)
        record = book.record
        self._calls = ModelCalls(
            budget=timedelta(seconds=state.start.timeout_seconds),
            spent=Spent(
                tokens_in=record.tokens_in,
                tokens_out=record.tokens_out,
                cost_micros=record.cost_micros,
            ),
            elapsed=timedelta(seconds=state.elapsed_seconds),
            cooling=dict(state.cooling),
            step_limit=timedelta(seconds=state.start.step_timeout_seconds),
            # Numbers go on through continue-as-new; a lost call is made again under its own.
            numbered=state.model_calls + 1,
            retry=timeouts.JOB_STEP_RETRY,
            heartbeat=self._heartbeat,
        )

    @property
    def out_of_time(self) -> bool:
        """Whether the job's working time is used up."""
        return self._state.elapsed_seconds >= self._state.start.timeout_seconds

    def stop_if_cancelled(self) -> None:
        """End the work when the job was told to, whatever came instead of the cancellation.

        An activity that is told to end may be lost, fail or succeed first; the cancellation itself
        comes only once. Where it meets a signal on its way out, the task forgets it altogether.

        Raises:
            CancelledError: The job was told to end.
        """
        task = asyncio.current_task()
        told = self._state.cancel_wanted is not None or workflow.cancellation_reason() is not None
        if told or (task is not None and task.cancelling()):
            raise asyncio.CancelledError

    @property
    def timeout_text(self) -> str:
        """How a job ends whose working time is used up."""
        return f"job timed out after {self._state.start.timeout_seconds}s"

    async def offer(self) -> str | None:
        """Ask once which tools there are; gives why the job must not begin at all."""
        offered = await workflow.execute_activity_method(
            ToolActivities.offer_tools,
            OfferTools(
                mode=CallMode.FULL_JOB,
                caller=self._caller(),
                allowed_tools=self._state.start.allowed_tools,
            ),
            task_queue=TOOLS_QUEUE,
            start_to_close_timeout=timeouts.ENTITY_START_TO_CLOSE,
            retry_policy=timeouts.ENTITY_RETRY,
            summary="which tools there are",
        )
        self._book.offered(offered.names, offered.read_only, offered.sandbox_mode)
        return offered.refusal

    # The model

    async def ask(self) -> StepResult:
        """Call the model once."""
        began, asked = workflow.now(), self._book.plan_ask()
        self._book.mark_texts(workflow.uuid4().hex)
        request = self._request(self._book.prompt(), text_only=asked.text_only is not None)
        number = self._book.record.iteration + 1
        try:
            answer = await self._calls.ask(request, f"step {number}: ask the model")
        except asyncio.CancelledError:
            # An answer that came beside it has cost what it cost.
            self._count(0)
            raise
        except ActivityError as error:
            return self._model_failed(error, began)
        self._count(answer.attempts)
        self.stop_if_cancelled()
        self._book.warn(answer.warnings)
        said, calls = answer.marked_text, answer.tool_calls
        self._book.answered(said, answer.message_id, answer.model, calls, workflow.now())
        return StepResult()

    def _request(self, prompt: str | None, *, text_only: bool) -> CallModel:
        start = self._state.start
        return CallModel(
            job=self._book.record,
            thread=job_thread(self._book.record),
            prompt=prompt,
            frame=PromptFrame(system=[GOAL_TEXT if start.record.goal_id else SYSTEM_TEXT]),
            purpose="job",
            tools=[] if text_only else (self._state.tools or []),
            text_only=text_only,
            max_cost_micros=start.max_cost_micros,
            max_tokens_total=start.max_tokens_total,
            recovery=self._book.record.recoveries,
        )

    def _model_failed(self, error: ActivityError, began: datetime) -> StepResult:
        if is_cancelled_exception(error):
            self._count(0)
            raise error
        cause, now = application_error_of(error), workflow.now()
        if isinstance(error.cause, ActivityTimeout):
            self._calls.elapsed += now - began
        self._count(0)
        self.stop_if_cancelled()
        kind = cause.type if cause else None
        if kind == SYSTEM_PAUSED:
            return StepResult(parked=True)
        if kind == BUDGET_EXCEEDED:
            return self._no_budget(error)
        if kind == EMPTY_REPLY:
            self._book.empty_answer(now)
            return StepResult()
        if kind == RUN_TIMED_OUT or isinstance(error.cause, ActivityTimeout):
            return self._lost_or_over("the model did not answer in time")
        self._book.fail(run_failure(error, self.timeout_text)[1], now)
        return StepResult()

    def _no_budget(self, error: ActivityError) -> StepResult:
        refusal = budget_refusal_of(error)
        scope = refusal.scope if refusal else "budget"
        if scope == MAX_TOKENS_TOTAL:
            self._book.fail(MAX_TOKENS_TOTAL, workflow.now())
            return StepResult()
        return StepResult(budget=f"budget: {scope}")

    def _lost_or_over(self, why: str) -> StepResult:
        if self._book.ended:
            return StepResult()
        if self.out_of_time:
            self._book.fail(self.timeout_text, workflow.now(), timed_out=True)
            return StepResult()
        return StepResult(lost=why)

    # The tools

    async def call_tools(self) -> StepResult:
        """Carry out the open calls that may run side by side, or else the first one."""
        calls, left = self._book.open_calls(), self._book.calls_left()
        if not self._book.may_run_at_once():
            calls = calls[:1]
        elif left:
            # One that is refused leaves its place to the next.
            calls = calls[:left]
        began = workflow.now()
        tasks = [
            asyncio.create_task(self._carry_out(item, place)) for place, item in enumerate(calls)
        ]
        # Told to end, it waits for all; `stop_if_cancelled` says so once they are counted.
        with suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks, return_exceptions=True)
        ended = [_outcome_of(task) for task in tasks]
        self._calls.elapsed += _working_time(ended, workflow.now() - began)
        self._count(0)
        result = StepResult()
        for outcome in ended:
            if not isinstance(outcome, BaseException):
                self._tool_ended(outcome, result)
        self.stop_if_cancelled()
        for item, outcome in zip(calls, ended, strict=True):
            if isinstance(outcome, BaseException):
                self._tool_failed(outcome, item, result)
        return result

    def _tool_ended(self, outcome: ToolOutcome, result: StepResult) -> None:
        approvals = self._book.approvals
        if outcome.status in {CallStatus.NEEDS_APPROVAL, CallStatus.REJECTED}:
            result.stale += approvals.withdraw(outcome.call_id)
        if outcome.status != CallStatus.NEEDS_APPROVAL:
            approvals.consume(outcome.call_id)
            self._book.call_ended(_end_of(outcome))
            return
        approval = self._need_approval(outcome)
        result.news.append((approval, ApprovalNews.REQUESTED))
        result.asked[approval.id] = CallPlace(
            message_id=self._message_id(),
            call=AskedCall(id=outcome.call_id, name=outcome.tool),
            arguments_chars=outcome.arguments_chars,
        )

    async def _carry_out(self, item: BatchCall, place: int) -> ToolOutcome:
        approval = self._book.approvals.of_call(item.call.id)
        status = approval.status if approval else None
        if approval is not None and status in {ApprovalStatus.DENIED, ApprovalStatus.TIMED_OUT}:
            return await self._answer(item, approval)
        agreed = status in {ApprovalStatus.APPROVED, ApprovalStatus.CONSUMED}
        try:
            return await self._dispatch(item, place, approval if agreed else None)
        except BaseException:
            # Nobody knows whether it has begun: the approval is for this call and no other.
            self._book.approvals.consume(item.call.id)
            raise

    async def _dispatch(
        self, item: BatchCall, place: int, approval: Approval | None
    ) -> ToolOutcome:
        limit, left = self._step_seconds(), self._book.calls_left()
        return await workflow.execute_activity_method(
            ToolActivities.dispatch_tool,
            DispatchTool(
                thread=job_thread(self._book.record),
                message_id=self._message_id(),
                call=item.call,
                caller=self._caller(),
                sequence=item.sequence,
                mode=CallMode.FULL_JOB,
                allowed_tools=self._state.start.allowed_tools,
                calls_left=None if left is None else max(left - place, 0),
                approval_id=approval.id if approval else None,
                approved_digest=approval.digest if approval else None,
                timeout_seconds=limit,
            ),
            task_queue=TOOLS_QUEUE,
            start_to_close_timeout=timedelta(seconds=limit) + timeouts.JOB_STEP_GRACE,
            heartbeat_timeout=self._heartbeat,
            retry_policy=timeouts.JOB_STEP_RETRY,
            # What a tool did is in the audit before the job says that it was cancelled.
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"call {item.call.name}"[:200],
        )

    async def _answer(self, item: BatchCall, approval: Approval) -> ToolOutcome:
        """Tell the model that nobody agreed."""
        expired = approval.status == ApprovalStatus.TIMED_OUT
        return await workflow.execute_activity_method(
            ToolActivities.answer_call,
            AnswerCall(
                thread=job_thread(self._book.record),
                message_id=self._message_id(),
                call=item.call,
                text=denied_text(approval.reason),
                error="expired" if expired else "denied",
                caller=self._caller(),
                sequence=item.sequence,
                approval_id=approval.id,
            ),
            task_queue=TOOLS_QUEUE,
            start_to_close_timeout=timeouts.ENTITY_START_TO_CLOSE,
            retry_policy=timeouts.ENTITY_RETRY,
            summary=f"{item.call.name} was denied"[:200],
        )

    def _tool_failed(self, error: BaseException, item: BatchCall, result: StepResult) -> None:
        if not isinstance(error, ActivityError) or is_cancelled_exception(error):
            raise error
        cause = application_error_of(error)
        if cause is not None and cause.type == SYSTEM_PAUSED:
            result.parked = True
        elif isinstance(error.cause, ActivityTimeout):
            lost = self._lost_or_over(f"{item.call.name} was lost")
            result.lost = result.lost or lost.lost
        elif not self._book.ended:
            self._book.fail(str(cause or error), workflow.now())

    def _need_approval(self, outcome: ToolOutcome) -> Approval:
        wanted = WantedApproval(
            approval_id=ID_PREFIX + new_ulid(),
            call_id=outcome.call_id,
            tool=outcome.tool,
            version=outcome.version,
            digest=outcome.digest or "",
            arguments=outcome.arguments,
        )
        return self._book.approvals.ask(wanted, workflow.now())

    # What they share

    def _message_id(self) -> str:
        batch = self._state.batch
        assert batch is not None  # there are open calls
        return batch.message_id

    def _step_seconds(self) -> float:
        left = self._state.start.timeout_seconds - self._state.elapsed_seconds
        return max(min(left, self._state.start.step_timeout_seconds), 0.001)

    def _count(self, attempts: int) -> None:
        """Write what the calls know into the state."""
        state, calls = self._state, self._calls
        state.elapsed_seconds = calls.elapsed.total_seconds()
        state.cooling = dict(calls.cooling)
        state.model_calls = (calls.numbered or 1) - 1
        self._book.spent(calls.spent, attempts)

    def _caller(self) -> ToolCaller:
        start, record = self._state.start, self._book.record
        return ToolCaller(
            caller=f"job:{record.id}",
            user_id=record.user_id,
            scope=start.scope,
            route=start.route,
            run_id=record.run_id,
            job_id=record.id,
            routine_id=record.routine_id,
            goal_id=record.goal_id,
            goal_workflow=start.owner if record.goal_id else None,
            session_key=record.session_key,
            hop=start.hop,
        )


def _outcome_of(task: "asyncio.Task[ToolOutcome]") -> ToolOutcome | BaseException:
    """What a call that has ended came to."""
    if task.cancelled():
        return asyncio.CancelledError()
    return task.exception() or task.result()


def _end_of(outcome: ToolOutcome) -> CallEnd:
    # Arguments that could not be read have no digest; equal ones have equal words of refusal.
    same: Sequence[str] = (outcome.tool, outcome.digest or f"{outcome.error} {outcome.detail}")
    return CallEnd(
        call_id=outcome.call_id,
        failed=outcome.status != CallStatus.OK,
        mark="\n".join(same),
        executed=outcome.status != CallStatus.REJECTED,
    )


def _working_time(ended: Sequence[ToolOutcome | BaseException], passed: timedelta) -> timedelta:
    """How long calls took that ran side by side; waiting for a worker costs nothing."""
    if any(isinstance(item, BaseException) for item in ended):
        return passed
    longest = max(item.elapsed_seconds for item in ended if isinstance(item, ToolOutcome))
    return timedelta(seconds=longest)
