"""`/api/v1/system`: pause everything, let it go on, see how it stands.

Owns the addresses; what is done is `client.system`'. Source: triggers-and-actions.md §4.
"""

from fastapi import APIRouter, Request

from activities.control import SystemPause
from client.gateway.parts import Parts, parts_of
from client.gateway.paths import API
from client.gateway.permissions import BODY_PROBLEMS, COMMON_PROBLEMS, AdminToken, ReadToken
from client.gateway.routines import JsonBody, read_body
from client.gateway.shapes import NoBody, PauseBody, body_of

router = APIRouter(prefix=API, tags=["system"])


@router.get("/system", operation_id="getSystem", responses=COMMON_PROBLEMS)
async def get_system(request: Request, _token: ReadToken) -> SystemPause:
    """Whether everything is paused, why and since when."""
    return await (await _reachable(request)).system.status()


@router.post(
    "/system/pause",
    operation_id="pauseSystem",
    openapi_extra=body_of(PauseBody, required=False),
    responses=BODY_PROBLEMS,
)
async def pause_system(request: Request, _token: AdminToken, body: JsonBody) -> SystemPause:
    """Refuse every new fire and park what is under way, within a second."""
    reason = read_body(PauseBody, body).reason
    return await (await _reachable(request)).system.pause_all(reason)


@router.post(
    "/system/resume",
    operation_id="resumeSystem",
    openapi_extra=body_of(NoBody, required=False),
    responses=BODY_PROBLEMS,
)
async def resume_system(request: Request, _token: AdminToken, body: JsonBody) -> SystemPause:
    """Let everything go on."""
    read_body(NoBody, body)
    return await (await _reachable(request)).system.resume_all()


async def _reachable(request: Request) -> Parts:
    parts = parts_of(request)
    await parts.reachability.check()
    return parts
