"""Scenarios of jobs for the recorded histories: approvals, a pause, steering, runs, a chat.

Owns playing them; `record` owns the files.
"""

import threading
from collections.abc import Awaitable, Callable

from client import CallerContext, TicklessClient
from domain.job_messages import DecideApproval, SteerJob
from domain.jobs import JobStatus, job_workflow_id
from domain.slots import JOB_SLOTS, slots_workflow_id
from tests.support.harness import Harness
from tests.support.jobs import calls, said, start_job
from tests.support.model_steps import Reply
from workflows.job import Job

Save = Callable[[Harness, str, str], Awaitable[None]]


async def record_jobs(harness: Harness, prefix: str, save: Save) -> None:
    """Play every scenario and save its histories."""
    await _approved(harness, prefix, save)
    await _steered_and_paused(harness, prefix, save)
    await _of_a_run(harness, prefix, save)
    await _in_a_chat(harness, prefix, save)
    await save(harness, slots_workflow_id(JOB_SLOTS), f"{prefix}-slots")


async def _approved(harness: Harness, prefix: str, save: Save) -> None:
    write = ("file_write", '{"path": "a.txt", "content": "x"}')
    job = await start_job(
        harness, calls(("time_now", "{}"), write, ("no_tool", "{}")), calls(write), said("Written.")
    )
    for decision in ("approve", "deny"):
        view = await job.reaches(JobStatus.WAITING_APPROVAL)
        pending = [one for one in view.approvals if one.status == "pending"]
        decide = DecideApproval(approval_id=pending[0].id, decision=decision)
        await job.handle.execute_update(Job.decide_approval, decide)
    await job.result()
    await save(harness, job.handle.id, f"{prefix}-job-approvals")


async def _steered_and_paused(harness: Harness, prefix: str, save: Save) -> None:
    gate = threading.Event()
    job = await start_job(harness, Reply(text="Soon.", gate=gate), said("Done."))
    await harness.models.wait_for(
        lambda: any(job.mark in str(c.body) for c in harness.models.calls)
    )
    await job.handle.execute_update(Job.steer_update, SteerJob(text="Quick."))
    await job.handle.execute_update(Job.pause_update)
    gate.set()
    await job.reaches(JobStatus.PAUSED)
    await job.handle.execute_update(Job.resume_update)
    await job.result()
    await save(harness, job.handle.id, f"{prefix}-job-steered-and-paused")


async def _of_a_run(harness: Harness, prefix: str, save: Save) -> None:
    name = harness.name()
    harness.scripts.on(name, calls(("time_now", "{}")), said("The report."))
    body = {
        "action": {"type": "full_job", "title": "Report", "description": f"Do {name}."},
        "trigger": {"type": "manual"},
    }
    await harness.tickless.routines.create(body, name=name)
    view = await harness.run_once(name)
    await save(harness, view.record.workflow_id, f"{prefix}-run-job")
    await save(harness, job_workflow_id(view.record.job_id or ""), f"{prefix}-job-of-a-run")


async def _in_a_chat(harness: Harness, prefix: str, save: Save) -> None:
    """Results that are said in a session: of a routine's job, and of one started by hand."""
    name = harness.name()
    given = harness.settings.context.model_dump(exclude_none=True) | {"session_key": f"c-{name}"}
    tickless = TicklessClient(harness.client, CallerContext.model_validate(given))
    harness.scripts.on(name, said("The report."))
    action = {"type": "full_job", "title": "Report", "description": f"Do {name}."}
    await tickless.routines.create({"action": action, "trigger": {"type": "manual"}}, name=name)
    run = await tickless.runs.wait((await tickless.runs.trigger(name)).run_id)
    await save(harness, run.record.workflow_id, f"{prefix}-run-job-in-a-chat")
    mark = harness.name()
    harness.scripts.on(mark, said("Done."))
    job = (await tickless.jobs.create({"title": "T", "description": f"Do {mark}."})).job_id
    await tickless.jobs.wait(job)
    await save(harness, job_workflow_id(job), f"{prefix}-job-in-a-chat")
