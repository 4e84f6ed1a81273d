"""`/healthz`, `/readyz`, `/metrics`: what a supervisor wants to know.

Owns the three answers. They need no token from this machine; from elsewhere, one with the scope
`read`. Source: DESIGN §3 rule 15.
"""

from typing import Literal

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel

from client.gateway.auth import on_loopback_or_reader
from client.gateway.metrics import MEDIA_TYPE
from client.gateway.parts import parts_of
from client.gateway.problems import problem_responses
from client.gateway.queues import QueueState
from domain.errors import DomainError, ErrorKind

router = APIRouter(
    tags=["health"],
    dependencies=[Depends(on_loopback_or_reader)],
    responses=problem_responses(
        ErrorKind.INVALID_FIELD,
        ErrorKind.UNAUTHENTICATED,
        ErrorKind.PERMISSION_DENIED,
        ErrorKind.RATE_LIMITED,
    ),
)


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class Ready(BaseModel):
    """Temporal answers, workers poll every queue, and nothing waits for long."""

    ready: Literal[True] = True
    queues: list[QueueState]


@router.get("/healthz", operation_id="getHealth")
async def healthz() -> Alive:
    """Whether the process is alive."""
    return Alive()


@router.get(
    "/readyz", operation_id="getReadiness", responses=problem_responses(ErrorKind.UNAVAILABLE)
)
async def readyz(request: Request) -> Ready:
    """Whether work can be done: Temporal, workers, and the age of what waits."""
    parts = parts_of(request)
    problems = await parts.watch.look()
    parts.metrics.looked(parts.watch.queues, ready=not problems)
    if problems:
        raise DomainError(
            ErrorKind.UNAVAILABLE,
            problems[0].field,
            "not ready: " + "; ".join(problem.message for problem in problems),
            errors=problems,
        )
    return Ready(queues=list(parts.watch.queues))


@router.get(
    "/metrics",
    operation_id="getMetrics",
    response_class=Response,
    responses={200: {"description": "Figures.", "content": {"text/plain": {}}}},
)
async def metrics(request: Request) -> Response:
    """Figures for Prometheus."""
    parts = parts_of(request)
    problems = await parts.watch.look()
    parts.metrics.looked(parts.watch.queues, ready=not problems)
    return Response(parts.metrics.text(), media_type=MEDIA_TYPE)
