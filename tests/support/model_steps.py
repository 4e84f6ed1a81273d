"""What the scripted model server does with a request: the steps, as data.

Owns the vocabulary of a script. Does not speak HTTP (`model_server`) nor judge what a client sent
(`chat_requests`).
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]
"""A request's JSON body."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts, as the API reports them: `prompt` includes the cached ones."""

    prompt: int = 11
    completion: int = 7
    cached: int = 0

    def to_json(self) -> Body:
        return {
            "prompt_tokens": self.prompt,
            "completion_tokens": self.completion,
            "total_tokens": self.prompt + self.completion,
            "prompt_tokens_details": {"cached_tokens": self.cached},
        }


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a function; the arguments are JSON text."""

    name: str
    arguments: str = "{}"
    id: str = "call_1"


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, streamed in `chunks` pieces.

    `before` and `delay` are seconds: before the first byte and between pieces. `usage` null leaves
    it out. `finish_reason` null leaves the stream without an end. `gate` holds back what follows
    the first event of the stream until it is set.
    """

    text: str = "hello"
    chunks: int = 3
    before: float = 0.0
    delay: float = 0.0
    finish_reason: str | None = "stop"
    usage: Usage | None = field(default_factory=Usage)
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    gate: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer with an error status; `body` is sent as JSON, or as it is when it is a text.

    It is held back until `gate` is set.
    """

    status: int
    body: Body | str
    headers: tuple[tuple[str, str], ...] = ()
    gate: threading.Event | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """Silence until the client goes: before the first byte, or after `chunks` pieces of `text`."""

    text: str = ""
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The connection breaks: before the first byte, or after `chunks` pieces of `text`."""

    text: str = ""
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class RawEvents:
    """A stream of these server-sent events as they are: garbage, or an error in mid-stream."""

    events: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RawPage:
    """Status 200 with a body that is no event stream at all."""

    body: str
    content_type: str = "text/html"


Step = Reply | Refusal | Hang | Disconnect | RawEvents | RawPage
Behaviour = Step | Callable[[Body], Step]
"""A step, or a function of the request's body that gives one."""


def error_body(message: str, **fields: object) -> Body:
    return {"error": {"message": message, **fields}}


def rate_limited(retry_after: str | None = None) -> Refusal:
    headers = () if retry_after is None else (("retry-after", retry_after),)
    message = "Rate limit reached for requests with this API key"
    return Refusal(429, error_body(message, type="requests", code="rate_limit_exceeded"), headers)


def server_error(status: int = 500) -> Refusal:
    return Refusal(status, error_body("The server had an error", type="server_error"))


def unauthorized(key: str = "") -> Refusal:
    message = f"Incorrect API key provided: {key}"
    body = error_body(message, type="invalid_request_error", code="invalid_api_key")
    return Refusal(401, body)


def model_missing(model: str) -> Refusal:
    body = error_body(f"The model `{model}` does not exist", code="model_not_found")
    return Refusal(404, body)


def openai_overflow(window: int = 8192) -> Refusal:
    message = f"This model's maximum context length is {window} tokens. Please reduce the messages."
    body = error_body(message, type="invalid_request_error", code="context_length_exceeded")
    return Refusal(400, body)


def llama_overflow() -> Refusal:
    body = error_body(
        "the request is longer than what is left",
        code=400,
        type="exceed_context_size_error",
        n_prompt_tokens=9000,
        n_ctx=8192,
    )
    return Refusal(400, body)


def empty() -> Reply:
    return Reply(text="", chunks=0)


def reasoning_only() -> Reply:
    return Reply(text="", chunks=0, reasoning="let me think about it")


def garbage() -> RawEvents:
    return RawEvents(('{"id": "chatcmpl-1", "choices": [{"delta": {"cont',))
