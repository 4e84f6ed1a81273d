"""What ends a turn or automation: a word, a stop, a user, the big red button (real server)."""

import json
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError

from activities import search_attributes as attributes
from client import CallerContext, TicklessClient
from domain.identifiers import ENTITIES_QUEUE, session_workflow_id
from domain.inbound_records import MessageFate
from domain.lease_queue_state import RequestLease
from domain.queueing import QueueMode
from domain.run_view import RunStage
from domain.runs import RunStatus
from domain.session_messages import MessageDecision, QueueOptions, Stopped
from domain.session_requests import ReleaseSession, SessionState
from domain.turns import TurnStage, TurnStatus
from tests.support.conversations import Conversation, conversation
from tests.support.harness import Harness, until
from tests.support.model_steps import Behaviour, Hang, Reply


async def _asked(chat: Conversation, count: int) -> None:
    await chat.harness.models.wait_for(lambda: len(chat.asked()) >= count)


async def _routine(chat: Conversation, *steps: Behaviour) -> tuple[TicklessClient, str]:
    """A routine that speaks in the conversation's session."""
    harness = chat.harness
    given = harness.settings.context.model_dump(exclude_none=True)
    context = CallerContext.model_validate({**given, "session_key": chat.key})
    tickless = TicklessClient(harness.client, context)
    name = harness.name()
    harness.scripts.on(name, *steps)
    await tickless.routines.create(
        {"prompt": f"Do {name}.", "trigger": {"type": "manual"}}, name=name
    )
    return tickless, name


def _requests(harness: Harness, mark: str) -> int:
    return sum(mark in " ".join(call.texts) for call in harness.models.calls)


async def _stop(chat: Conversation, *args: Any) -> Stopped:
    stopped: Stopped = await chat.handle.execute_update("stop", *args, result_type=Stopped)
    return stopped


async def test_a_word_stops_the_turn_and_what_waits_goes_on(harness: Harness) -> None:
    chat = conversation(harness, Hang("half", 1), Reply("Next."))
    await chat.send("First")
    await _asked(chat, 1)
    await chat.send("Second")
    ignored = await chat.send("", text="stop", command_authorized=False)
    assert ignored.decision == MessageDecision.IGNORE
    assert (await chat.view()).turn is not None
    accepted = await chat.send("", text="Stop!")
    assert (accepted.decision, accepted.reason) == (MessageDecision.ABORT, "abort_trigger")
    await chat.settled("m2")
    assert chat.delivered() == ["Next."]
    (stopped, _) = await chat.turns()
    assert (stopped.status, stopped.error) == (TurnStatus.CANCELLED, "stopped by user")

    async def written() -> bool:
        return len(await chat.rows()) == 4

    await until(written, "every message is accounted for")
    assert await chat.fates() == {
        "m1": MessageFate.ABORTED,
        "m2": MessageFate.ANSWERED,
        "m3": MessageFate.IGNORED,
        "m4": MessageFate.ABORTED,
    }


async def test_what_was_said_before_the_turn_was_let_in_is_kept(harness: Harness) -> None:
    chat = conversation(harness, Reply("Yes."))
    session = await harness.client.start_workflow(
        "Session",
        SessionState(key=chat.key),
        id=session_workflow_id(chat.key),
        task_queue=ENTITIES_QUEUE,
    )
    # Some workflow that exists and does not let go.
    stays = await harness.client.start_workflow(
        "Nobody", id=f"{chat.key}-stays", task_queue=f"nobody-{chat.key}"
    )
    lease = RequestLease(owner=stays.id, request_id="1", lease_seconds=60, checked=True)
    await session.execute_update("request", lease)
    await chat.send("A table for two")
    turn = (await chat.view()).turn
    assert turn is not None
    assert turn.stage == TurnStage.GATE
    assert (await _stop(chat)).stopped == "turn"
    assert (await chat.settled("m1")).status == TurnStatus.CANCELLED
    await session.signal("release", ReleaseSession(key=stays.id))
    await chat.send("At nine")
    await chat.settled("m2")
    assert f"A table for two {chat.mark}" in chat.asked()[-1].texts
    await stays.terminate("the test is over")


async def test_a_stop_reaches_turn_then_automation_then_nothing(harness: Harness) -> None:
    chat = conversation(harness, Hang("half", 1))
    await chat.send("First")
    await _asked(chat, 1)
    view = await chat.view()
    assert view.turn is not None
    assert await _stop(chat) == Stopped(stopped="turn", owner=view.turn.turn_id)
    await chat.settled("m1")
    assert await _stop(chat) == Stopped()
    tickless, routine = await _routine(chat, Hang("half", 1))
    run = await tickless.runs.trigger(routine)
    await harness.models.wait_for(lambda: _requests(harness, routine) == 1)
    assert await _stop(chat) == Stopped(stopped="automation", owner=run.workflow_id)
    ended = await tickless.runs.wait(run.run_id)
    assert (ended.record.status, ended.record.reason) == (RunStatus.CANCELLED, "stopped by user")
    await chat.handle.signal("stop")
    assert chat.delivered() == []


async def test_a_user_interrupts_a_run_which_comes_back(harness: Harness) -> None:
    chat = conversation(harness, Reply("To the user."))
    tickless, routine = await _routine(chat, Hang("half", 1), Reply("After the user."))
    run = await tickless.runs.trigger(routine)
    await harness.models.wait_for(lambda: _requests(harness, routine) == 1)
    accepted = await chat.send("Hello")
    assert accepted.decision == MessageDecision.RUN_NOW
    assert (await chat.settled("m1")).text == "To the user."
    ended = await tickless.runs.wait(run.run_id)
    assert (ended.record.status, ended.text) == (RunStatus.ATTENTION, "After the user.")
    assert (await tickless.routines.get(routine)).routine.run_count == 1
    marks = [
        routine if routine in " ".join(call.texts) else "user"
        for call in harness.models.calls
        if routine in " ".join(call.texts) or chat.mark in " ".join(call.texts)
    ]
    assert marks == [routine, "user", routine]


async def test_automation_waits_until_the_user_has_no_turn_left(harness: Harness) -> None:
    options = QueueOptions(mode=QueueMode.FOLLOWUP, debounce_ms=200)
    chat = conversation(harness, Hang("half", 1), Reply("Two."), options=options)
    await chat.send("First")
    await _asked(chat, 1)
    await chat.send("Second")
    tickless, routine = await _routine(chat, Reply("At last."))
    run = await tickless.runs.trigger(routine)

    async def waits() -> bool:
        return (await tickless.runs.get(run.run_id)).stage == RunStage.SESSION

    await until(waits, "the run waits for the session")
    await _stop(chat)
    await chat.settled("m2")
    assert (await tickless.runs.wait(run.run_id)).text == "At last."
    calls = [" ".join(call.texts) for call in harness.models.calls]
    ours = [text for text in calls if routine in text or chat.mark in text]
    assert routine in ours[-1]
    assert len(ours) == 3


async def test_a_signal_is_as_good_as_an_update(harness: Harness) -> None:
    chat = conversation(harness, Reply("Yes."))
    await chat.send("First")
    await chat.settled("m1")
    message = chat.message("Second")
    # Twice, and one that is too large: the session goes on.
    await chat.handle.signal("send", message)
    await chat.handle.signal("send", message)
    await chat.handle.signal("send", chat.message("Third", text="x" * 70_000))
    await chat.handle.signal("granted")
    await chat.settled("m2")
    assert chat.delivered() == ["Yes.", "Yes."]
    events = await harness.events(chat.handle.id)
    assert "WORKFLOW_TASK_FAILED" not in events

    async def written() -> bool:
        return (await chat.fates()).get("m3") == MessageFate.DROPPED

    await until(written, "the one that is too large is noted")


async def test_what_is_no_message_leaves_the_session_as_it_was(harness: Harness) -> None:
    chat = conversation(harness, Reply("Yes."))
    await chat.send("First")
    await chat.settled("m1")
    before = await chat.view()
    for wrong in ({"text": "no id"}, 7, None):
        with pytest.raises(WorkflowUpdateFailedError):
            await chat.handle.execute_update("send", wrong)
        await chat.handle.signal("send", wrong)
    with pytest.raises(WorkflowUpdateFailedError):
        await chat.hand_in(chat.message("Second", session_key=chat.key, text="x" * 70_000))
    assert await chat.view() == before
    assert (await chat.send("Third")).decision == MessageDecision.RUN_NOW


async def test_a_pause_parks_the_turn_until_everything_goes_on(harness: Harness) -> None:
    chat = conversation(harness, Reply("Not paused."))
    await harness.tickless.system.pause_all("for a test")
    try:
        parked = await chat.parked()
    finally:
        await harness.tickless.system.resume_all()
    assert (await chat.settled(parked)).status == TurnStatus.ANSWERED


async def test_a_turn_that_is_stopped_while_it_is_parked_is_parked_no_longer(
    harness: Harness,
) -> None:
    chat = conversation(harness, Reply("Not paused."))
    await harness.tickless.system.pause_all("for a test")
    try:
        parked = await chat.parked()
        assert (await _stop(chat)).stopped == "turn"
        assert (await chat.settled(parked)).status == TurnStatus.CANCELLED
        await chat.idle()
    finally:
        await harness.tickless.system.resume_all()
    # Each as often as it was so, and the last before what is recorded of the turn.
    shown = await _statuses(chat)
    assert shown[-4:] == ["busy", "system_paused", "busy", "idle"]


async def _statuses(chat: Conversation) -> list[str]:
    """What the session has shown as its status, in order."""
    found: list[str] = []
    async for event in chat.handle.fetch_history_events():
        changed = event.upsert_workflow_search_attributes_event_attributes.search_attributes
        payload = changed.indexed_fields.get(attributes.STATUS.name)
        if payload is not None:
            found.append(json.loads(payload.data))
    return found
