"""What follows a failed attempt: chat-policies.md §7.3, as a table."""

from datetime import timedelta

import pytest

from domain.fallback import FallbackAction
from domain.retries import (
    DEFAULT_COOL_DOWN,
    MAX_ATTEMPTS,
    AfterFailure,
    NextStep,
    after_empty_reply,
    after_failure,
)

SECOND = timedelta(seconds=1)


@pytest.mark.parametrize("attempt", [1, MAX_ATTEMPTS])
def test_another_model_is_called_at_once_and_this_one_cools_down(attempt: int) -> None:
    after = after_failure(FallbackAction.FAILOVER, attempt=attempt, last=False, transient=True)
    assert after == AfterFailure(NextStep.NEXT_MODEL, DEFAULT_COOL_DOWN)


@pytest.mark.parametrize("seconds", [0, 7, 3600])
def test_the_cool_down_is_what_the_provider_asked_for(seconds: int) -> None:
    asked = timedelta(seconds=seconds)
    after = after_failure(FallbackAction.FAILOVER, attempt=1, last=False, retry_after=asked)
    assert after == AfterFailure(NextStep.NEXT_MODEL, asked)


@pytest.mark.parametrize(("attempt", "wait"), [(1, 2), (2, 4)])
@pytest.mark.parametrize("action", [FallbackAction.FAILOVER, FallbackAction.RETRY])
def test_the_last_model_is_tried_again_with_growing_waits(
    action: FallbackAction, attempt: int, wait: int
) -> None:
    after = after_failure(action, attempt=attempt, last=True, transient=True)
    assert after == AfterFailure(NextStep.AGAIN, wait * SECOND)


@pytest.mark.parametrize(("asked", "wait"), [(0, 0), (60, 60), (61, 2)])
def test_a_minute_of_retry_after_is_honoured(asked: int, wait: int) -> None:
    after = after_failure(
        FallbackAction.FAILOVER, attempt=1, last=True, transient=True, retry_after=asked * SECOND
    )
    assert after == AfterFailure(NextStep.AGAIN, wait * SECOND)


def test_the_third_failure_of_the_last_model_is_the_end() -> None:
    after = after_failure(FallbackAction.FAILOVER, attempt=MAX_ATTEMPTS, last=True, transient=True)
    assert after.step is NextStep.EXHAUSTED


def test_a_model_out_of_reach_is_tried_three_times_before_the_next_one() -> None:
    retry = FallbackAction.RETRY
    assert after_failure(retry, attempt=1, last=False).step is NextStep.AGAIN
    assert after_failure(retry, attempt=2, last=False).step is NextStep.AGAIN
    assert after_failure(retry, attempt=3, last=False).step is NextStep.NEXT_MODEL
    assert after_failure(retry, attempt=3, last=True).step is NextStep.EXHAUSTED


def test_what_no_wait_mends_fails_on_the_last_model() -> None:
    after = after_failure(FallbackAction.FAILOVER, attempt=1, last=True, transient=False)
    assert after == AfterFailure(NextStep.REFUSED)


@pytest.mark.parametrize("action", [FallbackAction.ABORT, FallbackAction.NONE])
@pytest.mark.parametrize("last", [True, False])
def test_refusals_are_final(action: FallbackAction, last: bool) -> None:
    after = after_failure(action, attempt=1, last=last, transient=True)
    assert after == AfterFailure(NextStep.REFUSED)


def test_an_overflow_is_compacted() -> None:
    after = after_failure(FallbackAction.TRIM_RETRY, attempt=1, last=True)
    assert after == AfterFailure(NextStep.COMPACT)


def test_an_empty_answer_is_repeated_twice() -> None:
    assert [after_empty_reply(attempt) for attempt in (1, 2, 3)] == [
        AfterFailure(NextStep.AGAIN, SECOND),
        AfterFailure(NextStep.AGAIN, 2 * SECOND),
        AfterFailure(NextStep.EXHAUSTED),
    ]
