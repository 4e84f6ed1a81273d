"""What follows a failed attempt of a model call: again, another model, compaction, or the end.

Owns the number of attempts and the waits between them. What an error means is `domain.fallback`'s,
which model is next `domain.model_chain`'s. Source: chat-policies.md §7.3, automation.md §7.5,
triggers-and-actions.md §5.

Invariant: a call ends after at most `MAX_ATTEMPTS` attempts, whatever mixture of failures it meets.
"""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from domain.fallback import FallbackAction

MAX_ATTEMPTS: Final = 3
FIRST_WAIT: Final = timedelta(seconds=2)
LONGEST_WAIT: Final = timedelta(seconds=30)
LONGEST_RETRY_AFTER: Final = timedelta(seconds=60)
FIRST_WAIT_AFTER_EMPTY: Final = timedelta(seconds=1)
DEFAULT_COOL_DOWN: Final = timedelta(seconds=30)


class NextStep(StrEnum):
    """What to do after a failed attempt."""

    AGAIN = "again"
    NEXT_MODEL = "next_model"
    COMPACT = "compact"
    EXHAUSTED = "exhausted"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class AfterFailure:
    """The next step; `wait` comes before it, or is how long the model cools down."""

    step: NextStep
    wait: timedelta = timedelta(0)


def after_failure(
    action: FallbackAction,
    *,
    attempt: int,
    last: bool,
    transient: bool = False,
    retry_after: timedelta | None = None,
) -> AfterFailure:
    """Decide what follows a failed attempt.

    Args:
        action: What `domain.fallback` says about the error.
        attempt: Number of the attempt that failed, from 1.
        last: No other model of the chain can be called.
        transient: The error was a rate limit or the server's (429, 5xx).
        retry_after: What the provider asked for, if anything.
    """
    cool_down = AfterFailure(
        NextStep.NEXT_MODEL, DEFAULT_COOL_DOWN if retry_after is None else retry_after
    )
    match action:
        case FallbackAction.TRIM_RETRY:
            return AfterFailure(NextStep.COMPACT)
        case FallbackAction.FAILOVER if not last:
            return cool_down
        case FallbackAction.FAILOVER if not transient:
            return AfterFailure(NextStep.REFUSED)
        case FallbackAction.FAILOVER | FallbackAction.RETRY:
            if attempt < MAX_ATTEMPTS:
                return AfterFailure(NextStep.AGAIN, _wait(attempt, retry_after))
            # A provider that stays out of reach is no reason to fail while another one answers.
            return AfterFailure(NextStep.EXHAUSTED) if last else cool_down
        case _:
            return AfterFailure(NextStep.REFUSED)


def after_empty_reply(attempt: int) -> AfterFailure:
    """Decide what follows an answer without text: again after 1 s, then 2 s, then no more."""
    if attempt < MAX_ATTEMPTS:
        return AfterFailure(NextStep.AGAIN, FIRST_WAIT_AFTER_EMPTY * (1 << attempt - 1))
    return AfterFailure(NextStep.EXHAUSTED)


def _wait(attempt: int, retry_after: timedelta | None) -> timedelta:
    if retry_after is not None and retry_after <= LONGEST_RETRY_AFTER:
        return retry_after
    return min(FIRST_WAIT * (1 << attempt - 1), LONGEST_WAIT)
