"""Routines whose action is a full job: the run, its job, and what the ledger keeps of both."""

import sqlite3
import threading
from typing import Any

from activities.store import open_store
from activities.store.urls import read_url, sqlite_file
from domain.jobs import JobStatus, job_workflow_id
from domain.run_view import RunStage
from domain.runs import RunStatus
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Behaviour, Hang, Refusal, Reply, error_body
from workflows.job import Job
from workflows.routine_run import RoutineRun


async def routine(harness: Harness, *steps: Behaviour, **body: Any) -> str:
    """A routine fired by hand whose job's model does these steps."""
    name = harness.name()
    harness.scripts.on(name, *steps)
    given: dict[str, Any] = {
        "action": {"type": "full_job", "title": "Research", "description": f"Do {name}."},
        "trigger": {"type": "manual"},
        "notify": {"route": {"receive_id_type": "file", "receive_id": ""}},
        **body,
    }
    await harness.tickless.routines.create(given, name=name)
    return name


async def test_the_answer_of_the_job_is_the_run_s(harness: Harness) -> None:
    name = await routine(harness, calls(("time_now", "{}")), said("Here is the report."))
    view = await harness.run_once(name)
    record = view.record
    assert (record.status, view.text) == (RunStatus.ATTENTION, "Here is the report.")
    assert (record.tokens_in, record.attempts) == (22, 2)
    assert [item.status for item in view.deliveries] == ["sent"]
    assert record.job_id is not None
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        run = await store.runs.get(record.id)
        job = await store.jobs.get(record.job_id)
        actions = await store.actions.of_job(record.job_id)
    assert run is not None
    assert job is not None
    assert (run.job_id, job.run_id) == (job.id, run.id)
    assert (job.status, job.result, job.iteration) == (
        JobStatus.COMPLETED,
        "Here is the report.",
        2,
    )
    assert [action.tool for action in actions] == ["time_now"]


async def test_a_job_that_says_there_is_nothing_ends_silently(harness: Harness) -> None:
    name = await routine(harness, said("NO_REPLY"))
    view = await harness.run_once(name)
    assert (view.record.status, view.deliveries) == (RunStatus.OK, [])


async def test_a_failed_job_is_a_failed_run(harness: Harness) -> None:
    name = await routine(harness, Refusal(400, error_body("no such thing")))
    view = await harness.run_once(name)
    assert view.record.status == RunStatus.FAILED
    assert "no such thing" in (view.record.error or "")


async def test_a_job_that_takes_too_long_times_out(harness: Harness) -> None:
    name = await routine(harness, Hang(), guardrails={"run_timeout_seconds": 1})
    view = await harness.run_once(name)
    assert (view.record.status, view.record.error) == (
        RunStatus.TIMED_OUT,
        "job timed out after 1s",
    )


async def test_a_cancelled_run_cancels_its_job(harness: Harness) -> None:
    gate = threading.Event()
    name = await routine(harness, Reply(text="Never.", gate=gate))
    started = await harness.tickless.runs.trigger(name)
    await harness.models.wait_for(lambda: any(name in str(c.body) for c in harness.models.calls))
    await harness.tickless.runs.cancel(started.run_id)
    view = await harness.tickless.runs.wait(started.run_id)
    assert view.record.status == RunStatus.CANCELLED
    job = harness.client.get_workflow_handle(job_workflow_id(view.record.job_id or ""))
    assert (await job.query(Job.view)).record.status == JobStatus.CANCELLED
    gate.set()


async def test_a_run_that_is_cancelled_before_its_job_is_written_ends_both(
    harness: Harness,
) -> None:
    name = await routine(harness, said("Now."))
    url = harness.environ["TICKLESS_STORE__URL"]
    file = sqlite_file(read_url(url))
    assert file is not None
    store_is_busy = sqlite3.connect(file, isolation_level=None)
    store_is_busy.execute("BEGIN IMMEDIATE")
    try:
        started = await harness.tickless.runs.trigger(name)
        run = harness.client.get_workflow_handle(started.workflow_id)

        async def writes_its_job() -> bool:
            return (await run.query(RoutineRun.view)).stage == RunStage.JOB

        await until(writes_its_job, "the run writes its job")
        await run.signal("cancel")
    finally:
        store_is_busy.execute("ROLLBACK")
        store_is_busy.close()
    view = await harness.tickless.runs.wait(started.run_id)
    assert view.record.status == RunStatus.CANCELLED
    async with await open_store(url) as store:
        row = await store.runs.get(started.run_id)
        job = await store.jobs.get(view.record.job_id or "")
    assert row is not None
    assert job is not None
    assert (row.status, job.status, job.finished_at is not None) == (
        RunStatus.CANCELLED,
        JobStatus.CANCELLED,
        True,
    )
    assert not [call for call in harness.models.calls if name in str(call.body)]
    # Its place is free.
    assert (await harness.run_once(name)).record.status == RunStatus.ATTENTION


async def test_a_job_that_somebody_terminates_is_ended_in_the_ledger(harness: Harness) -> None:
    write = ("file_write", '{"path": "a.txt", "content": "x"}')
    name = await routine(harness, calls(write), said("Never."))
    started = await harness.tickless.runs.trigger(name)
    run = harness.client.get_workflow_handle(started.workflow_id)
    job_id = ""

    async def waits_for_a_person() -> bool:
        nonlocal job_id
        job_id = (await run.query(RoutineRun.view)).record.job_id or ""
        async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
            return len(await store.approvals.listing(9, job_id=job_id or "none")) == 1

    await until(waits_for_a_person, "an approval is written")
    await harness.client.get_workflow_handle(job_workflow_id(job_id)).terminate()
    view = await harness.tickless.runs.wait(started.run_id)
    assert view.record.status == RunStatus.FAILED
    assert "the job was lost" in (view.record.error or "")
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        job = await store.jobs.get(job_id)
        approvals = await store.approvals.listing(9, job_id=job_id)
    assert job is not None
    assert job.status == JobStatus.FAILED
    assert (job.iteration, job.revision > 1) == (1, True)
    assert [one.status for one in approvals] == ["stale"]
