"""Scenarios of conversations for the recorded histories: tools, a channel that refuses.

Owns playing them; `record` owns the files.
"""

import tempfile
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from domain.identifiers import SERVED_QUEUES
from domain.queueing import QueueMode
from domain.scopes import Route
from domain.session_messages import QueueOptions
from tests.support.conversations import conversation
from tests.support.harness import Harness, running_harness, running_server
from tests.support.model_steps import Reply
from tests.support.receiver import SECRET, Answer, running_receiver
from tests.support.tool_runs import asks

Save = Callable[[Harness, str, str], Awaitable[None]]


async def record_sessions(harness: Harness, prefix: str, save: Save) -> None:
    """Play every scenario and save its histories."""
    await _calls_tools(harness, prefix, save)
    await _beats(harness, prefix, save)
    await _goes_on(prefix, save)


async def _calls_tools(harness: Harness, prefix: str, save: Save) -> None:
    """Calls at once, calls in turn, a message that joins between two rounds, a stop."""
    gates = [threading.Event(), threading.Event()]
    clock: tuple[str, object] = ("time_now", {})
    asked = ("memory_write", {"text": "Something."})
    chat = conversation(
        harness,
        asks(clock, clock),
        replace(asks(asked), gate=gates[0]),
        Reply("With what joined."),
        asks(clock),
        replace(asks(clock), gate=gates[1]),
    )
    await chat.send("What time is it")
    await harness.models.wait_for(lambda: len(chat.asked()) == 2)
    await chat.send("Quick", options=QueueOptions(mode=QueueMode.STEER, debounce_ms=30))
    await chat.settled("m2")
    await chat.send("Again")
    await harness.models.wait_for(lambda: len(chat.asked()) == 5)
    await chat.handle.execute_update("stop")
    await chat.settled("m3")
    await save(harness, chat.handle.id, f"{prefix}-session-with-tools")
    for gate in gates:
        gate.set()


async def _beats(harness: Harness, prefix: str, save: Save) -> None:
    """A heartbeat, which nobody attends."""
    chat = conversation(harness, Reply("All is well."))
    await chat.send("Beat", is_heartbeat=True)
    await chat.settled("m1")
    await chat.idle()
    await save(harness, chat.handle.id, f"{prefix}-session-heartbeat")


async def _goes_on(prefix: str, save: Save) -> None:
    """A channel that refuses for a while, and for good; the turns meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with running_server(folder) as server, running_receiver() as receiver:
            receiver.script.extend([Answer(500), Answer(), *[Answer(500)] * 3])
            settings = {
                "TICKLESS_CHANNELS__HOOK__TYPE": "webhook",
                "TICKLESS_CHANNELS__HOOK__URL": receiver.url,
                "TICKLESS_CHANNELS__HOOK__SECRET": SECRET,
                "TICKLESS_CHANNELS__HOOK__RETRY_SECONDS": "4",
            }
            async with running_harness(folder, server, queues=SERVED_QUEUES, **settings) as harness:
                chat = conversation(harness, Reply("Yes."))
                route = Route(receive_id_type="hook", receive_id="team")
                options = QueueOptions(mode=QueueMode.FOLLOWUP, debounce_ms=0)
                for number in range(4):
                    await chat.send(f"Number {number}", route=route, options=options)
                await chat.settled("m4", 90)
                await save(harness, chat.handle.id, f"{prefix}-session-goes-on")
