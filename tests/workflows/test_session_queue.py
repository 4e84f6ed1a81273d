"""What waits in a session: the modes, the cap, redelivery, a person's changes (real server)."""

import asyncio
import threading
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.turns import SessionRulesActivities
from domain.chat_settings import ChatSettings, SessionRules
from domain.identifiers import session_workflow_id
from domain.inbound_records import MessageFate
from domain.queueing import QueueDropPolicy, QueueMode
from domain.session_messages import (
    EditQueue,
    MessageAccepted,
    MessageDecision,
    QueueOptions,
    Stopped,
)
from domain.session_requests import SessionQueue, SessionState
from domain.turns import TurnStatus
from tests.support.conversations import Conversation, conversation
from tests.support.harness import Harness, until
from tests.support.model_steps import Hang, Reply
from workflows.session import Session


def _mode(mode: QueueMode, **fields: Any) -> QueueOptions:
    return QueueOptions.model_validate({"mode": mode, "debounce_ms": 30, **fields})


async def _asked(chat: Conversation, count: int) -> None:
    await chat.harness.models.wait_for(lambda: len(chat.asked()) >= count)


async def test_collect_joins_what_came_meanwhile(harness: Harness) -> None:
    gate = threading.Event()
    chat = conversation(harness, Reply("One.", gate=gate), Reply("All."))
    await chat.send("First")
    await _asked(chat, 1)
    answers = [await chat.send(text) for text in ("Second", "Third")]
    assert [answer.position for answer in answers] == [1, 2]
    gate.set()
    await chat.settled("m3")
    assert chat.delivered() == ["One.", "All."]
    assert "Queued #2" in chat.prompts()[-1]
    assert await chat.fates() == {
        "m1": MessageFate.ANSWERED,
        "m2": MessageFate.MERGED,
        "m3": MessageFate.ANSWERED,
    }
    view = await chat.view()
    assert (view.answered, view.merged) == (2, 1)


@pytest.mark.parametrize("mode", [QueueMode.FOLLOWUP, QueueMode.BACKLOG])
async def test_followups_are_answered_one_by_one(harness: Harness, mode: QueueMode) -> None:
    chat = conversation(harness, Reply("Yes."), options=_mode(mode))
    for text in ("First", "Second", "Third"):
        await chat.send(text)
    await chat.settled("m3")
    assert set((await chat.fates()).values()) == {MessageFate.ANSWERED}
    assert [prompt.split("\n")[-1] for prompt in chat.prompts()] == [
        f"{text} {chat.mark}" for text in ("First", "Second", "Third")
    ]


async def test_an_interrupt_ends_the_call_and_keeps_what_was_said(harness: Harness) -> None:
    chat = conversation(
        harness, Hang("half an ans", 2), Reply("For three."), options=_mode(QueueMode.INTERRUPT)
    )
    await chat.send("A table for two")
    await _asked(chat, 1)
    accepted = await chat.send("No, for three")
    assert accepted.decision == MessageDecision.INTERRUPT
    assert (await chat.settled("m2")).text == "For three."
    stopped = await chat.answer("m1")
    assert (stopped.status, stopped.fate) == (TurnStatus.CANCELLED, "aborted")
    assert chat.delivered() == ["For three."]
    # The next answer knows what was said before.
    assert f"A table for two {chat.mark}" in chat.asked()[-1].texts
    assert chat.asked()[0].client_closed_at is not None


async def test_steering_asks_anew_with_the_message(harness: Harness) -> None:
    chat = conversation(harness, Hang("half", 1), Reply("Both."), options=_mode(QueueMode.STEER))
    await chat.send("First")
    await _asked(chat, 1)
    accepted = await chat.send("Also this")
    assert accepted.decision == MessageDecision.STEER
    assert (await chat.settled("m2")).fate == MessageFate.STEERED
    assert chat.delivered() == ["Both."]
    assert chat.prompts()[-1].endswith(f"First {chat.mark}\n\nAlso this {chat.mark}")
    assert len(await chat.turns()) == 1


async def test_steer_backlog_also_gets_a_turn_of_its_own(harness: Harness) -> None:
    chat = conversation(
        harness,
        Hang("half", 1),
        Reply("Both."),
        Reply("Again."),
        options=_mode(QueueMode.STEER_BACKLOG),
    )
    await chat.send("First")
    await _asked(chat, 1)
    await chat.send("Also this")
    assert (await chat.settled("m2")).fate == MessageFate.ANSWERED
    assert chat.delivered() == ["Both.", "Again."]


@pytest.mark.parametrize("policy", list(QueueDropPolicy))
async def test_a_full_queue_gives_way(harness: Harness, policy: QueueDropPolicy) -> None:
    gate = threading.Event()
    options = _mode(QueueMode.COLLECT, cap=2, drop=policy)
    chat = conversation(harness, Reply("One.", gate=gate), Reply("Rest."), options=options)
    await chat.send("First")
    await _asked(chat, 1)
    answers = [await chat.send(f"Number {number}") for number in range(4)]
    gate.set()
    await chat.idle()

    async def written() -> bool:
        return len(await chat.rows()) == 5

    await until(written, "every message is accounted for")
    fates = await chat.fates()
    dropped = ["m4", "m5"] if policy == QueueDropPolicy.NEW else ["m2", "m3"]
    assert sorted(one for one, fate in fates.items() if fate == MessageFate.DROPPED) == dropped
    assert [answer.retryable for answer in answers] == [
        policy == QueueDropPolicy.NEW and number >= 2 for number in range(4)
    ]
    summarised = "2 messages were dropped" in chat.prompts()[-1]
    assert summarised == (policy == QueueDropPolicy.SUMMARIZE)


async def test_a_summary_comes_alone_where_messages_do(harness: Harness) -> None:
    gate = threading.Event()
    options = _mode(QueueMode.FOLLOWUP, cap=1)
    chat = conversation(harness, Reply("One.", gate=gate), Reply("Yes."), options=options)
    for text in ("First", "Lost", "Kept"):
        await chat.send(text)
    gate.set()
    await chat.settled("m3")
    assert len(chat.prompts()) == 3
    assert "1 message was dropped" in chat.prompts()[1]
    assert chat.prompts()[2].endswith(f"Kept {chat.mark}")


async def test_a_redelivery_gets_the_first_answer_also_in_a_new_execution(
    harness: Harness,
) -> None:
    chat = conversation(harness, Reply("Once."), Reply("Anew."))
    message = chat.message("Hello", request_id="one")
    first = await chat.hand_in(message)
    await chat.settled("m1")
    before = (await chat.handle.describe()).run_id
    await chat.handle.signal("upgrade")

    async def renewed() -> bool:
        return (await chat.handle.describe()).run_id != before

    await until(renewed, "continued as new")
    again = await chat.hand_in(message.model_copy(update={"request_id": "two"}))
    assert again == first.model_copy(update={"duplicate": True})
    assert chat.delivered() == ["Once."]
    assert (await chat.answer("m1")).text == "Once."
    # Activities are numbered anew there; the answer of before is not taken for this one's.
    await chat.send("Another")
    assert (await chat.settled("m2")).text == "Anew."


async def test_each_execution_asks_the_model_anew(harness: Harness) -> None:
    """Activities are numbered from 1 in each: what one has stored is not the next one's answer."""
    replies = ["One.", "Two.", "Three."]
    chat = conversation(harness, *(Reply(text) for text in replies))
    for number in range(1, len(replies) + 1):
        await chat.send(f"Question {number}")
        await chat.settled(f"m{number}")
        before = (await chat.handle.describe()).run_id
        await chat.handle.signal("upgrade")

        async def renewed(before: str | None = before) -> bool:
            return (await chat.handle.describe()).run_id != before

        await until(renewed, "continued as new")
    assert chat.delivered() == replies


async def test_large_messages_wait_in_the_store_and_survive_a_new_execution(
    harness: Harness,
) -> None:
    gate = threading.Event()
    chat = conversation(harness, Reply("One.", gate=gate), Reply("Yes."))
    await chat.send("First")
    await _asked(chat, 1)
    slow = QueueOptions(mode=QueueMode.COLLECT, debounce_ms=2_000)
    for number in range(20):
        await chat.send(f"{number} " + "x" * 64_000, options=slow)
    before = (await chat.handle.describe()).run_id
    await chat.handle.signal("upgrade")
    gate.set()

    async def renewed() -> bool:
        return (await chat.handle.describe()).run_id != before

    await until(renewed, "continued as new")
    history = await chat.handle.fetch_history()
    (started,) = [
        event.workflow_execution_started_event_attributes
        for event in history.events
        if event.HasField("workflow_execution_started_event_attributes")
    ]
    assert started.input.payloads[0].ByteSize() < 64 * 1024
    assert (await chat.view()).queued == 20
    await chat.settled("m21", 60)
    assert set((await chat.fates()).values()) == {MessageFate.ANSWERED, MessageFate.MERGED}
    asked = " ".join(chat.prompts())
    assert all(f"{number} xxx" in asked for number in range(20))
    sizes = [
        event.ByteSize()
        for run in (before, None)
        for event in (
            await harness.client.get_workflow_handle(chat.handle.id, run_id=run).fetch_history()
        ).events
    ]
    assert max(sizes) < 512 * 1024


async def test_a_person_changes_what_waits(harness: Harness) -> None:
    gate = threading.Event()
    options = _mode(QueueMode.FOLLOWUP)
    chat = conversation(harness, Reply("One.", gate=gate), Reply("Yes."), options=options)
    for text in ("First", "b", "c", "d", "e"):
        await chat.send(text)
    queue = await chat.queue()
    assert [message.message_id for message in queue.messages] == ["m2", "m3", "m4", "m5"]
    edit = EditQueue(order=["m5"], drop=["m2"], merge=["m4", "m3"], revision=queue.revision)
    changed: SessionQueue = await chat.handle.execute_update(
        "edit_queue", edit, result_type=SessionQueue
    )
    assert [message.message_id for message in changed.messages] == ["m5", "m4"]
    with pytest.raises(WorkflowUpdateFailedError):
        await chat.handle.execute_update("edit_queue", edit, result_type=SessionQueue)
    assert (await chat.queue()) == changed
    gate.set()
    await chat.settled("m4")
    assert chat.prompts()[-1].endswith(f"d {chat.mark}\n\nc {chat.mark}")
    assert await chat.fates() == {
        "m1": MessageFate.ANSWERED,
        "m2": MessageFate.DROPPED,
        "m3": MessageFate.MERGED,
        "m4": MessageFate.ANSWERED,
        "m5": MessageFate.ANSWERED,
    }


async def test_messages_that_came_while_no_worker_ran_follow_the_settings(
    harness: Harness,
) -> None:
    chat = conversation(harness, Reply("Yes."), options=QueueOptions())
    queue = f"late-{chat.key}"
    session = await harness.client.start_workflow(
        "Session", SessionState(key=chat.key), id=session_workflow_id(chat.key), task_queue=queue
    )
    for number in range(6):
        await session.signal("send", chat.message(f"Message {number}"))
    settings = ChatSettings(cap=2, drop=QueueDropPolicy.NEW, mode=QueueMode.FOLLOWUP, debounce_ms=9)
    rules = SessionRulesActivities(SessionRules(chat=settings))
    worker = Worker(
        harness.client,
        task_queue=queue,
        workflows=[Session],
        activities=[rules.session_rules],
        workflow_runner=UnsandboxedWorkflowRunner(),
    )
    async with worker:
        for one in ("m1", "m2", "m3", "m4", "m5", "m6"):
            await chat.settled(one)

        async def written() -> bool:
            return len(await chat.rows()) == 6

        await until(written, "every message is accounted for")
    await session.terminate("the test is over")
    fates = await chat.fates()
    assert [fates[f"m{number}"] for number in range(1, 7)] == [
        *[MessageFate.ANSWERED] * 3,
        *[MessageFate.DROPPED] * 3,
    ]
    assert len(chat.prompts()) == 3


async def test_five_hundred_messages_at_once_are_all_accounted_for(harness: Harness) -> None:
    chat = conversation(harness, Reply("Yes."))
    gate = asyncio.Semaphore(5)

    async def hand_in(number: int) -> None:
        async with gate:
            await chat.hand_in(chat.message(f"Message {number}"))

    await asyncio.gather(*(hand_in(number) for number in range(500)))
    await chat.idle(60)

    async def written() -> bool:
        return len(await chat.rows()) == 500

    await until(written, "every message is accounted for")
    fates = list((await chat.fates()).values())
    assert set(fates) <= {MessageFate.ANSWERED, MessageFate.MERGED, MessageFate.DROPPED}
    view = await chat.view()
    assert view.answered + view.merged + view.dropped == 500
    assert len(chat.delivered()) == fates.count(MessageFate.ANSWERED)


async def test_threads_of_a_chat_do_not_wait_for_each_other(harness: Harness) -> None:
    plain = conversation(harness, Hang("half", 1), Reply("Late."))
    await plain.send("Hello")
    await _asked(plain, 1)
    thread = conversation(harness, Reply("Beside it."), thread="7")
    thread = Conversation(harness, thread.mark, thread="7")
    await thread.send("Hello", session_key=f"{plain.key}|thread:7")
    other = Conversation(harness, plain.mark, thread="7")
    answer = await other.settled("m1")
    assert answer.text == "Beside it."
    assert await plain.handle.execute_update("stop", result_type=Stopped) == Stopped(
        stopped="turn",
        owner=(await plain.view()).turn.turn_id,  # type: ignore[union-attr]
    )


async def test_a_message_that_was_refused_comes_again_under_another_update_id(
    harness: Harness,
) -> None:
    """The server repeats what it answered to an update id; the session itself takes it then."""
    chat = conversation(harness, Hang("half", 1), Reply("Late."))
    await chat.send("First", options=_mode(QueueMode.FOLLOWUP))
    await _asked(chat, 1)
    await chat.send("Second", options=_mode(QueueMode.FOLLOWUP, debounce_ms=60_000))
    full = _mode(QueueMode.FOLLOWUP, cap=1, drop=QueueDropPolicy.NEW)
    late = chat.message("Third", options=full)

    async def hand_in(update_id: str) -> MessageAccepted:
        answer: MessageAccepted = await chat.handle.execute_update(
            "send", late, id=update_id, result_type=MessageAccepted
        )
        return answer

    refused = await hand_in("m3")
    assert (refused.decision, refused.retryable) == (MessageDecision.DROP, True)
    await chat.handle.execute_update("edit_queue", EditQueue(clear=True))
    assert await hand_in("m3") == refused
    assert (await chat.answer("m3")).fate == MessageFate.DROPPED
    taken = await hand_in("m3:again")
    assert (taken.decision, taken.duplicate) == (MessageDecision.ENQUEUE, False)
    await chat.handle.execute_update("stop")
    assert (await chat.settled("m3")).status == TurnStatus.ANSWERED
    assert chat.delivered() == ["Late."]
