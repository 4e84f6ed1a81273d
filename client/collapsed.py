"""Fires that a Schedule itself dropped, which never reach the routine.

Owns reading the Schedule's counters. Source: automation.md §2 (`collapsed`) and §5.
"""

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from client.connection import QUERY_TIMEOUT
from domain.identifiers import schedule_id


async def collapsed_fires(client: Client, routine_id: str) -> int:
    """How many fires were dropped while another one waited, or missed for too long.

    Raises:
        RPCError: Temporal is not reachable.
    """
    handle = client.get_schedule_handle(schedule_id(routine_id))
    try:
        found = await handle.describe(rpc_timeout=QUERY_TIMEOUT)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return 0
        raise
    dropped = found.raw_description.info.buffer_dropped
    return (
        dropped
        + found.info.num_actions_missed_catchup_window
        + (found.info.num_actions_skipped_overlap)
    )
