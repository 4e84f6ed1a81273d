"""Adding up what calls of models have cost."""

from datetime import UTC, datetime, timedelta

from domain.costs import (
    MAX_ENTRIES,
    NO_ROUTINE,
    OTHERS,
    CallCost,
    CostBy,
    CostReport,
    cost_report,
)

NIGHT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
CALLS = [
    CallCost(NIGHT, "brief", "openai/a", 10, 5, 30),
    CallCost(NIGHT + timedelta(hours=1), "brief", "openai/b", None, None, None),
    CallCost(NIGHT + timedelta(hours=2), None, "openai/a", 1, 2, 50),
]


def report(by: CostBy, timezone: str = "UTC") -> CostReport:
    return cost_report(CALLS, by, NIGHT, timezone)


def keys(found: CostReport) -> list[str]:
    return [entry.key for entry in found.entries]


def test_by_routine_the_dearest_first() -> None:
    found = report(CostBy.ROUTINE)
    assert keys(found) == [NO_ROUTINE, "brief"]
    brief = found.entries[1]
    assert (brief.calls, brief.tokens_in, brief.tokens_out) == (2, 10, 5)
    assert (brief.cost_micros, brief.unpriced) == (30, 1)


def test_by_day_of_the_deployment() -> None:
    assert keys(report(CostBy.DAY)) == ["2026-03-01", "2026-03-02"]
    assert keys(report(CostBy.DAY, "Europe/Berlin")) == ["2026-03-02"]


def test_by_model_and_in_all() -> None:
    found = report(CostBy.MODEL)
    assert keys(found) == ["openai/a", "openai/b"]
    assert found.total.calls == 3
    assert found.total.cost_micros == sum(entry.cost_micros for entry in found.entries) == 80


def test_very_many_entries_are_told_together() -> None:
    calls = [CallCost(NIGHT, f"r{n:05}", "m", 1, 1, n) for n in range(MAX_ENTRIES + 7)]
    found = cost_report(calls, CostBy.ROUTINE, NIGHT, "UTC")
    assert len(found.entries) == MAX_ENTRIES + 1
    assert (found.entries[-1].key, found.entries[-1].calls) == (OTHERS, 7)
    assert sum(entry.calls for entry in found.entries) == found.total.calls
