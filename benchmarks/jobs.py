"""Jobs: what one round of the loop costs, against a raw workflow of the same activities.

The floor makes the same calls of the same model and the same tool through the activities that the
job uses, with the same ledger, and decides nothing: no slot, no book, no messages, no limits.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker
from ulid import ULID

from activities.jobs import JobActivities, PutJob
from activities.models import CallModel, ModelActivities
from activities.tools.dispatch import ToolActivities
from activities.tools.requests import CallMode, DispatchTool, OfferTools
from benchmarks.rounds import RoundsReport, compare_rounds, events_of
from domain.identifiers import LLM_QUEUE, RUNS_QUEUE, TOOLS_QUEUE
from domain.job_prompts import SYSTEM_TEXT
from domain.jobs import JobRecord, JobStatus, job_session_key, job_thread
from domain.prompts import PromptFrame
from domain.tool_specs import ToolCaller
from tests.support.harness import Harness
from tests.support.jobs import ME, calls, said, start_job
from tests.support.model_steps import Body, Reply

QUEUE = "floor-of-jobs"
# Fewer than one user may call a tool in a minute.
ROUNDS = 40


@workflow.defn(name="RawJob")
class RawJob:
    """Asks the model and calls its tools until it answers in words."""

    @workflow.run
    async def run(self, record: JobRecord) -> str:
        """Go round; gives the answer."""
        thread = job_thread(record)
        caller = ToolCaller(
            caller=f"job:{record.id}", user_id=record.user_id, scope=ME, job_id=record.id
        )
        await self._put(record)
        offered = await self._run(
            ToolActivities.offer_tools,
            OfferTools(mode=CallMode.FULL_JOB, caller=caller),
            TOOLS_QUEUE,
        )
        prompt, sequence = record.description, 0
        while True:
            request = CallModel(
                job=record.model_copy(update={"description": ""}),
                thread=thread,
                prompt=None if sequence else prompt,
                frame=PromptFrame(system=[SYSTEM_TEXT]),
                purpose="job",
                tools=offered.names,
                timeout_seconds=300,
            )
            answer = await self._run(ModelActivities.call_model, request, LLM_QUEUE)
            if not answer.tool_calls:
                ended = {"status": JobStatus.COMPLETED, "result": answer.text}
                await self._put(record.model_copy(update=ended))
                return str(answer.text)
            for call in answer.tool_calls:
                sequence += 1
                wanted = DispatchTool(
                    thread=thread,
                    message_id=answer.message_id,
                    call=call,
                    caller=caller,
                    sequence=sequence,
                    timeout_seconds=300,
                )
                await self._run(ToolActivities.dispatch_tool, wanted, TOOLS_QUEUE)

    async def _put(self, record: JobRecord) -> None:
        request = PutJob(record=record, thread=job_thread(record))
        await self._run(JobActivities.put_job, request, RUNS_QUEUE)

    async def _run(self, method: Any, request: Any, queue: str) -> Any:
        return await workflow.execute_activity_method(
            method,
            request,
            task_queue=queue,
            start_to_close_timeout=timedelta(seconds=315),
            heartbeat_timeout=timedelta(seconds=30),
        )


def _goes_round(body: Body) -> Reply:
    """Ask for the time again and again, then answer."""
    rounds = sum(bool(message.get("tool_calls")) for message in body["messages"])
    return calls(("time_now", "{}")) if rounds < ROUNDS else said("Enough.")


async def compare_jobs(harness: Harness, server_pid: int) -> RoundsReport:
    """Floor and jobs in turn."""
    async with Worker(
        harness.client,
        task_queue=QUEUE,
        workflows=[RawJob],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        return await compare_rounds(
            lambda: _raw(harness), lambda: _job(harness), ROUNDS, 8, server_pid
        )


def raw_record(mark: str) -> JobRecord:
    """A job of the floor."""
    job_id = f"job_{ULID()}"
    return JobRecord(
        id=job_id,
        title="Test",
        description=f"Do {mark}.",
        session_key=job_session_key(job_id),
        thread_id=job_id,
        user_id=mark,
        scope=ME.text,
        created_at=datetime.now(UTC),
    )


async def _raw(harness: Harness) -> int:
    """One raw workflow; the number of its events."""
    mark = harness.name()
    harness.scripts.on(mark, _goes_round)
    record = raw_record(mark)
    workflow_id = f"raw-{record.id}"
    text = await harness.client.execute_workflow(
        RawJob.run, record, id=workflow_id, task_queue=QUEUE
    )
    assert text == "Enough.", text
    return await events_of(harness.client, workflow_id)


async def _job(harness: Harness) -> int:
    """One job; the number of its events."""
    job = await start_job(harness, _goes_round, max_iterations=ROUNDS + 1, user_id=harness.name())
    ended = await job.result()
    assert (ended.text, ended.iteration) == ("Enough.", ROUNDS + 1), ended
    return await events_of(harness.client, job.handle.id)
