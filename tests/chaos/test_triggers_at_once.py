"""Many fires at the same moment, by hand and by Schedules: each happens once, and is counted once.

Two workers share them and one dies, the server dies while Schedules fire, or all of them want the
same routine.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from activities import search_attributes as attributes
from client.runs import RunStarted
from domain.admission import Decision
from domain.errors import DomainError, ErrorKind
from domain.llm_calls import LlmCallStatus
from domain.runs import OPEN_STATUSES, KeptRun, RunStatus, run_id, scheduled_occurrence
from domain.timestamps import format_timestamp
from tests.chaos.stage import (
    asked,
    assert_counted,
    assert_happened_once,
    durably_staged,
    ended,
    ledger,
    staged,
)
from tests.support.harness import Harness, until
from tests.support.model_server import Call
from tests.support.model_steps import Reply
from tests.support.worker_process import worker_process

pytestmark = pytest.mark.chaos

SCHEDULED = TRIGGERED = 20
# Time to make the routines in.
LEAD = timedelta(seconds=8)
SLOW = Reply("A longer answer.", chunks=8, delay=0.2)

TRIGGERS = 500
IN_FLIGHT = 50
MAX_CONCURRENT = 4
# Each look asks for all runs that the routine keeps, which is work for the very worker under test.
LOOK_SECONDS = 0.5


async def _due_together(harness: Harness, count: int, at: datetime) -> list[str]:
    """Routines that are all due once, at the same second; returns their runs."""
    schedule = {"run_at": format_timestamp(at)}
    routines = await asyncio.gather(
        *(harness.routine(SLOW, schedule=schedule) for _ in range(count))
    )
    assert datetime.now(UTC) < at, "the Schedules were put too late"
    return [run_id(routine, scheduled_occurrence(at)) for routine in routines]


def _soon() -> datetime:
    return (datetime.now(UTC) + LEAD).replace(microsecond=0)


async def _assert_all_once(harness: Harness, runs: list[str]) -> list[int]:
    """Every run ended well, once, and nothing else ran; returns how many attempts each took."""
    views = [await ended(harness, run, 90) for run in runs]
    for view in views:
        await assert_happened_once(harness, view)
        await assert_counted(harness, view.record.routine_id, 1)
        # An attempt that found a stored answer, or died before its request, made none.
        assert 0 < len(asked(harness, view.record.routine_id)) <= view.record.attempts
    query = f"{attributes.KIND.name} = 'run'"

    async def listed() -> bool:
        return (await harness.client.count_workflows(query)).count >= len(runs)

    await until(listed, "all runs are listed")
    found = [item.id async for item in harness.client.list_workflows(query)]
    assert sorted(found) == sorted(f"routine-run/{run}" for run in runs)
    text = harness.deliveries.read_text(encoding="utf-8")
    keys = Counter(json.loads(line)["key"] for line in text.splitlines())
    assert set(keys.values()) == {1}, keys
    finals = {f"{run}/final" for run in runs}
    assert finals <= set(keys)
    # The start notice of a worker that died while it was sending is unknown, and never sent again.
    assert set(keys) - finals <= {f"{run}/start" for run in runs}
    return [view.record.attempts for view in views]


async def test_two_workers_share_schedules_and_triggers_until_one_is_killed(
    tmp_path: Path,
) -> None:
    async with (
        staged(tmp_path) as (_, harness),
        worker_process(harness, "first") as first,
        worker_process(harness, "second"),
    ):
        by_hand = await asyncio.gather(*(harness.routine(SLOW) for _ in range(TRIGGERED)))
        at = _soon()
        runs = await _due_together(harness, SCHEDULED, at)
        await asyncio.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))
        triggers = [
            asyncio.create_task(harness.tickless.runs.trigger(routine)) for routine in by_hand
        ]
        half = (SCHEDULED + TRIGGERED) // 2
        await harness.models.wait_for(lambda: len(harness.models.calls) >= half, 60)
        await first.kill()
        runs += [started.run_id for started in await asyncio.gather(*triggers)]
        attempts = await _assert_all_once(harness, runs)
        assert max(attempts) > 1, "the killed one had runs"


async def test_the_server_is_killed_while_schedules_fire(tmp_path: Path) -> None:
    """Some of the fires had begun, some had not: each makes its one run."""
    async with durably_staged(tmp_path) as (server, harness), worker_process(harness):
        runs = await _due_together(harness, SCHEDULED, _soon())
        await harness.models.wait_for(lambda: bool(harness.models.calls), 60)
        await server.kill()
        begun = len(harness.models.calls)
        await server.start()
        await _assert_all_once(harness, runs)
        assert 0 < begun <= SCHEDULED


@pytest.mark.timeout(180)
async def test_five_hundred_triggers_of_one_routine_are_counted_exactly(tmp_path: Path) -> None:
    async with staged(tmp_path) as (_, harness), worker_process(harness):
        # Slow enough to keep the routine full while others ask.
        reply = Reply("Done.", chunks=2, delay=0.1)
        limits = {"max_concurrent": MAX_CONCURRENT}
        routine = await harness.routine(reply, guardrails=limits)
        began = time.monotonic()
        watching = asyncio.create_task(_most_open(harness, routine))
        gate = asyncio.Semaphore(IN_FLIGHT)
        answers = await asyncio.gather(*(_trigger(harness, routine, gate) for _ in range(TRIGGERS)))
        await until(_has_ended(harness, routine, TRIGGERS), "all have ended", 60, 0.2)
        watching.cancel()
        assert time.monotonic() - began < 150
        running, together = await watching
        assert 0 < running <= MAX_CONCURRENT
        assert together <= MAX_CONCURRENT + 1
        assert _most_at_once(asked(harness, routine)) <= MAX_CONCURRENT
        await _assert_exact(harness, routine, answers)


async def _trigger(harness: Harness, routine: str, gate: asyncio.Semaphore) -> RunStarted | None:
    """Trigger; null when the answer is that the routine is full."""
    async with gate:
        try:
            return await harness.tickless.runs.trigger(routine)
        except DomainError as error:
            if error.kind != ErrorKind.CONFLICT or "max_concurrent" not in error.message:
                raise
            return None


async def _most_open(harness: Harness, routine: str) -> tuple[int, int]:
    """Look at the routine until cancelled; the most runs in progress, and with the one waiting."""
    running = together = 0
    found: Sequence[KeptRun] = []
    try:
        while True:
            with suppress(DomainError):  # a worker with 500 questions may not answer one in time
                found = await harness.tickless.routines.runs(routine)
            statuses = Counter(item.status for item in found if item.status in OPEN_STATUSES)
            running = max(running, statuses[RunStatus.RUNNING])
            together = max(together, statuses.total())
            await asyncio.sleep(LOOK_SECONDS)
    except asyncio.CancelledError:
        return running, together


def _most_at_once(calls: list[Call]) -> int:
    """How many requests the models had at the same moment."""
    edges = [(call.received_at, 1) for call in calls]
    edges += [(call.finished_at, -1) for call in calls if call.finished_at is not None]
    now = most = 0
    for _, step in sorted(edges):
        now += step
        most = max(most, now)
    return most


def _has_ended(harness: Harness, routine: str, count: int) -> Callable[[], Awaitable[bool]]:
    """Whether so many runs of a routine are listed as ended; no more than these may exist."""
    runs = f"{attributes.KIND.name} = 'run' AND {attributes.ROUTINE.name} = '{routine}'"

    async def holds() -> bool:
        assert (await harness.client.count_workflows(runs)).count <= count
        query = f"{runs} AND ExecutionStatus = 'Completed'"
        return (await harness.client.count_workflows(query)).count == count

    return holds


async def _assert_exact(harness: Harness, routine: str, answers: list[RunStarted | None]) -> None:
    """Answers, routine, ledger and models agree on what ran and what was refused."""
    started = [answer for answer in answers if answer is not None]
    verdicts = Counter(item.verdict.decision if item.verdict else None for item in started)
    assert set(verdicts) <= {Decision.RUN, Decision.QUEUE, None}
    assert len({item.run_id for item in started}) == len(started)
    answer = await harness.tickless.routines.get(routine)
    counted = answer.routine.run_count
    assert (answer.routine.running, answer.routine.consecutive_failures) == (False, 0)
    assert set(answer.skipped) == {"max_concurrent"}
    assert counted + answer.skipped["max_concurrent"] == TRIGGERS
    # One whose verdict came too late for its answer may have run or not.
    sure = verdicts[Decision.RUN] + verdicts[Decision.QUEUE]
    assert sure <= counted <= sure + verdicts[None]
    async with ledger(harness) as store:
        calls = await store.calls.with_prefix("")
    assert Counter(call.status for call in calls) == {LlmCallStatus.OK: counted}
    assert len({call.run_id for call in calls}) == counted
    assert len(asked(harness, routine)) == counted
    text = harness.deliveries.read_text(encoding="utf-8")
    keys = Counter(json.loads(line)["key"] for line in text.splitlines())
    assert set(keys.values()) == {1}
    parts = Counter(key.rpartition("/")[2] for key in keys)
    assert parts["start"] == parts["final"] == counted
