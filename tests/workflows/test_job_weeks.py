"""Days and hours without work: approvals that wait, jobs that rest, on a server that skips time."""

import threading
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from temporalio.testing import WorkflowEnvironment

from domain.jobs import JobStatus
from tests.support.harness import Harness
from tests.support.jobs import calls, said, start_job
from tests.support.model_steps import Reply
from tests.support.skipped_time import skipping_environment, skipping_harness
from workflows.job import Job

WRITE = ("file_write", '{"path": "week.txt", "content": "x"}')


@pytest.fixture(scope="module")
async def environment() -> AsyncIterator[WorkflowEnvironment]:
    async with skipping_environment() as started:
        yield started


@pytest.fixture(scope="module")
async def skipping(
    environment: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Harness]:
    async with skipping_harness(environment, tmp_path_factory.mktemp("weeks")) as harness:
        yield harness


async def test_a_week_without_an_answer_is_a_denial(skipping: Harness) -> None:
    job = await start_job(skipping, calls(WRITE), said("Without it."))
    ended = await job.result()
    assert ended.text == "Without it."
    approval = (await job.view()).approvals[0]
    assert approval.status == "timed_out"
    assert approval.decided_at is not None
    days = (approval.decided_at - approval.requested_at).total_seconds() / 86_400
    assert 7 <= days < 7.1
    texts = skipping.deliveries.read_text()
    assert texts.count(f'"part": "{approval.id}/reminder') == 2


async def test_an_hour_of_rest_costs_no_working_time(
    environment: WorkflowEnvironment, skipping: Harness
) -> None:
    gate = threading.Event()
    first = Reply(text="", chunks=0, tool_calls=calls(("time_now", "{}")).tool_calls, gate=gate)
    job = await start_job(skipping, first, said("Rested."), timeout_seconds=60)
    await skipping.models.wait_for(
        lambda: any(job.mark in str(call.body) for call in skipping.models.calls)
    )
    await job.handle.execute_update(Job.pause_update)
    gate.set()
    await job.reaches(JobStatus.PAUSED)
    await skipping.rests(job.handle.id)
    before = len((await job.handle.fetch_history()).events)

    assert await environment.fast_forward(job.handle, timedelta(hours=1))

    view = await job.view()
    assert (view.record.status, view.record.iteration) == (JobStatus.PAUSED, 1)
    # Nothing woke it: what was written is that time went by.
    assert len((await job.handle.fetch_history()).events) - before <= 2
    await job.handle.execute_update(Job.resume_update)
    ended = await job.result()
    assert (ended.status, ended.text) == (JobStatus.COMPLETED, "Rested.")
    record = (await job.view()).record
    assert record.started_at is not None
    assert record.finished_at is not None
    assert record.finished_at - record.started_at >= timedelta(hours=1)
    assert (record.recoveries, ended.iteration, ended.tool_calls) == (0, 2, 1)
