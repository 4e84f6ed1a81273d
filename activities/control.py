"""The big red button as activities see it: is everything paused, and why.

Owns reading the memo of the workflow `control`. Does not set it (the workflow does).

Invariants:
    1. Reading needs no worker: it is one `describe`, 4 ms.
    2. An answer "not paused" is at most one second old, so a pause reaches every new call within a
       second; an answer "paused" is new, so what is let go on is not refused once more.
    3. No `control` workflow means nothing was ever paused.
"""

import time
from datetime import timedelta
from typing import Final

from pydantic import BaseModel
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.failures import SYSTEM_PAUSED
from domain.identifiers import CONTROL_ID

MEMO_PAUSED: Final = "tickless_paused"
MEMO_REASON: Final = "tickless_reason"
MEMO_SINCE: Final = "tickless_since"

MAX_AGE = timedelta(seconds=1)


class SystemPause(BaseModel):
    """Whether everything is paused; `since` is RFC 3339 in UTC."""

    paused: bool = False
    reason: str = ""
    since: str | None = None


async def read_system_pause(client: Client) -> SystemPause:
    """Read the memo of `control`.

    Raises:
        RPCError: Temporal is not reachable.
    """
    try:
        description = await client.get_workflow_handle(CONTROL_ID).describe()
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return SystemPause()
        raise
    memo = await description.memo()
    return SystemPause(
        paused=bool(memo.get(MEMO_PAUSED)),
        reason=str(memo.get(MEMO_REASON) or ""),
        since=memo.get(MEMO_SINCE),
    )


class PauseFlag:
    """The flag with a cache of one second, one per worker process."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._read_at = float("-inf")
        self._pause = SystemPause()

    async def current(self) -> SystemPause:
        """The flag, at most a second old; never an old pause."""
        now = time.monotonic()
        if self._pause.paused or now - self._read_at > MAX_AGE.total_seconds():
            self._pause = await read_system_pause(self._client)
            self._read_at = now
        return self._pause

    async def check(self) -> None:
        """Refuse to go on while everything is paused.

        Raises:
            ApplicationError: `system_paused`, not retryable: the workflow parks and is woken on
                resume.
        """
        pause = await self.current()
        if pause.paused:
            raise ApplicationError(
                f"everything is paused: {pause.reason or 'no reason given'}",
                type=SYSTEM_PAUSED,
                non_retryable=True,
            )


class ControlActivities:
    """Looks at the flag on behalf of runs that have parked."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @activity.defn
    async def system_pause(self) -> SystemPause:
        """The flag as it is now."""
        return await read_system_pause(self._client)
