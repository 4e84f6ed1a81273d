"""Whether Temporal answers at all, asked before anything is tried.

Owns one quick look, so that a request during an outage is refused within seconds and nothing of it
is half done; the calls themselves would go on trying for longer. Source: automation.md §2, §12.
"""

import time
from datetime import timedelta

from temporalio.api.workflowservice.v1 import GetSystemInfoRequest
from temporalio.client import Client
from temporalio.service import RPCError

from domain.errors import DomainError, ErrorKind

MAX_AGE = timedelta(seconds=1)
TIMEOUT = timedelta(seconds=2)


class Reachability:
    """A look at the server, good for a second."""

    def __init__(self, temporal: Client) -> None:
        self._temporal = temporal
        self._seen_at = float("-inf")

    async def check(self) -> None:
        """Look whether Temporal answers.

        Raises:
            DomainError: `unavailable`; nothing was changed.
        """
        if time.monotonic() - self._seen_at < MAX_AGE.total_seconds():
            return
        try:
            await self._temporal.workflow_service.get_system_info(
                GetSystemInfoRequest(), retry=False, timeout=TIMEOUT
            )
        except (RPCError, RuntimeError) as error:
            raise DomainError(
                ErrorKind.UNAVAILABLE,
                "temporal",
                "Temporal does not answer; nothing was changed, try again",
            ) from error
        self._seen_at = time.monotonic()
