"""A goal that is worked on in a conversation: its thread, its gate, and users who speak."""

import asyncio
import json
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from domain.approvals import ApprovalStatus
from domain.call_prompts import GO_ON
from domain.goal import GoalStatus
from domain.goal_messages import PauseGoal
from domain.goal_record import GoalPausedReason, GoalWaiting
from domain.history import NOT_DECIDED
from domain.job_messages import DecideApproval
from domain.jobs import JobStatus
from domain.lease_queue_state import LeaseKind
from domain.session_messages import StopSession
from domain.turns import TurnStatus
from tests.support.goals import StartedGoal, Talk, start_goal, talk
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said, start_job
from tests.support.model_steps import Body, Hang, Reply
from workflows.job import Job

LOOK = calls(("time_now", "{}"))
WRITE = calls(("file_write", json.dumps({"path": "a.txt", "content": "x"})))


async def asked(goal: StartedGoal, spoken: Talk, times: int) -> None:
    await goal.harness.models.wait_for(lambda: len(spoken.prompts_of_goal()) >= times)


async def test_a_goal_waits_for_the_conversation_to_have_a_thread(harness: Harness) -> None:
    spoken = talk(harness, chat=[said("Hello, Ann.")], goal=[Hang("begun", 1)])
    goal = await spoken.goal()
    assert goal.created.goal.status == GoalStatus.WAITING_FOR_SESSION
    assert goal.created.goal.thread_id is None
    await goal.handle.signal("thread_ready", {"thread_id": "t", "session_key": "another"})
    assert (await goal.view()).goal.status == GoalStatus.WAITING_FOR_SESSION
    await spoken.chat.settled(await spoken.send("Good morning"))
    view = await goal.reaches("it has a thread", status=GoalStatus.ACTIVE)
    assert view.goal.thread_id == (await spoken.chat.view()).thread_id
    await asked(goal, spoken, 1)
    texts = [str(message["content"]) for message in spoken.prompts_of_goal()[0]["messages"]]
    assert any("Good morning" in text for text in texts)
    assert any("Hello, Ann." in text for text in texts)
    assert goal.mark in texts[-1]
    await goal.update("delete")
    await goal.result()


async def test_a_users_turn_interrupts_and_the_same_round_goes_on(harness: Harness) -> None:
    spoken = talk(
        harness,
        chat=[said("Hello."), said("It goes well.")],
        goal=[Hang("begun", 1), said("Round one."), Hang("begun", 1)],
    )
    await spoken.chat.settled(await spoken.send("Good morning"))
    goal = await spoken.goal()
    # The thread is there: no wait.
    assert goal.created.goal.status == GoalStatus.ACTIVE
    await asked(goal, spoken, 1)
    answer = await spoken.chat.settled(await spoken.send("How is it?"))
    assert (answer.status, answer.text) == (TurnStatus.ANSWERED, "It goes well.")
    await asked(goal, spoken, 3)
    view = await goal.view()
    assert (view.goal.iteration, view.goal.status) == (2, GoalStatus.ACTIVE)
    assert view.goal.thread_id == goal.created.goal.thread_id
    first, again, _ = await goal.jobs()
    assert (first.status, again.status) == (JobStatus.CANCELLED, JobStatus.COMPLETED)
    # The round that was begun again knows what was said meanwhile, and is announced once.
    texts = [str(message["content"]) for message in spoken.prompts_of_goal()[1]["messages"]]
    assert any("How is it?" in text for text in texts)
    assert sum("Rules of a round" in text for text in texts) == 1
    assert [part for part in goal.parts() if part.startswith("iteration")] == [
        "iteration-1",
        "iteration-3",
    ]
    await goal.update("delete")
    await goal.result()


async def test_a_stop_command_pauses_it(harness: Harness) -> None:
    spoken = talk(harness, chat=[said("Hello.")], goal=[Hang("begun", 1)])
    await spoken.chat.settled(await spoken.send("Good morning"))
    goal = await spoken.goal()
    await asked(goal, spoken, 1)
    stopped = await spoken.chat.handle.execute_update("stop", StopSession(reason="enough"))
    assert stopped["owner"] == goal.handle.id
    view = await goal.reaches("it stops", status=GoalStatus.PAUSED, running=False)
    assert view.goal.paused_reason == GoalPausedReason.STOPPED_BY_USER
    assert (await goal.jobs())[0].status == JobStatus.CANCELLED
    assert (await spoken.chat.view()).holder is None
    await goal.update("complete")
    await goal.result()


async def test_users_speak_while_an_approval_is_waited_for(harness: Harness) -> None:
    gate = threading.Event()
    spoken = talk(
        harness,
        chat=[said("Hello."), said("It waits for you."), Reply(text="A while.", gate=gate)],
        goal=[WRITE, said("Written."), Hang("begun", 1)],
    )
    await spoken.chat.settled(await spoken.send("Good morning"))
    goal = await spoken.goal()
    view = await goal.reaches("it waits for a person", waiting_for=GoalWaiting.APPROVAL)
    assert view.goal.running
    await until(lambda: _nobody_holds(spoken), "the conversation is free")
    answer = await spoken.chat.settled(await spoken.send("What is up?"))
    assert answer.text == "It waits for you."
    assert (await goal.view()).goal.waiting_for == GoalWaiting.APPROVAL
    # What the model is sent is a valid conversation although a call is open.
    body = spoken.chat.asked()[-1].body
    _check_calls(body)
    assert [m["content"] for m in body["messages"] if m["role"] == "tool"] == [NOT_DECIDED]
    third = await spoken.send("And now?")
    await spoken.chat.harness.models.wait_for(lambda: "And now?" in spoken.chat.prompts()[-1])
    assert view.job_id is not None
    job = goal.job(view.job_id)
    (approval,) = (await job.query(Job.view)).approvals
    decision = DecideApproval(approval_id=approval.id, decision="approve", decided_by="ann")
    await job.execute_update(Job.decide_approval, decision)
    # Decided, but a user speaks: the job does not go on before it is the goal's turn.
    await until(lambda: _waits_for_its_turn(spoken, goal), "the goal wants the conversation")
    assert len(spoken.prompts_of_goal()) == 1
    gate.set()
    await spoken.chat.settled(third)
    await asked(goal, spoken, 3)
    (first, *_) = await goal.jobs()
    assert (first.status, first.result) == (JobStatus.COMPLETED, "Written.")
    body = spoken.prompts_of_goal()[1]
    _check_calls(body)
    assert body["messages"][-1]["content"] == GO_ON
    assert (await goal.view()).goal.iteration == 2
    shown = await harness.tickless.approvals.list()
    assert approval.id not in {one.id for one in shown.approvals if one.status == "pending"}
    assert approval.status == ApprovalStatus.PENDING
    await goal.update("pause", PauseGoal(now=True))
    await goal.update("delete")
    await goal.result()


def _check_calls(body: Body) -> None:
    """Every call has its result right after it, and nothing else is a result."""
    messages = body["messages"]
    for place, message in enumerate(messages):
        wanted = [call["id"] for call in message.get("tool_calls") or ()]
        found = [item["tool_call_id"] for item in messages[place + 1 : place + 1 + len(wanted)]]
        assert found == wanted
    results = sum(message["role"] == "tool" for message in messages)
    assert results == sum(len(message.get("tool_calls") or ()) for message in messages) > 0
    assert messages[-1]["role"] in {"user", "tool"}


async def _nobody_holds(spoken: Talk) -> bool:
    return (await spoken.chat.view()).holder is None


async def _waits_for_its_turn(spoken: Talk, goal: StartedGoal) -> bool:
    queue = await spoken.chat.queue()
    return [one.owner for one in queue.waiting] == [goal.handle.id] and all(
        one.kind == LeaseKind.AUTOMATION for one in queue.waiting
    )


async def _settles(spoken: Talk, text: str) -> str | None:
    return (await spoken.chat.settled(await spoken.send(text))).text


async def test_users_speak_while_the_rounds_job_is_paused(harness: Harness) -> None:
    gate = threading.Event()
    first = Reply(
        text="", chunks=0, finish_reason="tool_calls", tool_calls=LOOK.tool_calls, gate=gate
    )
    spoken = talk(
        harness,
        chat=[said("Hello."), said("It is paused.")],
        goal=[first, said("Looked."), Hang("begun", 1)],
    )
    await spoken.chat.settled(await spoken.send("Good morning"))
    goal = await spoken.goal()
    await asked(goal, spoken, 1)
    job = goal.job((await goal.view()).job_id or "")
    await job.execute_update(Job.pause_update)
    gate.set()
    await until(lambda: _nobody_holds(spoken), "the conversation is free")
    view = await goal.view()
    assert (view.goal.status, view.goal.running) == (GoalStatus.ACTIVE, True)
    assert view.stage == "round 1 is at work: its job is paused"
    assert await _settles(spoken, "What is up?") == "It is paused."

    await job.execute_update(Job.resume_update)
    await asked(goal, spoken, 3)
    assert (await goal.jobs())[0].result == "Looked."
    assert (await goal.view()).stage == "round 2 is at work"
    await goal.update("delete")
    await goal.result()


async def test_a_goal_that_is_complete_waits_for_no_paused_job(harness: Harness) -> None:
    gate = threading.Event()
    first = Reply(
        text="", chunks=0, finish_reason="tool_calls", tool_calls=LOOK.tool_calls, gate=gate
    )
    goal = await start_goal(harness, first, said("Looked."))
    await harness.models.wait_for(lambda: len(goal.asked()) == 1)
    await goal.job((await goal.view()).job_id or "").execute_update(Job.pause_update)
    gate.set()

    async def waits() -> bool:
        return (await goal.view()).stage == "round 1 is at work: its job is paused"

    await until(waits, "it waits for a person")
    await goal.update("complete")
    assert (await goal.result()).goal.status == GoalStatus.COMPLETE
    assert (await goal.jobs())[0].status == JobStatus.CANCELLED


async def test_users_speak_while_the_round_waits_for_a_slot(harness: Harness) -> None:
    spoken = talk(
        harness,
        chat=[said("Hello."), said("Others are first.")],
        goal=[said("My turn."), Hang("begun", 1)],
    )
    await spoken.chat.settled(await spoken.send("Good morning"))
    async with _all_slots_taken(harness):
        goal = await spoken.goal()

        async def waits() -> bool:
            return (await goal.view()).stage == "round 1 is at work: its job waits for a slot"

        await until(waits, "it waits for a slot")
        await until(lambda: _nobody_holds(spoken), "the conversation is free")
        assert await _settles(spoken, "What is up?") == "Others are first."
        assert spoken.prompts_of_goal() == []
    await asked(goal, spoken, 2)
    (first, *_) = await goal.jobs()
    # It is the same round, with the same job: nothing was interrupted.
    assert (first.result, (await goal.view()).goal.iteration) == ("My turn.", 2)
    await goal.update("delete")
    await goal.result()


async def test_the_closing_report_needs_no_slot(harness: Harness) -> None:
    async with _all_slots_taken(harness):
        goal = await start_goal(harness, said("All but one."), deadline=timedelta(seconds=1))
        ended = await goal.result()
    assert (ended.goal.status, ended.goal.iteration) == (GoalStatus.TIMEOUT, 1)
    cut, report = await goal.jobs()
    assert (cut.status, report.result) == (JobStatus.CANCELLED, "All but one.")


@asynccontextmanager
async def _all_slots_taken(harness: Harness) -> AsyncGenerator[None]:
    """Jobs of others have every slot."""
    gate = threading.Event()
    try:
        busy = [
            await start_job(harness, Reply(text="Done.", gate=gate))
            for _ in range(harness.settings.max_parallel_jobs)
        ]
        for job in busy:
            await job.reaches(JobStatus.RUNNING)
        yield
    finally:
        gate.set()
    await asyncio.gather(*(job.result() for job in busy))
