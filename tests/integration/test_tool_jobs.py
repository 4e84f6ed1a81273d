"""The tools `job_*` and `approval_list`: jobs of the own scope, started, seen, told and ended."""

import threading
from typing import Any

import pytest

from activities.tools.builtin.jobs import job_tools
from activities.tools.tool import ToolFailed
from domain.job_messages import JobView
from domain.jobs import job_workflow_id
from domain.tool_specs import ToolCaller
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Behaviour, Hang, Reply
from tests.support.tools import Toolbox, caller_of
from worker.tool_callers import LibraryCalls
from workflows.job import Job

WRITE = ("file_write", '{"path": "a.txt", "content": "x"}')


def box(harness: Harness, caller: ToolCaller) -> Toolbox:
    library = LibraryCalls(harness.client, harness.settings, harness.environ)
    return Toolbox(job_tools(library), caller)


async def started(harness: Harness, tools: Toolbox, *steps: Behaviour) -> str:
    """Start a job by the tool; its model does these steps."""
    mark = harness.name()
    harness.scripts.on(mark, *steps)
    created = await tools.answer("job_create", mark, title="T", description=f"Do {mark}.")
    return str(created["job_id"])


async def view_of(harness: Harness, job: str) -> JobView:
    return await harness.client.get_workflow_handle(job_workflow_id(job)).query(Job.view)


async def test_a_job_is_started_once_and_followed_to_its_result(harness: Harness) -> None:
    mark, gate = harness.name(), threading.Event()
    harness.scripts.on(mark, Reply(text="Soon.", gate=gate), said("Done."))
    tools = box(harness, caller_of(mark, hop=3))
    body = {"title": "T", "description": f"Do {mark}.", "guardrails": {"max_tool_calls": 5}}
    created = [await tools.answer("job_create", **body) for _ in range(2)]
    assert [item["duplicate"] for item in created] == [False, True]
    assert created[0]["job_id"] == created[1]["job_id"]
    id = created[0]["job_id"]
    with pytest.raises(ToolFailed, match=r"idempotency_key: .* another body"):
        await tools.call("job_create", **{**body, "title": "U"})

    await harness.models.wait_for(lambda: any(mark in str(c.body) for c in harness.models.calls))
    (listed,) = (await tools.answer("job_list", status="running"))["jobs"]
    assert (listed["id"], listed["status"]) == (id, "running")
    assert not {"description", "user_id", "scope"} & set(listed)
    told = [await tools.answer("job_message", "m", id=id, text="Hurry.") for _ in range(2)]
    assert [item["messages"] for item in told] == [1, 1]
    with pytest.raises(ToolFailed, match=r"idempotency_key: .* another text"):
        await tools.call("job_message", "m", id=id, text="Take your time.")
    with pytest.raises(ToolFailed, match="text"):
        await tools.call("job_message", "n", id=id, text=" ")
    gate.set()
    history = await harness.client.get_workflow_handle(job_workflow_id(id)).fetch_history()
    assert '"hop":3' in str(history.events[0]).replace("\\", "")

    async def is_done() -> bool:
        return bool((await tools.answer("job_get", id=id))["status"] == "completed")

    await until(is_done, "the job is done")
    whole = await tools.answer("job_get", id=id)
    assert (whole["result"], whole["description"]) == ("Done.", body["description"])
    with pytest.raises(ToolFailed, match="status is completed"):
        await tools.call("job_message", "o", id=id, text="Hello?")
    assert (await tools.answer("job_list", status="running"))["jobs"] == []


async def test_a_job_is_ended(harness: Harness) -> None:
    tools = box(harness, caller_of(harness.name()))
    id = await started(harness, tools, Hang())
    for _ in range(2):  # the second is a repeated attempt of the same call
        ended = await tools.answer("job_cancel", id=id, reason="not needed")
        assert (ended["status"], ended["error"]) == ("cancelled", "not needed")
    assert (await view_of(harness, id)).record.error == "not needed"


async def test_only_other_jobs_of_the_own_scope_are_reached(harness: Harness) -> None:
    user = harness.name()
    tools = box(harness, caller_of(user))
    id = await started(harness, tools, Hang())
    itself, other = caller_of(user, job_id=id), caller_of(harness.name())
    for caller, reason in ((itself, "cannot do this to itself"), (other, f"id: .*{id}")):
        for name, more in (("job_cancel", {}), ("job_message", {"text": "x"})):
            with pytest.raises(ToolFailed, match=reason):
                await box(harness, caller).call(name, id=id, **more)
    with pytest.raises(ToolFailed, match=id):
        await box(harness, other).call("job_get", id=id)
    with pytest.raises(ToolFailed, match="job_none"):
        await tools.call("job_get", id="job_none")
    assert (await box(harness, other).answer("job_list"))["jobs"] == []
    assert (await tools.answer("job_get", id=id))["status"] in {"pending", "running"}
    await tools.call("job_cancel", id=id)


async def test_what_a_job_asks_for_is_seen_but_not_decided(harness: Harness) -> None:
    user = harness.name()
    tools = box(harness, caller_of(user))
    id = await started(harness, tools, calls(WRITE), said("Denied."))
    found: list[Any] = []

    async def waits() -> bool:
        found[:] = (await tools.answer("approval_list"))["approvals"]
        return bool(found)

    await until(waits, "an approval is asked for")
    (pending,) = found
    assert (pending["job_id"], pending["tool"]) == (id, "file_write")
    assert not {"digest", "scope"} & set(pending)
    assert (await tools.answer("job_get", id=id))["approvals"] == [pending["id"]]
    stranger = box(harness, caller_of(harness.name()))
    assert (await stranger.answer("approval_list"))["count"] == 0
    assert (await tools.answer("approval_list", status="denied"))["approvals"] == []
    await tools.call("job_cancel", id=id)
    (stale,) = (await tools.answer("approval_list", status="stale"))["approvals"]
    assert stale["id"] == pending["id"]


def test_what_a_model_may_ask_for(harness: Harness) -> None:
    specs = {tool.spec.name: tool.spec for tool in box(harness, caller_of("me")).by_name.values()}
    assert {name for name, spec in specs.items() if spec.attended_only} == {"job_create"}
    assert {name for name, spec in specs.items() if not spec.idempotent} == set()
    guardrails = specs["job_create"].parameters["properties"]["guardrails"]
    assert "allowed_tools" not in guardrails["properties"]
    assert guardrails["additionalProperties"] is False
