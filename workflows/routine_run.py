"""One occurrence of a routine: admission, action, delivery, outcome.

Owns the order of these steps and what a cancellation or a pause does at each. Decides nothing
itself: admission is the routine's, the meaning of the reply `domain.outcome`'s, the texts
`domain.notices`'. Lifecycle and invariants: docs/lifecycles/run.md. Source: DESIGN §4,
automation.md §7.
"""

import asyncio
import functools
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ActivityError, is_cancelled_exception

from workflows.cancellations import raise_if_cancelled
from workflows.completion_hook import tell_hook
from workflows.delivering import deliver
from workflows.entity_calls import ask_entity
from workflows.handlers import guarded, guarded_signal, undisturbed
from workflows.model_calls import ModelCalls
from workflows.parking import is_system_pause, park
from workflows.run_job import (
    JobFailed,
    JobUnwritten,
    answer_of,
    do_job,
    gate_of_result,
    new_job,
)
from workflows.session_gate import Interrupted, SessionGate
from workflows.tool_rounds import ToolRounds, tool_rounds

with workflow.unsafe.imports_passed_through():
    from activities import search_attributes as attributes
    from activities.deliveries import DeliveryActivities, DeliveryReceipt, FinishRun
    from activities.entities import EntityActivities
    from activities.failures import model_failure_of, run_failure
    from activities.models import CallModel, ModelAnswer
    from domain.actions import LightweightAction
    from domain.admission import (
        BeginRun,
        Decision,
        EndRun,
        MarkRun,
        RunDefinition,
        RunEnded,
        RunMark,
        Verdict,
    )
    from domain.deliveries import DeliveryStatus, Part
    from domain.job_messages import JobEnded, StartJob
    from domain.jobs import JobStatus
    from domain.lease_queue_state import Granted, LeaseRef
    from domain.notices import final_parts, notice_parts, run_part, start_notice
    from domain.outcome import classify_reply
    from domain.redaction import redact_reason
    from domain.routine import render_prompt
    from domain.run_messages import CancelRun, RunAdmission
    from domain.run_start import StartRun
    from domain.run_view import DeliveryView, RunStage, RunView, run_details
    from domain.runs import FireKind, RunRecord, RunStatus, run_id_of_workflow
    from domain.session import gate_key
    from domain.threads import Thread, ThreadKind

_NOMINAL_TIME = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
_SUMMARY_CHARS = 500
_ONE_CANCEL = "2026-11-21-one-cancel"
# Of a run that was told to end before its routine had answered.
NOT_ADMITTED = "cancelled"


@workflow.defn(name="RoutineRun")
class RoutineRun:
    """Workflow `routine-run/<routine>/<occurrence>`; its result is the run's last view."""

    @workflow.init
    def __init__(self, start: StartRun) -> None:
        info = workflow.info()
        nominal = start.scheduled_at
        if start.kind == FireKind.SCHEDULE and nominal is None:
            nominal = info.typed_search_attributes.get(_NOMINAL_TIME)
        self._start = start
        self._verdict: Verdict | None = None
        self._definition: RunDefinition | None = None
        self._granted = False
        self._work: asyncio.Task[ModelAnswer | None] | None = None
        self._cancel_reason: str | None = None
        self._calls = ModelCalls(budget=timedelta())
        self._rounds: ToolRounds | None = None
        self._receipts: list[DeliveryReceipt] = []
        self._next_due: datetime | None = None
        self._gate: SessionGate | None = None
        self._view = RunView(
            record=RunRecord(
                id=run_id_of_workflow(info.workflow_id),
                routine_id=start.routine_id,
                workflow_id=info.workflow_id,
                trigger_type=start.kind,
                trigger_detail=start.trigger_detail,
                occurred_at=start.occurred_at or nominal or info.start_time,
                scheduled_at=nominal,
                status=RunStatus.RUNNING,
                hop=start.hop,
            ),
            stage=RunStage.ADMISSION,
        )

    @workflow.run
    async def run(self, _start: StartRun) -> RunView:
        """Carry the run to its end, whatever happens on the way."""
        answer: ModelAnswer | None = None
        self._work = asyncio.create_task(self._carry_out())
        if self._cancel_reason is not None and workflow.patched(_ONE_CANCEL):
            # It was told to end before it began.
            self._work.cancel()
        try:
            done = await self._work
            raise_if_cancelled(self._work if done else None)
            answer = done
        except (asyncio.CancelledError, ActivityError) as error:
            if isinstance(error, ActivityError) and not is_cancelled_exception(error):
                self._fail(error)
            else:
                reason = self._cancel_reason or CancelRun().reason
                self._note(status=RunStatus.CANCELLED, reason=reason)
        except JobFailed as failed:
            ended = failed.ended
            status = RunStatus.TIMED_OUT if ended.timed_out else RunStatus.FAILED
            self._note(status=status, error=str(failed)[:_SUMMARY_CHARS], attempts=ended.attempts)
        finishing = asyncio.create_task(self._finish(answer))
        view = await undisturbed(finishing, lambda: self._cancel(None))
        await workflow.wait_condition(workflow.all_handlers_finished)
        return view

    # Messages

    @workflow.update
    @guarded
    async def admission(self) -> RunAdmission:
        """Wait for the routine's verdict and answer it; a queued run answers `queue` at once.

        A run that ends before there is one answers `skip` for the reason `cancelled`.
        """
        await workflow.wait_condition(
            lambda: self._verdict is not None or (self._work is not None and self._work.done())
        )
        verdict = self._verdict or Verdict(decision=Decision.SKIP, reason=NOT_ADMITTED)
        return RunAdmission(
            run_id=self._view.record.id,
            workflow_id=self._view.record.workflow_id,
            verdict=verdict.model_copy(update={"definition": None}),
        )

    @workflow.signal
    @guarded_signal
    def granted(self, grant: Granted | None = None) -> None:
        """The run's turn has come.

        With a grant it is the session's; without, the run before it ended, or everything goes on
        after a pause.
        """
        if grant is None:
            self._granted = True
        elif self._gate is not None:
            self._gate.granted(grant)

    @workflow.signal
    @guarded_signal
    def interrupt(self, lease: LeaseRef) -> None:
        """A user wants the session: let go, and wait for the next turn."""
        if self._gate is not None:
            self._gate.interrupt(lease)

    @workflow.update(name="cancel")
    @guarded
    def cancel_update(self, request: CancelRun | None = None) -> RunView:
        """End the run as cancelled; again, or once its reply is delivered, nothing changes."""
        self._cancel(request)
        return self._view

    @workflow.signal(name="cancel")
    @guarded_signal
    def cancel_signal(self, request: CancelRun | None = None) -> None:
        """The same as the update, for senders that need no answer."""
        self._cancel(request)

    @workflow.signal
    @guarded_signal
    def job_ended(self, ended: JobEnded) -> None:
        """The run's job has ended; what came of it is the result of the child."""
        workflow.logger.info("job %s ended: %s", ended.job_id, ended.status)

    @workflow.query
    def view(self) -> RunView:
        """Everything known of this run."""
        return self._view

    def _cancel(self, request: CancelRun | None) -> None:
        work = self._work
        reason = redact_reason((request or CancelRun()).reason)
        if self._gate is not None and self._gate.give_up():
            self._cancel_reason = reason
            return
        if work is not None and (
            work.done() or (work.cancelling() and workflow.patched(_ONE_CANCEL))
        ):
            return
        if work is None and self._cancel_reason is not None:
            return
        self._cancel_reason = reason
        if work is not None:
            work.cancel()

    # Steps

    async def _carry_out(self) -> ModelAnswer | None:
        verdict = await self._admit()
        if verdict.decision != Decision.RUN or verdict.definition is None:
            self._note(
                status=RunStatus.SKIPPED, reason=verdict.reason, duplicate_of=verdict.duplicate_of
            )
            self._view = self._view.model_copy(update={"retry_at": verdict.retry_at})
            self._next_due = verdict.next_run_at
            return None
        definition = self._definition = verdict.definition
        self._calls.budget = timedelta(seconds=definition.run_timeout_seconds)
        thread_id = definition.resume_thread_id or self._view.record.id
        self._note(
            started_at=verdict.started_at, thread_id=thread_id, stands_for=verdict.stands_for
        )
        self._view = self._view.model_copy(
            update={"title": definition.title, "late_seconds": verdict.late_seconds}
        )
        job = new_job(definition, self._view.record, self._start)
        if job is not None:
            return await self._do_job(definition, job)
        if gate_key(definition.session_key):
            return await self._work_in_session(definition)
        return await self._ask_model(definition)

    async def _do_job(self, definition: RunDefinition, job: StartJob) -> ModelAnswer:
        thread_id = self._view.record.thread_id
        self._note(job_id=job.record.id, thread_id=job.record.id)
        self._stage(RunStage.JOB)
        record = self._view.record
        notice = run_part(definition, "start", start_notice(definition.title, record))
        try:
            ended = await do_job(job, record, notice)
        except JobUnwritten as unwritten:
            # The row of the run must not name what does not exist.
            self._note(job_id=None, thread_id=thread_id)
            raise unwritten.cause from unwritten
        self._calls.spent = self._calls.spent.plus(
            ended.tokens_in, ended.tokens_out, ended.cost_micros
        )
        if ended.status == JobStatus.CANCELLED:
            # Whoever cancelled the job alone said why.
            self._cancel_reason = self._cancel_reason or ended.error
        answer = answer_of(ended)
        self._gate = gate_of_result(definition, self._view.record, answer)
        if self._gate is not None:
            self._stage(RunStage.SESSION)
            await self._gate.acquire()
        return answer

    async def _work_in_session(self, definition: RunDefinition) -> ModelAnswer | None:
        """Ask the model while the session is held; again after each user turn that interrupts."""
        limit = timedelta(seconds=definition.run_timeout_seconds)
        owner = self._view.record.workflow_id
        gate = self._gate = SessionGate(definition.session_key, owner, limit)
        while True:
            self._stage(RunStage.SESSION)
            await gate.acquire()
            marked = await self._mark(RunMark.RUNNING, gate.turn)
            if not marked.accepted:
                # The routine was paused, deleted or has had its last run meanwhile.
                self._note(status=RunStatus.SKIPPED, reason=marked.reason)
                return None
            self._note(status=RunStatus.RUNNING, started_at=workflow.now())
            # The time an interrupted turn has taken is not this one's.
            self._calls.elapsed = timedelta()
            try:
                return await gate.hold(self._ask_model(definition))
            except Interrupted:
                self._note(status=RunStatus.INTERRUPTED)
            await self._mark(RunMark.WAITING, gate.turn)
            await gate.release()

    async def _mark(self, state: RunMark, turn: int) -> RunEnded:
        request = MarkRun(run_id=self._view.record.id, state=state, turn=turn)
        return await ask_entity(EntityActivities.mark_run, request, f"{state} in the session")

    async def _admit(self) -> Verdict:
        self._stage(RunStage.ADMISSION)
        request = BeginRun.of(self._view.record, self._start)
        verdict = await ask_entity(EntityActivities.begin_run, request, "ask for admission")
        self._verdict = verdict
        raise_if_cancelled()
        if verdict.decision == Decision.QUEUE:
            self._note(status=RunStatus.QUEUED)
            self._stage(RunStage.QUEUED)
            workflow.upsert_search_attributes([attributes.STATUS.value_set(RunStatus.QUEUED)])
            await workflow.wait_condition(lambda: self._granted)
            self._granted = False
            verdict = await ask_entity(EntityActivities.claim_grant, request, "take the turn")
            raise_if_cancelled()
            self._note(status=RunStatus.RUNNING)
        return verdict

    async def _ask_model(self, definition: RunDefinition) -> ModelAnswer:
        record, action = self._view.record, definition.action
        assert isinstance(action, LightweightAction)  # a job is not asked here
        since = record.started_at or workflow.now()
        prompt = render_prompt(action.prompt, since, definition.timezone)
        request = CallModel(
            run=record,
            thread=self._thread(definition),
            prompt=prompt.text,
            context_paths=action.context_paths,
            max_tokens=action.max_tokens,
            delivery_note=f"The reply goes to {definition.route.text}.",
            timeout_seconds=float(definition.run_timeout_seconds),
            untrusted=self._start.untrusted,
            max_cost_micros=definition.max_cost_micros,
            max_tokens_total=definition.max_tokens_total,
            announcement=run_part(definition, "start", start_notice(definition.title, record)),
        )
        summary = f"ask the model: {definition.title}"[:200]
        # Kept over interruptions: what was called before is not called again.
        self._rounds = self._rounds or tool_rounds(self._calls, definition, record)
        asking = self._rounds.answer if self._rounds else self._calls.ask
        while True:
            self._stage(RunStage.MODEL)
            try:
                return await asking(request, summary)
            except ActivityError as error:
                if not is_system_pause(error):
                    raise
                raise_if_cancelled()
            await self._park()

    async def _park(self) -> None:
        """Wait until everything goes on; `resume_all` finds the run by its status and wakes it."""
        self._granted = False
        self._stage(RunStage.SYSTEM_PAUSED)
        await park(lambda: self._granted, RunStatus.RUNNING)

    async def _finish(self, answer: ModelAnswer | None) -> RunView:
        if answer is not None:
            self._judge(answer)
        self._note(
            finished_at=workflow.now(),
            tokens_in=self._calls.spent.tokens_in,
            tokens_out=self._calls.spent.tokens_out,
            cost_micros=self._calls.spent.cost_micros,
        )
        status = self._view.record.status
        if status in {RunStatus.OK, RunStatus.ATTENTION, RunStatus.SKIPPED, RunStatus.CANCELLED}:
            await self._say(self._refusal_parts() + self._final_part(answer))
        if self._gate is not None:
            await self._gate.release()
        # A run that was admitted ends with the routine, also when it was not let in to its session.
        if status != RunStatus.SKIPPED or self._definition is not None:
            await self._report()
        self._stage(RunStage.ENDED)
        workflow.upsert_search_attributes(
            attributes.run_outcome_attributes(self._view, self._calls.spent, self._next_due)
        )
        return self._view

    def _judge(self, answer: ModelAnswer) -> None:
        reply = classify_reply(answer.text)
        self._note(
            status=RunStatus(reply.status),
            result=answer.message_id,
            summary=answer.text.strip()[:_SUMMARY_CHARS],
            error=reply.error,
            attempts=answer.attempts,
            warnings=answer.warnings,
        )
        self._view = self._view.model_copy(update={"text": answer.text, "model": answer.model})

    def _final_part(self, answer: ModelAnswer | None) -> list[Part]:
        definition = self._definition
        if answer is None or definition is None:
            return []
        record, late = self._view.record, self._view.late_seconds
        return final_parts(definition, record, answer.text, mark=answer.mark, late_seconds=late)

    def _refusal_parts(self) -> list[Part]:
        verdict = self._verdict
        if verdict is None or verdict.definition is None or verdict.decision != Decision.SKIP:
            return []
        return notice_parts(verdict.notices, verdict.definition, self._view.record)

    async def _say(self, parts: list[Part]) -> None:
        if self._gate is None:
            await self._deliver(parts)
            return
        waits = functools.partial(self._stage, RunStage.SESSION)
        if not await self._gate.say(lambda: self._deliver(parts), waits):
            self._note(status=RunStatus.CANCELLED, reason=self._cancel_reason)
            await self._deliver([])

    async def _deliver(self, parts: list[Part]) -> None:
        """Write the record and send the parts; a reply nobody could be given is a failure."""
        self._stage(RunStage.DELIVERY)
        definition = self._definition
        finished = await deliver(
            DeliveryActivities.finish_run,
            FinishRun(
                record=self._view.record,
                thread=self._thread(definition) if definition else None,
                parts=parts,
                scope=self._verdict.scope if self._verdict else None,
                hold=self._gate.held if self._gate else None,
            ),
            "deliver and record" if parts else "record",
        )
        self._receipts += finished.deliveries
        views = [DeliveryView.model_validate(item.model_dump()) for item in finished.deliveries]
        self._view = self._view.model_copy(update={"deliveries": self._view.deliveries + views})
        for item in views:
            if item.status == DeliveryStatus.FAILED and item.occurrence_id.endswith("/final"):
                self._note(
                    status=RunStatus.FAILED,
                    error=f"the reply could not be delivered: {item.error}",
                )

    async def _report(self) -> None:
        """Tell the routine, then people where the routine says so."""
        self._stage(RunStage.OUTCOME)
        record, definition = self._view.record, self._definition
        ended = await ask_entity(EntityActivities.end_run, self._end(), "report the end")
        self._next_due = ended.next_run_at
        if ended.recorded and ended.hook:
            await tell_hook(record, self._view.title)
        failed = record.status in {RunStatus.FAILED, RunStatus.TIMED_OUT}
        if not failed and not ended.notices:
            return
        notices: list[Part] = []
        if definition is not None:
            notices = notice_parts(
                ended.notices,
                definition,
                record,
                late_seconds=self._view.late_seconds,
                failures=ended.consecutive_failures,
            )
        await self._deliver(notices)

    def _end(self) -> EndRun:
        """The end of this run, with what the next one goes on from."""
        sent = [item for item in self._receipts if item.message_id]
        threaded = self._definition is not None and self._definition.threaded
        replies = [item.message_id for item in sent if threaded and item.replyable]
        return EndRun(
            record=self._view.record,
            message_id=next(iter(replies), None),
            message_ids=[item.message_id for item in sent if item.message_id],
            message_gone=any(item.gone for item in self._receipts),
        )

    # State

    def _fail(self, error: ActivityError) -> None:
        """Record why the run failed, in the words of whoever knows best."""
        failure = model_failure_of(error)
        limit = int(self._calls.budget.total_seconds())
        status, message = run_failure(error, f"run timed out after {limit}s")
        self._note(
            status=status,
            error=message[:_SUMMARY_CHARS],
            attempts=failure.attempts if failure else self._view.record.attempts,
        )

    def _thread(self, definition: RunDefinition) -> Thread:
        record = self._view.record
        return Thread(
            id=record.thread_id or record.id,
            scope=definition.scope.text,
            session_key=definition.session_key,
            kind=ThreadKind.ROUTINE,
            created_at=record.started_at or record.occurred_at,
        )

    def _note(self, **changes: object) -> None:
        record = self._view.record.model_copy(update=changes)
        self._view = self._view.model_copy(update={"record": record})

    def _stage(self, stage: RunStage) -> None:
        self._view = self._view.model_copy(update={"stage": stage})
        workflow.set_current_details(run_details(self._view, workflow.info().namespace))
