"""`/api/v1/watchdog`: which routines are late or do not end, for operators.

Owns the address; the calls are `client.watchdog`'. Source: automation.md §11 and §13.
"""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from activities.watchdog import WatchdogReport
from client.gateway.parts import parts_of
from client.gateway.paths import API
from client.gateway.permissions import COMMON_PROBLEMS, AdminToken
from client.watchdog import WatchdogCalls

router = APIRouter(prefix=API, tags=["system"])


class WatchdogAnswer(WatchdogReport):
    """A round of the watchdog; `at` is null when there was none yet."""

    at: str | None = None


@router.get("/watchdog", operation_id="getWatchdog", responses=COMMON_PROBLEMS)
async def get_watchdog(
    request: Request,
    _token: AdminToken,
    once: Annotated[bool, Query(description="Look now; else what the last round found.")] = False,
) -> WatchdogAnswer:
    """Routines that are overdue or stuck, of all scopes."""
    parts = parts_of(request)
    await parts.reachability.check()
    watchdog = WatchdogCalls(parts.temporal)
    found = await (watchdog.once() if once else watchdog.last())
    return WatchdogAnswer(**found.model_dump()) if found else WatchdogAnswer()
