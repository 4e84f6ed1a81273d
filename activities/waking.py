"""Waking what parked while everything was paused.

Owns finding the parked workflows by their status and signalling each. Those that park later look
for themselves whether everything goes on. Source: DESIGN §3 rule 14.

Invariant: waking twice does no harm; a workflow that does not wait ignores the signal.
"""

import asyncio
from datetime import timedelta
from typing import Final

from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities import search_attributes as attributes
from activities.failures import SYSTEM_PAUSED

_PARKED = f"{attributes.STATUS.name} = '{SYSTEM_PAUSED}' AND ExecutionStatus = 'Running'"
_PAGE_SIZE = 1_000
# A workflow that parked just before may not be listed yet: milliseconds on the dev server, a second
# where lists come from Elasticsearch.
LISTING_LAG: Final = timedelta(seconds=2)


class WakingActivities:
    """Wakes parked workflows on behalf of `control`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn
    async def wake_parked(self) -> None:
        """Signal `granted` to every workflow that parked."""
        await self._wake_listed()
        await asyncio.sleep(LISTING_LAG.total_seconds())
        await self._wake_listed()

    async def _wake_listed(self) -> None:
        async for execution in self._client.list_workflows(_PARKED, page_size=_PAGE_SIZE):
            try:
                await self._client.get_workflow_handle(execution.id).signal("granted")
            except RPCError as error:
                # It ended between the listing and the signal.
                if error.status != RPCStatusCode.NOT_FOUND:
                    raise
            activity.heartbeat()
