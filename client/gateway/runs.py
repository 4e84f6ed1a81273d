"""`/api/v1/runs`: read a run, wait for its end, end it.

Owns the addresses and codes; what is done is `client.runs`'. Source: automation.md §6 and §13.
"""

from typing import Final

from fastapi import APIRouter, Request

from client.gateway.conditions import Wait
from client.gateway.parts import parts_of
from client.gateway.paths import API, RunId
from client.gateway.permissions import CHANGE_PROBLEMS, READ_PROBLEMS, Reader, Runner
from client.gateway.routines import JsonBody, read_body
from client.gateway.shapes import CancelBody, RunAnswer, body_of
from client.tickless import TicklessClient
from domain.run_view import RunView

# A run ends within a second of its cancellation, unless its worker has died meanwhile.
CANCEL_SECONDS: Final = 30

router = APIRouter(prefix=API, tags=["runs"])


@router.get("/runs/{run_id:run}", operation_id="getRun", responses=READ_PROBLEMS)
async def get_run(request: Request, tickless: Reader, run_id: RunId, wait: Wait) -> RunAnswer:
    """A run as it is now, or with `wait` as it ended."""
    view = None
    if wait:
        view = await parts_of(request).within(wait, tickless.runs.wait(run_id))
    return _told(tickless, run_id, view or await tickless.runs.get(run_id))


@router.post(
    "/runs/{run_id:run}/cancel",
    operation_id="cancelRun",
    openapi_extra=body_of(CancelBody, required=False),
    responses=CHANGE_PROBLEMS,
)
async def cancel_run(
    request: Request, tickless: Runner, run_id: RunId, body: JsonBody
) -> RunAnswer:
    """End a run as cancelled; what was delivered stays delivered."""
    reason = read_body(CancelBody, body).reason
    cancelling = tickless.runs.cancel(run_id, reason=reason)
    view = await parts_of(request).within(CANCEL_SECONDS, cancelling)
    return _told(tickless, run_id, view or await tickless.runs.get(run_id))


def _told(tickless: TicklessClient, run_id: str, view: RunView) -> RunAnswer:
    return RunAnswer(**dict(view), ui_url=tickless.runs.ui_url(run_id))
