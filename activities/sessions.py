"""The way to a session: an Update that asks for it, and a look at who holds it.

Owns the calls. Who gets the session is `domain.lease_queue`'s. Source: DESIGN §3 rules 2, 7 and 8.

Invariant: every call can be repeated: the session answers by request id, the update id is fixed.
"""

from datetime import timedelta
from typing import Final

from temporalio import activity
from temporalio.client import Client, WithStartWorkflowOperation, WorkflowQueryFailedError
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities import search_attributes as attributes
from activities.entity_updates import EntityUpdates, retryable_if_silent, update_patience
from activities.failures import ENTITY_SILENT
from activities.lease_requests import request_lease
from activities.runs import RunIds, is_workflow_closed
from domain.errors import DomainError
from domain.identifiers import ENTITIES_QUEUE, session_workflow_id
from domain.lease_queue_state import LeaseAnswer, RequestLease
from domain.session import gate_key
from domain.session_requests import (
    AskHold,
    HoldAnswer,
    RequestSession,
    SessionHold,
    SessionState,
)

ASK_WITHIN: Final = timedelta(seconds=5)


class SessionActivities:
    """Asks sessions on behalf of workflows."""

    def __init__(self, client: Client, updates: EntityUpdates) -> None:
        self._client = client
        self._updates = updates

    @activity.defn
    async def request_session(self, request: RequestSession) -> LeaseAnswer:
        """Ask for a session; one that nobody asked for before is started.

        Returns:
            `granted` or `queued`; never `check`.

        Raises:
            ApplicationError: `entity_silent`, retryable, when the session did not answer.
        """
        return await request_lease(
            self._client,
            request.lease,
            lambda lease, update_id: self._ask(request.key, lease, update_id),
        )

    @activity.defn
    async def find_closed_workflows(self, request: RunIds) -> RunIds:
        """Which of these workflows are over, though they have not let go."""
        found = [item for item in request.ids if await is_workflow_closed(self._client, item)]
        return RunIds(ids=found)

    async def _ask(self, key: str, lease: RequestLease, update_id: str) -> LeaseAnswer:
        gate = gate_key(key)
        workflow_id = session_workflow_id(gate)

        def start() -> WithStartWorkflowOperation[object, object]:
            return WithStartWorkflowOperation(
                "Session",
                SessionState(key=gate),
                id=workflow_id,
                task_queue=ENTITIES_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(attributes.KIND, "session")]
                ),
                static_summary=f"session {gate}"[:200],
            )

        try:
            return await self._updates.send(
                workflow_id,
                "request",
                lease,
                LeaseAnswer,
                update_id=update_id,
                patience=update_patience(),
                start=start,
            )
        except DomainError as error:
            raise retryable_if_silent(error) from error


class SessionHolds:
    """Asks sessions whether who speaks in them still may."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def stands(self, hold: SessionHold) -> bool:
        """Whether a hold was not taken back; one of which no session is left stands.

        Raises:
            ApplicationError: `entity_silent`, retryable, when the session did not answer.
        """
        session = self._client.get_workflow_handle(session_workflow_id(hold.key))
        try:
            answer: HoldAnswer = await session.query(
                "holds",
                AskHold(token=hold.token),
                result_type=HoldAnswer,
                rpc_timeout=ASK_WITHIN,
            )
        except (RPCError, WorkflowQueryFailedError) as error:
            if isinstance(error, RPCError) and error.status == RPCStatusCode.NOT_FOUND:
                return True
            message = f"session {hold.key!r} did not say who holds it: {error}"
            raise ApplicationError(message, type=ENTITY_SILENT) from error
        return answer.held
