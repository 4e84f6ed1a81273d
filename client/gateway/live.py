"""Live text of a run as server-sent events.

Owns the events and their form: `text` with its position, `stage`, at last `end` with the whole
view; `problem` where reading broke off, after which a reader may come back. The id of an event is
the number of characters that the reader then has, so `Last-Event-ID` goes on exactly there.
Source: automation.md §7 (Live text).

Invariant: a reader who leaves takes its watcher along.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from client.gateway.parts import Parts, parts_of
from client.gateway.paths import API, RunId
from client.gateway.permissions import READ_PROBLEMS, Reader
from client.gateway.problems import TooManyRequests
from client.runs import RunProgress
from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.run_view import RunStage

# Each reader asks Temporal seven times a second.
MAX_STREAMS: Final = 100
KEEP_ALIVE_SECONDS: Final = 15
_MAX_DIGITS = 12

# One event; OpenAPI 3.1 knows no sequences of them.
_EVENT_SCHEMA: Final = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["text", "stage", "problem", "end"]},
        "id": {"type": "string", "description": "Characters of the reply up to here."},
        "data": {"type": "string", "contentMediaType": "application/json"},
    },
    "required": ["event", "data"],
}

router = APIRouter(prefix=API, tags=["runs"])


@router.get(
    "/runs/{run_id:run}/events",
    operation_id="watchRun",
    response_class=EventSourceResponse,
    responses={
        200: {
            "description": "Events `text`, `stage`, `problem`, and `end`, after which the reader "
            "should close.",
            "content": {
                "text/event-stream": {
                    "schema": _EVENT_SCHEMA,
                    "example": 'id: 5\nevent: text\ndata: {"offset": 0, "text": "Hello"}\n\n',
                }
            },
        },
        **READ_PROBLEMS,
    },
)
async def events(
    request: Request,
    tickless: Reader,
    run_id: RunId,
    last_event_id: Annotated[
        str | None,
        Header(
            description="Characters of the reply that the reader already has.",
            examples=["0"],
        ),
    ] = None,
) -> EventSourceResponse:
    """Follow a run: its stages, the model's text as it streams, at last all of it."""
    parts = parts_of(request)
    if parts.metrics.open_streams >= MAX_STREAMS:
        raise TooManyRequests(f"client: {MAX_STREAMS} readers follow runs already", 5)
    steps = tickless.runs.watch(run_id, offset=_offset(last_event_id))
    # An unknown run is a problem like any other, not a stream that says so.
    first = await anext(steps)
    return EventSourceResponse(
        _events(parts, first, steps),
        ping=KEEP_ALIVE_SECONDS,
        ping_message_factory=lambda: ServerSentEvent(comment="alive"),
        sep="\n",
    )


async def _events(
    parts: Parts, first: RunProgress, steps: AsyncIterator[RunProgress]
) -> AsyncGenerator[ServerSentEvent]:
    with parts.metrics.stream():
        for event in _of_step(first):
            yield event
        following = parts.until_stopping(steps)
        try:
            async for step in following:
                for event in _of_step(step):
                    yield event
        except DomainError as error:
            yield _event("problem", error.to_problem().model_dump(mode="json"))
        finally:
            await following.aclose()


def _of_step(step: RunProgress) -> list[ServerSentEvent]:
    had = step.offset + len(step.text)
    found: list[ServerSentEvent] = []
    if step.text:
        found.append(_event("text", {"offset": step.offset, "text": step.text}, had))
    if step.view is None:
        return found
    if step.view.stage == RunStage.ENDED:
        found.append(_event("end", step.view.model_dump(mode="json"), had))
    else:
        stage = {"stage": step.view.stage, "status": step.view.record.status}
        found.append(_event("stage", stage, had))
    return found


def _event(name: str, value: object, offset: int | None = None) -> ServerSentEvent:
    return ServerSentEvent(
        json.dumps(value, ensure_ascii=False),
        event=name,
        id=None if offset is None else str(offset),
        sep="\n",
    )


def _offset(last_event_id: str | None) -> int:
    text = (last_event_id or "0").strip() or "0"
    if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS:
        return int(text)
    raise DomainError(
        ErrorKind.INVALID_FIELD,
        "last_event_id",
        f"last_event_id must be the id of an event, an integer >= 0, not {shown(text)}",
    )
