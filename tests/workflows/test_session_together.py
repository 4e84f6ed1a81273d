"""A disturbance that arrives together with what the turn waited for (real server, real workers).

Both reach the workflow at once when no worker served it as they came.
"""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from domain.identifiers import ENTITIES_QUEUE, SERVED_QUEUES, TOOLS_QUEUE
from domain.queueing import QueueMode
from domain.scopes import Route
from domain.session_messages import QueueOptions
from domain.tool_actions import ActionStatus
from domain.turns import TurnStatus
from tests.support.conversations import Conversation, conversation
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.model_steps import Hang, Reply
from tests.support.receiver import SECRET, Answer, Receiver, running_receiver
from tests.support.tool_runs import Listener, asks
from worker.process import running_workers

STEER = QueueOptions(mode=QueueMode.STEER, debounce_ms=30)
INTERRUPT = QueueOptions(mode=QueueMode.INTERRUPT, debounce_ms=30)
EACH = QueueOptions(mode=QueueMode.FOLLOWUP, debounce_ms=0)
EMITS = asks(("event_emit", {"event_type": "x.y", "source": "s"}))


@dataclass
class Bench:
    """A harness, and the workers of some queues as often as they are wanted."""

    harness: Harness

    def workers(self, *queues: str) -> AbstractAsyncContextManager[Any]:
        return running_workers(self.harness.client, self.harness.settings, os.environ, queues)

    async def count(self, chat: Conversation, kind: str) -> int:
        return (await self.harness.events(chat.handle.id)).count(kind)

    async def more(self, chat: Conversation, kind: str, before: int = 0) -> None:
        async def came() -> bool:
            return await self.count(chat, kind) > before

        await until(came, f"more than {before} {kind}", 60)


@asynccontextmanager
async def _bench(folder: Path, *without: str, **settings: str) -> AsyncGenerator[Bench]:
    queues = tuple(queue for queue in SERVED_QUEUES if queue not in without)
    async with (
        running_server(folder) as server,
        running_harness(folder / "tickless", server, queues=queues, **settings) as harness,
    ):
        yield Bench(harness)


async def _while_tools_are_offered(
    bench: Bench, chat: Conversation, disturb: Callable[[], Awaitable[None]]
) -> None:
    """Say something, and disturb its turn together with the answer which tools there are."""
    async with bench.workers(ENTITIES_QUEUE):
        await chat.send("First")
        await bench.more(chat, "ACTIVITY_TASK_SCHEDULED")
    before = await bench.count(chat, "ACTIVITY_TASK_COMPLETED")
    async with bench.workers(TOOLS_QUEUE):
        await bench.more(chat, "ACTIVITY_TASK_COMPLETED", before)
        await disturb()


async def test_a_stop_is_heard(tmp_path: Path) -> None:
    async with _bench(tmp_path, ENTITIES_QUEUE, TOOLS_QUEUE) as bench:
        chat = conversation(bench.harness, Hang("half", 1))
        await _while_tools_are_offered(bench, chat, lambda: chat.handle.signal("stop"))
        async with bench.workers(ENTITIES_QUEUE):
            assert (await chat.settled("m1", 20)).status == TurnStatus.CANCELLED
        assert chat.asked() == []


@pytest.mark.parametrize("may_command", [True, False])
async def test_a_message_that_joins_is_heard(tmp_path: Path, may_command: bool) -> None:
    async with _bench(tmp_path, ENTITIES_QUEUE, TOOLS_QUEUE) as bench:
        chat = conversation(bench.harness, Listener(EMITS, Reply("Done.")))
        joins = chat.message(
            "AndAlso", message_id="joins", options=STEER, command_authorized=may_command
        )
        await _while_tools_are_offered(bench, chat, lambda: chat.handle.signal("send", joins))
        async with bench.workers(ENTITIES_QUEUE, TOOLS_QUEUE):
            await chat.settled("joins")
            await chat.idle()
        assert all(any("AndAlso" in text for text in call.texts) for call in chat.asked())
        (turn,) = await chat.turns()
        async with await chat.store() as store:
            calls = await store.actions.of_turn(turn.id)
        assert [one.status for one in calls] == ([ActionStatus.OK] if may_command else [])


async def test_what_joined_a_turn_that_was_interrupted_as_it_was_answered_is_kept(
    tmp_path: Path,
) -> None:
    async with _bench(tmp_path, ENTITIES_QUEUE) as bench:
        gate = Event()
        chat = conversation(bench.harness, replace(Reply("Late."), gate=gate), Reply("Next."))
        async with bench.workers(ENTITIES_QUEUE):
            await chat.send("First")
            await bench.harness.models.wait_for(lambda: len(chat.asked()) == 1)
        before = await bench.count(chat, "ACTIVITY_TASK_COMPLETED")
        gate.set()
        await bench.more(chat, "ACTIVITY_TASK_COMPLETED", before)
        await chat.handle.signal("send", chat.message("Joins", options=STEER))
        await chat.handle.signal("send", chat.message("Interrupts", options=INTERRUPT))
        async with bench.workers(ENTITIES_QUEUE):
            assert (await chat.settled("m3")).text == "Next."
        async with await chat.store() as store:
            thread = await store.threads.messages(f"session:user:me/{chat.key}")
        said = [one.content.removesuffix(f" {chat.mark}") for one in thread]
        assert said == ["First", "Late.", "Joins", "Interrupts", "Next."]


@asynccontextmanager
async def _hook(folder: Path, seconds: str) -> AsyncGenerator[tuple[Bench, Receiver]]:
    async with running_receiver() as receiver:
        settings = {
            "TICKLESS_CHANNELS__HOOK__TYPE": "webhook",
            "TICKLESS_CHANNELS__HOOK__URL": receiver.url,
            "TICKLESS_CHANNELS__HOOK__SECRET": SECRET,
            "TICKLESS_CHANNELS__HOOK__RETRY_SECONDS": seconds,
        }
        async with _bench(folder, ENTITIES_QUEUE, **settings) as bench:
            yield bench, receiver


@pytest.mark.parametrize(
    ("refusals", "seconds", "status"),
    [(1, "5", TurnStatus.ANSWERED), (3, "1", TurnStatus.FAILED)],
)
async def test_a_turn_is_booked_once_when_its_answer_arrives_as_patience_ends(
    tmp_path: Path, refusals: int, seconds: str, status: TurnStatus
) -> None:
    async with _hook(tmp_path, seconds) as (bench, receiver):
        receiver.script.extend([Answer(500)] * refusals)
        chat = conversation(bench.harness, Reply("One."), Reply("Two."))
        route = Route(receive_id_type="hook", receive_id="team")
        async with bench.workers(ENTITIES_QUEUE):
            await chat.send("First", route=route, options=EACH)

            async def refused() -> bool:
                return len(receiver.requests) > 0

            await until(refused, "the channel refuses")
            timers = await bench.count(chat, "TIMER_STARTED")
            await chat.send("Second", route=route, options=EACH)
            await bench.more(chat, "TIMER_STARTED", timers)
        fired = await bench.count(chat, "TIMER_FIRED")
        done = await bench.count(chat, "ACTIVITY_TASK_COMPLETED")
        await asyncio.gather(
            bench.more(chat, "TIMER_FIRED", fired),
            bench.more(chat, "ACTIVITY_TASK_COMPLETED", done),
        )
        async with bench.workers(ENTITIES_QUEUE):
            await chat.settled("m2")
            await chat.idle()
            assert (await chat.answer("m1")).status == status
            expected = 2 if status == TurnStatus.ANSWERED else 1
            assert (await chat.view()).answered == expected
