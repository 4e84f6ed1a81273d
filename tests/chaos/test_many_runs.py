"""Many runs at once, with workers that die in the middle or come late: all end, counters exact."""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from temporalio.common import WorkflowIDReusePolicy

from activities import search_attributes as attributes
from activities.runs import run_attributes
from domain.identifiers import ENTITIES_QUEUE, RUNS_QUEUE
from domain.llm_calls import LlmCallStatus
from domain.run_start import StartRun
from domain.run_view import RunView
from domain.runs import FireKind, RunStatus, routine_of_run, run_id, run_workflow_id
from tests.chaos.stage import assert_counted, assert_happened_once, ended, ledger, staged
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.model_steps import Reply
from tests.support.worker_process import worker_process

pytestmark = pytest.mark.chaos

AT_ONCE = {"max_concurrent": 10}


async def test_one_of_two_workers_is_killed_among_forty_runs(tmp_path: Path) -> None:
    async with (
        staged(tmp_path) as (_, harness),
        worker_process(harness, "first") as first,
        worker_process(harness, "second"),
    ):
        reply = Reply("A longer answer.", chunks=8, delay=0.2)
        routines = await asyncio.gather(
            *(harness.routine(reply, guardrails=AT_ONCE) for _ in range(5))
        )
        triggers = [
            asyncio.create_task(harness.tickless.runs.trigger(routine))
            for routine in routines
            for _ in range(8)
        ]
        await harness.models.wait_for(lambda: len(harness.models.calls) >= 20, 60)
        await first.kill()
        started = await asyncio.gather(*triggers)
        views = [await ended(harness, item.run_id, 90) for item in started]
        for view in views:
            await assert_happened_once(harness, view)
        for routine in routines:
            await assert_counted(harness, routine, 8)
        assert any(view.record.attempts > 1 for view in views), "the killed one had runs"
        await _assert_all_delivered(harness, [view.record.id for view in views])


async def _assert_all_delivered(harness: Harness, runs: list[str]) -> None:
    text = harness.deliveries.read_text(encoding="utf-8")
    keys = Counter(json.loads(line)["key"] for line in text.splitlines())
    assert set(keys.values()) == {1}, keys
    finals = {f"{run}/final" for run in runs}
    assert finals <= set(keys)
    # The start notice of a worker that died while it was sending is unknown, and never sent again.
    assert set(keys) - finals <= {f"{run}/start" for run in runs}


@pytest.mark.timeout(600)
async def test_a_thousand_runs_wait_for_one_worker(tmp_path: Path) -> None:
    """DESIGN §3 rule 3: with entities and runs on the same slots, this stops for good at 125."""
    async with (
        running_server(tmp_path) as server,
        running_harness(tmp_path, server, queues=()) as harness,
    ):
        # The slots of an installation that sets none.
        del harness.environ["TICKLESS_MAX_CONCURRENT_RUNS"]
        async with worker_process(harness, "entities", [ENTITIES_QUEUE]):
            routines = await asyncio.gather(
                *(harness.routine(guardrails=AT_ONCE) for _ in range(100))
            )
            # Most are paused meanwhile: a run that is refused waits for its routine all the same,
            # and costs a fraction of one that asks a model and delivers.
            active, paused = routines[:25], routines[25:]
            await asyncio.gather(*(harness.tickless.routines.pause(item) for item in paused))
        runs = [run_id(routine, f"m-{number}") for number in range(10) for routine in routines]
        gate = asyncio.Semaphore(20)
        await asyncio.gather(*(_start(harness, run, gate) for run in runs))
        await until(_has_listed(harness, 1000, "ExecutionStatus = 'Running'"), "all are listed")
        began = time.monotonic()
        async with worker_process(harness, "late"):
            ended = "ExecutionStatus = 'Completed'"
            await until(_has_listed(harness, 1000, ended), "all have ended", 480, 0.5)
            for status, count in ((RunStatus.OK, 250), (RunStatus.SKIPPED, 750)):
                which = f"{ended} AND {attributes.STATUS.name} = '{status}'"
                assert await _has_listed(harness, count, which)(), await _others(harness)
            sys.stdout.write(f"1,000 runs ended in {time.monotonic() - began:.0f} s\n")
            for routine in active:
                await assert_counted(harness, routine, 10)
            for routine in paused:
                await assert_counted(harness, routine, 0)
                assert (await harness.tickless.routines.get(routine)).skipped == {"paused": 10}
        async with ledger(harness) as store:
            calls = await store.calls.with_prefix("")
        assert Counter(call.status for call in calls) == {LlmCallStatus.OK: 250}
        assert {call.run_id for call in calls} == {
            run for run in runs if routine_of_run(run) in active
        }
        assert len(harness.models.calls) == 250


def _has_listed(harness: Harness, count: int, which: str) -> Callable[[], Awaitable[bool]]:
    query = f"{attributes.KIND.name} = 'run' AND {which}"

    async def holds() -> bool:
        return (await harness.client.count_workflows(query)).count == count

    return holds


async def _others(harness: Harness) -> list[str]:
    """Runs that did not end well, for whoever has to find out why."""
    query = f"{attributes.KIND.name} = 'run' AND {attributes.STATUS.name} != '{RunStatus.OK}'"
    found: list[str] = []
    async for execution in harness.client.list_workflows(query, limit=5):
        handle = harness.client.get_workflow_handle(execution.id, result_type=RunView)
        view: RunView = await handle.result()
        found.append(f"{view.record.status} {view.record.reason} {view.record.error}")
    return found


async def _start(harness: Harness, run: str, gate: asyncio.Semaphore) -> None:
    """Start a run as whoever fires it does, without asking any worker."""
    start = StartRun(routine_id=routine_of_run(run), kind=FireKind.MANUAL, actor_id="me")
    async with gate:
        await harness.client.start_workflow(
            "RoutineRun",
            start,
            id=run_workflow_id(run),
            task_queue=RUNS_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            search_attributes=run_attributes(start, "user:me", "me"),
        )
