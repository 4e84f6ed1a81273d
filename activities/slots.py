"""The way to slots: an Update that asks for one. Slots that nobody asked for before are started.

Owns the call and the capacity, which is a setting of the worker. Who gets a slot is
`domain.lease_queue`'s. Source: DESIGN §3 rules 2, 7 and 8.
"""

from temporalio import activity
from temporalio.client import Client, WithStartWorkflowOperation
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
)

from activities import search_attributes as attributes
from activities.entity_updates import EntityUpdates, retryable_if_silent, update_patience
from activities.lease_requests import request_lease
from domain.errors import DomainError
from domain.identifiers import ENTITIES_QUEUE
from domain.lease_queue_state import LeaseAnswer, RequestLease
from domain.slots import RequestSlot, SlotsState, slots_workflow_id


class SlotActivities:
    """Asks for slots on behalf of workflows."""

    def __init__(self, client: Client, updates: EntityUpdates, capacity: int) -> None:
        """Take what is needed.

        Args:
            client: Connection to Temporal.
            updates: Sends updates.
            capacity: Setting `max_parallel_jobs`.
        """
        self._client = client
        self._updates = updates
        self._capacity = capacity

    @activity.defn
    async def request_slot(self, request: RequestSlot) -> LeaseAnswer:
        """Ask for a slot.

        Returns:
            `granted` or `queued`; never `check`.

        Raises:
            ApplicationError: `entity_silent`, retryable, when the slots did not answer.
        """
        workflow_id = slots_workflow_id(request.name)

        def start() -> WithStartWorkflowOperation[object, object]:
            return WithStartWorkflowOperation(
                "Slots",
                SlotsState(name=request.name),
                id=workflow_id,
                task_queue=ENTITIES_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                search_attributes=TypedSearchAttributes(
                    [SearchAttributePair(attributes.KIND, "slots")]
                ),
                static_summary=f"slots {request.name}"[:200],
            )

        async def send(lease: RequestLease, update_id: str) -> LeaseAnswer:
            asked = request.model_copy(update={"lease": lease, "capacity": self._capacity})
            return await self._updates.send(
                workflow_id,
                "request",
                asked,
                LeaseAnswer,
                update_id=update_id,
                patience=update_patience(),
                start=start,
            )

        try:
            return await request_lease(self._client, request.lease, send)
        except DomainError as error:
            raise retryable_if_silent(error) from error
