"""Which routine has which webhook path.

Owns finding routines by path, from the memo `webhook` that each of them publishes, and deciding who
keeps a path that two have claimed. What a claim says is `domain.webhook_claim`'s. Source:
triggers-and-actions.md §3, DESIGN §3.

Invariants:
    1. What is answered is at most a second old, as far as visibility is. All webhooks are read
       once a minute at most, in between only what has changed.
    2. Of several claims exactly one is kept. Whoever claims waits until its own claim is listed and
       only then looks at others, so that of any two at least one sees the other; who sees a
       stronger claim gives way, and who sees a weaker one waits until that has given way, or gives
       way itself to one that was settled without having seen it.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from temporalio.client import Client, WorkflowExecution, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from activities import search_attributes as attributes
from activities.changed_routines import ChangeMark, changed_at, changes_query
from client.connection import translated
from domain.errors import DomainError, ErrorKind
from domain.identifiers import ROUTINE_PREFIX, routine_workflow_id
from domain.routine_model import RoutineStatus
from domain.trigger_models import TriggerType
from domain.webhook_claim import MEMO, WebhookClaim, stronger

MAX_AGE: Final = timedelta(seconds=1)
# Changes are enough, but for routines that do not tell them yet.
READ_AGAIN: Final = timedelta(seconds=60)
LISTED_WITHIN: Final = timedelta(seconds=5)
GIVES_WAY_WITHIN: Final = timedelta(seconds=3)
PAGE_SIZE: Final = 1_000

_QUERY: Final = (
    f"{attributes.KIND.name} = 'routine' AND ExecutionStatus = 'Running' AND "
    f"{attributes.TRIGGER.name} = '{TriggerType.WEBHOOK}'"
)
_PAUSE_SECONDS: Final = 0.01


@dataclass(frozen=True)
class Webhook:
    """A routine that has a webhook, as it is listed."""

    routine_id: str
    claim: WebhookClaim
    status: str
    scope: str
    owner: str


class WebhookPaths:
    """Looks up paths; one per process and connection."""

    def __init__(self, temporal: Client, max_age: timedelta = MAX_AGE) -> None:
        self._temporal = temporal
        self._max_age = max_age
        self._looked_at = float("-inf")
        self._read_at = float("-inf")
        self._looking = asyncio.Lock()
        self._known: dict[str, dict[str, Webhook]] = {}
        self._paths: dict[str, str] = {}
        self._mark = ChangeMark()

    def is_known(self, path: str) -> bool:
        """Whether the path was somebody's when last looked."""
        return path in self._known

    async def find(self, path: str, *, fresh: bool = False) -> Webhook | None:
        """The routine that has a path, whatever its status.

        Args:
            path: A path.
            fresh: Look now, whatever is known.

        Raises:
            DomainError: `unavailable`.
        """
        asked_at = time.monotonic()
        oldest = asked_at if fresh else asked_at - self._max_age.total_seconds()
        if self._looked_at < oldest:
            async with self._looking:
                # Whoever waited here has the answer of the one before.
                if self._looked_at < oldest:
                    began = time.monotonic()
                    await self._look(began)
                    self._looked_at = began
        return _strongest(self._known.get(path, {}).values())

    async def of_routine(self, routine_id: str) -> Webhook | None:
        """What a routine claims now; needs no worker.

        Raises:
            DomainError: `unavailable`.
        """
        handle = self._temporal.get_workflow_handle(routine_workflow_id(routine_id))
        try:
            description = await handle.describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            with translated():
                raise
        if description.status != WorkflowExecutionStatus.RUNNING:
            return None
        return await _webhook_of(description)

    async def require_free(self, path: str, routine_id: str) -> None:
        """Refuse a path that another routine has.

        Raises:
            DomainError: `conflict` on `trigger.path`.
        """
        if await self._others(path, routine_id):
            raise taken(path)

    async def settle(self, routine_id: str, claim: WebhookClaim) -> bool:
        """Whether a routine keeps the path that it has just claimed (see invariant 2)."""
        deadline = time.monotonic() + LISTED_WITHIN.total_seconds()
        while not any(
            one.routine_id == routine_id and one.claim.at == claim.at
            for one in await self._claims(claim.path)
        ):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_PAUSE_SECONDS)
        others = await self._others(claim.path, routine_id)
        if any(stronger(one.claim, one.routine_id, claim, routine_id) for one in others):
            return False
        weaker = {one.routine_id for one in others}
        deadline = time.monotonic() + GIVES_WAY_WITHIN.total_seconds()
        while weaker:
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(_PAUSE_SECONDS)
            weaker &= {one.routine_id for one in await self._others(claim.path, routine_id)}
        return True

    async def _others(self, path: str, routine_id: str) -> Sequence[Webhook]:
        return [one for one in await self._claims(path) if one.routine_id != routine_id]

    async def _claims(self, path: str) -> Sequence[Webhook]:
        return [one for one in await self._listed() if one.claim.path == path]

    async def _look(self, now: float) -> None:
        """Bring what is known up to date: by what has changed, now and then by everything."""
        if now - self._read_at <= READ_AGAIN.total_seconds():
            query = changes_query(self._mark.since)
            with translated():
                rows = [row async for row in self._temporal.list_workflows(query)]
            # Of a name that was purged and given again, the one that runs is the last word.
            for row in sorted(rows, key=lambda row: row.status == WorkflowExecutionStatus.RUNNING):
                self._mark.saw(changed_at(row.raw_info))
                await self._take(row)
        else:
            await self._read()
            self._read_at = now

    async def _read(self) -> None:
        """Read all webhooks, and forget who is gone."""
        gone = set(self._paths)
        with translated():
            async for row in self._temporal.list_workflows(_QUERY, page_size=PAGE_SIZE):
                self._mark.saw(changed_at(row.raw_info))
                gone.discard(await self._take(row))
        for routine in gone:
            # While a routine continues as new it is listed neither as old nor as new.
            present = await self.of_routine(routine)
            self._forget(routine)
            if present is not None:
                self._put(present)

    async def _take(self, row: WorkflowExecution) -> str:
        """Note what a routine claims now; returns its id."""
        routine = row.id.removeprefix(ROUTINE_PREFIX)
        webhook = await _webhook_of(row)
        self._forget(routine)
        if webhook is not None and row.status == WorkflowExecutionStatus.RUNNING:
            self._put(webhook)
        return routine

    def _put(self, webhook: Webhook) -> None:
        self._paths[webhook.routine_id] = webhook.claim.path
        self._known.setdefault(webhook.claim.path, {})[webhook.routine_id] = webhook

    def _forget(self, routine: str) -> None:
        path = self._paths.pop(routine, None)
        if path is not None:
            del self._known[path][routine]
            if not self._known[path]:
                del self._known[path]

    async def _listed(self) -> Sequence[Webhook]:
        found: list[Webhook] = []
        with translated():
            async for execution in self._temporal.list_workflows(_QUERY, page_size=PAGE_SIZE):
                webhook = await _webhook_of(execution)
                if webhook is not None:
                    found.append(webhook)
        return found


def taken(path: str) -> DomainError:
    """The problem of a path that another routine has; whose it is does not concern the caller."""
    return DomainError(
        ErrorKind.CONFLICT,
        "trigger.path",
        f"trigger.path {path!r} is taken by another routine; choose another path",
    )


def _strongest(claims: Iterable[Webhook]) -> Webhook | None:
    """Who keeps a path that these claim."""
    return min(claims, key=lambda one: (one.claim.at, one.routine_id), default=None)


async def _webhook_of(execution: WorkflowExecution) -> Webhook | None:
    memo: Any = await execution.memo_value(MEMO, None)
    if memo is None:
        return None
    found = execution.typed_search_attributes
    return Webhook(
        routine_id=execution.id.removeprefix(ROUTINE_PREFIX),
        claim=WebhookClaim.model_validate(memo),
        status=found.get(attributes.STATUS) or RoutineStatus.ACTIVE,
        scope=found.get(attributes.SCOPE) or "",
        owner=found.get(attributes.OWNER) or "",
    )
