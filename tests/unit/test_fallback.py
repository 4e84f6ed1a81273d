"""What the failure of a model call means, and what to do about it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.fallback import (
    MAX_ERROR_CHARS,
    FailureClass,
    FallbackAction,
    FallbackDecision,
    classify_fallback_error,
    decide_fallback,
)

PHRASES = {
    FailureClass.AUTH: (
        "api key",
        "apikey",
        "authentication",
        "authenticate",
        "unauthorized",
        "unauthorised",
        "forbidden",
        "permission",
        "access denied",
        "invalid credentials",
    ),
    FailureClass.CONTEXT_OVERFLOW: (
        "context length",
        "context window",
        "context limit",
        "context size",
        "maximum context",
        "max context",
        "length of context",
        "length of the context",
        "prompt is too long",
        "prompt too long",
        "input is too long",
        "input too long",
        "too many tokens",
    ),
    FailureClass.RATE_LIMIT: (
        "rate limit",
        "ratelimit",
        "resource exhausted",
        "quota",
        "overloaded",
        "too many requests",
        "requests per minute",
        "tokens per minute",
        "tokens per min",
    ),
    FailureClass.TIMEOUT: ("timeout", "time out", "timed out", "deadline exceeded"),
    FailureClass.NETWORK: (
        "connection",
        "connect error",
        "network",
        "econnreset",
        "econnrefused",
        "broken pipe",
        "unreachable",
        "dns",
        "name resolution",
    ),
    FailureClass.PROVIDER_HARD: (
        "provider error",
        "provider returned",
        "provider failed",
        "provider failure",
        "provider unavailable",
        "provider is unavailable",
        "not found",
        "payment",
        "billing",
        "insufficient credits",
        "internal server error",
        "server error",
        "bad gateway",
        "service unavailable",
        "temporarily unavailable",
    ),
}
CODES = {
    401: FailureClass.AUTH,
    402: FailureClass.PROVIDER_HARD,
    403: FailureClass.AUTH,
    404: FailureClass.PROVIDER_HARD,
    408: FailureClass.TIMEOUT,
    429: FailureClass.RATE_LIMIT,
    500: FailureClass.PROVIDER_HARD,
    502: FailureClass.PROVIDER_HARD,
    503: FailureClass.PROVIDER_HARD,
    504: FailureClass.PROVIDER_HARD,
    529: FailureClass.RATE_LIMIT,
}


@pytest.mark.parametrize(
    ("phrase", "failure_class"),
    [(phrase, name) for name, phrases in PHRASES.items() for phrase in phrases],
)
class TestPhrases:
    """§7.1: a phrase counts wherever no letter or digit stands before it."""

    def test_separators_and_case_do_not_count(
        self, phrase: str, failure_class: FailureClass
    ) -> None:
        assert classify_fallback_error(phrase) == failure_class
        assert classify_fallback_error(f"x: ({phrase.upper()}ish)") == failure_class
        assert classify_fallback_error("\n" + phrase.replace(" ", "_- \t")) == failure_class

    def test_inside_a_word_it_is_none(self, phrase: str, failure_class: FailureClass) -> None:
        for before in ("x", "7", "é"):
            text = before + phrase.replace(" ", f" {before}")
            assert classify_fallback_error(text) == FailureClass.UNKNOWN != failure_class


@pytest.mark.parametrize(("code", "failure_class"), CODES.items())
class TestCodes:
    """§7.1: a code counts unless it is part of a number or a measure."""

    def test_bare(self, code: int, failure_class: FailureClass) -> None:
        for text in ("{}", "HTTP {}.", "({})", "status={}, oops", "error_{}", "a.{}", "{}: 5 ms"):
            assert classify_fallback_error(text.format(code)) == failure_class, text
        for text in ("{}  x %", "{} milliseconds", "{} tokenised", "{} kbit", "{} second", "{}.x"):
            assert classify_fallback_error(text.format(code)) == failure_class, text

    def test_in_a_number_or_word(self, code: int, failure_class: FailureClass) -> None:
        for text in ("1{}", "{}1", "x{}", "{}x", "é{}", "1.{}", "1,{}", "{}.5", "{},5", "٣{}"):
            assert classify_fallback_error(text.format(code)) == FailureClass.UNKNOWN, text

    @pytest.mark.parametrize(
        "unit",
        "ms s sec secs seconds token tokens characters chars bytes kb mb KB % MS".split(),  # noqa: SIM905 - a table
    )
    def test_with_a_unit(self, code: int, failure_class: FailureClass, unit: str) -> None:
        for text in (f"{code} {unit}", f"{code}{unit}", f"took {code}-{unit}, sorry"):
            assert classify_fallback_error(text) == FailureClass.UNKNOWN, text


class TestWordings:
    """§7.1: rules of two words, and which rule comes first."""

    @pytest.mark.parametrize(
        "text",
        [
            "model m1 not found",
            "The models you asked for: does not exist",
            "model-not-available",
            "model x is no longer available",
            "model x has been deprecated",
            "model x was decommissioned",
            "model " + "y" * 118 + " not found",
            "unknown model",
            "no such model: m1",
            "unsupported: the model",
            "not found: model",
            "unknown " + "y" * 18 + " model",
            "unauthorized: model m1 not found",
        ],
    )
    def test_a_missing_model(self, text: str) -> None:
        assert classify_fallback_error(text) == FailureClass.PROVIDER_HARD

    @pytest.mark.parametrize(
        "text",
        [
            "model",
            "the provider",
            "remodel does not exist",
            "modelling does not exist",
            "does not exist: model",
            "model " + "y" * 119 + " does not exist",
            "unknown models",
            "unknown " + "y" * 19 + " model",
            "unknown modelling",
            "context is of some length",
        ],
    )
    def test_a_model_alone_says_nothing(self, text: str) -> None:
        assert classify_fallback_error(text) == FailureClass.UNKNOWN

    @pytest.mark.parametrize(
        "text",
        [
            "rate of requests above the limit",
            "limits on your rate",
            "Limited: lower your rate",
            "rate " + "x" * 58 + " limit",
            "limit " + "x" * 58 + " rate",
        ],
    )
    def test_rate_and_limit_near_each_other(self, text: str) -> None:
        assert classify_fallback_error(text) == FailureClass.RATE_LIMIT

    @pytest.mark.parametrize(
        "text",
        [
            "could not generate within the limit",
            "rates have a limit",
            "rate is unlimited",
            "rate " + "x" * 59 + " limit",
            "limit " + "x" * 59 + " rate",
        ],
    )
    def test_and_only_then(self, text: str) -> None:
        assert classify_fallback_error(text) == FailureClass.UNKNOWN

    @pytest.mark.parametrize(
        ("text", "failure_class"),
        [
            ("too many tokens per request", FailureClass.UNKNOWN),
            ("too many tokens per minute", FailureClass.RATE_LIMIT),
            ("too many tokens per day, too many tokens", FailureClass.CONTEXT_OVERFLOW),
            ("too many tokens perhaps", FailureClass.CONTEXT_OVERFLOW),
            ("429 Too Many Requests", FailureClass.RATE_LIMIT),
            ("429: context length exceeded", FailureClass.CONTEXT_OVERFLOW),
            ("403 quota", FailureClass.RATE_LIMIT),
            ("401 timeout", FailureClass.TIMEOUT),
            ("401 network", FailureClass.NETWORK),
            ("401 not found", FailureClass.AUTH),
            ("invalid_api_key", FailureClass.AUTH),
            ("402 Payment Required", FailureClass.PROVIDER_HARD),
            ("", FailureClass.UNKNOWN),
            ("hmm", FailureClass.UNKNOWN),
            (None, FailureClass.UNKNOWN),
        ],
    )
    def test_the_first_rule_decides(self, text: str | None, failure_class: FailureClass) -> None:
        assert classify_fallback_error(text) == failure_class

    def test_only_the_beginning_counts(self) -> None:
        assert classify_fallback_error("x " * (MAX_ERROR_CHARS // 2 - 3) + "quota") == "rate_limit"
        assert classify_fallback_error("x " * (MAX_ERROR_CHARS // 2) + "quota") == "unknown"


class Unspeakable(ConnectionResetError):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class TestExceptions:
    """§7.1, rule 9: the type counts where the wording says nothing."""

    @pytest.mark.parametrize(
        ("error", "failure_class"),
        [
            (TimeoutError(), FailureClass.TIMEOUT),
            (ConnectionError(), FailureClass.NETWORK),
            (ConnectionRefusedError("hm"), FailureClass.NETWORK),
            (Unspeakable(), FailureClass.NETWORK),
            (TimeoutError("429"), FailureClass.RATE_LIMIT),
            (ValueError("quota"), FailureClass.RATE_LIMIT),
            (ValueError(), FailureClass.UNKNOWN),
            (KeyboardInterrupt(), FailureClass.UNKNOWN),
        ],
    )
    def test_types(self, error: BaseException, failure_class: FailureClass) -> None:
        assert classify_fallback_error(error) == failure_class


@pytest.mark.parametrize(
    ("error", "action", "reason", "should_retry", "status_text"),
    [
        (
            "forbidden",
            FallbackAction.ABORT,
            "auth_or_permission_error",
            False,
            (
                "The provider refused the credentials or the access."
                " Check the key and its permissions."
            ),
        ),
        (
            "429",
            FallbackAction.FAILOVER,
            "rate_limited",
            True,
            "The provider is limiting requests. Switching to a fallback model.",
        ),
        (
            "timeout",
            FallbackAction.RETRY,
            "transient_network_failure",
            True,
            "A temporary network or provider problem occurred. Trying again.",
        ),
        (
            "ECONNRESET",
            FallbackAction.RETRY,
            "transient_network_failure",
            True,
            "A temporary network or provider problem occurred. Trying again.",
        ),
        (
            "maximum context length exceeded",
            FallbackAction.TRIM_RETRY,
            "context_overflow",
            True,
            "The conversation is too long for the model. Compacting it and trying again.",
        ),
        (
            "503",
            FallbackAction.FAILOVER,
            "provider_hard_failure",
            True,
            "The provider or model failed. Switching to a fallback model.",
        ),
        (None, FallbackAction.NONE, "unknown_error", False, "An unknown error occurred."),
    ],
)
def test_decisions(
    error: str | None, action: FallbackAction, reason: str, should_retry: bool, status_text: str
) -> None:
    assert decide_fallback(error) == FallbackDecision(
        classify_fallback_error(error), action, reason, status_text, should_retry
    )


@given(st.text() | st.builds(OSError, st.text()) | st.none())
def test_every_error_has_one_class_and_one_decision(error: str | OSError | None) -> None:
    failure_class = classify_fallback_error(error)
    assert failure_class in set(FailureClass)
    assert decide_fallback(error).failure_class is failure_class
