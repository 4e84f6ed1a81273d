"""A session: the gate of one conversation, which one speaker holds at a time.

Owns the messages of the workflow and the order of its side effects. Who gets the session is
`domain.lease_queue`'s. Lifecycle and invariants: docs/lifecycles/session.md.
Source: DESIGN §3 rules 7 and 8, automation.md §8.
"""

from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from workflows.handlers import guarded, guarded_signal

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from activities import timeouts
    from activities.runs import RunIds
    from activities.sessions import SessionActivities
    from domain.lease_queue import LeaseQueue
    from domain.lease_queue_state import LeaseAnswer, RequestLease
    from domain.session_requests import (
        ReleaseSession,
        SessionQueue,
        SessionState,
        SessionView,
        session_queue,
        session_view,
    )

MAX_AGE = timedelta(hours=24)
# A session that nobody wants ends; the next request starts it again.
IDLE_AFTER = timedelta(hours=24)


@workflow.defn(name="Session")
class Session:
    """Workflow `session/<key>`."""

    @workflow.init
    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._leases = LeaseQueue(state.leases)

    @workflow.run
    async def run(self, _state: SessionState) -> None:
        """Serve the session until nobody has wanted it for a day."""
        self._describe()
        while not self._is_over():
            await self._wait_for_work()
            self._leases.revoke(workflow.now())
            await self._send_out()
            await self._check_leases()
            self._describe()
            if self._wants_renewal() and not self._has_work():
                await workflow.wait_condition(workflow.all_handlers_finished)
                if not self._has_work():
                    workflow.continue_as_new(self._state)
        await workflow.wait_condition(workflow.all_handlers_finished)

    # Messages: none of them awaits (DESIGN §3 rule 4).

    @workflow.update
    @guarded
    def request(self, request: RequestLease) -> LeaseAnswer:
        """Grant the session, let the request wait, or ask to look at its holder first."""
        return self._leases.request(request, workflow.now())

    @workflow.signal
    @guarded_signal
    def release(self, request: ReleaseSession) -> None:
        """Let the session go, or stop waiting for it; from anybody else it changes nothing."""
        self._leases.release(request.key, workflow.now())

    @workflow.query
    def view(self) -> SessionView:
        """Whether the session is active, and who holds it."""
        return session_view(self._state)

    @workflow.query
    def queue(self) -> SessionQueue:
        """Who waits for it."""
        return session_queue(self._state)

    # The loop

    async def _wait_for_work(self) -> None:
        due = self._leases.next_check()
        until = IDLE_AFTER if due is None else _until(due)
        try:
            await workflow.wait_condition(
                # A holder that came or went changes when to look next.
                lambda: (
                    self._has_work()
                    or self._wants_renewal()
                    or self._leases.next_check() != due
                    or self._is_over()
                ),
                timeout=until,
                timeout_summary="look at the holder" if due else "nobody wants the session",
            )
        except TimeoutError:
            return

    def _has_work(self) -> bool:
        leases = self._state.leases
        return bool(leases.grants or leases.interrupts)

    def _is_over(self) -> bool:
        info, leases = workflow.info(), self._state.leases
        busy = leases.holders or leases.waiting or self._has_work()
        since = max([one.ended_at for one in leases.remembered], default=info.start_time)
        return not busy and workflow.now() - since >= IDLE_AFTER

    def _wants_renewal(self) -> bool:
        info = workflow.info()
        return (
            info.is_continue_as_new_suggested()
            or workflow.now() - info.start_time > MAX_AGE
            or info.is_target_worker_deployment_version_changed()
        )

    async def _send_out(self) -> None:
        """Tell those whose turn has come, and those who have to let go."""
        for grant in self._leases.take_grants():
            if not await _signal(grant.owner, "granted", grant.signal):
                self._leases.lose(grant.signal.token, workflow.now())
        for lease in self._leases.take_interrupts():
            if not await _signal(lease.owner, "interrupt", lease):
                self._leases.lose(lease.token, workflow.now())

    async def _check_leases(self) -> None:
        """Look at holders whose lease is over; a lease is a time to check, not to expire."""
        due = self._leases.due(workflow.now())
        if not due:
            return
        found = await workflow.execute_activity_method(
            SessionActivities.find_closed_workflows,
            RunIds(ids=[lease.owner for lease in due]),
            start_to_close_timeout=timeouts.ENTITY_START_TO_CLOSE,
            retry_policy=timeouts.ENTITY_RETRY,
            summary="look at the holder",
        )
        for lease in due:
            if lease.owner in found.ids:
                self._leases.lose(lease.token, workflow.now())
            else:
                self._leases.extend(lease.token, workflow.now())

    def _describe(self) -> None:
        view = session_view(self._state)
        held = f"held by `{view.holder.owner}`" if view.holder else "idle"
        workflow.set_current_details(f"**{view.key}** is {held}, {view.waiting} waiting")


async def _signal(workflow_id: str, name: str, value: BaseModel) -> bool:
    """Signal a workflow; false when it no longer exists."""
    try:
        await workflow.get_external_workflow_handle(workflow_id).signal(name, value)
    except ApplicationError:
        return False
    return True


def _until(due: datetime) -> timedelta:
    return max(due - workflow.now(), timedelta(milliseconds=1))
