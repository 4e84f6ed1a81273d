"""What a provider's failure was: every exception of a model call, classified once.

Owns the dialects of providers (status codes, error codes, Retry-After) and the cleaning of what
they say. The classes and what to do about each are `domain.fallback`'s; acting on it is
`activities.models`'. Source: chat-policies.md §7, DESIGN §4.

Invariants:
    1. A status code says more than the words beside it: "429 … this API key" is a rate limit.
    2. No key leaves this module in a message.
"""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final, cast

from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError

from activities.completions import OverflowSizes, ProviderError
from domain.fallback import FailureClass, FallbackDecision, decide_fallback
from domain.model_chain import ModelSpec
from domain.redaction import redact_text

MAX_MESSAGE_CHARS: Final = 300
# Nobody means more, and larger numbers do not fit into a duration.
MAX_RETRY_AFTER: Final = timedelta(days=1)
REDACTED: Final = "[REDACTED]"
# Anything shorter is a stand-in such as `none`, and a word that messages need.
MIN_SECRET_CHARS: Final = 8

_SCANNED_CHARS: Final = 2_000
_WINDOW: Final = re.compile(r"context (?:length|window|size) (?:is|of) (\d{1,9})")
_REQUESTED: Final = re.compile(r"(?:resulted in|requested|contains?) (?:about )?(\d{1,9})")
_OVERFLOW_CODES: Final = frozenset({"context_length_exceeded", "exceed_context_size_error"})
# For these the status decides, whatever the text says; the wording is what `domain.fallback` knows.
_STATUS_WORDING: Final[Mapping[int, str]] = {
    401: "unauthorized",
    402: "payment",
    403: "forbidden",
    404: "not found",
    408: "timeout",
    429: "too many requests",
    529: "overloaded",
}
# Some servers answer these with a 500, or in mid-stream where there is no status.
_BELIEVED_OF_SERVER_ERRORS: Final = frozenset(
    {FailureClass.CONTEXT_OVERFLOW, FailureClass.RATE_LIMIT}
)


class UnreadableAnswerError(Exception):
    """The provider sent something that is no answer."""


class UnfinishedAnswerError(Exception):
    """The stream ended, properly, before the answer did."""


def classify(error: Exception, spec: ModelSpec) -> ProviderError:
    """Say what an exception of a model call means.

    Args:
        error: Whatever the client raised.
        spec: The model that was called, for its timeouts and its key.
    """
    message = _clean(_message(error, spec), spec)
    match error:
        case APIStatusError():
            decision = _by_status(error.status_code, error)
            return ProviderError(
                decision,
                message,
                transient=_is_transient(decision, error.status_code),
                retry_after=parse_retry_after(error.response.headers, datetime.now(UTC)),
                unbilled=True,
                sizes=read_overflow_sizes(error.body, error.message),
            )
        case APITimeoutError():
            return ProviderError(
                decide_fallback("timed out"), message, unbilled=_never_connected(error)
            )
        case APIConnectionError() | UnfinishedAnswerError():
            return ProviderError(
                decide_fallback("connection lost"), message, unbilled=_never_connected(error)
            )
        case APIError():
            # An error inside of a stream that had begun well: the provider's side broke.
            status = int(error.code) if error.code and error.code.isdigit() else 500
            decision = _by_status(status, error)
            return ProviderError(decision, message, transient=_is_transient(decision, status))
        case json.JSONDecodeError() | UnicodeDecodeError():
            # Cut or garbled on its way: the next try may be whole.
            return ProviderError(decide_fallback("provider error"), message, transient=True)
        case UnreadableAnswerError():
            return ProviderError(decide_fallback("provider error"), message)
        case _:
            return ProviderError(decide_fallback(error), message)


def parse_retry_after(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """How long a provider asks to wait, at most a day; null when it does not say.

    Args:
        headers: Of the answer, by any case.
        now: For a Retry-After that is a date.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        text = (headers.get(name) or "").strip()
        if not text:
            continue
        seconds = _number(text)
        if seconds is not None:
            return _bounded(seconds * unit)
        if (date := _http_date(text)) is not None:
            return _bounded((date - now).total_seconds())
    return None


def read_overflow_sizes(body: object, message: str) -> OverflowSizes:
    """How long a prompt was and may be, as far as a provider tells it.

    Args:
        body: The error in the answer; llama.cpp counts in fields of its own.
        message: Its text; OpenAI counts there.
    """
    fields: Mapping[str, object] = {}
    if isinstance(body, Mapping):
        fields = cast("Mapping[str, object]", body)
    window, requested = fields.get("n_ctx"), fields.get("n_prompt_tokens")
    if isinstance(window, int) and isinstance(requested, int):
        return OverflowSizes(window, requested)
    text = message[:_SCANNED_CHARS]
    return OverflowSizes(_number_in(_WINDOW, text), _number_in(_REQUESTED, text))


def _number_in(pattern: re.Pattern[str], text: str) -> int | None:
    found = pattern.search(text)
    return int(found[1]) if found else None


def _never_connected(error: Exception) -> bool:
    """Whether the connection failed before there was one."""
    return "Connect" in type(error.__cause__).__name__


def _by_status(status: int, error: APIError) -> FallbackDecision:
    if {error.code, error.type} & _OVERFLOW_CODES:
        return decide_fallback("context length exceeded")
    if wording := _STATUS_WORDING.get(status):
        return decide_fallback(wording)
    decision = decide_fallback(error.message)
    if status >= 500 and decision.failure_class not in _BELIEVED_OF_SERVER_ERRORS:
        return decide_fallback("server error")
    return decision


def _is_transient(decision: FallbackDecision, status: int) -> bool:
    return decision.failure_class is FailureClass.RATE_LIMIT or status >= 500


def _message(error: Exception, spec: ModelSpec) -> str:
    match error:
        case APITimeoutError() if _never_connected(error):
            return f"no connection within {spec.connect_timeout_seconds:g} s"
        case APITimeoutError():
            return f"silent for {spec.idle_timeout_seconds:g} s"
        case APIConnectionError():
            return f"connection failed: {error.__cause__ or error}"
        case json.JSONDecodeError() | UnicodeDecodeError():
            return "the stream contains something that is no JSON"
        case _:
            return str(error) or type(error).__name__


def _clean(message: str, spec: ModelSpec) -> str:
    key = spec.api_key.get_secret_value() if spec.api_key else ""
    if len(key) >= MIN_SECRET_CHARS:
        message = message.replace(key, REDACTED)
    return " ".join(redact_text(message).split())[:MAX_MESSAGE_CHARS]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _http_date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _bounded(seconds: float) -> timedelta:
    return timedelta(seconds=min(max(seconds, 0), MAX_RETRY_AFTER.total_seconds()))
