"""Everything is paused while workers and server are killed: what parked goes on, and only then."""

import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from domain.errors import DomainError, ErrorKind
from domain.identifiers import ENTITIES_QUEUE, LLM_QUEUE, RUNS_QUEUE
from domain.llm_calls import LlmCallStatus
from domain.run_view import RunStage
from tests.chaos.stage import (
    answered,
    asked,
    assert_counted,
    assert_happened_once,
    durably_staged,
    ended,
    lines,
    staged,
    streaming,
)
from tests.support.harness import Harness, until
from tests.support.model_steps import Hang, Reply
from tests.support.processes import frozen
from tests.support.worker_process import worker_process

pytestmark = pytest.mark.chaos


def _is_at(harness: Harness, run: str, stage: RunStage) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return (await harness.tickless.runs.get(run)).stage == stage

    return holds


async def test_the_pause_survives_worker_and_server(tmp_path: Path) -> None:
    async with durably_staged(tmp_path) as (server, harness):
        async with worker_process(harness, "first") as first:
            gate = threading.Event()
            lost = await harness.routine(Hang("half an ans", 1), Reply("After the pause."))
            stored = await harness.routine(Reply("Before the pause.", gate=gate))
            asks_again = await harness.tickless.runs.trigger(lost)
            has_it = await harness.tickless.runs.trigger(stored)
            await streaming(harness, lost)
            await streaming(harness, stored)
            await harness.tickless.system.pause_all("the night")
            with frozen(server.pid):
                gate.set()
                await answered(harness, has_it.run_id)
                await first.kill()
                await server.kill()
        await server.start()
        assert (await harness.tickless.system.status()).reason == "the night"
        async with worker_process(harness, "second"):
            await until(_is_at(harness, asks_again.run_id, RunStage.SYSTEM_PAUSED), "parked")
            with pytest.raises(DomainError) as refused:
                await harness.tickless.runs.trigger(lost)
            assert refused.value.kind == ErrorKind.CONFLICT
            assert "system_paused" in refused.value.message
            assert len(asked(harness, lost)) == 1, "no model is called during a pause"
            assert [line["part"] for line in lines(harness, asks_again.run_id)] == ["start"]

            await harness.tickless.system.resume_all()
            view = await ended(harness, asks_again.run_id)
            assert view.text == "After the pause."
            calls = await assert_happened_once(harness, view)
            assert [call.status for call in calls] == [LlmCallStatus.STARTED, LlmCallStatus.OK]
            await assert_counted(harness, lost, 1)

            view = await ended(harness, has_it.run_id)
            assert view.text == "Before the pause."
            await assert_happened_once(harness, view)
            assert len(asked(harness, stored)) == 1, "a stored answer is not asked for again"
            await assert_counted(harness, stored, 1)


async def test_a_run_that_parks_after_the_resume_goes_on(tmp_path: Path) -> None:
    """Its worker was dead while everything went on, so nobody could find and wake it then."""
    others = (ENTITIES_QUEUE, LLM_QUEUE)
    async with staged(tmp_path) as (_, harness), worker_process(harness, "others", others):
        async with worker_process(harness, "runs", [RUNS_QUEUE]) as runs:
            gate = threading.Event()
            broken = Reply("A broken ans", gate=gate, finish_reason=None)
            routine = await harness.routine(broken, Reply("A whole answer."))
            started = await harness.tickless.runs.trigger(routine)
            await streaming(harness, routine)
            await runs.kill()
        await harness.tickless.system.pause_all()
        gate.set()

        async def refused() -> bool:
            return "ACTIVITY_TASK_FAILED" in await harness.run_events(started.run_id)

        await until(refused, "the second attempt was refused")
        await harness.tickless.system.resume_all()
        async with worker_process(harness, "runs-again", [RUNS_QUEUE]):
            view = await ended(harness, started.run_id)
            assert view.text == "A whole answer."
            await assert_happened_once(harness, view)
            await assert_counted(harness, routine, 1)
