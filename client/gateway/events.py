"""`/api/v1/events` and `/api/v1/messages`: what happens elsewhere and fires routines.

Owns the addresses and codes; what is done is `client.events`'. Source: triggers-and-actions.md §2.
"""

import time
from typing import Any

from fastapi import APIRouter, Request, status
from pydantic import BaseModel, ConfigDict, Field

from client.events import FiredRun
from client.gateway.auth import require_scope
from client.gateway.conditions import Wait
from client.gateway.parts import parts_of
from client.gateway.paths import API, status_url
from client.gateway.permissions import BODY_PROBLEMS, AnyToken, Runner
from client.gateway.routines import JsonBody
from client.gateway.shapes import body_of
from client.tickless import TicklessClient
from client.tokens import TokenScope
from domain.emissions import EVERY_SCOPE
from domain.errors import DomainError, ErrorKind
from domain.run_view import RunView

router = APIRouter(prefix=API, tags=["events"])

_NAME = r"^[A-Za-z0-9_.:/-]{1,200}$"


class EventBody(BaseModel):
    """An event; `id` makes a repetition the same event, `scope` `all` needs the scope `admin`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"source": "github", "event_type": "issue.opened", "payload": {"number": 42}}
            ]
        },
    )

    source: str = Field(pattern=_NAME)
    event_type: str = Field(pattern=_NAME)
    payload: dict[str, Any] | None = None
    id: str | None = Field(default=None, max_length=255)
    scope: str | None = Field(default=None, pattern="^all$")


class MessageBody(BaseModel):
    """A message of a user; its author and chat are those of the request's context."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"channel": "slack", "id": "1732.5", "text": "deploy the website"}]
        },
    )

    channel: str = Field(min_length=1, max_length=200)
    id: str = Field(min_length=1, max_length=255)
    text: str | None = None
    author_id: str | None = Field(default=None, max_length=512)
    author_name: str | None = Field(default=None, max_length=512)
    is_self: bool | None = None
    self_ids: list[str] | None = Field(default=None, max_length=32)


class EventRun(BaseModel):
    """A run that was started, or had been by the same event; `run` with `wait`, if it has ended."""

    run_id: str
    workflow_id: str
    status_url: str
    ui_url: str
    duplicate: bool = False
    run: RunView | None = None


class EventAccepted(BaseModel):
    """The runs that an event has started; Temporal has all of them."""

    event_id: str
    matched: int
    runs: list[EventRun]


class MessageAccepted(BaseModel):
    """The runs that a message has started; Temporal has all of them."""

    message_id: str
    matched: int
    runs: list[EventRun]


@router.post(
    "/events",
    operation_id="emitEvent",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra=body_of(EventBody),
    responses=BODY_PROBLEMS,
)
async def emit_event(
    request: Request, token: AnyToken, tickless: Runner, body: JsonBody, wait: Wait
) -> EventAccepted:
    """Tell the routines that listen; the verdicts are read at each run's `status_url`."""
    if body.get("scope") == EVERY_SCOPE:
        require_scope(token, TokenScope.ADMIN)
    if wait is not None:
        require_scope(token, TokenScope.READ)
    emitted = await tickless.events.emit_body(body)
    runs = await _told(request, tickless, emitted.runs, wait)
    return EventAccepted(event_id=emitted.event_id, matched=emitted.matched, runs=runs)


@router.post(
    "/messages",
    operation_id="ingestMessage",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra=body_of(MessageBody),
    responses=BODY_PROBLEMS,
)
async def ingest_message(
    request: Request, token: AnyToken, tickless: Runner, body: JsonBody, wait: Wait
) -> MessageAccepted:
    """Hand in a message of a user; it reaches the routines of its chat and of its author."""
    if wait is not None:
        require_scope(token, TokenScope.READ)
    taken = await tickless.messages.ingest(body)
    runs = await _told(request, tickless, taken.runs, wait)
    return MessageAccepted(message_id=taken.message_id, matched=taken.matched, runs=runs)


async def _told(
    request: Request, tickless: TicklessClient, runs: list[FiredRun], wait: float | None
) -> list[EventRun]:
    deadline = time.monotonic() + (wait or 0)
    found: list[EventRun] = []
    # One after the other: they run at once, so waiting for all takes as long as the longest.
    for run in runs:
        left = deadline - time.monotonic()
        view = await _end_of(request, tickless, run.run_id, left) if left > 0 else None
        found.append(EventRun(**run.model_dump(), status_url=status_url(run.run_id), run=view))
    return found


async def _end_of(
    request: Request, tickless: TicklessClient, run_id: str, seconds: float
) -> RunView | None:
    try:
        return await parts_of(request).within(seconds, tickless.runs.wait(run_id))
    except DomainError as error:
        # A message from a group fires the routines of its author, too, who alone may read them.
        if error.kind == ErrorKind.NOT_FOUND:
            return None
        raise
