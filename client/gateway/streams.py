"""Server-sent events: how steps that are watched reach a reader.

Owns the form of an event, how many readers there may be, and that a reader who leaves takes its
watcher along. Which events there are is the noun's. Source: automation.md §7 (Live text).
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection
from typing import Any, Final, TypeVar

from sse_starlette import EventSourceResponse, ServerSentEvent

from client.gateway.parts import Parts
from client.gateway.problems import TooManyRequests
from domain.errors import DomainError

# Each reader asks Temporal seven times a second.
MAX_STREAMS: Final = 100
KEEP_ALIVE_SECONDS: Final = 15

StepT = TypeVar("StepT")


def event(name: str, value: object, id: str | None = None) -> ServerSentEvent:
    """One event; `id` is what a reader comes back with."""
    return ServerSentEvent(json.dumps(value, ensure_ascii=False), event=name, id=id, sep="\n")


async def streamed(
    parts: Parts,
    steps: AsyncIterator[StepT],
    events_of: Callable[[StepT], list[ServerSentEvent]],
    seconds: float | None = None,
) -> EventSourceResponse:
    """The answer that tells steps as they come.

    Args:
        parts: What all requests share.
        steps: What is watched.
        events_of: The events of a step.
        seconds: How long to tell them; null is until the reader leaves.

    Raises:
        DomainError: `rate_limited` when too many read already, or what is wrong with the first
            step: what is unknown is a problem like any other, not a stream that says so.
    """
    if parts.metrics.open_streams >= MAX_STREAMS:
        raise TooManyRequests(f"client: {MAX_STREAMS} readers follow already", 5)
    first = await anext(steps)
    return EventSourceResponse(
        _events(parts, first, steps, events_of, seconds),
        ping=KEEP_ALIVE_SECONDS,
        ping_message_factory=lambda: ServerSentEvent(comment="alive"),
        sep="\n",
    )


def described_stream(about: str, names: Collection[str], ids: str, example: str) -> dict[str, Any]:
    """A stream, for the API's description.

    Args:
        about: What it tells.
        names: Its events.
        ids: What the id of an event is.
        example: One event.
    """
    # One event; OpenAPI 3.1 knows no sequences of them.
    schema = {
        "type": "object",
        "properties": {
            "event": {"type": "string", "enum": list(names)},
            "id": {"type": "string", "description": ids},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
        "required": ["event", "data"],
    }
    return {
        "description": about,
        "content": {"text/event-stream": {"schema": schema, "example": example}},
    }


async def _events(
    parts: Parts,
    first: StepT,
    steps: AsyncIterator[StepT],
    events_of: Callable[[StepT], list[ServerSentEvent]],
    seconds: float | None,
) -> AsyncGenerator[ServerSentEvent]:
    with parts.metrics.stream():
        for item in events_of(first):
            yield item
        following = parts.until_stopping(steps, seconds)
        try:
            async for step in following:
                for item in events_of(step):
                    yield item
        except DomainError as error:
            yield event("problem", error.to_problem().model_dump(mode="json"))
        finally:
            await following.aclose()
