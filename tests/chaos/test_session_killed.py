"""A session loses no message: workers and server are killed, and every message is accounted for."""

import asyncio
import json
import random
import re
import threading
from collections import Counter
from pathlib import Path

import pytest
from temporalio.client import (
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from domain.deliveries import DeliveryStatus
from domain.identifiers import ENTITIES_QUEUE, session_workflow_id
from domain.inbound_records import MessageFate
from domain.session_messages import InboundMessage, QueueOptions
from domain.session_requests import SessionState
from domain.turns import TurnStatus
from tests.chaos.stage import durably_staged, staged
from tests.support.conversations import Conversation, conversation
from tests.support.harness import running_harness, until
from tests.support.held_calls import held_calls
from tests.support.model_steps import Body, Reply
from tests.support.worker_process import worker_process

# Each of these fills the processor; two at a time would measure each other.
pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("heavy"), pytest.mark.timeout(300)]

ENDS = {MessageFate.ANSWERED, MessageFate.MERGED, MessageFate.DROPPED}
# A call that takes too long is cancelled, which its client tells in its own words.
NOT_YET = (
    TimeoutError,
    RPCError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
# As many as one target takes from one process.
AT_ONCE = 5


async def _hand_in(chat: Conversation, message: InboundMessage) -> None:
    """Hand a message in until the session has it, as a careful adapter does."""
    while True:
        try:
            await asyncio.wait_for(chat.hand_in(message), 15)
        except NOT_YET:
            continue
        return


async def _signal(chat: Conversation, message: InboundMessage) -> None:
    """The way that needs no worker."""
    await chat.harness.client.start_workflow(
        "Session",
        SessionState(key=chat.key),
        id=session_workflow_id(chat.key),
        task_queue=ENTITIES_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        start_signal="send",
        start_signal_args=[message],
    )


async def _accounted(chat: Conversation, count: int, seconds: float = 120) -> None:
    """Wait until each of so many messages has come to its end, in the ledger."""

    async def holds() -> bool:
        fates = await chat.fates()
        return len(fates) == count and MessageFate.WAITING not in fates.values()

    await until(holds, f"{count} messages are accounted for", seconds, pause=0.5)


async def _assert_each_turn_spoke_once(chat: Conversation) -> None:
    """Every turn has one text in the outbox, every text is with its channel once."""
    turns = await chat.turns()
    assert {turn.status for turn in turns} == {TurnStatus.ANSWERED}
    async with await chat.store() as store:
        rows = [await store.outbox.get(f"{turn.id}/final") for turn in turns]
    assert all(row is not None and row.status == DeliveryStatus.SENT for row in rows)
    path = chat.harness.deliveries.with_name(f"{chat.mark}.jsonl")
    keys = Counter(json.loads(line)["key"] for line in path.read_text("utf-8").splitlines())
    assert keys == Counter(f"{turn.id}/final" for turn in turns)


def _repeat(body: Body) -> Reply:
    """Name the messages of the turn, so that the answer of another turn is seen."""
    numbers = re.findall(r"Message (\d+) ", str(body["messages"][-1]["content"]))
    return Reply(f"To {','.join(numbers)}.", chunks=1)


async def _assert_each_answer_is_that_of_its_turn(chat: Conversation) -> None:
    rows = [row for row in (await chat.rows()).values() if row.turn_id]
    async with await chat.store() as store:
        for row in rows:
            sent = await store.outbox.get(f"{row.turn_id}/final")
            assert sent is not None
            number = int(row.message_id.removeprefix("m")) - 1
            assert str(number) in re.findall(r"\d+", sent.text or ""), (row, sent.text)


async def _counted(chat: Conversation, fates: Counter[MessageFate]) -> None:
    """Wait until the session counts what the ledger has; it books a turn after its rows."""
    expected = tuple(
        fates[fate] for fate in (MessageFate.ANSWERED, MessageFate.MERGED, MessageFate.DROPPED)
    )

    async def same() -> bool:
        view = await chat.view()
        return (view.answered, view.merged, view.dropped) == expected

    await until(same, f"the session counts {expected}", 120)


async def _at_step(chat: Conversation, step: str) -> None:
    """Wait until a turn is at a step: its model is asked, its answer is with its channel."""
    calls, texts = len(chat.harness.models.calls), len(chat.delivered())
    if step == "asked":
        await chat.harness.models.wait_for(lambda: len(chat.harness.models.calls) > calls)
    elif step == "delivered":

        async def delivered() -> bool:
            return len(chat.delivered()) > texts

        await until(delivered, "an answer is with its channel", pause=0.002)


async def test_a_thousand_messages_while_workers_are_killed(tmp_path: Path) -> None:
    chance = random.Random(7)
    count = 1_000
    async with staged(tmp_path) as (_, harness), worker_process(harness) as worker:
        chat = conversation(harness, _repeat, options=QueueOptions(cap=150, debounce_ms=30))
        gate = asyncio.Semaphore(AT_ONCE)
        handed_in = 0

        async def one(message: InboundMessage) -> None:
            nonlocal handed_in
            async with gate:
                await (_hand_in if chance.random() < 0.3 else _signal)(chat, message)
            handed_in += 1

        messages = [chat.message(f"Message {number}") for number in range(count)]
        chance.shuffle(messages)
        everything = list(messages)
        # Every tenth comes twice, while the session still remembers it.
        for place in reversed(range(0, count, 10)):
            everything.insert(place + chance.randint(1, 200), messages[place])
        sending = asyncio.gather(*(one(message) for message in everything))
        for share, step in ((0.2, "asked"), (0.4, "any"), (0.6, "delivered")):

            async def so_many(share: float = share) -> bool:
                return handed_in >= share * len(everything)

            await until(so_many, f"{share} of all are handed in", 60)
            await _at_step(chat, step)
            await worker.kill()
            # Which it finds when it comes back, in the midst of a turn.
            await chat.handle.signal("upgrade")
            await worker.start()
        await asyncio.wait_for(sending, 120)
        await _accounted(chat, count)
        fates = Counter((await chat.fates()).values())
        assert set(fates) <= ENDS, fates
        await _counted(chat, fates)
        await _assert_each_turn_spoke_once(chat)
        await _assert_each_answer_is_that_of_its_turn(chat)
        answered = [row for row in (await chat.rows()).values() if row.turn_id]
        assert {row.turn_id for row in answered} == {turn.id for turn in await chat.turns()}


async def test_the_server_is_killed_with_fifty_messages_waiting(tmp_path: Path) -> None:
    async with durably_staged(tmp_path) as (server, harness), worker_process(harness):
        first = threading.Event()
        chat = conversation(
            harness, Reply("First.", gate=first), Reply("Rest."), options=QueueOptions(cap=60)
        )
        for number in range(51):
            await chat.send(f"Message {number}")
        assert (await chat.view()).queued == 50
        await server.kill()
        first.set()
        await server.start()
        await _accounted(chat, 51)
        fates = Counter((await chat.fates()).values())
        assert fates == {MessageFate.ANSWERED: 2, MessageFate.MERGED: 49}
        assert chat.delivered() == ["First.", "Rest."]
        await _assert_each_turn_spoke_once(chat)


async def test_the_same_message_from_two_processes_is_answered_once(tmp_path: Path) -> None:
    async with staged(tmp_path) as (server, harness), worker_process(harness):
        chat = conversation(harness, Reply("Once."))
        messages = [chat.message(f"Message {number}") for number in range(5)]
        async with running_harness(tmp_path / "other", server, queues=()) as second:
            twin = Conversation(second, chat.mark)
            answers = await asyncio.gather(
                *(one.hand_in(message) for message in messages for one in (chat, twin))
            )
        await _accounted(chat, 5)
        for message in messages:
            of_it = [answer for answer in answers if answer.message_id == message.message_id]
            assert len({answer.decision for answer in of_it}) == 1
        asked = " ".join(chat.prompts())
        assert all(asked.count(f"Message {number} ") == 1 for number in range(5))
        await _assert_each_turn_spoke_once(chat)


async def test_calls_of_a_turn_under_way_are_made_at_most_once(tmp_path: Path) -> None:
    async with held_calls() as held, staged(tmp_path, **held.settings) as (_, harness):
        chats = [conversation(harness, model) for model in (held.paying, held.reading)]
        async with worker_process(harness) as worker:
            for chat in chats:
                await chat.send("Please")
            await held.arrived()
            await worker.kill()
        async with worker_process(harness):
            answers = [await chat.settled("m1", 90) for chat in chats]
        assert [answer.text for answer in answers] == ["Paid, I think.", "It costs 1."]
        async with await chats[0].store() as store:
            paid, read = [await store.actions.of_turn(answer.turn_id or "") for answer in answers]
        held.assert_made_at_most_once(paid, read)
        for chat in chats:
            await _assert_each_turn_spoke_once(chat)
