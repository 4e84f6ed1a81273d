"""Slots: a counting semaphore, first come first served, whose places are leases.

Owns the messages of the workflow and the order of its side effects. Who gets a slot is
`domain.lease_queue`'s. Lifecycle and invariants: docs/lifecycles/slots.md.
Source: DESIGN §3 rules 4 to 8, triggers-and-actions.md §6.
"""

from datetime import timedelta

from temporalio import workflow

from workflows.handlers import guarded, guarded_signal
from workflows.lease_rounds import check_leases, signal_workflow
from workflows.renewal import is_renewal_due, time_until

with workflow.unsafe.imports_passed_through():
    from domain.lease_queue import LeaseQueue
    from domain.lease_queue_state import LeaseAnswer
    from domain.slots import ReleaseSlot, RequestSlot, SlotsState, SlotsView, slots_view

# Slots that nobody wants end; the next request starts them again.
IDLE_AFTER = timedelta(hours=24)


@workflow.defn(name="Slots")
class Slots:
    """Workflow `slots/<name>`."""

    @workflow.init
    def __init__(self, state: SlotsState) -> None:
        self._state = state
        self._leases = LeaseQueue(state.leases)

    @workflow.run
    async def run(self, _state: SlotsState) -> None:
        """Serve the slots until nobody has wanted one for a day."""
        self._describe()
        while not self._is_over():
            await self._wait_for_work()
            await self._send_grants()
            await check_leases(self._leases)
            self._describe()
            if is_renewal_due() and not self._state.leases.grants:
                await workflow.wait_condition(workflow.all_handlers_finished)
                if not self._state.leases.grants:
                    workflow.continue_as_new(self._state)
        await workflow.wait_condition(workflow.all_handlers_finished)

    # Messages: none of them awaits (DESIGN §3 rule 4).

    @workflow.update
    @guarded
    def request(self, request: RequestSlot) -> LeaseAnswer:
        """Grant a slot, let the request wait, or ask to look at the holders first."""
        if request.capacity != self._state.leases.capacity:
            self._leases.resize(request.capacity, workflow.now())
        return self._leases.request(request.lease, workflow.now())

    @workflow.signal
    @guarded_signal
    def release(self, request: ReleaseSlot) -> None:
        """Give a slot back, or stop waiting; from anybody else it changes nothing."""
        self._leases.release(request.key, workflow.now())

    @workflow.query
    def view(self) -> SlotsView:
        """Who holds a slot, and who waits."""
        return slots_view(self._state)

    # The loop

    async def _wait_for_work(self) -> None:
        due = self._leases.next_check()
        until = IDLE_AFTER if due is None else time_until(due)
        try:
            await workflow.wait_condition(
                # A holder that came or went changes when to look next.
                lambda: (
                    bool(self._state.leases.grants)
                    or is_renewal_due()
                    or self._leases.next_check() != due
                ),
                timeout=until,
                timeout_summary="look at the holders" if due else "nobody wants a slot",
            )
        except TimeoutError:
            return

    async def _send_grants(self) -> None:
        for grant in self._leases.take_grants():
            if not await signal_workflow(grant.owner, "granted", grant.signal):
                self._leases.lose(grant.signal.token, workflow.now())

    def _is_over(self) -> bool:
        leases = self._state.leases
        busy = leases.holders or leases.waiting or leases.grants
        start = workflow.info().start_time
        since = max([one.ended_at for one in leases.remembered], default=start)
        return not busy and workflow.now() - max(since, start) >= IDLE_AFTER

    def _describe(self) -> None:
        view = slots_view(self._state)
        taken = f"{len(view.holders)} of {view.capacity} slots taken, {len(view.waiting)} waiting"
        holders = "".join(f"\n- `{one.owner}`" for one in view.holders)
        workflow.set_current_details(f"**{view.name}**: {taken}{holders}")
