"""Goals that wait for an event: who wakes them, who does not, and what it costs nobody."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from temporalio.client import (
    Client,
    Interceptor,
    ListWorkflowsInput,
    OutboundInterceptor,
    WorkflowExecutionAsyncIterator,
    WorkflowHandle,
)

from activities import search_attributes as attributes
from activities.candidates import MAX_AGE
from activities.emitting import Emitter
from activities.waiting_goals import WaitingGoals
from client.context import CallerContext
from client.goal_places import GoalPlace, goal_place
from client.tickless import TicklessClient
from domain.emissions import EmittedEvent
from domain.goal_messages import THREAD_READY, ThreadReady
from domain.goal_record import GoalWaiting
from domain.job_state import JobState
from domain.jobs import job_workflow_id
from domain.session_requests import session_thread_id
from domain.trigger_matching import HOP_LIMIT
from tests.support.goal_setters import GoalSetter
from tests.support.harness import Harness, until
from tests.support.model_steps import Hang, Reply


@dataclass
class Waiter:
    """A goal that waits for an event, in a scope of its own."""

    setter: GoalSetter
    place: GoalPlace

    @property
    def handle(self) -> WorkflowHandle[Any, Any]:
        """Its workflow."""
        return self.setter.harness.client.get_workflow_handle(self.place.workflow_id)

    async def is_waiting(self) -> bool:
        """Whether it still waits: signals before this question have been heard."""
        return (await self.setter.goals.get()).waiting_for == GoalWaiting.EVENT

    async def wakes(self) -> None:
        """Wait until a round has begun."""
        goal = await self.setter.reaches(lambda goal: goal.iteration == 1, "it woke")
        assert goal.waiting_for is None
        assert goal.delay_reason is None

    async def waits_again(self, event: str) -> None:
        """Let the round go, and wait for something else."""
        await self.setter.goals.wait(event, "12h", "the next one")
        await self.setter.goals.cancel()
        await self.setter.reaches(lambda goal: not goal.running, "the round is over")
        await self.is_listed(event)

    async def is_removed(self) -> None:
        """Remove the goal, and wait until nothing of it goes on."""
        await self.setter.goals.delete()
        await self.handle.result()

    async def is_listed(self, event: str) -> None:
        """Wait until visibility shows what it waits for."""
        named = attributes.quoted(self.place.workflow_id)
        query = (
            f"WorkflowId = '{named}' AND ExecutionStatus = 'Running' AND "
            f"{attributes.TRIGGER.name} = '{event}'"
        )

        async def listed() -> bool:
            return (await self.setter.harness.client.count_workflows(query)).count == 1

        await until(listed, f"it is listed as waiting for {event}")


async def waiter(harness: Harness, event: str) -> Waiter:
    """A goal that rests until an event comes; a round of it never ends by itself."""
    name = harness.name()
    context = CallerContext(actor_user_id=name, receive_id_type="file", session_key=f"file:{name}")
    setter = GoalSetter(harness, name, TicklessClient(harness.client, context))
    setter.works(Hang("begun", 1))
    place = goal_place(context)
    made = Waiter(setter, place)
    await setter.goals.create(setter.objective)
    await setter.goals.wait(event, "12h", "what has to happen first")
    thread = session_thread_id(place.work_scope, place.session_key)
    ready = ThreadReady(thread_id=thread, session_key=place.session_key)
    await made.handle.signal(THREAD_READY, ready)
    await made.is_listed(event)
    return made


def event(kind: str, **fields: Any) -> EmittedEvent:
    """An event of the source `ci`."""
    known: dict[str, Any] = {"id": f"e-{kind}", "source": "ci", "event_type": kind}
    return EmittedEvent(**known | fields)


async def test_the_event_wakes_the_goal_of_its_scope_and_nothing_else_does(
    harness: Harness,
) -> None:
    first, other = await asyncio.gather(*(waiter(harness, "ci:build.*") for _ in range(2)))
    emit = TicklessClient(
        harness.client, CallerContext(actor_user_id=first.setter.name, receive_id_type="file")
    ).events.emit

    for source, kind in (("ci", "deploy.done"), ("github", "build.done"), ("ci", "build.")):
        answer = await emit(source, kind)
        assert answer.matched == 0
        assert await first.is_waiting()
    await emit("ci", "build.done", {"branch": "main"})

    await first.wakes()
    assert await other.is_waiting()
    await emit("ci", "build.done", scope="all")
    await other.wakes()
    await asyncio.gather(first.is_removed(), other.is_removed())


async def test_a_goal_that_goes_on_is_not_in_the_list_any_more(harness: Harness) -> None:
    goal = await waiter(harness, "ci:build.done")
    emitter = Emitter(harness.client)
    await emitter.tell([event("build.done")], goal.place.work_scope.text)
    await goal.wakes()
    found = (await goal.handle.describe()).typed_search_attributes
    assert found.get(attributes.TRIGGER) is None
    # A late one changes nothing.
    await emitter.tell([event("build.done")], goal.place.work_scope.text)
    assert (await goal.setter.goals.get()).iteration == 1
    await goal.waits_again("ci:deploy.done")
    await emitter.tell([event("build.done")], goal.place.work_scope.text)
    assert await goal.is_waiting()
    await goal.is_removed()


async def test_a_goal_never_hears_of_itself_but_of_other_goals(harness: Harness) -> None:
    goal = await waiter(harness, "tickless:goal.*")
    mine = (await goal.setter.goals.get()).id
    tell = Emitter(harness.client).tell

    def about(goal_id: object) -> EmittedEvent:
        payload = {"goal_id": goal_id, "title": "x"}
        return event("goal.paused", source="tickless", payload=payload)

    await tell([about(mine)], goal.place.work_scope.text)
    assert await goal.is_waiting()
    await tell([about("goal_other")], goal.place.work_scope.text)
    await goal.wakes()
    await goal.is_removed()


async def test_a_foreign_event_may_name_a_goal_as_it_likes(harness: Harness) -> None:
    goal = await waiter(harness, "ci:build.done")
    mine = (await goal.setter.goals.get()).id
    told = event("build.done", payload={"goal_id": mine})
    await Emitter(harness.client).tell([told], goal.place.work_scope.text)
    await goal.wakes()
    await goal.is_removed()


async def test_a_round_goes_on_with_the_chain_of_the_event_that_woke_the_goal(
    harness: Harness,
) -> None:
    goal = await waiter(harness, "ci:build.done")
    await Emitter(harness.client).tell([event("build.done", hop=3)], goal.place.work_scope.text)
    await harness.models.wait_for(lambda: goal.setter.name in str(harness.models.calls))
    job = (await goal.setter.goals.get()).job_id
    assert job is not None
    history = await harness.client.get_workflow_handle(job_workflow_id(job)).fetch_history()
    begun = history.events[0].workflow_execution_started_event_attributes
    state = JobState.model_validate_json(begun.input.payloads[0].data)
    assert state.start.hop == 3
    await goal.is_removed()


@pytest.mark.parametrize(("hop", "wakes"), [(HOP_LIMIT + 1, False), (HOP_LIMIT, True)])
async def test_an_event_beyond_the_hop_limit_wakes_nobody(
    harness: Harness, hop: int, wakes: bool
) -> None:
    goal = await waiter(harness, "ci:build.done")
    await Emitter(harness.client).tell([event("build.done", hop=hop)], goal.place.work_scope.text)
    if wakes:
        await goal.wakes()
    else:
        assert await goal.is_waiting()
    await goal.is_removed()


async def test_the_end_of_a_run_wakes_a_goal(harness: Harness) -> None:
    goal = await waiter(harness, "tickless:run.completed")
    # The workers have heard of it by then: the promise itself, no condition shows it.
    await asyncio.sleep(MAX_AGE.total_seconds())
    routine = harness.name()
    harness.scripts.on(routine, Reply("Done."))
    body = {"prompt": f"Do {routine}.", "trigger": {"type": "manual"}}
    context = CallerContext(actor_user_id=goal.setter.name, receive_id_type="file")
    theirs = TicklessClient(harness.client, context)
    await theirs.routines.create(body, name=routine)
    started = await theirs.runs.trigger(routine)
    await theirs.runs.wait(started.run_id)
    await goal.wakes()
    await goal.is_removed()


async def test_a_goal_that_has_ended_is_no_hindrance(harness: Harness) -> None:
    gone, there = await asyncio.gather(*(waiter(harness, "ci:build.done") for _ in range(2)))
    emitter = Emitter(harness.client)
    # The list is read while both wait.
    await emitter.emit(event("other"), None)
    await gone.is_removed()
    await emitter.emit(event("build.done"), None)
    await there.wakes()
    await there.is_removed()


class _Lists(Interceptor):
    """Counts lists of workflows."""

    def __init__(self) -> None:
        self.count = 0

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Counting(next, self)


class _Counting(OutboundInterceptor):
    def __init__(self, next: OutboundInterceptor, lists: _Lists) -> None:
        super().__init__(next)
        self._lists = lists

    def list_workflows(self, input: ListWorkflowsInput) -> WorkflowExecutionAsyncIterator:
        self._lists.count += 1
        return super().list_workflows(input)


async def test_many_events_cost_one_list(harness: Harness) -> None:
    lists = _Lists()
    config = harness.client.config()
    config["interceptors"] = [*config["interceptors"], lists]
    goals = WaitingGoals(Client(**config))
    assert lists.count == 0
    await asyncio.gather(*(goals.wake([event(f"e{n}")], "user:nobody") for n in range(200)))
    assert lists.count == 1
