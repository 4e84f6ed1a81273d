"""What an entity that grants leases does to their holders: tell them, look at them.

Owns the two steps. Who holds what is `domain.lease_queue`'s. Source: DESIGN §3 rules 7 and 8.
"""

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from pydantic import BaseModel

    from activities import timeouts
    from activities.runs import RunIds
    from activities.sessions import SessionActivities
    from domain.lease_queue import LeaseQueue


async def check_leases(leases: LeaseQueue) -> None:
    """Look at holders whose lease is over; a lease is a time to check, not to expire."""
    due = leases.due(workflow.now())
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
            leases.lose(lease.token, workflow.now())
        else:
            leases.extend(lease.token, workflow.now())


async def signal_workflow(workflow_id: str, name: str, value: BaseModel) -> bool:
    """Signal a workflow; false when it no longer exists."""
    try:
        await workflow.get_external_workflow_handle(workflow_id).signal(name, value)
    except ApplicationError:
        return False
    return True
