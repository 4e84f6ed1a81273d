"""Which routines may be fired by a message or an event: a list of all that listen, kept fresh.

Owns reading them from visibility, and how old the list may be. Which of them match is
`domain.listener_index`'s; whether a match still holds is asked again at admission, so an old entry
never runs. Source: DESIGN §3, triggers-and-actions.md §2.

Invariants:
    1. A list is at most `MAX_AGE` old when it is used. One that is read in `SLOW` is read anew; of
       a longer one (thousands of routines) only what has changed since, and nobody waits for the
       whole of it while it is used.
    2. Nothing is read while nobody asks.
    3. What has not changed since the last reading is not decoded again.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator, Coroutine
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import structlog
from temporalio.api.enums.v1 import WorkflowExecutionStatus
from temporalio.api.workflow.v1 import WorkflowExecutionInfo
from temporalio.api.workflowservice.v1 import (
    ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
)
from temporalio.client import Client, WorkflowQueryFailedError
from temporalio.converter import decode_typed_search_attributes
from temporalio.service import RPCError, RPCStatusCode

from activities import search_attributes as attributes
from activities.changed_routines import ChangeMark, changed_at, changes_query, of_scope
from domain.identifiers import ROUTINE_PREFIX, routine_workflow_id
from domain.listener_index import ListenerIndex
from domain.listeners import (
    MEMO_KEY,
    Listener,
    ListeningTrigger,
    LongTrigger,
    listens,
    read_memo,
    trigger_digest,
)
from domain.routine_model import RoutineStatus
from domain.routine_requests import RoutineAnswer
from domain.trigger_models import TriggerType

MAX_AGE: Final = timedelta(seconds=1)
# A list is read again at half its age, so that it is new before anybody has to wait for it.
PAUSE: Final = timedelta(seconds=0.4)
SLOW: Final = timedelta(seconds=0.25)
MAX_AGE_OF_LONG: Final = timedelta(seconds=10)
PAGE_SIZE: Final = 500
# A server under load has taken more than five.
PAGE_TIMEOUT: Final = timedelta(seconds=15)
MAX_LISTS: Final = 256
QUERIES_AT_ONCE: Final = 8
QUERY_TIMEOUT: Final = timedelta(seconds=2)
RETRY_QUERY: Final = timedelta(seconds=5)
_RUNNING: Final = WorkflowExecutionStatus.WORKFLOW_EXECUTION_STATUS_RUNNING
# Between two turns of the loop, so that a message does not wait for a page.
ROWS_AT_ONCE: Final = 100

_log = structlog.stdlib.get_logger("tickless.candidates")


@dataclass(frozen=True)
class _Found:
    """A routine as visibility shows it."""

    id: str
    scope: str
    owner: str

    def with_trigger(self, trigger: ListeningTrigger) -> Listener:
        return Listener(self.id, self.scope, self.owner, trigger, trigger_digest(trigger))


@dataclass
class _List:
    """The listeners of one kind and scope, and when they were read; times are monotonic."""

    query: str
    index: ListenerIndex = field(default_factory=ListenerIndex)
    memos: dict[str, bytes] = field(default_factory=dict[str, bytes])
    unread: dict[str, float] = field(default_factory=dict[str, float])
    added: set[str] = field(default_factory=set[str])
    kind: TriggerType = TriggerType.EVENT
    scope: str | None = None
    mark: ChangeMark = field(default_factory=ChangeMark)
    changed: dict[str, datetime] = field(default_factory=dict[str, datetime])
    read_at: float = float("-inf")
    looked_at: float = float("-inf")
    ended_at: float = float("-inf")
    took: float = 0.0
    reading: "asyncio.Task[None] | None" = None
    looking: "asyncio.Task[None] | None" = None


class Candidates:
    """Lists of listeners; one instance per process and client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lists: OrderedDict[tuple[TriggerType, str | None], _List] = OrderedDict()

    async def current(self, kind: TriggerType, scope: str | None) -> ListenerIndex:
        """The routines that listen.

        Args:
            kind: `event` or `system_event`.
            scope: Whose, as the search attribute has it; null is everybody's.

        Raises:
            RPCError: Temporal is not reachable.
        """
        found = self._list(kind, scope)
        now = time.monotonic()
        age = now - found.read_at
        self._read_soon(found, now)
        if age <= MAX_AGE.total_seconds():
            return found.index
        if found.took > SLOW.total_seconds() and age <= MAX_AGE_OF_LONG.total_seconds():
            looked = now - found.looked_at
            half = MAX_AGE.total_seconds() / 2
            if looked > half and (found.looking is None or found.looking.done()):
                found.looking = _watched(self._look_for_changes(found))
            if looked > MAX_AGE.total_seconds() and found.looking is not None:
                await asyncio.shield(found.looking)
            return found.index
        if found.reading is None or found.reading.done():
            found.reading = _watched(self._read(found))
        await asyncio.shield(found.reading)
        return found.index

    def known(self, kind: TriggerType, scope: str | None) -> ListenerIndex:
        """The same, as old as it may be."""
        return self._list(kind, scope).index

    def prepare(self, kind: TriggerType, scope: str | None) -> None:
        """Begin to read, for somebody who will ask in a moment."""
        self._read_soon(self._list(kind, scope), time.monotonic())

    # Inside

    def _list(self, kind: TriggerType, scope: str | None) -> _List:
        key = (kind, scope)
        found = self._lists.get(key)
        if found is None:
            found = self._lists[key] = _List(_query(kind, scope), kind=kind, scope=scope)
            if len(self._lists) > MAX_LISTS:
                self._lists.popitem(last=False)
        self._lists.move_to_end(key)
        return found

    def _read_soon(self, found: _List, now: float) -> None:
        # A long list is read at most half of the time.
        due = found.ended_at + max(PAUSE.total_seconds(), found.took)
        if now >= due and (found.reading is None or found.reading.done()):
            found.reading = _watched(self._read(found))

    async def _read(self, found: _List) -> None:
        """Read the whole list, and forget who is in it no more."""
        began = time.monotonic()
        found.added.clear()
        # What a look finds meanwhile is newer than what this reading may still show.
        found.changed.clear()
        seen: set[str] = set()
        long: list[tuple[_Found, str]] = []
        async for row in self._rows(found.query):
            routine = row.execution.workflow_id.removeprefix(ROUTINE_PREFIX)
            seen.add(routine)
            known = found.changed.get(routine)
            if known is None or changed_at(row) >= known:
                await self._take_row(found, routine, row, long)
        await self._take_long(found, long)
        for listener in list(found.index):
            if listener.routine_id not in seen and listener.routine_id not in found.added:
                _drop(found, listener.routine_id)
        found.read_at = began
        found.looked_at = max(found.looked_at, began)
        found.ended_at = time.monotonic()
        found.took = found.ended_at - began

    async def _look_for_changes(self, found: _List) -> None:
        """Read the routines that have changed since the last look, whatever they are now."""
        began = time.monotonic()
        long: list[tuple[_Found, str]] = []
        rows = [row async for row in self._rows(changes_query(found.mark.since, found.scope))]
        # Of a name that was purged and given again, the one that runs is the last word.
        for row in sorted(rows, key=lambda row: row.status == _RUNNING):
            routine = row.execution.workflow_id.removeprefix(ROUTINE_PREFIX)
            found.changed[routine] = changed_at(row)
            found.mark.saw(found.changed[routine])
            if _listens(row, found.kind):
                found.added.add(routine)
                await self._take_row(found, routine, row, long)
            else:
                found.added.discard(routine)
                _drop(found, routine)
        await self._take_long(found, long)
        found.looked_at = began

    async def _rows(self, query: str) -> AsyncGenerator[WorkflowExecutionInfo]:
        """What visibility finds."""
        token = b""
        while True:
            page = await self._page(
                ListWorkflowExecutionsRequest(
                    namespace=self._client.namespace,
                    page_size=PAGE_SIZE,
                    next_page_token=token,
                    query=query,
                )
            )
            for place, row in enumerate(page.executions):
                if place % ROWS_AT_ONCE == ROWS_AT_ONCE - 1:
                    await asyncio.sleep(0)
                yield row
            token = page.next_page_token
            if not token:
                return

    async def _page(self, request: ListWorkflowExecutionsRequest) -> ListWorkflowExecutionsResponse:
        ask = self._client.workflow_service.list_workflow_executions
        try:
            return await ask(request, timeout=PAGE_TIMEOUT)
        except RPCError as error:
            if error.status != RPCStatusCode.CANCELLED:
                raise
            # Not by us: a connection or a shard of the server went away under the call.
            return await ask(request, timeout=PAGE_TIMEOUT)

    async def _take_row(
        self,
        found: _List,
        routine: str,
        row: WorkflowExecutionInfo,
        long: list[tuple[_Found, str]],
    ) -> None:
        """Put a routine into the index, unless it is there as it is."""
        if MEMO_KEY not in row.memo.fields:
            return
        payload = row.memo.fields[MEMO_KEY]
        if found.memos.get(routine) == payload.data:
            return
        found.mark.saw(changed_at(row))
        values = decode_typed_search_attributes(row.search_attributes)
        scope, owner = values.get(attributes.SCOPE) or "", values.get(attributes.OWNER) or ""
        (memo,) = await self._client.data_converter.decode([payload])
        trigger = read_memo(memo)
        if isinstance(trigger, LongTrigger):
            long.append((_Found(routine, scope, owner), trigger.digest))
        elif trigger is not None:
            found.index.put(_Found(routine, scope, owner).with_trigger(trigger))
            found.memos[routine] = payload.data

    async def _take_long(self, found: _List, long: list[tuple[_Found, str]]) -> None:
        """Read from the routines themselves what is too long for a memo."""
        gate = asyncio.Semaphore(QUERIES_AT_ONCE)

        async def take(routine: _Found, digest: str) -> None:
            known = found.index.get(routine.id)
            if known is not None and known.digest == digest:
                return
            if time.monotonic() < found.unread.get(routine.id, 0.0):
                return
            async with gate:
                trigger = await self._ask(routine.id)
            if trigger is None:
                found.unread[routine.id] = time.monotonic() + RETRY_QUERY.total_seconds()
                return
            found.unread.pop(routine.id, None)
            found.index.put(routine.with_trigger(trigger))

        await asyncio.gather(*(take(*item) for item in long))

    async def _ask(self, routine: str) -> ListeningTrigger | None:
        """The trigger of a routine; null when it does not answer or does not listen any more."""
        handle = self._client.get_workflow_handle(routine_workflow_id(routine))
        try:
            answer: RoutineAnswer | None = await handle.query(
                "view", result_type=RoutineAnswer, rpc_timeout=QUERY_TIMEOUT
            )
        except (RPCError, WorkflowQueryFailedError) as error:
            _log.warning("a routine's trigger could not be read", routine=routine, error=str(error))
            return None
        trigger = answer.routine.trigger if answer else None
        return trigger if listens(trigger) else None


def _query(kind: TriggerType, scope: str | None) -> str:
    query = (
        f"{attributes.KIND.name} = 'routine' AND ExecutionStatus = 'Running' AND "
        f"{attributes.STATUS.name} = 'active' AND {attributes.TRIGGER.name} = '{kind}'"
    )
    return query if scope is None else f"{query} AND {of_scope(scope)}"


def _listens(row: WorkflowExecutionInfo, kind: TriggerType) -> bool:
    """Whether a routine that has changed belongs into a list of this kind."""
    values = decode_typed_search_attributes(row.search_attributes)
    return (
        row.status == _RUNNING
        and values.get(attributes.STATUS) == RoutineStatus.ACTIVE
        and values.get(attributes.TRIGGER) == kind
    )


def _drop(found: _List, routine: str) -> None:
    found.index.drop(routine)
    found.memos.pop(routine, None)


def _watched(work: Coroutine[object, object, None]) -> "asyncio.Task[None]":
    """A task whose error is told even if nobody waits for it."""
    task = asyncio.ensure_future(work)
    task.add_done_callback(_tell)
    return task


def _tell(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("the list of listening routines could not be read", error=str(error))
