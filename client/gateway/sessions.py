"""`/api/v1/sessions`: say something, see what waits, change it, stop it, follow it.

Owns the addresses, codes and events; what is done is `client.sessions`'. Of the stream: `stage` as
the session stands, `text` with its turn and position, `end` with the whole answer of a turn,
`problem` where reading broke off. The id of an event is the turn and the number of its characters
that the reader then has, so `Last-Event-ID` goes on exactly there. Source: automation.md §8, §13.
"""

import re
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request, Response, status
from sse_starlette import EventSourceResponse, ServerSentEvent

from client.gateway.auth import require_scope
from client.gateway.conditions import For, IdempotencyKey, Wait
from client.gateway.live import characters_had
from client.gateway.parts import parts_of
from client.gateway.paths import (
    API,
    MessageId,
    SentPathRoute,
    SessionKey,
    message_url,
    status_url,
)
from client.gateway.permissions import (
    CHANGE_PROBLEMS,
    COMMON_PROBLEMS,
    READ_PROBLEMS,
    AnyToken,
    Reader,
    Runner,
)
from client.gateway.routines import Cursor, JsonBody, Limit
from client.gateway.session_shapes import (
    QueueEditBody,
    SessionAnswer,
    SessionList,
    SessionMessageAccepted,
    SessionMessageBody,
    StopBody,
)
from client.gateway.shapes import body_of
from client.gateway.streams import described_stream, event, streamed
from client.session_sender import MessageSent
from client.session_watch import SessionProgress
from client.tokens import TokenScope
from domain.errors import DomainError, ErrorKind
from domain.fields import shown
from domain.session_messages import Stopped
from domain.session_requests import SessionQueue, TurnAnswer

_EVENT_ID: Final = re.compile(r"(t-[0-9A-Z]{1,64}|-):([0-9]+)", re.ASCII)
_NO_TURN: Final = "-"

router = APIRouter(prefix=API, tags=["sessions"], route_class=SentPathRoute)


@router.get("/sessions", operation_id="listSessions", responses=COMMON_PROBLEMS)
async def list_sessions(
    tickless: Reader,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> SessionList:
    """The caller's sessions, newest first; one that nobody wanted for a day has ended."""
    page = await tickless.sessions.list(limit=limit, cursor=cursor)
    return SessionList.model_validate(page.model_dump())


@router.get("/sessions/{key:key}", operation_id="getSession", responses=READ_PROBLEMS)
async def get_session(tickless: Reader, key: SessionKey) -> SessionAnswer:
    """A session: who speaks, what waits, what was said last."""
    view = await tickless.sessions.get(key)
    ui_url = tickless.sessions.ui_url(view.key)
    return SessionAnswer.model_validate({**view.model_dump(), "ui_url": ui_url})


@router.post(
    "/sessions/{key:key}/messages",
    operation_id="sendMessage",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra=body_of(SessionMessageBody),
    responses=CHANGE_PROBLEMS,
)
async def send_message(
    request: Request,
    token: AnyToken,
    tickless: Runner,
    key: SessionKey,
    body: JsonBody,
    idempotency_key: IdempotencyKey,
    wait: Wait,
    response: Response,
) -> SessionMessageAccepted:
    """Say something; with `wait` the answer has what became of it."""
    if wait is not None:
        require_scope(token, TokenScope.READ)
    sent = await tickless.sessions.send(body, key=key, message_id=idempotency_key)
    if sent.refusal is not None:
        raise sent.refusal
    answer = _accepted(sent)
    response.headers["Location"] = answer.status_url
    if wait:
        waiting = tickless.sessions.wait(sent.message_id, key)
        found = await parts_of(request).within(wait, waiting)
        answer = answer.model_copy(update={"answer": found})
    return answer


@router.get(
    "/sessions/{key:key}/messages/{message_id:key}",
    operation_id="getMessage",
    responses=READ_PROBLEMS,
)
async def get_message(
    request: Request, tickless: Reader, key: SessionKey, message_id: MessageId, wait: Wait
) -> TurnAnswer:
    """What became of a message, or with `wait` of its turn, too."""
    found = None
    if wait:
        found = await parts_of(request).within(wait, tickless.sessions.wait(message_id, key))
    return found or await tickless.sessions.answer(message_id, key)


@router.get("/sessions/{key:key}/queue", operation_id="getQueue", responses=READ_PROBLEMS)
async def get_queue(tickless: Reader, key: SessionKey) -> SessionQueue:
    """What waits, in the order of its turns."""
    return await tickless.sessions.queue(key)


@router.patch(
    "/sessions/{key:key}/queue",
    operation_id="editQueue",
    openapi_extra=body_of(QueueEditBody),
    responses=CHANGE_PROBLEMS,
)
async def edit_queue(tickless: Runner, key: SessionKey, body: JsonBody) -> SessionQueue:
    """Order, drop or merge what waits; the answer is the queue as it is then."""
    return await tickless.sessions.edit_queue(key, body)


@router.post(
    "/sessions/{key:key}/stop",
    operation_id="stopSession",
    openapi_extra=body_of(StopBody, required=False),
    responses=CHANGE_PROBLEMS,
)
async def stop_session(tickless: Runner, key: SessionKey, body: JsonBody) -> Stopped:
    """Stop what speaks; what waits keeps waiting."""
    return await tickless.sessions.stop_body(body, key)


@router.get(
    "/sessions/{key:key}/events",
    operation_id="watchSession",
    response_class=EventSourceResponse,
    responses={
        200: described_stream(
            "Events `stage`, `text`, `end` (of a turn), and `problem`; the reader closes.",
            ("stage", "text", "end", "problem"),
            "The turn, and characters of its answer up to here.",
            "id: t-01KAJ3T8QH8ZJ2Q5C0N5JH8Z5K:5\nevent: text\n"
            'data: {"turn_id": "home/t-01KAJ3T8QH8ZJ2Q5C0N5JH8Z5K", "offset": 0, '
            '"text": "Hello"}\n\n',
        ),
        **READ_PROBLEMS,
    },
)
async def watch_session(
    request: Request,
    tickless: Reader,
    key: SessionKey,
    seconds: For,
    last_event_id: Annotated[
        str | None,
        Header(description="The id of the last event that the reader has.", examples=["-:0"]),
    ] = None,
) -> EventSourceResponse:
    """Follow a session: stages and ends of its turns, the model's text as it streams."""
    turn, offset = _had(tickless.sessions.key(key), last_event_id)
    steps = tickless.sessions.watch(key, turn_id=turn, offset=offset)
    return await streamed(parts_of(request), steps, _of_step, seconds)


def _accepted(sent: MessageSent) -> SessionMessageAccepted:
    runs = [{**run.model_dump(), "status_url": status_url(run.run_id)} for run in sent.runs]
    url = message_url(sent.session_key, sent.message_id)
    return SessionMessageAccepted.model_validate(
        {**sent.model_dump(), "runs": runs, "status_url": url}
    )


def _of_step(step: SessionProgress) -> list[ServerSentEvent]:
    turn = (step.turn_id or _NO_TURN).rpartition("/")[2]
    had = f"{turn}:{step.offset + len(step.text)}"
    found: list[ServerSentEvent] = []
    if step.text:
        text = {"turn_id": step.turn_id, "offset": step.offset, "text": step.text}
        found.append(event("text", text, had))
    if step.answer is not None:
        found.append(event("end", step.answer.model_dump(mode="json"), had))
    if step.view is not None:
        stage = {"turn_id": step.turn_id, "stage": step.stage}
        view = step.view.model_dump(mode="json")
        found.append(event("stage", {**stage, "session": view}, had))
    return found


def _had(key: str, last_event_id: str | None) -> tuple[str | None, int]:
    """The turn of which a reader has the beginning, and how many characters.

    Raises:
        DomainError: `invalid_field` on `last_event_id`.
    """
    text = (last_event_id or "").strip()
    if not text:
        return None, 0
    match = _EVENT_ID.fullmatch(text)
    if match is None:
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "last_event_id",
            f"last_event_id must be the id of an event of this session, not {shown(text)}",
        )
    offset = characters_had(match[2])
    return (None, 0) if match[1] == _NO_TURN else (f"{key}/{match[1]}", offset)
