"""What a goal does with tools, and what holds it up: a pause of all, a long history."""

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from activities import search_attributes as attributes
from activities.failures import SYSTEM_PAUSED
from domain.errors import DomainError
from domain.goal import GoalStatus
from domain.goal_messages import DelayGoal, ExtendGoal
from domain.goal_record import GoalWaiting
from domain.goal_state import GoalLimits
from domain.job_messages import DecideApproval, JobEnded
from domain.jobs import JobStatus
from domain.scopes import Scope, ScopeKind
from tests.support.conversations import conversation
from tests.support.goals import StartedGoal, rests, start_goal
from tests.support.harness import Harness, renewing_harness, running_harness, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Hang, Reply
from tests.workflows.test_job_approvals import busy_store
from worker.temporal_server import DevServer
from workflows.job import Job
from workflows.job_hold import NO_GOAL

LOOK = calls(("time_now", "{}"))
WRITE = calls(("file_write", json.dumps({"path": "a.txt", "content": "x"})))
GO_ON = rests("0s", "compare")


def claims(*evidence: str) -> Reply:
    """An answer that says the goal is reached."""
    said = {"summary": "It is late.", "evidence": list(evidence)}
    return calls(("goal_complete", json.dumps(said)))


async def asked(goal: StartedGoal, times: int) -> None:
    await goal.harness.models.wait_for(lambda: len(goal.asked()) >= times)


async def test_two_rounds_and_a_proof_complete_it(harness: Harness) -> None:
    goal = await start_goal(
        harness,
        *(LOOK, GO_ON, said("I looked.")),
        *(claims("no_such_call"), claims("call_0"), said("That is all.")),
    )
    ended = await goal.result()
    assert (ended.goal.status, ended.goal.iteration) == (GoalStatus.COMPLETE, 2)
    assert ended.summary == "It is late."
    results = [
        message["content"]
        for message in goal.asked()[-1].body["messages"]
        if message["role"] == "tool"
    ]
    assert "Refused" in results[-2]
    assert "The goal is complete" in results[-1]
    assert [row.status for row in await goal.jobs()] == [JobStatus.COMPLETED] * 2
    assert [part.rpartition("-")[0] for part in goal.parts()] == [
        *("iteration", "continued", "progress"),
        *("iteration", "complete", "progress"),
    ]
    assert ended.state is not None
    assert ended.state.used_tools
    assert ended.spent.tokens == 6 * 18


async def test_a_rest_that_the_model_asks_for_begins_with_the_end_of_the_round(
    harness: Harness,
) -> None:
    goal = await start_goal(harness, rests("43m", "the build"), said("It builds."))
    view = await goal.reaches("it rests", running=False, iteration=1)
    assert view.goal.delay_reason == "the build"
    assert view.next_at == view.goal.next_run_at
    await goal.update("delete")
    await goal.result()


async def test_it_parks_while_everything_is_paused(harness: Harness) -> None:
    gate = threading.Event()
    first = Reply(
        text="", chunks=0, finish_reason="tool_calls", tool_calls=LOOK.tool_calls, gate=gate
    )
    goal = await start_goal(harness, first, said("Went on."), Hang("begun", 1))
    await asked(goal, 1)
    await harness.tickless.system.pause_all("for a test")
    try:
        # The flag is cached for a second.
        await asyncio.sleep(1.1)
        gate.set()
        view = await goal.reaches("it parks", waiting_for=GoalWaiting.SYSTEM_PAUSED)
        assert (view.goal.running, view.goal.status) == (True, GoalStatus.ACTIVE)

        async def listed() -> bool:
            found = (await goal.handle.describe()).typed_search_attributes
            return found.get(attributes.STATUS) == SYSTEM_PAUSED

        await until(listed, "lists show that it parks")
        await goal.update("pause")
        paused = await harness.tickless.goals.list(status="paused", limit=200)
        assert goal.id in [one.id for one in paused.goals]
        await goal.update("resume")
    finally:
        await harness.tickless.system.resume_all()
    await asked(goal, 3)
    found = (await goal.handle.describe()).typed_search_attributes
    assert found[attributes.STATUS] == "active"
    (first_job, _) = await goal.jobs()
    assert (first_job.status, first_job.result) == (JobStatus.COMPLETED, "Went on.")
    await goal.update("delete")
    await goal.result()


async def test_a_goal_that_ends_waits_for_no_approval(harness: Harness) -> None:
    goal = await start_goal(harness, WRITE, said("Written."))
    view = await goal.reaches("it asks a person", waiting_for=GoalWaiting.APPROVAL)
    await goal.update("pause")
    view = await goal.view()
    assert (view.goal.waiting_for, view.goal.running) == (GoalWaiting.APPROVAL, True)
    await goal.update("complete")
    ended = await goal.result()
    assert (ended.goal.status, ended.goal.waiting_for) == (GoalStatus.COMPLETE, None)
    (job,) = await goal.jobs()
    assert job.status == JobStatus.CANCELLED


async def test_a_goal_whose_workflow_is_cancelled_is_gone(harness: Harness) -> None:
    goal = await start_goal(harness, Hang("begun", 1))
    await asked(goal, 1)
    await goal.handle.cancel()
    assert (await goal.result()).deleted
    (job,) = await goal.jobs()
    assert job.status == JobStatus.CANCELLED


async def test_an_iteration_whose_goal_is_gone_ends(harness: Harness) -> None:
    goal = await start_goal(harness, WRITE, said("Written."))
    view = await goal.reaches("it asks a person", waiting_for=GoalWaiting.APPROVAL)
    job = goal.job(view.job_id or "")
    await goal.handle.terminate("a test")
    (approval,) = (await job.query(Job.view)).approvals
    decision = DecideApproval(approval_id=approval.id, decision="approve")
    await job.execute_update(Job.decide_approval, decision)
    ended = JobEnded.model_validate(await job.result())
    assert (ended.status, ended.error) == (JobStatus.CANCELLED, NO_GOAL)
    # The approved call was not made for nobody.
    assert ended.tool_actions == 0


async def test_a_deadline_that_is_moved_does_not_end_the_iteration(harness: Harness) -> None:
    gate = threading.Event()
    goal = await start_goal(
        harness,
        Reply(text="In the end.", gate=gate),
        Hang("begun", 1),
        deadline=timedelta(seconds=3),
    )
    first = goal.created.goal.deadline_at
    assert first is not None
    await goal.update("extend", ExtendGoal(deadline_in="1h"))

    async def passed() -> bool:
        return datetime.now(UTC) > first + timedelta(milliseconds=300)

    await until(passed, "the first deadline has passed")
    assert (await goal.view()).goal.running
    gate.set()
    await goal.reaches("the next round", iteration=2)
    assert (await goal.jobs())[0].result == "In the end."
    await goal.update("delete")
    await goal.result()


async def test_a_goal_that_is_reopened_while_its_end_is_told_goes_on(harness: Harness) -> None:
    gate = threading.Event()
    goal = await start_goal(harness, Reply(text="One.", gate=gate), Hang("begun", 1))
    await asked(goal, 1)
    await goal.update("pause")
    gate.set()
    await goal.reaches("it pauses", running=False)
    with busy_store(harness):
        await goal.update("extend", ExtendGoal(deadline_in="500ms"))
        await goal.reaches("its time is over", status=GoalStatus.TIMEOUT)
        view = await goal.update("extend", ExtendGoal(deadline_in="1h"))
        assert view.goal.status == GoalStatus.ACTIVE
    await asked(goal, 2)
    assert (await goal.view()).goal.iteration == 2
    assert "timeout" in [part.rpartition("-")[0] for part in goal.parts()]
    await goal.update("delete")
    await goal.result()


async def test_the_closing_report_is_left_out_when_the_session_is_busy(harness: Harness) -> None:
    gate = threading.Event()
    chat = conversation(harness, said("Hello."), Reply(text="Long.", gate=gate))
    scope = Scope(kind=ScopeKind.USER, id=chat.mark)
    await chat.settled((await chat.send("Hi", scope=scope)).message_id)
    long = await chat.send("Tell me more", scope=scope)
    await harness.models.wait_for(lambda: len(chat.asked()) == 2)
    goal = await start_goal(
        harness,
        mark=chat.mark,
        scope=scope,
        session_key=chat.key,
        deadline=timedelta(seconds=1),
    )
    ended = await goal.result()
    assert (ended.goal.status, ended.goal.iteration) == (GoalStatus.TIMEOUT, 0)
    assert await goal.jobs() == []
    assert goal.parts() == ["timeout-1"]
    gate.set()
    assert (await chat.settled(long.message_id)).text == "Long."


async def test_a_judge_that_is_no_model_stops_the_worker(server: DevServer, tmp_path: Path) -> None:
    with pytest.raises(DomainError) as caught:
        async with running_harness(tmp_path, server, TICKLESS_GOAL_JUDGE_MODEL="nobody"):
            pass
    assert caught.value.field == "goal_judge_model"
    assert caught.value.accepted == ["first", "second"]


@pytest.mark.timeout(180)
async def test_a_long_goal_goes_on_as_a_new_execution(tmp_path: Path) -> None:
    async with renewing_harness(tmp_path) as harness:
        rounds = [said(f"Round {number}.") for number in range(8)]
        limits = GoalLimits(fast_loop_limit=8)
        goal = await start_goal(harness, *rounds, limits=limits)
        first = (await goal.handle.describe()).run_id
        view = await goal.reaches("it pauses", 60, status=GoalStatus.PAUSED)
        assert (view.goal.iteration, view.goal.id) == (8, goal.id)
        assert (await goal.handle.describe()).run_id != first
        assert view.spent.tokens == 8 * 18

        async def told() -> bool:
            return len(goal.parts()) >= 8 * 2 + 1

        await until(told, "all is told")
        assert len(set(goal.parts())) == len(goal.parts()) == 8 * 2 + 1
        await goal.update("resume")
        await goal.update("delay", DelayGoal(duration="0s", reason="go"))
        await goal.update("delete")
        assert (await goal.result()).deleted
