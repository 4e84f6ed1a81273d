"""A job is told to end at the very moment at which what it waits for ends well.

Both come to the workflow at once, which is brought about: nobody serves workflows while the one
activity ends and the job is cancelled. What the activity brought is counted all the same.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.control import SystemPause
from activities.failures import SYSTEM_PAUSED
from activities.jobs import PutJob
from activities.models import CallModel, ModelAnswer
from activities.tools.requests import (
    CallStatus,
    DispatchTool,
    OfferedTools,
    OfferTools,
    ToolOutcome,
)
from domain.approvals import ApprovalStatus
from domain.identifiers import LLM_QUEUE, RUNS_QUEUE, TOOLS_QUEUE
from domain.job_messages import DecideApproval, JobEnded, JobView
from domain.jobs import JobStatus
from domain.lease_queue_state import LeaseAnswer, LeaseDecision
from domain.slots import RequestSlot
from domain.tool_specs import AskedCall
from tests.support.harness import until
from tests.support.jobs import start_job
from tests.support.own_workers import activities_over, forgetful, serving, unserved
from workflows.job import Job

PUT, PARKED = "what waits is written", "everything is paused"
CALLS, WORDS, TOOL = "the model wants a call", "the model answers", "a call that was allowed"


class World:
    """Everything around a job; one of its activities lasts until the gate is opened."""

    def __init__(self, lasting: str) -> None:
        self.lasting = lasting
        self.written: list[PutJob] = []
        self.begun, self.gate = asyncio.Event(), asyncio.Event()

    async def _lasts(self) -> None:
        self.begun.set()
        await self.gate.wait()

    @activity.defn(name="request_slot")
    async def request_slot(self, _request: RequestSlot) -> LeaseAnswer:
        return LeaseAnswer(decision=LeaseDecision.GRANTED, token="slot")

    @activity.defn(name="put_job")
    async def put_job(self, request: PutJob) -> None:
        self.written.append(request)
        if self.lasting == PUT and request.record.status == JobStatus.WAITING_APPROVAL:
            await self._lasts()

    @activity.defn(name="system_pause")
    async def system_pause(self) -> SystemPause:
        await self._lasts()
        return SystemPause(paused=True)

    @activity.defn(name="offer_tools")
    async def offer_tools(self, _request: OfferTools) -> OfferedTools:
        return OfferedTools(names=["pay"])

    @activity.defn(name="call_model")
    async def call_model(self, _request: CallModel) -> ModelAnswer:
        if self.lasting == PARKED:
            raise ApplicationError("paused", type=SYSTEM_PAUSED, non_retryable=True)
        if self.lasting in {CALLS, WORDS}:
            await self._lasts()
        words = self.lasting == WORDS
        return ModelAnswer(
            text="All is done." if words else "",
            message_id="m",
            model="first",
            provider="p",
            elapsed_seconds=0.1,
            attempts=1,
            tool_calls=[] if words else [AskedCall(id="c", name="pay")],
            tokens_in=10,
            tokens_out=5,
            cost_micros=7,
        )

    @activity.defn(name="dispatch_tool")
    async def dispatch_tool(self, request: DispatchTool) -> ToolOutcome:
        status = CallStatus.NEEDS_APPROVAL
        if request.approval_id is not None:
            await self._lasts()
            status = CallStatus.OK
        return ToolOutcome(call_id=request.call.id, tool="pay", status=status, digest="d")

    def workflows(self, client: Client) -> Worker:
        return forgetful(client, RUNS_QUEUE, Job, self.request_slot)

    def rest(self, client: Client) -> Sequence[Worker]:
        """Who serves all else."""
        return [
            serving(client, RUNS_QUEUE, self.put_job, self.system_pause),
            serving(client, LLM_QUEUE, self.call_model),
            serving(client, TOOLS_QUEUE, self.offer_tools, self.dispatch_tool),
        ]


async def cancelled_beside_an_end(
    tmp_path: Path, world: World, *, by_server: bool = False
) -> tuple[JobEnded, JobView]:
    """How a job ends that is cancelled as its lasting activity ends."""
    async with unserved(tmp_path) as harness:
        put, model, tools = world.rest(harness.client)
        async with put, model, tools:
            async with world.workflows(harness.client):
                job = await start_job(harness)
                if world.lasting == TOOL:
                    asked = (await job.reaches(JobStatus.WAITING_APPROVAL)).approvals
                    agree = DecideApproval(approval_id=asked[0].id, decision="approve")
                    await job.handle.execute_update(Job.decide_approval, agree)
                await world.begun.wait()
            world.gate.set()
            await activities_over(job.handle)
            await (job.handle.cancel() if by_server else job.handle.signal("cancel"))
            async with world.workflows(harness.client), asyncio.timeout(20):
                return await job.result(), await job.view()


@pytest.mark.parametrize("by_server", [False, True], ids=["by message", "by the server"])
@pytest.mark.parametrize("lasting", [PUT, PARKED])
async def test_a_cancel_is_heard_beside_an_end(
    tmp_path: Path, lasting: str, by_server: bool
) -> None:
    ended, _ = await cancelled_beside_an_end(tmp_path, World(lasting), by_server=by_server)
    assert (ended.status, ended.error) == (JobStatus.CANCELLED, "cancelled by user")


@pytest.mark.parametrize("lasting", [CALLS, WORDS])
async def test_an_answer_beside_a_cancel_is_counted(tmp_path: Path, lasting: str) -> None:
    ended, _ = await cancelled_beside_an_end(tmp_path, World(lasting))
    assert (ended.status, ended.text) == (JobStatus.CANCELLED, "")
    assert (ended.tokens_in, ended.tokens_out, ended.cost_micros) == (10, 5, 7)
    assert ended.elapsed_seconds == 0.1


async def test_a_call_that_ran_beside_a_cancel_has_used_its_approval(tmp_path: Path) -> None:
    world = World(TOOL)
    ended, view = await cancelled_beside_an_end(tmp_path, world)
    assert (ended.status, ended.tool_actions) == (JobStatus.CANCELLED, 1)
    assert [one.status for one in view.approvals] == [ApprovalStatus.CONSUMED]
    assert world.written[-1].approvals == []


async def test_a_job_that_is_cancelled_before_it_is_written_is_written_whole(
    tmp_path: Path,
) -> None:
    world = World("")
    async with unserved(tmp_path) as harness:
        put, _, _ = world.rest(harness.client)
        async with world.workflows(harness.client):
            early = await start_job(harness)

            async def writes() -> bool:
                description = (await early.handle.describe()).raw_description
                return bool(description.pending_activities)

            await until(writes, "nobody is there to write it")
            await early.handle.signal("cancel")
            await early.reaches(JobStatus.CANCELLED)
            earliest = await start_job(harness)
            await earliest.handle.cancel()
            async with put, asyncio.timeout(20):
                await early.result()
                await earliest.result()
    last = {request.record.id: request for request in world.written}
    for job in (early, earliest):
        request = last[job.id]
        assert (request.record.status, request.record.description) == (
            JobStatus.CANCELLED,
            f"Do {job.mark}.",
        )
        assert request.record.thread_id == request.thread.id
        assert request.opening is not None
