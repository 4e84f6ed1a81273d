"""How often a tool may be called: sliding windows of a minute and an hour, per user and tool.

Owns the decision; the calls are counted in the ledger, so that neither a restart nor another worker
forgets them. Source: triggers-and-actions.md §7.

Invariant: limits are inclusive in favour of the call: a call that began exactly a window ago does
not count any more.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from domain.tool_specs import ToolRate

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)


def next_call_at(rate: ToolRate, starts: Sequence[datetime], now: datetime) -> datetime | None:
    """When the next call may begin.

    Args:
        rate: The tool's limits.
        starts: When calls began, the newest first; those of the last hour, at most `per_hour`.
        now: The current time.

    Returns:
        The instant at which the call that is in the way leaves its window; null: at once.
    """
    waits = [
        starts[limit - 1] + window
        for limit, window in ((rate.per_minute, MINUTE), (rate.per_hour, HOUR))
        if len(starts) >= limit and starts[limit - 1] + window > now
    ]
    return max(waits, default=None)
