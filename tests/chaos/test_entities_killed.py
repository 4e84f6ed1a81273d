"""The worker of the routines is killed while runs ask them: the runs wait, and are counted once."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from domain.identifiers import ENTITIES_QUEUE, LLM_QUEUE, RUNS_QUEUE, routine_workflow_id
from domain.runs import RunStatus
from tests.chaos.stage import (
    asked,
    assert_closed_normally,
    assert_counted,
    assert_happened_once,
    ended,
    lines,
    staged,
    streaming,
)
from tests.support.harness import Harness, until
from tests.support.model_steps import Refusal, Reply, error_body
from tests.support.processes import frozen
from tests.support.worker_process import worker_process

pytestmark = pytest.mark.chaos

ENTITIES = (ENTITIES_QUEUE,)
RUNS = (RUNS_QUEUE, LLM_QUEUE)
MAX_EVENTS = 60


def _asks_again(harness: Harness, run: str, activity: str) -> Callable[[], Awaitable[bool]]:
    """Whether the run gave up on its local activity and asks by a normal one."""

    async def holds() -> bool:
        handle = harness.client.get_workflow_handle(f"routine-run/{run}")
        pending = (await handle.describe()).raw_description.pending_activities
        return activity in [item.activity_type.name for item in pending]

    return holds


async def test_runs_wait_for_admission_and_for_their_end(tmp_path: Path) -> None:
    async with staged(tmp_path) as (_, harness), worker_process(harness, "runs", RUNS):
        async with worker_process(harness, "entities", ENTITIES) as entities:
            gate = threading.Event()
            ending = await harness.routine(Reply("Ends meanwhile.", gate=gate))
            begun = await harness.tickless.runs.trigger(ending)
            await streaming(harness, ending)
            routines = [await harness.routine(Reply("At last.")) for _ in range(3)]
            await entities.kill()
        triggers = [asyncio.create_task(harness.tickless.runs.trigger(item)) for item in routines]
        gate.set()
        waiting = await asyncio.gather(*triggers)
        assert [started.verdict for started in waiting] == [None] * 3, "accepted, not answered"
        for started in waiting:
            await until(_asks_again(harness, started.run_id, "begin_run"), "waits for admission")
        await until(_asks_again(harness, begun.run_id, "end_run"), "waits to report its end")
        async with worker_process(harness, "entities-again", ENTITIES):
            for started in (begun, *waiting):
                view = await ended(harness, started.run_id)
                await assert_happened_once(harness, view)
                assert len(await harness.run_events(started.run_id)) < MAX_EVENTS
                await assert_counted(harness, view.record.routine_id, 1)


async def test_killed_between_the_booking_and_its_answer(tmp_path: Path) -> None:
    """The routine books the end of a run whose worker never hears of it, and asks again."""
    async with (
        staged(tmp_path) as (_, harness),
        worker_process(harness, "entities", ENTITIES) as entities,
    ):
        async with worker_process(harness, "runs", RUNS) as runs:
            gate = threading.Event()
            refusal = Refusal(401, error_body("no such key"), gate=gate)
            routine = await harness.routine(refusal)
            started = await harness.tickless.runs.trigger(routine)
            await harness.models.wait_for(lambda: len(asked(harness, routine)) == 1)
            with ExitStack() as stack:
                with frozen(entities.pid):
                    gate.set()
                    await until(_is_asked(harness, routine), "the routine is told of the end")
                    # From here on the run's worker hears nothing any more.
                    stack.enter_context(frozen(runs.pid))
                await until(_is_idle(harness, routine), "the end is booked")
                await runs.kill()
        # Only the routine itself still knows what it answered: the server forgets update ids here.
        await _renew(harness, routine)
        async with worker_process(harness, "runs-again", RUNS):
            view = await ended(harness, started.run_id)

            assert view.record.status == RunStatus.FAILED
            await assert_closed_normally(harness, started.run_id)
            found = (await harness.tickless.routines.get(routine)).routine
            assert (found.run_count, found.running, found.consecutive_failures) == (1, False, 1)
            assert [item.occurrence_id for item in view.deliveries] == [
                f"{started.run_id}/first_failure"
            ], "the notice is not lost with the first answer"
            parts = [line["part"] for line in lines(harness, started.run_id)]
            assert parts == ["start", "first_failure"]
            assert len(asked(harness, routine)) == 1


def _is_asked(harness: Harness, routine: str) -> Callable[[], Awaitable[bool]]:
    """Whether the routine has something to answer."""

    async def holds() -> bool:
        handle = harness.client.get_workflow_handle(routine_workflow_id(routine))
        return (await handle.describe()).raw_description.HasField("pending_workflow_task")

    return holds


def _is_idle(harness: Harness, routine: str) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return not (await harness.tickless.routines.get(routine)).routine.running

    return holds


async def _renew(harness: Harness, routine: str) -> None:
    """Let the routine continue as new."""
    handle = harness.client.get_workflow_handle(routine_workflow_id(routine))
    before = (await handle.describe()).run_id
    await handle.signal("upgrade")

    async def renewed() -> bool:
        return (await handle.describe()).run_id != before

    await until(renewed, "the routine has continued as new")
