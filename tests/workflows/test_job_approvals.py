"""Approvals of jobs on a real server: what people see, what is independent, what is kept."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from activities.store import open_store
from activities.store.urls import read_url, sqlite_file
from domain.approvals import Approval
from domain.job_messages import DecideApproval
from domain.jobs import JobStatus, job_workflow_id
from domain.runs import RunStatus
from tests.support.harness import Harness, until
from tests.support.jobs import StartedJob, calls, said, start_job, tool_texts
from workflows.job import Job


def write(path: str, content: str = "x") -> tuple[str, str]:
    return "file_write", json.dumps({"path": path, "content": content})


@contextmanager
def busy_store(harness: Harness) -> Iterator[None]:
    """Nobody else can write to the ledger."""
    file = sqlite_file(read_url(harness.environ["TICKLESS_STORE__URL"]))
    assert file is not None
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def decide(job: StartedJob, approval: Approval, decision: str = "approve") -> Approval:
    request = DecideApproval(approval_id=approval.id, decision=decision, decided_by="ann")
    return await job.handle.execute_update(Job.decide_approval, request)


async def row(harness: Harness, approval_id: str) -> Approval:
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        found = await store.approvals.get(approval_id)
    assert found is not None
    return found


async def test_a_person_sees_all_the_arguments(harness: Harness) -> None:
    content = "rm -rf " + "z" * 9_000
    job = await start_job(harness, calls(write("long.txt", content)), said("Ok."))
    view = await job.reaches(JobStatus.WAITING_APPROVAL)
    asked = view.approvals[0]
    shown = await harness.tickless.approvals.get(asked.id)
    assert shown.arguments == {"path": "long.txt", "content": content}
    assert (shown.status, shown.digest) == ("pending", asked.digest)
    listed = await harness.tickless.approvals.list()
    (short,) = [one for one in listed.approvals if one.id == asked.id]
    assert short.arguments["[cut]"].startswith("90")
    (notice,) = [line for line in _texts(harness) if f"approve {asked.id}" in line]
    assert "[cut: the arguments have 90" in notice
    assert f"tickless approval get {asked.id}" in notice
    decided = await harness.tickless.approvals.decide(asked.id, "deny")
    assert decided.arguments == shown.arguments
    await job.result()
    assert (await row(harness, asked.id)).arguments == shown.arguments


async def test_an_approved_call_does_not_wait_for_the_others(harness: Harness) -> None:
    job = await start_job(harness, calls(write("one.txt"), write("two.txt")), said("Ok."))
    view = await job.reaches(JobStatus.WAITING_APPROVAL)
    first, second = view.approvals
    await decide(job, second)

    async def has_run() -> bool:
        return (await row(harness, second.id)).status == "consumed"

    await until(has_run, "the approved call has run")
    view = await job.reaches(JobStatus.WAITING_APPROVAL)
    assert {one.id: one.status for one in view.approvals} == {
        first.id: "pending",
        second.id: "consumed",
    }
    await decide(job, first, "deny")
    assert (await job.result()).status == JobStatus.COMPLETED


async def test_an_approval_of_a_call_that_is_refused_is_stale(harness: Harness) -> None:
    job = await start_job(
        harness, calls(write("three.txt"), ("time_now", "{}")), said("Ok."), max_tool_calls=1
    )
    view = await job.reaches(JobStatus.WAITING_APPROVAL)
    await decide(job, view.approvals[0])
    assert (await job.result()).status == JobStatus.COMPLETED
    bodies = [call.body for call in harness.models.calls if job.mark in str(call.body)]
    assert "rate_limited" in tool_texts(bodies)[0]
    assert (await row(harness, view.approvals[0].id)).status == "stale"


async def test_a_decision_is_kept_though_the_job_is_cancelled_before_it_is_written(
    harness: Harness,
) -> None:
    job = await start_job(harness, calls(write("four.txt"), write("five.txt")), said("Never."))
    view = await job.reaches(JobStatus.WAITING_APPROVAL)
    denied, left = view.approvals
    with busy_store(harness):
        await decide(job, denied, "deny")
        await job.handle.execute_update(Job.cancel_update)
    ended = await job.result()
    assert ended.status == JobStatus.CANCELLED
    kept = await row(harness, denied.id)
    assert (kept.status, kept.decided_by) == ("denied", "ann")
    assert (await row(harness, left.id)).status == "stale"


async def test_a_grant_is_kept_though_the_job_is_cancelled_at_once(harness: Harness) -> None:
    name = harness.name()
    again = calls(write(f"{name}.txt"))
    harness.scripts.on(name, again, again, said("Written."))
    action = {"type": "full_job", "title": "Write", "description": f"Do {name}."}
    await harness.tickless.routines.create(
        {"action": action, "trigger": {"type": "manual"}}, name=name
    )
    run = (await harness.tickless.runs.trigger(name)).run_id
    asked: list[Approval] = []

    async def asks() -> bool:
        listed = await harness.tickless.approvals.list(status="pending", limit=200)
        asked[:] = [one for one in listed.approvals if one.run_id == run]
        return bool(asked)

    await until(asks, "an approval is asked for")
    (approval,) = asked
    job = harness.client.get_workflow_handle(job_workflow_id(approval.job_id or ""))
    grant = DecideApproval(
        approval_id=approval.id, decision="approve", decided_by="ann", always=True
    )
    with busy_store(harness):
        # Neither is written before both are said.
        await job.execute_update(Job.decide_approval, grant)
        await job.execute_update(Job.cancel_update)
    assert (await harness.tickless.runs.wait(run)).record.status == RunStatus.CANCELLED
    assert (await row(harness, approval.id)).status == "stale"
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        (kept,) = await store.grants.of_routine(name)
        assert await store.actions.of_job(approval.job_id or "") == []
    assert (kept.tool, kept.granted_by) == ("file_write", "ann")
    view = await harness.run_once(name)
    assert (view.record.status, view.text) == (RunStatus.ATTENTION, "Written.")


def _texts(harness: Harness) -> list[str]:
    lines = harness.deliveries.read_text(encoding="utf-8").splitlines()
    return [str(json.loads(line)["text"]) for line in lines]
