"""Full lightweight runs against the floor, and how fast a cancellation closes a connection.

The runs are what a Schedule starts: admission, a model call over HTTP to a server that answers at
once, delivery to a file, outcome. Each batch has routines of its own, ten runs a routine.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import timedelta

from activities.runs import run_attributes
from benchmarks.floor import Floor, measure_floor
from benchmarks.measuring import Throughput, measure, quantile
from domain.identifiers import RUNS_QUEUE
from domain.run_start import StartRun
from domain.runs import FireKind, run_id, run_workflow_id, scheduled_occurrence
from tests.support.harness import Harness
from tests.support.model_server import Call
from tests.support.model_steps import Hang, Reply

ROUTINES = 20


@dataclass(frozen=True)
class RunsReport:
    """Runs beside the floor, alternating, best of each."""

    floor: Throughput
    runs: Throughput

    @property
    def ratio(self) -> float:
        """Share of the floor's throughput."""
        return self.runs.per_second / self.floor.per_second


async def measure_runs(harness: Harness, count: int, at_once: int, server_pid: int) -> Throughput:
    """So many full runs, so many at a time."""
    due: list[tuple[str, StartRun]] = []
    names = [
        await harness.routine(
            Reply("All quiet.", chunks=1),
            schedule={"every_seconds": 60},
            guardrails={"max_concurrent": 10},
        )
        for _ in range(ROUTINES)
    ]
    for number in range(count):
        name = names[number % ROUTINES]
        created = (await harness.tickless.routines.get(name)).routine.created_at
        assert created is not None
        at = created + timedelta(seconds=60 * 60 * (1 + number // ROUTINES))
        start = StartRun(routine_id=name, kind=FireKind.SCHEDULE, scheduled_at=at)
        due.append((run_workflow_id(run_id(name, scheduled_occurrence(at))), start))

    async def one(number: int) -> None:
        workflow_id, start = due[number]
        handle = await harness.client.start_workflow(
            "RoutineRun",
            start,
            id=workflow_id,
            task_queue=RUNS_QUEUE,
            search_attributes=run_attributes(start, "user:me", "me"),
        )
        view = await handle.result()
        assert view["record"]["status"] == "attention", view

    return await measure(one, count, at_once, server_pid)


async def compare(
    harness: Harness, server_pid: int, count: int = 200, at_once: int = 20
) -> RunsReport:
    """Floor and runs in turn, twice; the better of each, because other work only slows."""
    floors: list[Floor] = []
    runs: list[Throughput] = []
    for _ in range(2):
        floors.append(await measure_floor(harness.client, count, at_once, server_pid))
        runs.append(await measure_runs(harness, count, at_once, server_pid))
    return RunsReport(
        floor=max((floor.throughput for floor in floors), key=lambda item: item.per_second),
        runs=max(runs, key=lambda item: item.per_second),
    )


async def cancellation_milliseconds(harness: Harness, count: int = 100) -> list[float]:
    """From the cancel signal's sending to the moment the provider sees the connection closed."""
    routine = await harness.routine(Hang("begun", 1), guardrails={"max_concurrent": 10})
    delays: list[float] = []
    for _ in range(count):
        known = len(harness.models.calls)
        started = await harness.tickless.runs.trigger(routine)
        call = await _next_call(harness, known)
        handle = harness.client.get_workflow_handle(started.workflow_id)
        at = time.monotonic()
        await handle.signal("cancel")
        await _closed(harness, call)
        assert call.client_closed_at is not None
        delays.append((call.client_closed_at - at) * 1e3)
        await asyncio.wait_for(handle.result(), 30)
    return delays


async def _next_call(harness: Harness, known: int) -> Call:
    """The call after those that are known, once its answer has begun."""
    calls = harness.models.calls
    await harness.models.wait_for(lambda: len(calls) > known and calls[known].pieces_sent > 0)
    return calls[known]


async def _closed(harness: Harness, call: Call) -> None:
    await harness.models.wait_for(lambda: call.client_closed_at is not None)


def summary(delays: list[float]) -> str:
    """Median and 99th percentile."""
    return f"p50 {quantile(delays, 0.5):.0f} ms, p99 {quantile(delays, 0.99):.0f} ms"
