"""The job of a run: started as its child, waited for, ended with it, its result said in the chat.

Owns the run's side. The job itself is `workflows.job`. Source: triggers-and-actions.md §6
(Run ↔ job), DESIGN §3 rule 11.

Invariants:
    1. The rows of run and job are written together, with the job's id, before the job exists.
    2. A run that is cancelled cancels its job and waits for its end.
    3. The run waits as long as the job lives: the job's own time is spent in its steps.
    4. The chat's session is held only while the result is said, and only where something is said.
    5. Where the job does not say itself how it ended, its row is ended here: no row waits for a
       workflow that does not exist, and no run names a job that was never written.
"""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ActivityError, ChildWorkflowError, is_cancelled_exception
from temporalio.workflow import ChildWorkflowCancellationType, ParentClosePolicy

from workflows.cancellations import raise_if_cancelled
from workflows.delivering import deliver
from workflows.handlers import undisturbed
from workflows.job import Job
from workflows.job_telling import TASK_IN_THREAD
from workflows.session_gate import SAYING_LIMIT, SessionGate
from workflows.ulids import new_ulid

with workflow.unsafe.imports_passed_through():
    from activities.jobs import JobActivities, JobOpening, PutJob, job_attributes
    from activities.models import ModelAnswer
    from domain.actions import FullJobAction
    from domain.admission import RunDefinition
    from domain.deliveries import Part
    from domain.identifiers import RUNS_QUEUE
    from domain.job_messages import JobEnded, StartJob
    from domain.job_state import JobState
    from domain.jobs import JobRecord, JobStatus, job_session_key, job_thread, job_workflow_id
    from domain.outcome import classify_reply, should_notify
    from domain.redaction import redact_text
    from domain.run_start import StartRun
    from domain.runs import RunRecord
    from domain.session import gate_key
    from domain.usage import Spent


class JobUnwritten(Exception):
    """The job of a run did not begin, and there is no row of it.

    Attributes:
        cause: Why it did not begin.
    """

    def __init__(self, cause: BaseException) -> None:
        super().__init__(str(cause))
        self.cause = cause


class JobFailed(Exception):
    """The job of a run ended without a result."""

    def __init__(self, ended: JobEnded) -> None:
        super().__init__(ended.error or ended.status)
        self.ended = ended


def new_job(definition: RunDefinition, record: RunRecord, start: StartRun) -> StartJob | None:
    """The job of a run whose action is one; null for every other."""
    action = definition.action
    if not isinstance(action, FullJobAction):
        return None
    job_id = f"job_{new_ulid()}"
    limits = definition.job_limits
    return StartJob(
        record=JobRecord(
            id=job_id,
            run_id=record.id,
            routine_id=record.routine_id,
            title=action.title,
            description=action.description,
            max_iterations=action.max_iterations,
            session_key=job_session_key(job_id),
            thread_id=job_id,
            user_id=definition.user_id,
            scope=definition.scope.text,
            created_at=workflow.now(),
        ),
        scope=definition.scope,
        route=definition.route,
        owner=record.workflow_id,
        timeout_seconds=definition.run_timeout_seconds,
        step_timeout_seconds=limits.step_timeout_seconds,
        step_heartbeat_seconds=limits.step_heartbeat_seconds,
        approval_timeout_seconds=limits.approval_timeout_seconds,
        allowed_tools=definition.allowed_tools,
        max_tool_calls=definition.max_tool_calls,
        max_tokens_total=definition.max_tokens_total,
        max_cost_micros=definition.max_cost_micros,
        untrusted=start.untrusted,
        hop=record.hop,
    )


async def do_job(start: StartJob, record: RunRecord, notice: Part | None = None) -> JobEnded:
    """Carry a job to its end.

    Args:
        start: The job.
        record: The run's row, with the job's id.
        notice: What is said when it begins.

    Raises:
        CancelledError: The run was cancelled; the job has ended.
        ActivityError: The job could not be written down as it began; its row says that it failed.
        JobUnwritten: It could not be written down at all.
    """
    job, opening = start.record, None
    if workflow.patched(TASK_IN_THREAD):
        opening = JobOpening(nonce=workflow.uuid4().hex, untrusted=start.untrusted)
        start = start.model_copy(update={"untrusted": []})
    written = PutJob(
        record=job,
        thread=job_thread(job),
        run=record,
        opening=opening,
        notices=[] if notice is None else [notice],
    )
    return await carry_job(JobState(start=start, opened=opening is not None), written)


async def carry_job(state: JobState, written: PutJob) -> JobEnded:
    """Write a job down, start it as a child and wait for its end.

    Args:
        state: What it begins with.
        written: Its row, and whatever is written with it.

    Raises:
        CancelledError: This workflow, or the wait, was cancelled; the job has ended.
        ActivityError: The job could not be written down as it began; its row says that it failed.
        JobUnwritten: It could not be written down at all.
    """
    job = written.record
    try:
        await deliver(JobActivities.put_job, written, "record the job")
        raise_if_cancelled()
    except (ActivityError, asyncio.CancelledError) as error:
        # Whether it was written is not known; now it is, with its end.
        cancelled = is_cancelled_exception(error) or isinstance(error, asyncio.CancelledError)
        status = JobStatus.CANCELLED if cancelled else JobStatus.FAILED
        try:
            await _close(written, status, "the job did not begin")
        except ActivityError:
            raise JobUnwritten(error) from error
        raise
    try:
        return await workflow.execute_child_workflow(
            Job.run,
            state,
            id=job_workflow_id(job.id),
            task_queue=RUNS_QUEUE,
            parent_close_policy=ParentClosePolicy.ABANDON,
            cancellation_type=ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
            search_attributes=job_attributes(job),
            static_summary=f"job: {job.title}"[:200],
        )
    except ChildWorkflowError as error:
        if is_cancelled_exception(error):
            await _close(written, JobStatus.CANCELLED, "cancelled before it began")
            raise asyncio.CancelledError from error
        lost = redact_text(f"the job was lost: {error.cause or error}")
        spent = await _close(written, JobStatus.FAILED, lost) or Spent()
        return JobEnded(job_id=job.id, status=JobStatus.FAILED, error=lost, **spent.model_dump())
    except asyncio.CancelledError:
        await _close(written, JobStatus.CANCELLED, "cancelled before it began")
        raise


async def _close(written: PutJob, status: JobStatus, why: str) -> Spent | None:
    """End the rows of a job that no workflow carries, though the run is cancelled meanwhile.

    Returns:
        What it has spent; null in histories from before that was asked for.
    """
    ended = {"status": status, "error": why, "finished_at": workflow.now()}
    record = written.record.model_copy(update=ended)
    request = PutJob(record=record, thread=written.thread, run=written.run, closing=True)
    writing = deliver(JobActivities.put_job, request, f"{status}: record the job")
    return await undisturbed(asyncio.create_task(writing))


def gate_of_result(
    definition: RunDefinition, record: RunRecord, answer: ModelAnswer
) -> SessionGate | None:
    """The session to hold while a job's result is said; null where it is not said in one."""
    reply = classify_reply(answer.text)
    said = should_notify(reply.status, definition.notify, reply.sentinel)
    if not said or not gate_key(definition.result_session):
        return None
    return SessionGate(definition.result_session, record.workflow_id, SAYING_LIMIT)


def answer_of(ended: JobEnded) -> ModelAnswer:
    """The result of a job as the answer of its run.

    Raises:
        CancelledError: Somebody cancelled the job.
        JobFailed: It has no result.
    """
    if ended.status == JobStatus.CANCELLED:
        raise asyncio.CancelledError(ended.error)
    if ended.status != JobStatus.COMPLETED:
        raise JobFailed(ended)
    return ModelAnswer(
        text=ended.text,
        message_id=ended.message_id or "",
        model=ended.model or "",
        provider="",
        elapsed_seconds=0,
        attempts=ended.attempts,
        warnings=ended.warnings,
    )
