"""The tools `job_message` and `job_cancel`: jobs of the own scope, told something or ended."""

import pytest

from activities.tools.builtin.jobs import job_tools
from activities.tools.tool import ToolFailed
from domain.jobs import JobStatus
from domain.scopes import Scope, ScopeKind
from tests.support.harness import Harness
from tests.support.jobs import start_job
from tests.support.model_steps import Hang
from tests.support.tools import ME, Toolbox


async def test_a_job_is_told_something_and_ended(harness: Harness) -> None:
    job = await start_job(harness, Hang())
    await job.reaches(JobStatus.RUNNING)
    tools = Toolbox(job_tools(harness.client))
    for _ in range(2):  # the second is a repeated attempt of the same call
        said = await tools.call("job_message", "one", id=job.id, text="Hurry.")
        assert said == f"{job.id} is running; 1 messages wait for it"
    with pytest.raises(ToolFailed, match="text"):
        await tools.call("job_message", "two", id=job.id, text=" ")
    await tools.call("job_cancel", "three", id=job.id, reason="not needed")
    assert (await job.result()).status == JobStatus.CANCELLED
    with pytest.raises(ToolFailed, match=r"there is no job .* that goes on"):
        await tools.call("job_message", "four", id=job.id, text="Hello?")


async def test_only_other_jobs_of_the_own_scope_are_reached(harness: Harness) -> None:
    job = await start_job(harness, Hang())
    itself = ME.model_copy(update={"job_id": job.id})
    other = ME.model_copy(update={"scope": Scope(kind=ScopeKind.USER, id="other")})
    for caller, reason in ((itself, "cannot do this to itself"), (other, "there is no job")):
        tools = Toolbox(job_tools(harness.client), caller)
        with pytest.raises(ToolFailed, match=reason):
            await tools.call("job_cancel", id=job.id)
        with pytest.raises(ToolFailed, match=reason):
            await tools.call("job_message", id=job.id, text="x")
    with pytest.raises(ToolFailed, match="there is no job 'job_none'"):
        await Toolbox(job_tools(harness.client)).call("job_cancel", id="job_none")
    await Toolbox(job_tools(harness.client)).call("job_cancel", id=job.id)
    assert (await job.result()).status == JobStatus.CANCELLED
