"""The list of listening routines: short ones are fresh, long ones wait for nobody, faults are told.

Listeners here are workflows that nobody works on: visibility shows them like any routine.
"""

import asyncio
from datetime import timedelta

import pytest
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError

import activities.candidates
from activities import search_attributes as attributes
from activities.candidates import Candidates
from activities.emitting import Emitter
from domain.emissions import EmittedEvent
from domain.identifiers import routine_workflow_id
from domain.listeners import MEMO_KEY, trigger_memo
from domain.trigger_models import EventTrigger, TriggerType
from tests.support.harness import Harness, until


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


async def test_a_long_list_shows_new_routines_at_once(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if reading it took long: nobody waits for the whole list, only for what is new."""
    scope = f"user:{harness.name()}"
    monkeypatch.setattr(activities.candidates, "SLOW", timedelta(0))
    monkeypatch.setattr(activities.candidates, "PAUSE", timedelta(seconds=30))
    candidates = Candidates(harness.client)
    first = await listen(harness, scope, "a")

    async def is_there() -> bool:
        return first in await names(candidates, scope)

    await until(is_there, "it is listed")
    await leave(harness, first)
    second = await listen(harness, scope, "b")

    async def is_new() -> bool:
        return second in await names(candidates, scope)

    await until(is_new, "the new one is listed", seconds=5)
    assert first in await names(candidates, scope), "the whole list was not read again"


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


async def test_only_so_many_lists_are_kept(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.candidates, "MAX_LISTS", 2)
    candidates = Candidates(harness.client)
    await asyncio.gather(
        *(candidates.current(TriggerType.EVENT, f"user:{number}") for number in range(5))
    )
    assert len(candidates.known(TriggerType.EVENT, "user:4")) == 0
