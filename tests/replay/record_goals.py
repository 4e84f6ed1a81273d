"""Scenarios of goals for the recorded histories: by itself, and in a conversation.

Owns playing them; `record` owns the files.
"""

import json
import threading
from collections.abc import Awaitable, Callable

from domain.goal import GoalStatus
from domain.goal_messages import DelayGoal, ExtendGoal, GoalStart, PauseGoal
from domain.goal_record import GoalWaiting
from domain.job_messages import DecideApproval
from domain.jobs import JobStatus, job_workflow_id
from tests.support.goals import StartedGoal, hand_in, rests, start_goal, talk
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said, start_job
from tests.support.model_steps import Hang, Reply
from workflows.job import Job

Save = Callable[[Harness, str, str], Awaitable[None]]

LOOK = calls(("time_now", "{}"))
WRITE = calls(("file_write", json.dumps({"path": "a.txt", "content": "x"})))
CLAIM = calls(("goal_complete", json.dumps({"summary": "Late.", "evidence": ["call_0"]})))


async def record_goals(harness: Harness, prefix: str, save: Save) -> None:
    """Play every scenario and save its histories."""
    await _proven(harness, prefix, save)
    await _told_what_to_do(harness, prefix, save)
    await _in_a_conversation(harness, prefix, save)
    await _held_up(harness, prefix, save)


async def _proven(harness: Harness, prefix: str, save: Save) -> None:
    goal = await start_goal(
        harness, LOOK, rests("0s"), said("I looked."), CLAIM, said("That is all.")
    )
    await goal.result()
    await save(harness, goal.handle.id, f"{prefix}-goal-proven")


async def _told_what_to_do(harness: Harness, prefix: str, save: Save) -> None:
    """A rest, a cancelled iteration, a pause, the deadline with its report, and a reopening."""
    goal = await start_goal(harness, said("One."), *[Hang("begun", 1)] * 3, said("The report."))
    await _asked(goal, 2)
    await goal.update("cancel_iteration")
    await _asked(goal, 3)
    await goal.update("delay", DelayGoal(duration="1h", reason="the build"))
    await goal.update("pause", PauseGoal(now=True))
    await goal.reaches("it pauses", running=False)
    await goal.update("resume")
    await _asked(goal, 4)
    await goal.update("extend", ExtendGoal(deadline_in="1s"))
    ended = await goal.result()
    await save(harness, goal.handle.id, f"{prefix}-goal-timed-out")
    await hand_in(
        harness, "extend", ExtendGoal(deadline_in="1h"), GoalStart(view=ended), goal.handle.id
    )
    await goal.update("delete")
    await goal.result()
    await save(harness, goal.handle.id, f"{prefix}-goal-reopened-and-deleted")


async def _in_a_conversation(harness: Harness, prefix: str, save: Save) -> None:
    """Waits for the conversation, lets users speak at any time, asks a person, and is stopped."""
    spoken = talk(
        harness,
        chat=[said("Hello."), said("It goes well."), said("It waits for you.")],
        goal=[Hang("begun", 1), WRITE, said("Written."), Hang("begun", 1)],
    )
    goal = await spoken.goal()
    await spoken.chat.settled(await spoken.send("Good morning"))
    await harness.models.wait_for(lambda: len(spoken.prompts_of_goal()) == 1)
    await spoken.chat.settled(await spoken.send("How is it?"))
    view = await goal.reaches("it asks a person", waiting_for=GoalWaiting.APPROVAL)
    await spoken.chat.settled(await spoken.send("What is up?"))
    job = goal.job(view.job_id or "")
    (approval,) = (await job.query(Job.view)).approvals
    decision = DecideApproval(approval_id=approval.id, decision="approve")
    await job.execute_update(Job.decide_approval, decision)
    await harness.models.wait_for(lambda: len(spoken.prompts_of_goal()) == 4)
    await spoken.chat.handle.execute_update("stop")
    await goal.reaches("it stops", status=GoalStatus.PAUSED, running=False)
    await goal.update("complete")
    await goal.result()
    await save(harness, goal.handle.id, f"{prefix}-goal-in-a-conversation")
    await save(harness, job_workflow_id(view.job_id or ""), f"{prefix}-job-of-a-goal")
    await save(harness, spoken.chat.handle.id, f"{prefix}-session-with-a-goal")


async def _held_up(harness: Harness, prefix: str, save: Save) -> None:
    """Its round's job waits for a slot, and is paused by a person."""
    gate = threading.Event()
    others = [
        await start_job(harness, Reply(text="Done.", gate=gate))
        for _ in range(harness.settings.max_parallel_jobs)
    ]
    for job in others:
        await job.reaches(JobStatus.RUNNING)
    looks = Reply(
        text="",
        chunks=0,
        finish_reason="tool_calls",
        tool_calls=LOOK.tool_calls,
        gate=(looked := threading.Event()),
    )
    spoken = talk(
        harness,
        chat=[said("Hello."), said("It waits for a slot.")],
        goal=[looks, said("I looked."), Hang("begun", 1)],
    )
    await spoken.chat.settled(await spoken.send("Good morning"))
    goal = await spoken.goal()
    await _stands(goal, "round 1 is at work: its job waits for a slot")
    await spoken.chat.settled(await spoken.send("How is it?"))
    gate.set()
    await harness.models.wait_for(lambda: len(spoken.prompts_of_goal()) == 1)
    job_id = (await goal.view()).job_id or ""
    await goal.job(job_id).execute_update(Job.pause_update)
    looked.set()
    await _stands(goal, "round 1 is at work: its job is paused")
    await goal.job(job_id).execute_update(Job.resume_update)
    await harness.models.wait_for(lambda: len(spoken.prompts_of_goal()) == 3)
    await goal.update("delete")
    await goal.result()
    await save(harness, goal.handle.id, f"{prefix}-goal-held-up")
    await save(harness, job_workflow_id(job_id), f"{prefix}-job-of-a-goal-held-up")


async def _stands(goal: StartedGoal, stage: str) -> None:
    async def holds() -> bool:
        return (await goal.view()).stage == stage

    await until(holds, stage)


async def _asked(goal: StartedGoal, times: int) -> None:
    await goal.harness.models.wait_for(lambda: len(goal.asked()) >= times)
