"""Routines, as a caller works with them.

Owns the library calls for a routine's life. What is possible is decided by the routine's workflow;
what is wrong with a body is also told here, before anything is started. Source: automation.md §6,
DESIGN §3.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, cast

from pydantic import BaseModel
from temporalio.client import (
    Client,
    WithStartWorkflowOperation,
    WorkflowQueryRejectedError,
)
from temporalio.common import (
    QueryRejectCondition,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
)
from ulid import ULID

from activities import search_attributes as attributes
from activities.entity_updates import EntityUpdates, NoAnswer
from client.collapsed import collapsed_fires
from client.connection import QUERY_TIMEOUT, translated
from client.context import CallerContext
from client.json_objects import checked_object
from client.pages import Entry, check_limit, find_newest, one_page, wait_until_listed
from client.tools import Tools
from client.webhook_claims import WebhookClaims
from client.webhook_paths import WebhookPaths
from client.webhook_secrets import NO_SETTINGS, WebhookSecrets
from domain.actor import preferred_id
from domain.errors import DomainError, ErrorKind
from domain.guardrails import content_hash
from domain.identifiers import ENTITIES_QUEUE, ROUTINE_PREFIX, routine_workflow_id
from domain.listeners import MEMO_KEY, trigger_memo
from domain.routine import Routine, new_routine, parse_status_filter, validate_name
from domain.routine_requests import (
    BackfillAnswer,
    BackfillRoutine,
    ChangeRoutine,
    CreateRoutine,
    DeleteRoutine,
    ListRuns,
    PatchRoutine,
    RoutineAnswer,
    RunList,
    StartRoutine,
)
from domain.runs import KeptRun, hex32
from domain.timestamps import parse_timestamp
from domain.webhook_claim import MEMO as WEBHOOK_MEMO
from domain.webhook_claim import WebhookClaim
from workflows.routine import RoutineWorkflow

# How long a caller waits for a worker before it gets the ids alone (DESIGN §3).
PATIENCE = timedelta(seconds=10)
QUERIES_AT_ONCE = 8


class RoutineCreated(BaseModel):
    """Answer of `create`; `routine` is null while no worker has taken the creation up."""

    id: str
    workflow_id: str
    accepted: bool = False
    routine: dict[str, Any] | None = None
    warnings: list[str] = []


class RoutinePage(BaseModel):
    """A page of routines, newest first; `next_cursor` while there is more."""

    routines: list[dict[str, Any]]
    count: int
    next_cursor: str | None = None


class Routines:
    """Library calls for routines, in the scope of one caller."""

    def __init__(
        self,
        temporal: Client,
        updates: EntityUpdates,
        context: CallerContext,
        *,
        default_timezone: str = "UTC",
        retention_days: int = 30,
        secrets: WebhookSecrets = NO_SETTINGS,
    ) -> None:
        self._secrets = secrets
        self._claims = WebhookClaims(temporal, WebhookPaths(temporal))
        self._temporal = temporal
        self._tools = Tools(temporal)
        self._updates = updates
        self._context = context
        self._default_timezone = default_timezone
        self._retention_days = retention_days

    async def create(
        self,
        body: Mapping[str, object],
        *,
        name: str | None = None,
        idempotency_key: str | None = None,
    ) -> RoutineCreated:
        """Create a routine and wait until it is listed.

        Args:
            body: The JSON object of automation.md §2: `prompt` or `action`, and a schedule or
                trigger.
            name: A name of your choice; else the body's `id`, else `routine_` and a ULID.
            idempotency_key: Makes a repetition the same routine.

        Returns:
            The routine, or only its ids (`accepted`) when no worker answered within 10 s.

        Raises:
            DomainError: What is wrong with the body; `conflict` on `id` or `trigger.path` when
                that is taken.
        """
        request, planned = self._creation(checked_object(body), name, idempotency_key)
        await self._tools.check_named(planned.guardrails.allowed_tools or ())
        workflow_id = routine_workflow_id(request.id)
        claim = await self._claims.for_creation(planned)

        def start() -> WithStartWorkflowOperation[RoutineWorkflow, None]:
            return WithStartWorkflowOperation(
                "Routine",
                StartRoutine(create=request),
                id=workflow_id,
                task_queue=ENTITIES_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                search_attributes=_attributes(request, planned),
                memo=_memo(planned, claim),
                static_summary=str(body.get("title") or request.id)[:200],
            )

        try:
            with translated(request.id):
                answer = await self._updates.send(
                    workflow_id,
                    "create",
                    request,
                    RoutineAnswer,
                    # The digest too: another body under the same key is another question.
                    update_id=f"{request.key}:{request.digest}",
                    patience=PATIENCE,
                    start=start,
                )
        except NoAnswer:
            with translated(request.id):
                # The start carries the whole creation, so it is durable if the workflow exists.
                await self._temporal.get_workflow_handle(workflow_id).describe()
            await self._claims.settle_creation(request.id, claim)
            return RoutineCreated(id=request.id, workflow_id=workflow_id, accepted=True)
        listed = f"WorkflowId = '{workflow_id}' AND ExecutionStatus = 'Running'"
        await wait_until_listed(self._temporal, listed)
        await self._claims.settle_creation(request.id, claim)
        return RoutineCreated(
            id=request.id,
            workflow_id=workflow_id,
            routine=answer.routine.model_dump(mode="json"),
            warnings=answer.warnings,
        )

    async def get(self, routine_id: str) -> RoutineAnswer:
        """One routine of the caller's scope, also a deleted one until it is purged.

        Raises:
            DomainError: `not_found`; `unavailable` without a worker.
        """
        handle = self._temporal.get_workflow_handle(routine_workflow_id(routine_id))
        try:
            with translated(routine_id):
                answer = await handle.query(
                    RoutineWorkflow.view,
                    reject_condition=QueryRejectCondition.NOT_OPEN,
                    rpc_timeout=QUERY_TIMEOUT,
                )
        except WorkflowQueryRejectedError:
            answer = None
        if answer is None or answer.routine.scope != self._context.scope():
            raise DomainError(ErrorKind.NOT_FOUND, "id", routine_id)
        if answer.routine.schedule is None:
            return answer
        with translated(routine_id):
            collapsed = await collapsed_fires(self._temporal, routine_id)
        routine = answer.routine.model_copy(update={"collapsed": collapsed})
        return answer.model_copy(update={"routine": routine})

    async def list(
        self, *, status: str = "", limit: int = 20, cursor: str | None = None
    ) -> RoutinePage:
        """The caller's routines, newest first.

        Args:
            status: Blank (all but deleted), `active`, `paused`, `deleted` or `all`.
            limit: 1 to 200.
            cursor: `next_cursor` of the page before.

        Raises:
            DomainError: `invalid_field` on `status`, `limit` or `cursor`.
        """
        check_limit(limit)
        wanted = parse_status_filter(status)
        found = await self._find(wanted.status, include_deleted=wanted.include_deleted)
        page, following = one_page(found, limit, cursor)
        gate = asyncio.Semaphore(QUERIES_AT_ONCE)

        async def read(routine_id: str) -> dict[str, Any] | None:
            async with gate:
                try:
                    answer = await self.get(routine_id)
                except DomainError as error:
                    # It was purged between the listing and now.
                    if error.kind == ErrorKind.NOT_FOUND:
                        return None
                    raise
            return answer.routine.model_dump(mode="json")

        records = await asyncio.gather(*(read(routine_id) for _, routine_id in page))
        routines = [record for record in records if record is not None]
        return RoutinePage(routines=routines, count=len(routines), next_cursor=following)

    async def patch(
        self, routine_id: str, changes: Mapping[str, object], *, if_revision: int | None = None
    ) -> RoutineAnswer:
        """Change a routine by a JSON merge patch."""
        patch = self._secrets.sealed_body(checked_object(changes), routine_id)
        if if_revision is not None:
            patch["if_revision"] = if_revision
        await self._tools.check_named(_named_tools(patch))

        async def read() -> Routine:
            return (await self.get(routine_id)).routine

        async def change(changed: dict[str, Any]) -> RoutineAnswer:
            request = PatchRoutine(changes=changed, **self._asker())
            return await self._change(routine_id, "patch", request)

        async with self._claims.around_patch(routine_id, patch, read, change):
            return await change(patch)

    async def pause(self, routine_id: str, *, if_revision: int | None = None) -> RoutineAnswer:
        """Pause a routine; a run in flight finishes."""
        request = ChangeRoutine(if_revision=if_revision, **self._asker())
        return await self._change(routine_id, "pause", request)

    async def resume(self, routine_id: str, *, if_revision: int | None = None) -> RoutineAnswer:
        """Let a paused routine fire again, from now on."""
        request = ChangeRoutine(if_revision=if_revision, **self._asker())
        return await self._change(routine_id, "resume", request)

    async def delete(self, routine_id: str, *, purge: bool = False) -> RoutineAnswer:
        """Delete a routine and cancel its runs; `purge` frees the name at once."""
        request = DeleteRoutine(purge=purge, retention_days=self._retention_days, **self._asker())
        return await self._change(routine_id, "delete", request)

    async def backfill(
        self, routine_id: str, start: str, end: str, *, dry_run: bool = False
    ) -> BackfillAnswer:
        """Run a routine for the times of its schedule from `start` to `end`, inclusive.

        The runs start one after the other, each when the routine has no other; a time that was made
        up for before is not run again.

        Args:
            routine_id: A routine of the caller's scope.
            start: RFC 3339 with offset.
            end: The same; not in the future.
            dry_run: Only tell which runs these would be.

        Raises:
            DomainError: `not_found`; `conflict` unless the routine is active; `invalid_field` on
                `start`, `end` or `schedule`, also for more than 100 times.
        """
        request = BackfillRoutine(
            start=parse_timestamp(start, "start"),
            end=parse_timestamp(end, "end"),
            dry_run=dry_run,
            **self._asker(),
        )
        with translated(routine_id):
            return await self._updates.send(
                routine_workflow_id(routine_id),
                "backfill",
                request,
                BackfillAnswer,
                update_id=str(ULID()),
                patience=PATIENCE,
            )

    async def runs(self, routine_id: str, *, limit: int = 20) -> Sequence[KeptRun]:
        """The routine's runs, newest first; the last hundred are kept.

        Raises:
            DomainError: `not_found`, or `invalid_field` on `limit`.
        """
        check_limit(limit)
        await self.get(routine_id)
        handle = self._temporal.get_workflow_handle(routine_workflow_id(routine_id))
        with translated(routine_id):
            answer: RunList = await handle.query(
                RoutineWorkflow.runs, ListRuns(limit=limit), rpc_timeout=QUERY_TIMEOUT
            )
        return answer.runs

    # Inside

    def _creation(
        self, body: Mapping[str, object], name: str | None, idempotency_key: str | None
    ) -> tuple[CreateRoutine, Routine]:
        creator, route, scope = (
            self._context.actor(),
            self._context.route(),
            self._context.scope(),
        )
        chosen = body.get("id") if name is None else name
        name = None if chosen is None else validate_name(chosen)
        key = hex32(f"{preferred_id(creator)}\n{idempotency_key}") if idempotency_key else None
        id = name or "routine_" + (key or str(ULID()).lower())

        def plan(given: Mapping[str, object]) -> Routine:
            # Told before anything is started; the workflow makes it from the same body again.
            return new_routine(
                given,
                id=id,
                scope=scope,
                route=route,
                creator=creator,
                now=datetime.now(UTC),
                default_timezone=self._default_timezone,
            )

        # Twice: a literal is judged as it was given, and leaves this process sealed only.
        plan(body)
        sealed = self._secrets.sealed_body(body, id)
        request = CreateRoutine(
            id=id,
            body=sealed,
            scope=scope,
            route=route,
            creator=creator,
            session_key=self._context.session_key,
            resume_thread_id=self._context.resume_thread_id or None,
            source_message_id=self._context.source_message_id or None,
            default_timezone=self._default_timezone,
            key=key or str(ULID()),
            digest=content_hash(self._secrets.comparable_body(body, id)),
        )
        return request, plan(sealed)

    async def _change(self, routine_id: str, update: str, request: ChangeRoutine) -> RoutineAnswer:
        with translated(routine_id):
            return await self._updates.send(
                routine_workflow_id(routine_id),
                update,
                request,
                RoutineAnswer,
                update_id=str(ULID()),
                patience=PATIENCE,
            )

    def _asker(self) -> dict[str, Any]:
        return self._context.asker().model_dump()

    async def _find(self, status: str | None, *, include_deleted: bool) -> Sequence[Entry]:
        """The caller's routines as (created, id), newest first."""
        query = (
            f"{attributes.KIND.name} = 'routine' AND ExecutionStatus = 'Running' AND "
            f"{attributes.SCOPE.name} = '{attributes.quoted(self._context.scope().text)}'"
        )
        if status is not None:
            query += f" AND {attributes.STATUS.name} = '{status}'"
        elif not include_deleted:
            query += f" AND {attributes.STATUS.name} != 'deleted'"
        return await find_newest(
            self._temporal, query, ROUTINE_PREFIX, "routines: use the status filter"
        )


def _named_tools(patch: Mapping[str, Any]) -> Sequence[str]:
    """The tools that a patch allows, as far as it is a list of texts; the rest is told later."""
    guardrails = patch.get("guardrails")
    if not isinstance(guardrails, Mapping):
        return ()
    names = cast("Mapping[str, object]", guardrails).get("allowed_tools")
    items = cast("Sequence[object]", names) if isinstance(names, list) else ()
    return [name.strip() for name in items if isinstance(name, str) and name.strip()]


def _attributes(request: CreateRoutine, planned: Routine) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(attributes.KIND, "routine"),
            SearchAttributePair(attributes.ROUTINE, request.id),
            SearchAttributePair(attributes.SCOPE, attributes.capped(request.scope.text)),
            SearchAttributePair(attributes.OWNER, attributes.capped(preferred_id(request.creator))),
            SearchAttributePair(attributes.TRIGGER, planned.trigger.type),
            SearchAttributePair(attributes.STATUS, planned.status),
            SearchAttributePair(attributes.CREATED, datetime.now(UTC)),
        ]
    )


def _memo(planned: Routine, claim: WebhookClaim | None) -> dict[str, Any] | None:
    """What fires from outside find the routine by; its workflow keeps it up to date."""
    if claim is not None:
        return {WEBHOOK_MEMO: claim.memo}
    trigger = trigger_memo(planned.trigger)
    return None if trigger is None else {MEMO_KEY: trigger}
