"""Worker and server are killed at each step of a goal: the same round goes on, all is told once.

Goals of one test share a kill, because a lost step is noticed only after half a minute.
"""

import asyncio
import json
import re
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pytest

from activities.store import Ledger
from domain.deliveries import Delivery, DeliveryStatus
from domain.goal import GoalStatus
from domain.goal_messages import GoalView
from domain.goal_record import GoalWaiting
from domain.identifiers import ENTITIES_QUEUE, LLM_QUEUE, RUNS_QUEUE, TOOLS_QUEUE
from domain.jobs import JobStatus, job_workflow_id
from domain.llm_calls import LlmCall, LlmCallStatus
from domain.tool_actions import ActionRecord, ActionStatus
from tests.chaos.stage import durably_staged, ledger, staged
from tests.support.goals import StartedGoal, rests, start_goal, talk
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Hang, Refusal, error_body
from tests.support.processes import frozen
from tests.support.worker_process import WorkerProcess, worker_process

# It fills the processor; two at a time would measure each other.
pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("heavy"), pytest.mark.timeout(400)]

LOOK = calls(("time_now", "{}"))
CLAIM = calls(("goal_complete", json.dumps({"summary": "It is late.", "evidence": ["call_0"]})))
# A round that looks for itself how it goes on, and then says something.
RESTS = ["user", "assistant", "tool", "assistant"]
RESTS_TOLD = ["iteration", "delayed", "progress"]
# What an answer costs; one that was cut off has told nobody.
TOKENS = 18
LATE = timedelta(seconds=12)
SECONDS = 120


async def _rows(goal: StartedGoal) -> list[Delivery]:
    """Its notices in the outbox, as they were told."""

    def read(store: Ledger) -> list[Delivery | None]:
        return [store.outbox.get(key) for key in store.outbox.keys(f"{goal.id}/")]

    async with ledger(goal.harness) as store:
        rows = [row for row in await store.read(read) if row is not None]
    return sorted(rows, key=lambda row: int(row.occurrence_id.rpartition("-")[2]))


async def _told(goal: StartedGoal, *kinds: str) -> None:
    """Wait until these notices are with the channel, and the outbox knows it."""

    async def holds() -> bool:
        rows = await _rows(goal)
        return _kinds(rows) == list(kinds) and {row.status for row in rows} == {DeliveryStatus.SENT}

    try:
        await until(holds, "its notices are told", SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}: {await _rows(goal)}, {await goal.view()!r}") from None


def _kinds(rows: list[Delivery]) -> list[str]:
    return [row.part.rpartition("-")[0] for row in rows]


async def _streams(goal: StartedGoal, request: int = 1) -> None:
    """Wait until so many requests of it have been answered in part."""

    async def begun() -> bool:
        return sum(call.pieces_sent > 0 for call in goal.asked()) >= request

    await until(begun, f"answer {request} of {goal.id} has begun", SECONDS)


async def _rests(goal: StartedGoal, rounds: int) -> GoalView:
    """Wait until it rests after so many rounds."""

    async def holds() -> bool:
        now = (await goal.view()).goal
        return now.iteration == rounds and not now.running and now.next_run_at is not None

    try:
        await until(holds, f"it rests after round {rounds}", SECONDS)
    except AssertionError as error:
        raise AssertionError(f"{error}: {await goal.view()!r}") from None
    return await goal.view()


async def _ends(goal: StartedGoal) -> GoalView:
    async with asyncio.timeout(SECONDS):
        return await goal.result()


async def _delete(*goals: StartedGoal) -> None:
    for goal in goals:
        await goal.update("delete")
        await _ends(goal)


async def _assert_once(
    goal: StartedGoal,
    view: GoalView,
    *,
    told: list[str],
    answers: int,
    thread: list[str],
    jobs: list[JobStatus],
) -> list[LlmCall]:
    """Check that what a goal did happened once.

    Args:
        goal: The goal.
        view: As it stands.
        told: Kinds of its notices, in order.
        answers: How many answers of models it has paid.
        thread: Roles of the messages in its thread, in order.
        jobs: How its rounds ended.

    Returns:
        The rows of its model calls, the lost ones too.
    """
    await _told(goal, *told)
    rows = await _rows(goal)
    assert [row.attempts for row in rows] == [1] * len(rows)
    assert Counter(goal.parts()) == Counter(row.part for row in rows)
    assert goal.parts() == [row.part for row in rows]
    announced = [
        int(number) for text in goal.told() for number in re.findall(r"^Goal, round (\d+):", text)
    ]
    assert announced == list(range(1, view.goal.iteration + 1))
    ended = [row for row in await goal.jobs() if row.finished_at is not None]
    assert [row.status for row in ended] == jobs
    paid = [call for job in ended for call in await _calls(goal, job.id)]
    answered = [call for call in paid if call.status == LlmCallStatus.OK]
    assert len(answered) == answers
    assert view.spent.tokens == answers * TOKENS
    async with ledger(goal.harness) as store:
        messages = await store.threads.messages(view.goal.thread_id or "")
    assert [message.role for message in messages] == thread
    assert len({message.id for message in messages}) == len(messages)
    for workflow_id in (goal.handle.id, *(job_workflow_id(row.id) for row in ended)):
        assert await goal.harness.failed_tasks(workflow_id) == []
    assert not goal.harness.models.problems
    return paid


async def _calls(goal: StartedGoal, job_id: str) -> list[LlmCall]:
    async with ledger(goal.harness) as store:
        return await store.read(lambda rows: rows.calls.with_prefix(f"{job_workflow_id(job_id)}/"))


class Kill:
    """One kill that the stories of several goals share."""

    def __init__(self, stories: int) -> None:
        self._ready = asyncio.Barrier(stories + 1)
        self._dead = asyncio.Event()
        self._over = asyncio.Event()

    async def ready(self) -> None:
        """Wait until all have come to where they are to be killed."""
        await self._ready.wait()

    async def dead(self) -> None:
        """Say that this story has come there, and wait until the workers are dead."""
        await self.ready()
        await self._dead.wait()

    async def over(self) -> None:
        """The same, and wait until there are workers again."""
        await self.dead()
        await self._over.wait()

    async def happens(self, *workers: WorkerProcess) -> None:
        """Kill the workers and start them again."""
        for worker in workers:
            await worker.kill()
        self._dead.set()
        await asyncio.gather(*(worker.start() for worker in workers))
        self._over.set()


async def _under_a_round(harness: Harness, kill: Kill) -> None:
    goal = await start_goal(harness, Hang("So", 1), rests(), said("It builds."))
    await _streams(goal)
    await _told(goal, "iteration")
    await kill.over()
    view = await _rests(goal, 1)
    paid = await _assert_once(
        goal, view, told=RESTS_TOLD, answers=2, thread=RESTS, jobs=[JobStatus.COMPLETED]
    )
    # The call that was lost is in the books although nobody knows what it cost.
    assert [call.status for call in paid].count(LlmCallStatus.STARTED) == 1
    assert [job.recoveries for job in await goal.jobs()] == [1]
    await _delete(goal)


async def _under_a_rest_that_ends(harness: Harness, kill: Kill) -> None:
    """The shortest rest is the one after a failure: 30 s."""
    refused = Refusal(400, error_body("no such thing", type="invalid_request_error"))
    goal = await start_goal(harness, refused, rests(), said("It builds."))
    due = (await _rests(goal, 1)).goal.next_run_at
    assert due is not None
    await _told(goal, "iteration")
    await kill.over()
    view = await _rests(goal, 2)
    await _assert_once(
        goal,
        view,
        told=["iteration", *RESTS_TOLD],
        answers=2,
        # A question that nobody answered is not in the thread.
        thread=RESTS,
        jobs=[JobStatus.FAILED, JobStatus.COMPLETED],
    )
    assert (await goal.jobs())[1].created_at >= due
    await _delete(goal)


async def _under_a_rest_that_a_person_ends(harness: Harness, kill: Kill) -> None:
    steps = (rests(), said("It builds."), rests(), said("It still builds."))
    goal = await start_goal(harness, *steps)
    await _rests(goal, 1)
    await _told(goal, *RESTS_TOLD)
    await kill.over()
    await goal.update("resume")
    view = await _rests(goal, 2)
    await _assert_once(
        goal,
        view,
        told=RESTS_TOLD * 2,
        answers=4,
        thread=RESTS * 2,
        jobs=[JobStatus.COMPLETED] * 2,
    )
    await _delete(goal)


async def _under_the_closing_report(harness: Harness, kill: Kill) -> None:
    steps = (Hang("Half", 1), Hang("All", 1), said("All but one."))
    goal = await start_goal(harness, *steps, deadline=LATE)
    await _streams(goal, 2)
    await _told(goal, "iteration")
    await kill.over()
    view = await _ends(goal)
    assert (view.goal.status, view.goal.iteration) == (GoalStatus.TIMEOUT, 1)
    await _assert_once(
        goal,
        view,
        told=["iteration", "progress", "timeout"],
        answers=1,
        thread=["user", "assistant"],
        jobs=[JobStatus.CANCELLED, JobStatus.COMPLETED],
    )
    assert goal.told()[1] == "All but one."


async def _while_it_holds_a_session(harness: Harness, kill: Kill) -> None:
    spoken = talk(
        harness,
        chat=[said("Hello, Ann."), said("It goes well.")],
        goal=[Hang("So", 1), rests(), said("It builds.")],
    )
    await spoken.chat.settled(await spoken.send("Good morning"), SECONDS)
    goal = await spoken.goal()
    await _streams(goal, 2)
    await _told(goal, "iteration")
    await kill.dead()
    # Nobody is there yet who could interrupt the round.
    answer = await spoken.chat.settled(await spoken.send("How is it?"), SECONDS)
    assert answer.text == "It goes well."
    view = await _rests(goal, 1)
    assert spoken.chat.delivered().count("It goes well.") == 1
    await _assert_once(
        goal,
        view,
        told=RESTS_TOLD,
        answers=2,
        # The user was answered first, then the round began again under its number.
        thread=["user", "assistant", "user", "assistant", *RESTS],
        jobs=[JobStatus.CANCELLED, JobStatus.COMPLETED],
    )
    await _delete(goal)


STORIES = (
    _under_a_round,
    _under_a_rest_that_ends,
    _under_a_rest_that_a_person_ends,
    _under_the_closing_report,
    _while_it_holds_a_session,
)


@dataclass
class GoalCalls:
    """Two goals whose models call a goal tool as soon as they may: one claims, one rests."""

    reached: StartedGoal
    resting: StartedGoal
    gate: threading.Event

    @classmethod
    async def begun(cls, harness: Harness) -> Self:
        """Start them, and wait until their models only wait for the word."""
        gate = threading.Event()
        claims, delays = replace(CLAIM, gate=gate), replace(rests(), gate=gate)
        reached = await start_goal(harness, LOOK, claims, said("That is all."))
        resting = await start_goal(harness, delays, said("It builds."))
        await _streams(reached, 2)
        await _streams(resting)
        return cls(reached, resting, gate)

    @asynccontextmanager
    async def are_made(
        self, tools: WorkerProcess, others: WorkerProcess
    ) -> AsyncGenerator[ExitStack]:
        """Bring the calls to the goals, whose worker cannot answer until the stack is closed."""
        goals = self.reached, self.resting
        views = [await goal.view() for goal in goals]
        with ExitStack() as kept:
            with frozen(tools.pid):
                self.gate.set()
                for goal, view in zip(goals, views, strict=True):
                    assert view.job_id is not None
                    await until(_calls_tool(goal, view.job_id), "the tool is to be called", 60)
                kept.enter_context(frozen(others.pid))
            for goal in goals:
                await until(_is_asked(goal), "the call is with the goal", 60)
            yield kept

    async def assert_answered_once(self) -> None:
        """Check that each call was heard once, and that its model has its answer."""
        view = await _ends(self.reached)
        assert (view.goal.status, view.summary) == (GoalStatus.COMPLETE, "It is late.")
        await _assert_once(
            self.reached,
            view,
            told=["iteration", "complete", "progress"],
            answers=3,
            thread=["user", "assistant", "tool", "assistant", "tool", "assistant"],
            jobs=[JobStatus.COMPLETED],
        )
        assert "The goal is complete" in self.reached.asked()[-1].texts[-1]
        view = await _rests(self.resting, 1)
        assert view.goal.delay_reason == "the build"
        await _assert_once(
            self.resting,
            view,
            told=RESTS_TOLD,
            answers=2,
            thread=RESTS,
            jobs=[JobStatus.COMPLETED],
        )
        assert "The goal goes on at" in self.resting.asked()[-1].texts[-1]
        for goal, tools in (
            (self.reached, ["time_now", "goal_complete"]),
            (self.resting, ["goal_delay"]),
        ):
            actions = await _actions(goal)
            assert [row.tool for row in actions] == tools
            assert {row.status for row in actions} == {ActionStatus.OK}
        await _delete(self.resting)


async def _actions(goal: StartedGoal) -> list[ActionRecord]:
    """Its calls of tools in the ledger, oldest first."""
    async with ledger(goal.harness) as store:
        rows = await store.read(lambda rows: rows.actions.of_goal(goal.id, at_most=10))
    return rows[::-1]


def _calls_tool(goal: StartedGoal, job_id: str) -> Callable[[], Awaitable[bool]]:
    """Whether the job has handed its call to the worker of the tools."""

    async def holds() -> bool:
        pending = (await goal.job(job_id).describe()).raw_description.pending_activities
        return "dispatch_tool" in [item.activity_type.name for item in pending]

    return holds


def _is_asked(goal: StartedGoal) -> Callable[[], Awaitable[bool]]:
    """Whether the goal has something to answer."""

    async def holds() -> bool:
        return (await goal.handle.describe()).raw_description.HasField("pending_workflow_task")

    return holds


async def test_workers_are_killed_under_all_that_a_goal_does(tmp_path: Path) -> None:
    queues = (ENTITIES_QUEUE, RUNS_QUEUE, LLM_QUEUE)
    async with (
        staged(tmp_path, TICKLESS_MAX_PARALLEL_JOBS="20") as (_server, harness),
        worker_process(harness, "tools", [TOOLS_QUEUE]) as tools,
        worker_process(harness, "others", queues) as others,
        asyncio.TaskGroup() as stories,
    ):
        kill = Kill(len(STORIES))
        for story in STORIES:
            stories.create_task(story(harness, kill))
        answered, unheard = await GoalCalls.begun(harness), await GoalCalls.begun(harness)
        await kill.ready()
        # Answered, and whoever called does not hear it any more.
        async with answered.are_made(tools, others) as kept:
            with frozen(tools.pid):
                kept.close()
                await _told(answered.reached, "iteration", "complete")
                await _told(answered.resting, "iteration", "delayed")
                await tools.kill()
        await tools.start()
        # Asked, and nobody has heard it yet.
        async with unheard.are_made(tools, others):
            await kill.happens(tools, others)
        await answered.assert_answered_once()
        await unheard.assert_answered_once()


async def test_the_server_is_killed_and_the_worker_in_a_pause(tmp_path: Path) -> None:
    async with durably_staged(tmp_path) as (server, harness), worker_process(harness) as worker:
        gate = threading.Event()
        late = await start_goal(harness, rests(), said("It builds."), deadline=LATE)
        works = await start_goal(harness, replace(rests(), gate=gate), said("It builds."))
        resumed = await start_goal(
            harness, rests(), said("It builds."), rests(), said("It still builds.")
        )
        harness.scripts.on(late.mark, *harness.scripts.steps[late.mark], said("All but one."))
        await _streams(works)
        await _told(works, "iteration")
        await _rests(resumed, 1)
        await _told(resumed, *RESTS_TOLD)
        await _told(late, *RESTS_TOLD)

        await server.kill()
        deadline = late.created.goal.deadline_at
        assert deadline is not None
        # The deadline is what it waits for.
        await asyncio.sleep(max(0.0, (deadline - datetime.now(UTC)).total_seconds()))
        await server.start()
        gate.set()
        await resumed.update("resume")

        view = await _ends(late)
        assert (view.goal.status, view.goal.iteration) == (GoalStatus.TIMEOUT, 1)
        await _assert_once(
            late,
            view,
            told=[*RESTS_TOLD, "progress", "timeout"],
            answers=3,
            thread=[*RESTS, "user", "assistant"],
            jobs=[JobStatus.COMPLETED] * 2,
        )
        for goal, rounds in ((works, 1), (resumed, 2)):
            view = await _rests(goal, rounds)
            await _assert_once(
                goal,
                view,
                told=RESTS_TOLD * rounds,
                answers=2 * rounds,
                thread=RESTS * rounds,
                jobs=[JobStatus.COMPLETED] * rounds,
            )
        await _delete(works, resumed)

        held = await start_goal(harness, Hang("So", 1), rests(), said("It builds."))
        await _streams(held)
        await _told(held, "iteration")
        await harness.tickless.system.pause_all("the night")
        await worker.kill()
        await worker.start()
        await held.reaches("it parks", SECONDS, waiting_for=GoalWaiting.SYSTEM_PAUSED)
        assert len(held.asked()) == 1, "no model is called during a pause"
        await harness.tickless.system.resume_all()
        view = await _rests(held, 1)
        assert view.goal.waiting_for is None
        await _assert_once(
            held,
            view,
            told=RESTS_TOLD,
            answers=2,
            thread=RESTS,
            jobs=[JobStatus.COMPLETED],
        )
        await _delete(held)
