"""The times of a goal: its deadline, delays, the length of an iteration, and the fast loop.

Owns what is accepted as a delay or a deadline, and the brake on iterations that end too soon.
Lengths of time as such are `domain.durations`'. Source: automation.md §3 and §9.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from fractions import Fraction
from typing import Final

from pydantic import BaseModel, ConfigDict

from domain.durations import parse_duration
from domain.errors import DomainError, ErrorKind
from domain.fields import FieldReader, shown
from domain.timestamps import parse_timestamp

DEFAULT_DEADLINE_SECONDS: Final = 48 * 3600
MAX_DEADLINE_SECONDS: Final = 2160 * 3600
MIN_DELAY_SECONDS: Final = 60
MAX_DELAY_SECONDS: Final = 12 * 3600
FAST_LOOP_LIMIT: Final = 5
FAST_LOOP_SECONDS: Final = 180

_DELAY: Final = "0s, or a length of time from 1m to 12h such as 90m or 2h30m"
_DELAYS: Final = ("0s", "1m", "12h")
_DEADLINE: Final = "a length of time above 0 and at most 2160h (90d), such as 48h"
_DEADLINES: Final = ("48h", "2160h")


class IterationOutcome(StrEnum):
    """How an iteration ended, as far as the fast loop cares."""

    OK = "ok"
    ERROR = "error"
    INTERRUPTED = "interrupted"
    TIMEOUT = "timeout"


class FastLoop(BaseModel):
    """Successful iterations in a row that were short, and whether the goal has to pause."""

    model_config = ConfigDict(frozen=True)

    count: int
    pause: bool


def parse_delay(duration: object, reason: object) -> int:
    """Read a delay.

    Args:
        duration: `0s`, or 1 minute to 12 hours.
        reason: Why; required.

    Returns:
        Whole seconds; a part of a second is dropped.

    Raises:
        DomainError: On `duration` or `reason`.
    """
    reader = FieldReader({"duration": duration, "reason": reason}, "")
    seconds = Fraction(0)
    if duration is None or (isinstance(duration, str) and not duration.strip()):
        reader.missing("duration", _DELAY)
    else:
        read = parse_duration(duration) if isinstance(duration, str) else None
        seconds = Fraction(-1) if read is None else read
    if seconds and not MIN_DELAY_SECONDS <= seconds <= MAX_DELAY_SECONDS:
        reader.invalid("duration", f"must be {_DELAY}, not {shown(duration)}", _DELAYS)
    reader.required_text("reason")
    reader.close()
    return int(seconds)


def parse_deadline(deadline_in: object = None) -> int:
    """Read how far away a deadline is.

    Args:
        deadline_in: More than 0, at most 2160 hours; blank or null for 48 hours.

    Returns:
        Whole seconds, at least 1.

    Raises:
        DomainError: `invalid_field` on `deadline_in`.
    """
    if deadline_in is None or (isinstance(deadline_in, str) and not deadline_in.strip()):
        return DEFAULT_DEADLINE_SECONDS
    seconds = parse_duration(deadline_in) if isinstance(deadline_in, str) else None
    if not seconds or seconds > MAX_DEADLINE_SECONDS:
        message = f"deadline_in must be {_DEADLINE}, not {shown(deadline_in)}"
        raise DomainError(ErrorKind.INVALID_FIELD, "deadline_in", message, _DEADLINES)
    return max(1, int(seconds))


def fast_loop_step(
    count: int,
    outcome: str,
    elapsed_seconds: float,
    delayed: bool = False,
    limit: int = FAST_LOOP_LIMIT,
    fast_seconds: float = FAST_LOOP_SECONDS,
) -> FastLoop:
    """Count an iteration that ended.

    Args:
        count: Short successful iterations in a row before it.
        outcome: How it ended.
        elapsed_seconds: How long it took.
        delayed: Whether a positive delay was set during it.
        limit: Setting `fast_loop_limit`.
        fast_seconds: Setting `fast_loop_seconds`: what takes as long is not short.

    Returns:
        The new count; at the limit the goal pauses and counting begins anew.
    """
    if outcome != IterationOutcome.OK or delayed or elapsed_seconds >= fast_seconds:
        return FastLoop(count=0, pause=False)
    if count + 1 >= limit:
        return FastLoop(count=0, pause=True)
    return FastLoop(count=count + 1, pause=False)


def iteration_timeout(run_timeout_seconds: int, deadline_at: datetime | None, now: datetime) -> int:
    """How long an iteration may take, in whole seconds: never beyond the goal's deadline.

    Args:
        run_timeout_seconds: Of any iteration.
        deadline_at: The goal's; null where it has none.
        now: The goal's clock.
    """
    if deadline_at is None:
        return run_timeout_seconds
    end, start = parse_timestamp(deadline_at, "deadline_at"), parse_timestamp(now, "now")
    return min(run_timeout_seconds, max(0, (end - start) // timedelta(seconds=1)))


def format_duration(seconds: float) -> str:
    """A length of time as notices tell it: `2h30m`, `5m0s`, `30s`; what is left over is dropped."""
    whole = max(0, int(seconds))
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{rest}s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m" if hours else f"{minutes}m{rest}s"
