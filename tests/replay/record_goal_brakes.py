"""Scenarios of goals for the recorded histories: a judge, the brakes, an event, a pause of all.

Owns playing them; `record` owns the files.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable

from activities import search_attributes as attributes
from activities.control import MAX_AGE
from activities.emitting import Emitter
from domain.emissions import EmittedEvent
from domain.goal import GoalStatus
from domain.goal_messages import DelayGoal, WaitGoal
from domain.goal_record import GoalPausedReason, GoalWaiting
from domain.goal_state import GoalLimits
from tests.support.goals import FREE, StartedGoal, start_goal
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Hang, Refusal, Reply, error_body

Save = Callable[[Harness, str, str], Awaitable[None]]

LOOK = calls(("time_now", "{}"))
CLAIM = calls(("goal_complete", json.dumps({"summary": "Done.", "evidence": ["call_0"]})))
NO = Reply(text='{"complete": false, "reason": "Not yet."}')
YES = Reply(text='{"complete": true, "evidence": ["call_0"]}')


async def record_goal_brakes(harness: Harness, prefix: str, save: Save) -> None:
    """Play every scenario and save its histories."""
    await _judged(harness, prefix, save)
    await _braked(harness, prefix, save)
    await _failing(harness, prefix, save)
    await _woken(harness, prefix, save)
    await _parked(harness, prefix, save)


async def _judged(harness: Harness, prefix: str, save: Save) -> None:
    """The judge refuses, says nothing that counts, and agrees."""
    claimed = (CLAIM, said("Claimed."))
    goal = await start_goal(
        harness,
        *(LOOK, said("I looked."), *claimed, NO, *claimed, said("Perhaps."), *claimed, YES),
        limits=FREE,
        judge="second",
    )
    view = await goal.reaches("there is no verdict", status=GoalStatus.PAUSED)
    assert view.goal.paused_reason == GoalPausedReason.JUDGE_ERROR
    await goal.update("resume")
    await goal.result()
    await save(harness, goal.handle.id, f"{prefix}-goal-judged")


async def _braked(harness: Harness, prefix: str, save: Save) -> None:
    """It spins, is resumed, and makes no progress."""
    limits = GoalLimits(fast_loop_limit=3, no_progress_limit=2)
    goal = await start_goal(
        harness, *(said(f"Step {n}.") for n in range(3)), said("Hm."), limits=limits
    )
    view = await goal.reaches("it spins", status=GoalStatus.PAUSED)
    assert view.goal.paused_reason == GoalPausedReason.FAST_LOOP
    await goal.update("resume")
    view = await goal.reaches("it makes no progress", status=GoalStatus.PAUSED, iteration=5)
    assert view.goal.paused_reason == GoalPausedReason.NO_PROGRESS
    await _completed(harness, goal, f"{prefix}-goal-braked", save)


async def _failing(harness: Harness, prefix: str, save: Save) -> None:
    """It fails three times; nobody waits for the second and the third."""
    refused = Refusal(400, error_body("no such thing", type="invalid_request_error"))
    goal = await start_goal(harness, refused)
    for number in (1, 2):
        await goal.reaches("it fails", iteration=number, running=False)
        await goal.update("delay", DelayGoal(duration="0s", reason="now"))
    await goal.reaches("it gives up", status=GoalStatus.PAUSED)
    await _completed(harness, goal, f"{prefix}-goal-failing", save)


async def _woken(harness: Harness, prefix: str, save: Save) -> None:
    """It waits for an event, which comes."""
    wait = {"duration": "12h", "reason": "the build", "event": "ci:build.*"}
    goal = await start_goal(
        harness, calls(("goal_delay", json.dumps(wait))), said("I wait."), Hang("begun", 1)
    )
    await goal.reaches("it waits", waiting_for=GoalWaiting.EVENT, running=False)
    query = (
        f"WorkflowId = '{attributes.quoted(goal.handle.id)}' AND "
        f"{attributes.TRIGGER.name} = 'ci:build.*'"
    )

    async def listed() -> bool:
        return (await harness.client.count_workflows(query)).count == 1

    await until(listed, "it is listed")
    event = EmittedEvent(id="e-1", source="ci", event_type="build.done")
    await Emitter(harness.client).emit(event, None)
    await goal.reaches("it woke", iteration=2)
    # What it waits for next never comes.
    await goal.update("wait", WaitGoal(event="ci:deploy", duration="1h", reason="the rest"))
    await goal.update("delete")
    await goal.result()
    await save(harness, goal.handle.id, f"{prefix}-goal-woken")


async def _parked(harness: Harness, prefix: str, save: Save) -> None:
    """Everything is paused before its first round; it goes on afterwards."""
    await harness.tickless.system.pause_all("for the record")
    # The workers know of it by then.
    await asyncio.sleep(MAX_AGE.total_seconds() + 0.1)
    goal = await start_goal(harness, said("Round one."), Hang("begun", 1))
    try:
        await goal.reaches("it parks", waiting_for=GoalWaiting.SYSTEM_PAUSED)
    finally:
        await harness.tickless.system.resume_all()
    await goal.reaches("it goes on", iteration=2)
    await goal.update("cancel_iteration")
    await _completed(harness, goal, f"{prefix}-goal-parked", save)


async def _completed(harness: Harness, goal: StartedGoal, name: str, save: Save) -> None:
    await goal.update("pause")
    await goal.update("complete")
    await goal.result()
    await save(harness, goal.handle.id, name)
