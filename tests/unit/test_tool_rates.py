"""How often a tool may be called: two sliding windows, inclusive in favour of the call."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.tool_rates import next_call_at
from domain.tool_specs import ToolRate

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ago(*seconds: float) -> list[datetime]:
    """Starts of calls, so many seconds ago."""
    return [NOW - timedelta(seconds=second) for second in seconds]


@pytest.mark.parametrize(
    ("starts", "wait"),
    [
        ([], None),
        ([1], None),
        ([1, 59], 1),
        ([1, 60], None),
        ([1, 2, 3], 58),
        ([61, 62, 3599], None),
        ([61, 62, 63, 3600], None),
        ([61, 62, 63, 3599], 1),
        ([1, 2, 63, 3599], 58),
        ([1, 2, 63, 100], 3500),
    ],
)
def test_next_call(starts: list[float], wait: float | None) -> None:
    found = next_call_at(ToolRate(per_minute=2, per_hour=4), ago(*starts), NOW)
    assert found == (None if wait is None else NOW + timedelta(seconds=wait))
