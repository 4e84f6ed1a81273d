"""How a job gets one of the deployment's slots, and gives it back.

Owns the holder's side. The slots' side is `workflows.slots`. Source: triggers-and-actions.md §6.

Invariants:
    1. Whatever happens, the slot is given back, or no longer waited for, in the end.
    2. Who had a slot before waits in front of those who never had one.
"""

from collections.abc import Callable

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.entity_calls import ask_entity

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.slots import SlotActivities
    from domain.job_state import JobState
    from domain.lease_queue_state import Granted, LeaseDecision, RequestLease
    from domain.slots import JOB_SLOTS, ReleaseSlot, RequestSlot, slots_workflow_id


class JobSlot:
    """One job's hold of a slot; the token is in the job's state."""

    def __init__(self, state: JobState) -> None:
        self._state = state
        self._owner = workflow.info().workflow_id
        self._grant: Granted | None = None
        self._asked = False

    def granted(self, grant: Granted) -> None:
        """The turn of a request has come."""
        if grant.lease == self._request_id:
            self._grant = grant

    async def acquire(self, still_wanted: Callable[[], bool]) -> bool:
        """Wait for a slot; false when it is no longer wanted."""
        self._state.slot_turn += 1
        self._asked, self._grant = True, None
        lease = RequestLease(
            owner=self._owner,
            request_id=self._request_id,
            lease_seconds=self._state.start.timeout_seconds
            + int(timeouts.LEASE_GRACE.total_seconds()),
            front=self._state.slot_turn > 1,
        )
        request = RequestSlot(name=JOB_SLOTS, lease=lease)
        answer = await ask_entity(SlotActivities.request_slot, request, "ask for a slot")
        if answer.decision == LeaseDecision.GRANTED and answer.token is not None:
            self._state.slot = answer.token
        else:
            await workflow.wait_condition(lambda: self._token() is not None or not still_wanted())
            self._state.slot = self._token()
        if self._state.slot is not None and still_wanted():
            return True
        await self.release()
        return False

    async def release(self) -> None:
        """Give the slot back, or stop waiting for it; a second time nothing happens."""
        if not self._asked and self._state.slot is None:
            return
        key, self._state.slot, self._asked = self._state.slot or self._owner, None, False
        slots = workflow.get_external_workflow_handle(slots_workflow_id(JOB_SLOTS))
        try:
            await slots.signal("release", ReleaseSlot(key=key))
        except ApplicationError:
            # Slots that nobody wanted for a day have ended; those hold nothing.
            workflow.logger.info("there are no slots to give one back to")

    def _token(self) -> str | None:
        return self._grant.token if self._grant else None

    @property
    def _request_id(self) -> str:
        return f"{self._owner}:{self._state.slot_turn}"
