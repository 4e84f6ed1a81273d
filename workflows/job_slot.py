"""How a job gets one of the deployment's slots, and gives it back.

Owns the holder's side. The slots' side is `workflows.slots`. Source: triggers-and-actions.md §6.

Invariants:
    1. Whatever happens, the slot is given back, or no longer waited for, in the end.
    2. Who had a slot before waits in front of those who never had one.
    3. Slots that were terminated, with all who waited for one, are asked again after a while.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.cancellations import raise_if_cancelled
from workflows.entity_calls import ask_entity
from workflows.session_gate import MAX_PATIENCE

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.slots import SlotActivities
    from domain.job_state import JobState
    from domain.lease_queue_state import Granted, LeaseDecision, RequestLease
    from domain.slots import JOB_SLOTS, ReleaseSlot, RequestSlot, slots_workflow_id


_ASK_AGAIN = "2026-11-21-asks-for-slots-again"


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

    async def acquire(
        self, still_wanted: Callable[[], bool], waits: Callable[[], Awaitable[None]]
    ) -> bool:
        """Wait for a slot; false when it is no longer wanted.

        Args:
            still_wanted: Whether it is.
            waits: Says that none is free; called each time before it is waited for one.
        """
        self._state.slot_turn += 1
        self._asked, self._grant = True, None
        self._state.slot = await self._wait_for_token(still_wanted, waits)
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

    async def _wait_for_token(
        self, still_wanted: Callable[[], bool], waits: Callable[[], Awaitable[None]]
    ) -> str | None:
        """Wait for the grant of the request at hand; null when it is no longer wanted."""
        patience, repeat = timedelta(seconds=self._lease_seconds), 0
        while True:
            token = await self._ask(repeat)
            if token is not None:
                return token
            raise_if_cancelled()
            await waits()
            over = await self._wait(patience, still_wanted)
            if over:
                return self._grant.token if self._grant else None
            patience, repeat = min(2 * patience, MAX_PATIENCE), repeat + 1

    async def _ask(self, repeat: int) -> str | None:
        lease = RequestLease(
            owner=self._owner,
            request_id=self._request_id,
            lease_seconds=self._lease_seconds,
            front=self._state.slot_turn > 1,
            repeat=repeat,
        )
        request = RequestSlot(name=JOB_SLOTS, lease=lease)
        answer = await ask_entity(SlotActivities.request_slot, request, "ask for a slot")
        return answer.token if answer.decision == LeaseDecision.GRANTED else None

    async def _wait(self, patience: timedelta, still_wanted: Callable[[], bool]) -> bool:
        """Wait for word of the grant; false when none came for so long that slots may be gone."""

        def over() -> bool:
            return self._grant is not None or not still_wanted()

        if over():
            return True
        if not workflow.patched(_ASK_AGAIN):
            await workflow.wait_condition(over)
            return True
        try:
            await workflow.wait_condition(
                over, timeout=patience, timeout_summary="are there still slots?"
            )
        except TimeoutError:
            return over()
        return True

    @property
    def _lease_seconds(self) -> int:
        grace = int(timeouts.LEASE_GRACE.total_seconds())
        return self._state.start.timeout_seconds + grace

    @property
    def _request_id(self) -> str:
        return f"{self._owner}:{self._state.slot_turn}"
