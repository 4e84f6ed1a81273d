"""The wall clock of activities; workflows and `domain` have none.

Owns the one spelling of now, which tests replace by an argument.
"""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Now, aware, in UTC."""
    return datetime.now(UTC)
