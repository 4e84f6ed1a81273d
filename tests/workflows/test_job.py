"""Jobs on a real server: the loop with tools, its brakes, and what people say meanwhile."""

import json
import re
import threading
from typing import Any

import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from domain.approvals import Approval
from domain.job_messages import CancelJob, DecideApproval, JobEnded, SteerJob
from domain.jobs import JobStatus, job_workflow_id
from domain.slots import JOB_SLOTS, slots_workflow_id
from tests.support.harness import Harness, until
from tests.support.jobs import StartedJob, calls, said, start_job, tool_texts
from tests.support.model_steps import Hang, Reply, ToolCall, empty
from workflows.job import Job
from workflows.slots import Slots


def bodies(harness: Harness, mark: str) -> list[dict[str, Any]]:
    """The requests of a job's model, in order."""
    return [call.body for call in harness.models.calls if mark in str(call.body)]


async def test_a_job_calls_tools_until_it_answers(harness: Harness) -> None:
    job = await start_job(
        harness, calls(("time_now", "{}")), calls(("time_now", "{}")), said("It is done.")
    )
    ended = await job.result()
    assert (ended.status, ended.text) == (JobStatus.COMPLETED, "It is done.")
    assert (ended.iteration, ended.tool_calls, ended.limit_reached) == (3, 2, False)
    assert ended.tokens_in == 33
    asked = bodies(harness, job.mark)
    assert "time_now" in str(asked[0]["tools"])
    assert len(tool_texts(asked)) == 2
    assert "20" in tool_texts(asked)[0]


async def test_a_job_starts_another_where_its_tools_are_named(harness: Harness) -> None:
    mark = harness.name()
    harness.scripts.on(mark, said("The other is done."))
    create = calls(("job_create", json.dumps({"title": "Other", "description": f"Do {mark}."})))
    job = await start_job(harness, create, said("Started."), allowed_tools=["job_create"])
    assert (await job.result()).text == "Started."
    told = tool_texts(bodies(harness, job.mark))[0]
    other = re.findall(r"job_[0-9a-f]{32}", told)[0]
    handle = harness.client.get_workflow_handle(job_workflow_id(other), result_type=JobEnded)
    ended: JobEnded = await handle.result()
    assert ended.text == "The other is done."
    # Without its name it does not exist where nobody is present.
    job = await start_job(harness, create, said("No."))
    assert (await job.result()).text == "No."
    assert "not_permitted" in tool_texts(bodies(harness, job.mark))[0]


async def test_what_a_model_does_wrong_is_told_it_and_it_goes_on(harness: Harness) -> None:
    job = await start_job(
        harness,
        calls(("fly_away", "{}"), ("file_read", '{"paht": 1}'), ("file_read", "no json")),
        said("Enough."),
    )
    ended = await job.result()
    assert ended.status == JobStatus.COMPLETED
    unknown, wrong, no_json = tool_texts(bodies(harness, job.mark))
    assert "unknown_tool" in unknown
    assert "invalid_arguments" in wrong
    assert "path" in wrong
    assert "invalid_arguments" in no_json


async def test_calls_that_change_nothing_run_side_by_side_and_answer_in_order(
    harness: Harness,
) -> None:
    job = await start_job(
        harness,
        calls(("time_now", "{}"), ("file_list", "{}"), ("time_now", "{}")),
        said("Seen."),
    )
    await job.result()
    first, second, third = tool_texts(bodies(harness, job.mark))
    assert "output of time_now" in first
    assert "output of file_list" in second
    assert "output of time_now" in third


async def test_the_same_failing_calls_are_warned_of_and_broken_off(harness: Harness) -> None:
    again = calls(("file_read", '{"path": "missing.txt"}'))
    job = await start_job(harness, *[again] * 5, said("I give up."))
    ended = await job.result()
    assert (ended.status, ended.text, ended.iteration) == (JobStatus.COMPLETED, "I give up.", 6)
    asked = bodies(harness, job.mark)
    assert "same calls several times" in str(asked[3]["messages"])
    assert "same calls several times" not in str(asked[2]["messages"])
    assert "tools" in asked[4]
    assert "tools" not in asked[5]


async def test_an_endless_loop_ends_with_the_result_so_far(harness: Harness) -> None:
    steps = [calls(("time_now", "{}"))] * 3
    job = await start_job(harness, *steps, said("So far."), max_iterations=3)
    ended = await job.result()
    assert (ended.status, ended.text, ended.limit_reached) == (JobStatus.COMPLETED, "So far.", True)
    assert "tools" not in bodies(harness, job.mark)[-1]


async def test_a_limit_of_tool_calls_ends_with_words(harness: Harness) -> None:
    job = await start_job(
        harness, calls(("time_now", "{}"), ("time_now", "{}")), said("One."), max_tool_calls=1
    )
    ended = await job.result()
    assert ended.text == "One."
    assert "rate_limited" in tool_texts(bodies(harness, job.mark))[1]


async def test_a_message_is_read_before_the_next_step(harness: Harness) -> None:
    gate = threading.Event()
    waits = Reply(text="Soon.", gate=gate)
    job = await start_job(harness, waits, said("Blue it is."))
    await harness.models.wait_for(lambda: len(bodies(harness, job.mark)) == 1)
    for text in ("Make it blue.", "And quick.", "And quick."):
        await job.handle.execute_update(Job.steer_update, SteerJob(text=text, key=text))
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await job.handle.execute_update(
            Job.steer_update, SteerJob(text="Red!", key="Make it blue.")
        )
    assert "idempotency_key" in str(refused.value.cause)
    gate.set()
    ended = await job.result()
    assert ended.text == "Blue it is."
    assert bodies(harness, job.mark)[1]["messages"][-1] == {
        "role": "user",
        "content": "Make it blue.\n\nAnd quick.",
    }


async def test_a_paused_job_gives_its_slot_back_and_goes_on_later(harness: Harness) -> None:
    gate = threading.Event()
    first = Reply(
        text="", chunks=0, finish_reason="tool_calls", tool_calls=(ToolCall("time_now"),), gate=gate
    )
    job = await start_job(harness, first, said("Went on."))
    await harness.models.wait_for(lambda: len(bodies(harness, job.mark)) == 1)
    await job.handle.execute_update(Job.pause_update)
    gate.set()
    view = await job.reaches(JobStatus.PAUSED)
    assert view.record.iteration == 1
    slots = harness.client.get_workflow_handle(slots_workflow_id(JOB_SLOTS))
    await until(lambda: _free(slots, job.handle.id), "the slot is free")
    await job.handle.execute_update(Job.resume_update)
    ended = await job.result()
    assert (ended.text, ended.tool_calls) == ("Went on.", 1)


async def _free(slots: WorkflowHandle[Any, Any], owner: str) -> bool:
    view = await slots.query(Slots.view)
    return owner not in [one.owner for one in view.holders]


async def test_a_cancelled_job_ends_what_it_does(harness: Harness) -> None:
    job = await start_job(harness, Hang())
    await harness.models.wait_for(lambda: len(bodies(harness, job.mark)) == 1)
    await job.handle.execute_update(Job.cancel_update, CancelJob(reason="not needed"))
    ended = await job.result()
    assert (ended.status, ended.error) == (JobStatus.CANCELLED, "not needed")
    call = next(call for call in harness.models.calls if job.mark in str(call.body))
    await harness.models.wait_for(lambda: call.client_closed_at is not None)


async def test_empty_answers_are_asked_for_again_and_then_given_up(harness: Harness) -> None:
    job = await start_job(harness, empty())
    ended = await job.result()
    assert ended.status == JobStatus.FAILED
    assert "empty_reply" in (ended.error or "")
    asked = bodies(harness, job.mark)
    assert len(asked) == 3
    assert "was empty" in str(asked[1]["messages"])
    assert ["tools" in body for body in asked] == [True, True, False]


class TestApprovals:
    WRITE = '{"path": "note.txt", "content": "secret plans"}'

    async def waiting(self, harness: Harness, **start: Any) -> tuple[StartedJob, Approval]:
        job = await start_job(
            harness, calls(("file_write", self.WRITE), ("time_now", "{}")), said("Ok."), **start
        )
        view = await job.reaches(JobStatus.WAITING_APPROVAL)
        return job, view.approvals[0]

    async def test_an_approved_call_runs_once(self, harness: Harness) -> None:
        job, approval = await self.waiting(harness)
        decide = DecideApproval(
            approval_id=approval.id, decision="approve", digest=approval.digest, decided_by="ann"
        )
        for _ in range(2):
            decided = await job.handle.execute_update(Job.decide_approval, decide)
            assert (decided.status, decided.decided_by) == ("approved", "ann")
        ended = await job.result()
        assert ended.status == JobStatus.COMPLETED
        wrote, told = tool_texts(bodies(harness, job.mark))
        assert "output of file_write" in wrote
        assert "output of time_now" in told
        found = list((harness.folder / "workspace").rglob("note.txt"))
        assert [path.read_text() for path in found] == ["secret plans"]
        notice = deliveries_of(harness, job.id)[0]
        assert approval.id in notice
        assert "file_write" in notice

    async def test_a_denied_call_is_told_and_the_job_goes_on(self, harness: Harness) -> None:
        job, approval = await self.waiting(harness)
        deny = DecideApproval(approval_id=approval.id, decision="deny", reason="too risky")
        await job.handle.execute_update(Job.decide_approval, deny)
        ended = await job.result()
        assert ended.status == JobStatus.COMPLETED
        assert "denied: too risky" in tool_texts(bodies(harness, job.mark))[0]

    async def test_what_cannot_be_decided_is_refused(self, harness: Harness) -> None:
        job, approval = await self.waiting(harness)
        for change, words in (
            ({"decision": "maybe"}, ["approve", "deny"]),
            ({"digest": "0"}, ["digest"]),
            ({"approval_id": "approval_x"}, ["approval_x"]),
            ({"always": True}, ["routine"]),
        ):
            asked = {"approval_id": approval.id, "decision": "approve", **change}
            with pytest.raises(WorkflowUpdateFailedError) as refused:
                await job.handle.execute_update("decide_approval", asked)
            assert all(word in str(refused.value.cause) for word in words)
        await job.handle.execute_update(Job.cancel_update)
        ended = await job.result()
        assert ended.status == JobStatus.CANCELLED
        assert (await job.view()).approvals[0].status == "stale"

    async def test_an_approval_that_nobody_decides_is_denied(self, harness: Harness) -> None:
        job, approval = await self.waiting(harness, approval_timeout_seconds=3)
        ended = await job.result()
        assert ended.status == JobStatus.COMPLETED
        assert "denied: nobody answered in time" in tool_texts(bodies(harness, job.mark))[0]
        texts = deliveries_of(harness, job.id)
        assert sum("still waits" in text for text in texts) == 2
        assert sum("nobody decided" in text for text in texts) == 1
        assert approval.status == "pending"


def deliveries_of(harness: Harness, job_id: str) -> list[str]:
    """The texts that a job had delivered, in order."""
    if not harness.deliveries.exists():
        return []
    lines = [json.loads(line) for line in harness.deliveries.read_text().splitlines()]
    return [line["text"] for line in lines if job_id in str(line)]
