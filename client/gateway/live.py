"""Live text of a run as server-sent events.

Owns the events and their form: `text` with its position, `stage`, at last `end` with the whole
view; `problem` where reading broke off, after which a reader may come back. The id of an event is
the number of characters that the reader then has, so `Last-Event-ID` goes on exactly there.
Source: automation.md §7 (Live text).
"""

from typing import Annotated

from fastapi import APIRouter, Header, Request
from sse_starlette import EventSourceResponse, ServerSentEvent

from client.gateway.parts import parts_of
from client.gateway.paths import API, RunId
from client.gateway.permissions import READ_PROBLEMS, Reader
from client.gateway.streams import described_stream, event, streamed
from client.runs import RunProgress
from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.run_view import RunStage

_MAX_DIGITS = 12

router = APIRouter(prefix=API, tags=["runs"])


@router.get(
    "/runs/{run_id:run}/events",
    operation_id="watchRun",
    response_class=EventSourceResponse,
    responses={
        200: described_stream(
            "Events `text`, `stage`, `problem`, and `end`, after which the reader should close.",
            ("text", "stage", "problem", "end"),
            "Characters of the reply up to here.",
            'id: 5\nevent: text\ndata: {"offset": 0, "text": "Hello"}\n\n',
        ),
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
    steps = tickless.runs.watch(run_id, offset=characters_had(last_event_id or "0"))
    return await streamed(parts_of(request), steps, _of_step)


def characters_had(text: str) -> int:
    """How many characters a reader has.

    Raises:
        DomainError: `invalid_field` on `last_event_id`.
    """
    text = text.strip() or "0"
    if text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS:
        return int(text)
    raise DomainError(
        ErrorKind.INVALID_FIELD,
        "last_event_id",
        f"last_event_id must be the id of an event, an integer >= 0, not {shown(text)}",
    )


def _of_step(step: RunProgress) -> list[ServerSentEvent]:
    had = str(step.offset + len(step.text))
    found: list[ServerSentEvent] = []
    if step.text:
        found.append(event("text", {"offset": step.offset, "text": step.text}, had))
    if step.view is None:
        return found
    if step.view.stage == RunStage.ENDED:
        found.append(event("end", step.view.model_dump(mode="json"), had))
    else:
        stage = {"stage": step.view.stage, "status": step.view.record.status}
        found.append(event("stage", stage, had))
    return found
