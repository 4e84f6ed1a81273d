"""Sessions: how soon a message reaches the model, how soon automation lets go, what a turn adds.

The floor of the first is a raw workflow whose update schedules one activity, asked in turns with
the session on the same server: what both need is Temporal's, the rest is ours.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.measuring import quantile
from client import CallerContext, TicklessClient
from domain.session_messages import MessageAccepted
from tests.support.conversations import Conversation, conversation
from tests.support.harness import Harness
from tests.support.model_steps import Hang, Reply

QUEUE = "floor-of-sessions"


@dataclass(frozen=True)
class SessionReport:
    """Milliseconds from sending to the start of the work, ours and the floor's; bytes a turn.

    `accepted` is from the answer to the sender, which is when the message is safe.
    """

    floor: list[float]
    sessions: list[float]
    accepted: list[float]
    bytes_each: float
    events_each: float

    @property
    def ratio(self) -> float:
        """Ours over the floor, at the median."""
        return quantile(self.sessions, 0.5) / quantile(self.floor, 0.5)

    @property
    def accepted_ratio(self) -> float:
        """Ours since the answer to the sender, over the whole floor, at the median."""
        return quantile(self.accepted, 0.5) / quantile(self.floor, 0.5)


@workflow.defn(name="RawSession")
class RawSession:
    """Takes a number by an update and hands it to an activity."""

    def __init__(self) -> None:
        self._waiting: list[int] = []

    @workflow.run
    async def run(self) -> None:
        """Go on for ever."""
        while True:
            await workflow.wait_condition(lambda: bool(self._waiting))
            await workflow.execute_activity(
                "began", self._waiting.pop(0), start_to_close_timeout=timedelta(seconds=30)
            )

    @workflow.update
    def send(self, number: int) -> int:
        """Take a number."""
        self._waiting.append(number)
        return number


class _Starts:
    """When the raw activities began."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}
        self.told = asyncio.Event()

    @activity.defn
    async def began(self, number: int) -> None:
        """Note the time."""
        self.at[number] = time.monotonic()
        self.told.set()


@asynccontextmanager
async def _raw(client: Client) -> AsyncGenerator[tuple[_Starts, WorkflowHandle[Any, Any]]]:
    starts = _Starts()
    async with Worker(
        client,
        task_queue=QUEUE,
        workflows=[RawSession],
        activities=[starts.began],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        handle = await client.start_workflow(RawSession.run, id="raw-session", task_queue=QUEUE)
        yield starts, handle
        await handle.terminate()


async def compare_sessions(harness: Harness, count: int) -> SessionReport:
    """Send so many messages to a session and to the raw workflow, one after the other."""
    floor: list[float] = []
    sessions: list[float] = []
    accepted: list[float] = []
    chat = conversation(harness, Reply("Yes, certainly.", chunks=1))
    await chat.send("Hello")
    await chat.settled("m1")
    async with _raw(harness.client) as (starts, raw):
        for number in range(3):
            await _floor_once(starts, raw, -number - 1)
            await _once(chat)
        before = (await chat.handle.describe()).raw_description.workflow_execution_info
        for number in range(count):
            floor.append(await _floor_once(starts, raw, number))
            since_sent, since_accepted = await _once(chat)
            sessions.append(since_sent)
            accepted.append(since_accepted)
    after = (await chat.handle.describe()).raw_description.workflow_execution_info
    return SessionReport(
        floor,
        sessions,
        accepted,
        (after.history_size_bytes - before.history_size_bytes) / count,
        (after.history_length - before.history_length) / count,
    )


async def _floor_once(starts: _Starts, raw: WorkflowHandle[Any, Any], number: int) -> float:
    begun = time.monotonic()
    starts.told.clear()
    await raw.execute_update(RawSession.send, number)
    await starts.told.wait()
    return (starts.at[number] - begun) * 1e3


async def _once(chat: Conversation) -> tuple[float, float]:
    """Send a message; milliseconds to its model request since it was sent, and accepted."""
    models = chat.harness.models
    asked = len(models.calls)
    message = chat.message("A question of usual length, as people ask it:")
    begun = time.monotonic()
    await chat.handle.execute_update(
        "send", message, id=message.message_id, result_type=MessageAccepted
    )
    accepted = time.monotonic()
    await models.wait_for(lambda: len(models.calls) > asked)
    asked_at = models.calls[asked].received_at
    await chat.settled(message.message_id)
    return (asked_at - begun) * 1e3, max(0.0, asked_at - accepted) * 1e3


async def interrupt_milliseconds(harness: Harness, count: int = 60) -> list[float]:
    """From a user's message to the closed connection of the automation's model call, each time."""
    delays: list[float] = []
    chat = conversation(harness, Reply("Yes."))
    given = harness.settings.context.model_dump(exclude_none=True)
    context = CallerContext.model_validate({**given, "session_key": chat.key})
    tickless = TicklessClient(harness.client, context)
    name = harness.name()
    harness.scripts.on(name, Hang("half an answer", 2))
    await tickless.routines.create(
        {"prompt": f"Do {name}.", "trigger": {"type": "manual"}}, name=name
    )
    run = await tickless.runs.trigger(name)
    calls = harness.models.calls

    def ours() -> list[int]:
        return [at for at, call in enumerate(calls) if name in " ".join(call.texts)]

    for number in range(count):
        await harness.models.wait_for(lambda: len(ours()) > number, 30)  # noqa: B023
        held = calls[ours()[-1]]
        await harness.models.wait_for(lambda: held.pieces_sent > 1, 30)  # noqa: B023
        begun = time.monotonic()
        accepted = await chat.send("Hello")
        await harness.models.wait_for(lambda: held.client_closed_at is not None, 30)  # noqa: B023
        assert held.client_closed_at is not None
        delays.append((held.client_closed_at - begun) * 1e3)
        await chat.settled(accepted.message_id)
    await tickless.runs.cancel(run.run_id)
    return delays
