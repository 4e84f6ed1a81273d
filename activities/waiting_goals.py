"""Goals that wait for an event, and waking them.

Owns the list of those goals, how old it may be, and the signal. Whether an event matches is
`domain.trigger_matching`'s; what a goal makes of the signal is its own.
Source: automation.md §9 (Wait), triggers-and-actions.md §2.

Invariants:
    1. The list is at most `MAX_AGE` old when it is used. It is not read while nobody emits.
    2. An event beyond the hop limit wakes nobody.
    3. A goal that has ended or waits for something else is not harmed by a signal that is late.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities import search_attributes as attributes
from domain.emissions import EmittedEvent
from domain.goal_messages import EVENT_CAME, EventCame
from domain.run_events import SOURCE
from domain.trigger_matching import EventMismatch, match_system_event
from domain.trigger_models import SystemEventTrigger

MAX_AGE: Final = timedelta(seconds=1)
PAGE_SIZE: Final = 1_000
SIGNALS_AT_ONCE: Final = 16
RPC_TIMEOUT: Final = timedelta(seconds=15)
# The key under which a built-in event of a goal names it.
GOAL_ID: Final = "goal_id"

_QUERY: Final = (
    f"{attributes.KIND.name} = 'goal' AND ExecutionStatus = 'Running' AND "
    f"{attributes.TRIGGER.name} IS NOT NULL"
)
_log = structlog.stdlib.get_logger("tickless.events")


@dataclass(frozen=True)
class WaitingGoal:
    """A goal that waits, as visibility shows it."""

    workflow_id: str
    scope: str
    trigger: SystemEventTrigger


class WaitingGoals:
    """The goals that wait for events; one list per process and client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._goals: Sequence[WaitingGoal] = ()
        self._read_at = float("-inf")
        self._reading: asyncio.Task[None] | None = None
        self._gate = asyncio.Semaphore(SIGNALS_AT_ONCE)

    async def wake(
        self, events: Sequence[EmittedEvent], scope: str | None, *, fresh: bool = True
    ) -> None:
        """Signal the goals that wait for one of these events.

        Args:
            events: The events.
            scope: Whose goals may hear of them, as visibility has it; null is everybody's.
            fresh: Without a list of workflows nobody is woken; else it goes by the last one.

        Raises:
            RPCError: Temporal is not reachable; some goals may have been signalled.
        """
        try:
            await self._refresh()
        except RPCError as error:
            if fresh:
                raise
            _log.warning("events go by an old list of goals", error=str(error))
        goals = [goal for goal in self._goals if scope in (None, goal.scope)]
        if not goals:
            return
        ended = await asyncio.gather(
            *(self._signal(goal, event) for event in events for goal in _who_hears(goals, event)),
            return_exceptions=True,
        )
        for item in ended:
            if isinstance(item, BaseException):
                raise item

    # Inside

    async def _refresh(self) -> None:
        if time.monotonic() - self._read_at > MAX_AGE.total_seconds():
            if self._reading is None or self._reading.done():
                self._reading = asyncio.ensure_future(self._read())
                # Its error is its callers'; there may be none left.
                self._reading.add_done_callback(lambda task: task.cancelled() or task.exception())
            # Others wait for the same reading: none of them ends it.
            await asyncio.shield(self._reading)

    async def _read(self) -> None:
        began = time.monotonic()
        found: list[WaitingGoal] = []
        rows = self._client.list_workflows(_QUERY, page_size=PAGE_SIZE, rpc_timeout=RPC_TIMEOUT)
        async for row in rows:
            values = row.typed_search_attributes
            source, _, event_type = (values.get(attributes.TRIGGER) or "").partition(":")
            trigger = SystemEventTrigger(source=source, event_type=event_type)
            scope = values.get(attributes.SCOPE) or ""
            found.append(WaitingGoal(row.id, scope, trigger))
        self._goals, self._read_at = found, began

    async def _signal(self, goal: WaitingGoal, event: EmittedEvent) -> None:
        # Only our own events name a goal there; with others it is a word like any other.
        about = event.payload.get(GOAL_ID) if event.source == SOURCE else None
        came = EventCame(
            source=event.source,
            event_type=event.event_type,
            event_id=event.id,
            goal_id=about if isinstance(about, str) else "",
            hop=event.hop,
        )
        async with self._gate:
            try:
                await self._client.get_workflow_handle(goal.workflow_id).signal(EVENT_CAME, came)
            except RPCError as error:
                # It ended a moment ago.
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise


def _who_hears(goals: Iterable[WaitingGoal], event: EmittedEvent) -> list[WaitingGoal]:
    matched, seen = event.as_matched(), list[WaitingGoal]()
    for goal in goals:
        match = match_system_event(goal.trigger, matched)
        if match.matched:
            seen.append(goal)
        elif match.reason == EventMismatch.HOP_LIMIT:
            _log.warning(
                "an event went through too many runs and wakes no goal",
                told=f"{event.source}:{event.event_type}",
                hop=event.hop,
                goal=goal.workflow_id,
            )
    return seen
