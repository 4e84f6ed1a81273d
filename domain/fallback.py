"""What the failure of a model call means, and what to do about it.

Owns the classes of failures, the wordings that tell them apart and the decision for each class.
Does not switch models, wait or count attempts: callers do (chat-policies.md §7.3).

Invariants:
    1. Every error has exactly one class and every class exactly one decision; nothing raises.
    2. Only the first 20,000 characters of an error's text are looked at.

Source: chat-policies.md §7, after the public package beeper/ai-bridge `pkg/runtime`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final

MAX_ERROR_CHARS: Final = 20_000


class FailureClass(StrEnum):
    """Why a model call failed (chat-policies.md §7)."""

    UNKNOWN = "unknown"
    AUTH = "auth"
    RATE_LIMIT = "rate_limit"
    TIMEOUT = "timeout"
    NETWORK = "network"
    CONTEXT_OVERFLOW = "context_overflow"
    PROVIDER_HARD = "provider_hard"


class FallbackAction(StrEnum):
    """What to do after a failed model call (chat-policies.md §7)."""

    NONE = "none"
    RETRY = "retry"
    FAILOVER = "failover"
    TRIM_RETRY = "trim_retry"
    ABORT = "abort"


@dataclass(frozen=True, slots=True)
class FallbackDecision:
    """The decision about one failure.

    Attributes:
        failure_class: Why the call failed.
        action: What to do next.
        reason: A stable code for logs and the ledger.
        status_text: One or two sentences for a person.
        should_retry: Whether any further call makes sense.
    """

    failure_class: FailureClass
    action: FallbackAction
    reason: str
    status_text: str
    should_retry: bool


# Python's `\w` is "letter or digit" here: the underscores became spaces before any rule is tried.
_NOT_A_CODE = (
    r"(?!\w|[.,]\d| ?%| ?(?:ms|s|sec|secs|seconds|tokens?|characters|chars|bytes|kb|mb)(?!\w))"
)


def _phrases(alternatives: str) -> str:
    """A pattern for any of the phrases, where no letter or digit stands before it."""
    return rf"(?<!\w)(?:{alternatives})"


def _codes(alternatives: str) -> str:
    """A pattern for any of the status codes, where it is no part of a number or a measure."""
    return rf"(?<!\w)(?<!\d[.,])(?:{alternatives}){_NOT_A_CODE}"


def _either(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


# Gaps run from the end of the first word to the start of the second. They are bounded, so that a
# text of nothing but first words stays cheap.
_MODEL_THEN_MISSING = r"(?<!\w)models?(?!\w).{0,120}?" + _phrases(
    "not found|not available|does not exist|no longer available|has been deprecated|decommissioned"
)
_MISSING_THEN_MODEL = (
    _phrases("not found|unknown|no such|unsupported") + r".{0,20}?(?<!\w)model(?!\w)"
)
_RATE_THEN_LIMIT = r"(?<!\w)rate(?!\w).{0,60}?(?<!\w)limit"
_LIMIT_THEN_RATE = r"(?<!\w)limit\w*+.{0,60}?(?<!\w)rate(?!\w)"

# In this order; the first pattern that is found decides.
_RULES: Final = (
    (FailureClass.PROVIDER_HARD, _either(_MODEL_THEN_MISSING, _MISSING_THEN_MODEL)),
    (
        FailureClass.AUTH,
        _either(
            _phrases(
                "api key|apikey|authentication|authenticate|unauthorized|unauthorised|forbidden"
                "|permission|access denied|invalid credentials"
            )
        ),
    ),
    (
        FailureClass.CONTEXT_OVERFLOW,
        _either(
            _phrases(
                "context length|context window|context limit|context size|maximum context"
                "|max context|length of context|length of the context|prompt is too long"
                "|prompt too long|input is too long|input too long|too many tokens(?! per )"
            )
        ),
    ),
    (
        FailureClass.RATE_LIMIT,
        _either(
            _phrases(
                "rate limit|ratelimit|resource exhausted|quota|overloaded|too many requests"
                "|requests per minute|tokens per minute|tokens per min"
            ),
            _RATE_THEN_LIMIT,
            _LIMIT_THEN_RATE,
            _codes("429|529"),
        ),
    ),
    (
        FailureClass.TIMEOUT,
        _either(_phrases("timeout|time out|timed out|deadline exceeded"), _codes("408")),
    ),
    (
        FailureClass.NETWORK,
        _either(
            _phrases(
                "connection|connect error|network|econnreset|econnrefused|broken pipe|unreachable"
                "|dns|name resolution"
            )
        ),
    ),
    (FailureClass.AUTH, _either(_codes("401|403"))),
    (
        FailureClass.PROVIDER_HARD,
        _either(
            _phrases(
                "provider error|provider returned|provider failed|provider failure"
                "|provider unavailable|provider is unavailable|not found|payment|billing"
                "|insufficient credits|internal server error|server error|bad gateway"
                "|service unavailable|temporarily unavailable"
            ),
            _codes("402|404|500|502|503|504"),
        ),
    ),
)
_SEPARATORS = re.compile(r"[\s_-]+")

_TRANSIENT_TEXT: Final = "A temporary network or provider problem occurred. Trying again."
_DECISIONS: Final = MappingProxyType(
    {
        decision.failure_class: decision
        for decision in (
            FallbackDecision(
                FailureClass.AUTH,
                FallbackAction.ABORT,
                "auth_or_permission_error",
                "The provider refused the credentials or the access."
                " Check the key and its permissions.",
                should_retry=False,
            ),
            FallbackDecision(
                FailureClass.RATE_LIMIT,
                FallbackAction.FAILOVER,
                "rate_limited",
                "The provider is limiting requests. Switching to a fallback model.",
                should_retry=True,
            ),
            FallbackDecision(
                FailureClass.TIMEOUT,
                FallbackAction.RETRY,
                "transient_network_failure",
                _TRANSIENT_TEXT,
                should_retry=True,
            ),
            FallbackDecision(
                FailureClass.NETWORK,
                FallbackAction.RETRY,
                "transient_network_failure",
                _TRANSIENT_TEXT,
                should_retry=True,
            ),
            FallbackDecision(
                FailureClass.CONTEXT_OVERFLOW,
                FallbackAction.TRIM_RETRY,
                "context_overflow",
                "The conversation is too long for the model. Compacting it and trying again.",
                should_retry=True,
            ),
            FallbackDecision(
                FailureClass.PROVIDER_HARD,
                FallbackAction.FAILOVER,
                "provider_hard_failure",
                "The provider or model failed. Switching to a fallback model.",
                should_retry=True,
            ),
            FallbackDecision(
                FailureClass.UNKNOWN,
                FallbackAction.NONE,
                "unknown_error",
                "An unknown error occurred.",
                should_retry=False,
            ),
        )
    }
)


def classify_fallback_error(err: BaseException | str | None) -> FailureClass:
    """The class of a failure, by the wording of its text (chat-policies.md §7.1).

    Args:
        err: The exception, or the text of one.

    Returns:
        The class of the first rule that matches; where no wording does, the class of the
        exception's type.
    """
    if err is None:
        return FailureClass.UNKNOWN
    text = _SEPARATORS.sub(" ", _text_of(err)[:MAX_ERROR_CHARS].lower()).strip()
    for failure_class, pattern in _RULES:
        if pattern.search(text):
            return failure_class
    if isinstance(err, TimeoutError):
        return FailureClass.TIMEOUT
    if isinstance(err, ConnectionError):
        return FailureClass.NETWORK
    return FailureClass.UNKNOWN


def _text_of(err: BaseException | str) -> str:
    try:
        return str(err)
    except Exception:  # a foreign __str__ may raise; the type still counts
        return ""


def decide_fallback(err: BaseException | str | None) -> FallbackDecision:
    """What to do about a failure (chat-policies.md §7.2).

    Args:
        err: The exception, or the text of one.

    Returns:
        The decision for the failure's class.
    """
    return _DECISIONS[classify_fallback_error(err)]
