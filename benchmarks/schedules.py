"""What a schedule costs: a thousand of its occurrences, one next time, and its validation.

Processor time of one call, over many calls. Every call has another minute of the hour, so that none
finds the answer of the one before; the zone's data stays loaded, as in a worker.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from benchmarks.measuring import quantile
from domain.schedule import next_run_at, occurrences, validate_schedule

ZONE = "America/New_York"
OCCURRENCES = 1000
REPETITIONS = 300
START = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Cost:
    """Milliseconds of processor time for one call."""

    median: float
    p99: float

    def __str__(self) -> str:
        """One line for people."""
        return f"p50 {self.median:7.3f} ms, p99 {self.p99:7.3f} ms CPU"


@dataclass(frozen=True)
class SchedulesReport:
    """The costs of a daily cron in a zone with DST."""

    occurrences: Cost
    next_time: Cost
    validation: Cost


def measure_schedules(repetitions: int = REPETITIONS) -> SchedulesReport:
    """Measure the three, after one call each to load the zone."""
    return SchedulesReport(
        occurrences=_cost(lambda rule: occurrences(START, rule, OCCURRENCES), repetitions),
        next_time=_cost(lambda rule: next_run_at(START, rule), repetitions),
        validation=_cost(lambda rule: validate_schedule(rule, START), repetitions),
    )


def _cost(call: Callable[[dict[str, object]], object], repetitions: int) -> Cost:
    call(_daily(0))
    took: list[float] = []
    for number in range(repetitions):
        rule = _daily(number)
        before = time.process_time_ns()
        call(rule)
        took.append((time.process_time_ns() - before) / 1e6)
    return Cost(median=quantile(took, 0.5), p99=quantile(took, 0.99))


def _daily(number: int) -> dict[str, object]:
    """A daily cron; the one of this number differs from its neighbours."""
    minute, hour = number % 60, number // 60 % 24
    return {"cron_expr": f"{minute} {hour} * * *", "timezone": ZONE}
