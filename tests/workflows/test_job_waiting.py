"""What holds up a job: slots, a pause of everything, lost steps, a long history."""

import asyncio
import threading
from functools import partial
from pathlib import Path

import pytest

from activities.failures import SYSTEM_PAUSED
from domain.jobs import JobStatus, JobWaiting
from domain.prompts import UntrustedText
from domain.slots import JOB_SLOTS, slots_workflow_id
from tests.support.harness import Harness, renewing_harness, until
from tests.support.jobs import StartedJob, calls, said, start_job
from tests.support.model_steps import Hang, Reply
from workflows.job import Job
from workflows.slots import Slots


def asked(harness: Harness, mark: str) -> int:
    """How often a job's model was asked."""
    return sum(mark in str(call.body) for call in harness.models.calls)


async def test_jobs_wait_for_a_slot_first_come_first_served(harness: Harness) -> None:
    gate = threading.Event()
    most = harness.settings.max_parallel_jobs
    jobs: list[StartedJob] = []
    for _ in range(most + 2):
        job = await start_job(harness, Reply(text="Done.", gate=gate))
        jobs.append(job)
        if len(jobs) <= most:
            await job.reaches(JobStatus.RUNNING)
        else:
            await until(partial(_waits, harness, job), "it waits for a slot")
    slots = harness.client.get_workflow_handle(slots_workflow_id(JOB_SLOTS))
    view = await slots.query(Slots.view)
    assert (view.capacity, len(view.holders)) == (most, most)
    assert [one.owner for one in view.waiting] == [job.handle.id for job in jobs[most:]]
    gate.set()
    ended = await asyncio.gather(*(job.result() for job in jobs))
    assert {one.text for one in ended} == {"Done."}


async def _waits(harness: Harness, job: StartedJob) -> bool:
    slots = harness.client.get_workflow_handle(slots_workflow_id(JOB_SLOTS))
    view = await slots.query(Slots.view)
    return job.handle.id in [one.owner for one in view.waiting]


async def test_slots_that_were_terminated_are_asked_again(harness: Harness) -> None:
    gate = threading.Event()
    most = harness.settings.max_parallel_jobs
    jobs = [await start_job(harness, Reply(text="Done.", gate=gate)) for _ in range(most)]
    for job in jobs:
        await job.reaches(JobStatus.RUNNING)
    # A lease of two seconds, with the minute that is added to what work may take.
    waits = await start_job(harness, timeout_seconds=-58)
    await until(partial(_waits, harness, waits), "it waits for a slot")
    await harness.client.get_workflow_handle(slots_workflow_id(JOB_SLOTS)).terminate("by hand")
    ended = await asyncio.wait_for(waits.result(), 30)
    assert ended.error == "job timed out after -58s", "it had a slot, and no time"
    gate.set()
    assert {(await job.result()).text for job in jobs} == {"Done."}


async def test_a_job_parks_while_everything_is_paused(harness: Harness) -> None:
    gate = threading.Event()
    first = calls(("time_now", "{}"))
    job = await start_job(
        harness,
        Reply(
            text="", chunks=0, finish_reason="tool_calls", tool_calls=first.tool_calls, gate=gate
        ),
        said("Went on."),
    )
    await harness.models.wait_for(lambda: asked(harness, job.mark) == 1)
    await harness.tickless.system.pause_all("for a test")
    try:
        # The flag is cached for a second.
        await asyncio.sleep(1.1)
        gate.set()

        async def parked() -> bool:
            return (await job.view()).record.waiting_for == JobWaiting.SYSTEM_PAUSED

        await until(parked, "it parks")
        view = await job.view()
        assert view.record.status == JobStatus.RUNNING
        description = await job.handle.describe()
        assert SYSTEM_PAUSED in str(description.search_attributes)
    finally:
        await harness.tickless.system.resume_all()
    ended = await job.result()
    assert (ended.text, ended.tool_calls) == ("Went on.", 1)


async def test_a_step_that_does_nothing_is_made_again(harness: Harness) -> None:
    job = await start_job(harness, Hang(), said("At last."), step_timeout_seconds=1)
    ended = await job.result()
    assert (ended.status, ended.text) == (JobStatus.COMPLETED, "At last.")
    view = await job.view()
    assert view.record.recoveries == 1


async def test_a_step_that_is_lost_too_often_fails_the_job(harness: Harness) -> None:
    job = await start_job(harness, Hang(), step_timeout_seconds=1)
    ended = await job.result()
    assert ended.status == JobStatus.FAILED
    assert "4 times" in (ended.error or "")
    texts = harness.deliveries.read_text()
    assert texts.count(f"{job.id}/stuck") == 1
    assert texts.count(f"{job.id}/failure") == 1


@pytest.mark.timeout(180)
async def test_a_long_job_goes_on_as_a_new_execution(tmp_path: Path) -> None:
    async with renewing_harness(tmp_path) as harness:
        steps = [calls(("time_now", "{}"))] * 9
        job = await start_job(harness, *steps, said("Through."))
        handle = harness.client.get_workflow_handle(job.handle.id)
        first = job.handle.first_execution_run_id
        ended = await job.result()
        assert (ended.text, ended.iteration, ended.tool_calls) == ("Through.", 10, 9)
        assert ended.tokens_in == 110
        assert (await handle.describe()).run_id != first
        bodies = [call.body for call in harness.models.calls if job.mark in str(call.body)]
        assert len(bodies) == 10
        assert sum(message["role"] == "tool" for message in bodies[-1]["messages"]) == 9


async def test_a_long_job_has_a_short_history(harness: Harness) -> None:
    # 200,000 tokens of results in the end.
    long = "word and word\n" * 900
    (harness.folder / "workspace" / "long.txt").write_text(long, encoding="utf-8")
    read = ("file_read", '{"path": "long.txt"}')
    steps = [calls(read, ("time_now", "{}"), read)] * 25
    job = await start_job(
        harness,
        *steps,
        said("Through."),
        description="x" * 60_000,
        untrusted=[UntrustedText(source="mail", text="outside " * 8_000)],
    )
    ended = await job.result()
    assert (ended.iteration, ended.tool_calls) == (26, 75)
    bodies = [call.body for call in harness.models.calls if job.mark in str(call.body)]
    asked = [str(body["messages"]) for body in bodies]
    assert [text.count("end of untrusted") for text in asked] == [1] * 26
    assert [text.count("x" * 60_000) for text in asked] == [1] * 26
    history = await job.handle.fetch_history()
    sizes = [event.ByteSize() for event in history.events]

    assert len(sizes) <= 1500
    assert sum(sizes) <= 500_000
    assert max(sizes) <= 256 * 1024


async def test_a_job_without_budget_pauses_until_a_person_lets_it_go_on(harness: Harness) -> None:
    # Nobody knows what these models cost, so any limit refuses them.
    job = await start_job(harness, said("Never."), max_cost_micros=1)
    view = await job.reaches(JobStatus.PAUSED)
    assert view.record.waiting_for == JobWaiting.BUDGET
    assert view.warnings == ["budget: run"]
    await job.handle.execute_update(Job.resume_update)
    view = await job.reaches(JobStatus.PAUSED)
    await job.handle.execute_update(Job.cancel_update)
    assert (await job.result()).status == JobStatus.CANCELLED


async def test_a_job_that_has_used_its_tokens_fails(harness: Harness) -> None:
    job = await start_job(harness, calls(("time_now", "{}")), said("Never."), max_tokens_total=5)
    ended = await job.result()
    assert (ended.status, ended.error) == (JobStatus.FAILED, "max_tokens_total")
    assert (ended.iteration, ended.tokens_in) == (1, 11)
