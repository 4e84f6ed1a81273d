"""Asking an entity for a lease: once, and again when its holders have been looked at.

Owns that pattern, for sessions and slots alike. Who gets a lease is `domain.lease_queue`'s.
Source: DESIGN §3 rules 4, 7 and 8.

Invariant: every call can be repeated: the entity answers by request id, the update id is fixed.
"""

from collections.abc import Awaitable, Callable

from temporalio.client import Client

from activities.runs import is_workflow_closed
from domain.lease_queue_state import LeaseAnswer, LeaseDecision, RequestLease


async def request_lease(
    client: Client,
    lease: RequestLease,
    send: Callable[[RequestLease, str], Awaitable[LeaseAnswer]],
) -> LeaseAnswer:
    """Ask for a lease.

    Args:
        client: To look at holders with.
        lease: What is asked.
        send: Sends the update `request` of the entity, under an update id.

    Returns:
        `granted` or `queued`; never `check`.
    """
    # Temporal repeats its answer to an update id, even of a workflow that was terminated since.
    update_id = f"{lease.request_id}:{lease.repeat}" if lease.repeat else lease.request_id
    answer = await send(lease, update_id)
    if answer.decision != LeaseDecision.CHECK:
        return answer
    closed = [
        holder.token for holder in answer.holders if await is_workflow_closed(client, holder.owner)
    ]
    checked = lease.model_copy(update={"checked": True, "closed": closed})
    return await send(checked, f"{update_id}:checked")
