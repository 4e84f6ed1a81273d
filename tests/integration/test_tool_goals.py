"""The tools `goal_*`: what an iteration can do to its goal, and what is refused."""

import json
from typing import Any

import pytest

from activities.store import open_store
from activities.tools.builtin.goals import goal_tools
from activities.tools.permissions import Permissions
from activities.tools.registry import ToolRegistry
from activities.tools.requests import CallMode, OfferTools
from activities.tools.sandbox import NoSandbox
from activities.tools.tool import ToolFailed
from domain.goal_record import GoalStatus, GoalWaiting
from domain.goal_state import GoalLimits
from domain.jobs import JobStatus
from domain.tool_specs import ToolCaller
from tests.support.goals import StartedGoal, rests, start_goal
from tests.support.harness import Harness
from tests.support.jobs import calls, said, start_job, tool_texts
from tests.support.model_steps import Body, Hang, Reply
from tests.support.tools import ME, Toolbox

NAMES = ["goal_complete", "goal_delay", "goal_get", "goal_progress"]


def caller_of(goal: StartedGoal, job_id: str) -> ToolCaller:
    """An iteration of a goal, as its job calls tools."""
    return ME.model_copy(
        update={
            "scope": goal.created.work_scope,
            "goal_id": goal.id,
            "goal_workflow": goal.handle.id,
            "job_id": job_id,
        }
    )


async def working(harness: Harness) -> tuple[StartedGoal, str]:
    """A goal whose iteration waits for its model, and the iteration's job."""
    goal = await start_goal(harness, Hang())
    await goal.reaches("its first round runs", running=True)
    await harness.models.wait_for(lambda: bool(goal.asked()))
    job_id = (await goal.view()).job_id
    assert job_id is not None
    return goal, job_id


def last_told(body: Body) -> Any:
    """The object that a tool has told the model last, out of the block that marks it."""
    text = tool_texts([body])[-1]
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


async def test_a_goal_is_completed_by_the_results_of_its_tools(harness: Harness) -> None:
    looked: list[dict[str, Any]] = []

    def claims(body: Body) -> Reply:
        looked.append(last_told(body))
        evidence = [call["id"] for call in looked[0]["calls"]]
        claim = {"summary": "It is noon.", "evidence": evidence}
        return calls(("goal_complete", json.dumps(claim)))

    goal = await start_goal(
        harness,
        calls(("time_now", "{}"), ("goal_progress", '{"text": "I looked at the clock."}')),
        rests("0s", "check it"),
        said("Looked."),
        calls(("goal_get", "{}")),
        claims,
        said("Reached."),
        limits=GoalLimits(),
    )
    ended = await goal.result()
    assert (ended.goal.status, ended.summary) == (GoalStatus.COMPLETE, "It is noon.")
    assert ended.goal.iteration == 2
    (seen,) = looked
    assert (seen["objective"], seen["round"], seen["status"]) == (
        f"Reach {goal.mark}.",
        2,
        "active",
    )
    assert [call["tool"] for call in seen["calls"]] == ["time_now"]
    assert seen["tokens"] > 0
    assert "I looked at the clock." in goal.told()
    offered = [tool["function"]["name"] for tool in goal.asked()[0].body["tools"]]
    assert [name for name in offered if name.startswith("goal_")] == NAMES


async def test_what_the_model_is_told_of_a_wrong_call(harness: Harness) -> None:
    wrong = [
        ("goal_delay", '{"duration": "30s", "reason": "soon"}'),
        ("goal_delay", '{"duration": "5m"}'),
        ("goal_delay", '{"duration": "5m", "reason": "x", "event": "nothing"}'),
        ("goal_progress", '{"text": ""}'),
    ]
    goal = await start_goal(harness, calls(*wrong), rests("1h"), said("Waiting."))
    await goal.reaches("it rests", running=False, iteration=1)
    texts = tool_texts([call.body for call in goal.asked()])
    assert [word for word in ("0s", "1m", "12h") if word not in texts[0]] == []
    assert "reason" in texts[1]
    assert "source:event_type" in texts[2]
    assert "text" in texts[3]
    assert all(text.startswith("error") for text in texts[:4])


async def test_a_repeated_call_says_nothing_twice(harness: Harness) -> None:
    goal, job_id = await working(harness)
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        tools = Toolbox(goal_tools(harness.client, store), caller_of(goal, job_id))
        for _ in range(2):
            assert await tools.call("goal_progress", "a/1", text="Half of it.") == "It is told."
            told = await tools.call("goal_delay", "a/2", duration="2h", reason="the build")
            assert told.startswith("The goal goes on at ")
        waits = {"duration": "3h", "reason": "the build", "event": "ci:build.*"}
        assert "or when ci:build.* comes" in await tools.call("goal_delay", "a/3", **waits)
        view = await goal.view()
        assert (view.goal.waiting_for, view.wait_event) == (GoalWaiting.EVENT, "ci:build.*")
        told = await tools.call("goal_delay", "a/4", duration="0s", reason="on")
        assert told.startswith("The goal goes on at once")
        seen = json.loads(await tools.call("goal_get"))
        assert (seen["round"], seen["calls"], seen["cost_usd"]) == (1, [], None)
    await goal.update("delete")
    await goal.result()
    parts = [part.rpartition("-")[0] for part in goal.parts()]
    assert parts.count("progress") == 1
    # Two calls that differ, and one that was repeated.
    assert parts.count("delayed") == 2


async def test_what_a_round_that_is_over_says_changes_nothing(harness: Harness) -> None:
    goal, job_id = await working(harness)
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        built = goal_tools(harness.client, store)
        late = Toolbox(built, caller_of(goal, "job_before"))
        for name, arguments in (
            ("goal_delay", {"duration": "2h", "reason": "x"}),
            ("goal_progress", {"text": "x"}),
            ("goal_complete", {"summary": "x"}),
        ):
            with pytest.raises(ToolFailed, match="job_id"):
                await late.call(name, f"{name}/1", **arguments)
        assert (await goal.view()).goal.next_run_at is None
        await goal.update("delete")
        await goal.result()
        gone = Toolbox(built, caller_of(goal, job_id))
        with pytest.raises(ToolFailed, match="has ended"):
            await gone.call("goal_progress", text="x")
        nobody = Toolbox(built)
        with pytest.raises(ToolFailed, match="no goal"):
            await nobody.call("goal_get")
        nowhere = caller_of(goal, job_id).model_copy(update={"goal_workflow": "goal/user/nobody"})
        with pytest.raises(ToolFailed, match="does not answer"):
            await Toolbox(built, nowhere).call("goal_get")


async def test_they_exist_for_goals_alone(harness: Harness) -> None:
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        registry = ToolRegistry(goal_tools(harness.client, store))
        permissions = Permissions(registry, NoSandbox(), store)
        of_goal = ME.model_copy(update={"goal_workflow": "goal/user/me"})
        for mode in CallMode:
            offered = await permissions.offered(OfferTools(mode=mode, caller=ME))
            assert offered.removed == dict.fromkeys(NAMES, "no_goal")
            offered = await permissions.offered(OfferTools(mode=mode, caller=of_goal))
            assert (offered.names, offered.read_only) == (NAMES, ["goal_get"])
    job = await start_job(harness, calls(("goal_get", "{}")), said("No goal."))
    assert (await job.result()).status == JobStatus.COMPLETED
    bodies = [call.body for call in harness.models.calls if job.mark in str(call.body)]
    assert "it is for the iterations of a goal" in tool_texts(bodies)[0]
