"""The list of listening routines: short ones are fresh, long ones wait for nobody, faults are told.

Listeners here are workflows that nobody works on: visibility shows them like any routine.
"""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import ListWorkflowExecutionsRequest
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

import activities.candidates
import activities.changed_routines
from activities import search_attributes as attributes
from activities.candidates import Candidates
from activities.changed_routines import OVERLAP, ChangeMark
from activities.emitting import Emitter
from client.context import CallerContext
from client.tickless import TicklessClient
from domain.emissions import EmittedEvent
from domain.identifiers import routine_workflow_id
from domain.listeners import MEMO_KEY, trigger_memo
from domain.trigger_models import EventTrigger, TriggerType
from tests.support.harness import Harness, until
from tests.support.ledger_rows import NOON


async def listen(harness: Harness, scope: str, pattern: str) -> str:
    """Start what visibility shows of a routine that listens; returns its id."""
    name = harness.name()
    trigger = EventTrigger(pattern=pattern)
    await harness.client.start_workflow(
        "Routine",
        id=routine_workflow_id(name),
        task_queue="nobody",
        memo={MEMO_KEY: trigger_memo(trigger)},
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(attributes.KIND, "routine"),
                SearchAttributePair(attributes.SCOPE, scope),
                SearchAttributePair(attributes.STATUS, "active"),
                SearchAttributePair(attributes.TRIGGER, trigger.type),
            ]
        ),
    )
    return name


async def names(candidates: Candidates, scope: str) -> set[str]:
    return {item.routine_id for item in await candidates.current(TriggerType.EVENT, scope)}


async def leave(harness: Harness, name: str) -> None:
    await harness.client.get_workflow_handle(routine_workflow_id(name)).terminate()


async def test_who_comes_and_goes(harness: Harness) -> None:
    scope = f"user:{harness.name()}"
    candidates = Candidates(harness.client)
    assert await names(candidates, scope) == set()
    first, second = await listen(harness, scope, "a"), await listen(harness, scope, "b")

    async def both() -> bool:
        return await names(candidates, scope) == {first, second}

    await until(both, "two listen", seconds=3)
    await leave(harness, first)

    async def one() -> bool:
        return await names(candidates, scope) == {second}

    await until(one, "one listens", seconds=3)


async def test_a_long_list_shows_changes_at_once(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if reading it took long: nobody waits for the whole list, only for what has changed."""
    owner = f"user:{harness.name()}"
    context = CallerContext(actor_user_id=owner.removeprefix("user:"), receive_id_type="file")
    routines = TicklessClient(harness.client, context).routines
    monkeypatch.setattr(activities.candidates, "SLOW", timedelta(0))
    monkeypatch.setattr(activities.candidates, "PAUSE", timedelta(seconds=60))
    monkeypatch.setattr(activities.candidates, "MAX_AGE_OF_LONG", timedelta(seconds=60))
    candidates = Candidates(harness.client)
    stays = harness.name()
    body = {"prompt": "Do it.", "trigger": {"type": "event", "pattern": "a"}}
    await routines.create(body, name=stays)

    async def patterns() -> dict[str, str]:
        index = await candidates.current(TriggerType.EVENT, owner)
        return {item.routine_id: item.trigger.pattern for item in index}  # type: ignore[union-attr]

    async def shows(wanted: dict[str, str], what: str) -> None:
        async def holds() -> bool:
            return await patterns() == wanted

        await until(holds, what, seconds=4)

    await shows({stays: "a"}, "it is listed")
    changes = harness.name()
    await routines.create(body, name=changes)
    await shows({stays: "a", changes: "a"}, "a new one")
    await routines.patch(changes, {"trigger": {"type": "event", "pattern": "b"}})
    await shows({stays: "a", changes: "b"}, "another pattern")
    await routines.pause(changes)
    await shows({stays: "a"}, "a paused one is gone")
    await routines.resume(changes)
    await shows({stays: "a", changes: "b"}, "a resumed one is back")
    await routines.patch(changes, {"trigger": {"type": "manual"}})
    await shows({stays: "a"}, "another type")
    await routines.delete(stays, purge=True)
    await shows({}, "a purged one is gone")


def test_a_mark_looks_back_a_little_until_nothing_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    mark = ChangeMark()
    mark.saw(NOON)
    mark.saw(NOON - timedelta(seconds=1))
    assert mark.since == NOON - OVERLAP
    monkeypatch.setattr(activities.changed_routines, "SETTLED", timedelta(seconds=-1))
    assert mark.since == NOON + timedelta(microseconds=1)


async def test_a_trigger_that_cannot_be_read_is_left_out(harness: Harness) -> None:
    """Its routine does not answer; the others are listed all the same."""
    scope = f"user:{harness.name()}"
    await listen(harness, scope, "x" * 400)
    second = await listen(harness, scope, "b")
    candidates = Candidates(harness.client)

    async def is_there() -> bool:
        return await names(candidates, scope) == {second}

    await until(is_there, "the other one is listed")


async def test_without_lists_of_workflows(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks is told; runs go on by the list they had."""
    monkeypatch.setattr(activities.candidates, "_query", lambda *_: "no query")
    emitter = Emitter(harness.client)
    event = EmittedEvent(id="1", source="s", event_type="x")
    with pytest.raises(RPCError):
        await emitter.emit(event, "user:me")
    emitter.prepare()
    await emitter.tell([event], "user:me")
    await emitter.tell([], "user:me")


@pytest.mark.parametrize(("faults", "calls"), [(1, 2), (2, 2)])
async def test_a_call_that_the_server_gave_up_is_made_once_more(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, faults: int, calls: int
) -> None:
    service = harness.client.workflow_service
    ask, scope, made = service.list_workflow_executions, f"user:{harness.name()}", 0

    async def sometimes(request: ListWorkflowExecutionsRequest, **more: Any) -> Any:
        nonlocal made
        made += scope in request.query
        if scope in request.query and made <= faults:
            raise RPCError("operation was canceled", RPCStatusCode.CANCELLED, b"")
        return await ask(request, **more)

    monkeypatch.setattr(service, "list_workflow_executions", sometimes)
    asked = names(Candidates(harness.client), scope)
    if faults < calls:
        assert await asked == set()
    else:
        with pytest.raises(RPCError):
            await asked
    assert made == calls


async def test_only_so_many_lists_are_kept(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.candidates, "MAX_LISTS", 2)
    candidates = Candidates(harness.client)
    await asyncio.gather(
        *(candidates.current(TriggerType.EVENT, f"user:{number}") for number in range(5))
    )
    assert len(candidates.known(TriggerType.EVENT, "user:4")) == 0
