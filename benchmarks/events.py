"""What it costs to find the routines that a message or an event fires, among thousands.

The listeners are workflows that nobody works on: visibility shows them like any routine.
"""

import asyncio
import time
from dataclasses import dataclass

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from activities import search_attributes as attributes
from activities.candidates import Candidates
from benchmarks.measuring import quantile
from domain.identifiers import routine_workflow_id
from domain.listeners import MEMO_KEY, ListeningTrigger, trigger_memo
from domain.trigger_matching import IncomingMessage, SystemEvent
from domain.trigger_models import EventTrigger, SystemEventTrigger, TriggerType
from tests.support.harness import until

SCOPE = "user:bench"
STARTS_AT_ONCE = 64
NOBODY = "bench-nobody"
SECONDS = 15.0
# Long enough for the list to be read in between.
PAUSE = 0.002


@dataclass(frozen=True)
class EventReport:
    """Times in milliseconds."""

    first_ms: float
    message_ms: list[float]
    event_ms: list[float]
    new_ms: float


async def measure_events(client: Client, count: int) -> EventReport:
    """Make so many listeners of each kind, then hand in messages and events for a while."""
    gate = asyncio.Semaphore(STARTS_AT_ONCE)

    async def make(number: int) -> None:
        async with gate:
            await listen(client, f"m{number}", EventTrigger(pattern=rf"deploy-{number} (\w+)"))
            filters = {"number": str(number)}
            trigger = SystemEventTrigger(source="bench", event_type="issue.*", filters=filters)
            await listen(client, f"e{number}", trigger)

    await asyncio.gather(*(make(number) for number in range(count)))
    candidates = Candidates(client)
    began = time.perf_counter()
    await candidates.current(TriggerType.EVENT, SCOPE)
    first = time.perf_counter() - began
    await candidates.current(TriggerType.SYSTEM_EVENT, SCOPE)
    # Once with everything read, for what is compiled when it is first used.
    await _match(candidates, 0)
    message_ms: list[float] = []
    event_ms: list[float] = []
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        message, event = await _match(candidates, len(message_ms) % count)
        message_ms.append(message)
        event_ms.append(event)
        await asyncio.sleep(PAUSE)
    return EventReport(first * 1e3, message_ms, event_ms, await _until_heard(client, candidates))


async def listen(client: Client, name: str, trigger: ListeningTrigger) -> None:
    """Start what visibility shows of a routine that listens."""
    await client.start_workflow(
        "Routine",
        id=routine_workflow_id(f"bench-{name}"),
        task_queue=NOBODY,
        memo={MEMO_KEY: trigger_memo(trigger)},
        search_attributes=TypedSearchAttributes(
            [
                SearchAttributePair(attributes.KIND, "routine"),
                SearchAttributePair(attributes.SCOPE, SCOPE),
                SearchAttributePair(attributes.STATUS, "active"),
                SearchAttributePair(attributes.TRIGGER, trigger.type),
            ]
        ),
    )


async def _match(candidates: Candidates, number: int) -> tuple[float, float]:
    """How long one message and one event took, in milliseconds; each fires one routine."""
    began = time.perf_counter()
    index = await candidates.current(TriggerType.EVENT, SCOPE)
    text = f"Would you please deploy-{number} the website, when you have time? " + "Thanks! " * 20
    found = index.of_message(IncomingMessage(channel="slack", text=text), [SCOPE])
    between = time.perf_counter()
    index = await candidates.current(TriggerType.SYSTEM_EVENT, SCOPE)
    event = SystemEvent(source="bench", event_type="issue.opened", payload={"number": number})
    heard = index.of_event(event, [SCOPE])
    ended = time.perf_counter()
    assert len(found) == len(heard) == 1
    return (between - began) * 1e3, (ended - between) * 1e3


async def _until_heard(client: Client, candidates: Candidates) -> float:
    """How long after its start a new routine is found, while messages come in."""
    began = time.perf_counter()
    await listen(client, "new", EventTrigger(pattern="brand new"))
    message = IncomingMessage(text="something brand new")

    async def heard() -> bool:
        index = await candidates.current(TriggerType.EVENT, SCOPE)
        return bool(index.of_message(message, [SCOPE]))

    await until(heard, "the new routine is heard of", pause=PAUSE)
    return (time.perf_counter() - began) * 1e3


def summary(values: list[float]) -> str:
    """The median and the 99th percentile."""
    return f"p50 {quantile(values, 0.5):6.3f} ms   p99 {quantile(values, 0.99):6.3f} ms"
