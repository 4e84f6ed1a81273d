"""Starting the runs that a message or an event fires, and waking the goals that wait for one.

Owns the way from an event to its runs: the list of who listens, the match, the start of each. What
a run is started with is `domain.event_fires`', goals are `activities.waiting_goals`'.
Source: triggers-and-actions.md §2.

Invariants:
    1. The same message or event starts the same runs, however often it is handed in.
    2. Beyond the hop limit the runs are started all the same: admission refuses them, which leaves
       the record that is wanted.
    3. A routine never hears of its own runs, and no routine of what we have said ourselves.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog
from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities import search_attributes as attributes
from activities.candidates import Candidates
from activities.failures import ENTITY_SILENT
from activities.runs import run_attributes
from activities.waiting_goals import WaitingGoals
from domain.emissions import EmittedEvent, ReceivedMessage
from domain.event_fires import EventFire, event_fire, message_fire
from domain.identifiers import RUNS_QUEUE
from domain.listener_index import ListenerIndex
from domain.listeners import Listener
from domain.runs import run_workflow_id
from domain.trigger_matching import HOP_LIMIT
from domain.trigger_models import TriggerType

STARTS_AT_ONCE: Final = 32

_WORTH_TRYING_AGAIN: Final = frozenset(
    {
        RPCStatusCode.UNAVAILABLE,
        RPCStatusCode.DEADLINE_EXCEEDED,
        RPCStatusCode.RESOURCE_EXHAUSTED,
        RPCStatusCode.ABORTED,
        RPCStatusCode.UNKNOWN,
    }
)

_log = structlog.stdlib.get_logger("tickless.events")


@dataclass(frozen=True)
class StartedFire:
    """A run that Temporal has; `duplicate` when it had it before."""

    run_id: str
    workflow_id: str
    duplicate: bool


class Emitter:
    """Hands messages and events to the routines that listen; one per process and client."""

    def __init__(self, client: Client, candidates: Candidates | None = None) -> None:
        self._client = client
        self._candidates = candidates or Candidates(client)
        self._goals = WaitingGoals(client)
        self._gate = asyncio.Semaphore(STARTS_AT_ONCE)

    async def receive(
        self,
        message: ReceivedMessage,
        scopes: Iterable[str],
        is_ours: Callable[[str], Awaitable[bool]] | None = None,
    ) -> Sequence[StartedFire]:
        """Start the runs that a message fires.

        Args:
            message: The message.
            scopes: Those of its chat and of its author.
            is_ours: Whether we have sent the message with this id; asked only of a message that
                fires something and whose author nobody knows.

        Raises:
            RPCError: Temporal is not reachable; some runs may have been started.
        """
        if message.is_command or message.is_self:
            return []
        now = datetime.now(UTC)
        incoming = message.as_matched()
        fires: list[tuple[Listener, EventFire]] = []
        for scope in dict.fromkeys(attributes.capped(text) for text in scopes):
            index = await self._candidates.current(TriggerType.EVENT, scope)
            fires += [
                (listener, message_fire(listener, message, match, now))
                for listener, match in index.of_message(incoming, [scope], message.self_ids)
            ]
        if fires and not message.author_id and is_ours and await is_ours(message.id):
            _log.info("a message is our own and fires nothing", message=message.id)
            return []
        return await self._start(fires)

    async def emit(self, event: EmittedEvent, scope: str | None) -> Sequence[StartedFire]:
        """Start the runs that an event fires, and wake the goals that wait for it.

        Args:
            event: The event.
            scope: Whose routines and goals may hear of it; null is everybody's.

        Raises:
            RPCError: Temporal is not reachable; some runs may have been started.
        """
        wanted = None if scope is None else attributes.capped(scope)
        index, _ = await asyncio.gather(
            self._candidates.current(TriggerType.SYSTEM_EVENT, wanted),
            self._goals.wake([event], wanted),
        )
        return await self._start(_fires_of(index, event, wanted))

    def prepare(self) -> None:
        """Begin to look who listens to events of runs."""
        self._candidates.prepare(TriggerType.SYSTEM_EVENT, None)

    async def tell(self, events: Sequence[EmittedEvent], scope: str) -> None:
        """Start the runs that events of runs fire, and wake the goals that wait for one.

        Without lists of workflows it goes by the last one it had: runs do not wait for those.

        Raises:
            RPCError: A run could not be started, or a goal not woken; telling it again does it.
        """
        if not events or not scope:
            return
        wanted = attributes.capped(scope)
        index, _ = await asyncio.gather(
            self._listeners(), self._goals.wake(events, wanted, fresh=False)
        )
        await self._start([fire for event in events for fire in _fires_of(index, event, wanted)])

    async def _listeners(self) -> ListenerIndex:
        try:
            return await self._candidates.current(TriggerType.SYSTEM_EVENT, None)
        except RPCError as error:
            _log.warning("events go by an old list of routines", error=str(error))
            return self._candidates.known(TriggerType.SYSTEM_EVENT, None)

    async def _start(self, fires: Sequence[tuple[Listener, EventFire]]) -> Sequence[StartedFire]:
        started = await asyncio.gather(
            *(self._start_one(listener, fire) for listener, fire in fires), return_exceptions=True
        )
        for item in started:
            if isinstance(item, BaseException):
                raise item
        return [item for item in started if isinstance(item, StartedFire)]

    async def _start_one(self, listener: Listener, fire: EventFire) -> StartedFire:
        workflow_id = run_workflow_id(fire.run_id)
        duplicate = False
        async with self._gate:
            try:
                await self._client.start_workflow(
                    "RoutineRun",
                    fire.start,
                    id=workflow_id,
                    task_queue=RUNS_QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    search_attributes=run_attributes(fire.start, listener.scope, listener.owner),
                    static_summary=f"{listener.routine_id}: {fire.start.trigger_detail}"[:200],
                )
            except WorkflowAlreadyStartedError:
                duplicate = True
        return StartedFire(run_id=fire.run_id, workflow_id=workflow_id, duplicate=duplicate)


async def tell_or_retry(emitter: Emitter, events: Sequence[EmittedEvent], scope: str) -> None:
    """Tell events from an activity that may be repeated; telling them again starts nothing twice.

    Raises:
        ApplicationError: `entity_silent`, retryable, when Temporal did not answer.
    """
    try:
        await emitter.tell(events, scope)
    except RPCError as error:
        if error.status in _WORTH_TRYING_AGAIN:
            raise ApplicationError(error.message, type=ENTITY_SILENT) from error
        # What the server does not take will not be taken the next time either.
        _log.error("an event was not delivered", error=str(error))


async def tell_or_log(emitter: Emitter, events: Sequence[EmittedEvent], scope: str) -> None:
    """Tell events where nothing is to fail for it: what is not told is in the log."""
    try:
        await emitter.tell(events, scope)
    except RPCError as error:
        told = [f"{event.source}:{event.event_type}" for event in events]
        _log.warning("an event was not delivered", events=told, error=str(error))


def _fires_of(
    index: ListenerIndex, event: EmittedEvent, scope: str | None
) -> list[tuple[Listener, EventFire]]:
    now = datetime.now(UTC)
    matches = index.of_event(event.as_matched(), None if scope is None else [scope])
    heard = [listener for listener, _ in matches if listener.routine_id != event.about]
    if heard and event.hop > HOP_LIMIT:
        _log.warning(
            "an event went through too many runs and is not delivered",
            told=f"{event.source}:{event.event_type}",
            hop=event.hop,
            limit=HOP_LIMIT,
            routines=len(heard),
        )
    return [(listener, event_fire(listener, event, now)) for listener in heard]
