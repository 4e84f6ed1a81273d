"""A worker is killed while a run is under way: another one carries the same run to its end."""

import threading
from pathlib import Path

import pytest

from domain.llm_calls import LlmCallStatus
from tests.chaos.stage import (
    answered,
    asked,
    assert_counted,
    assert_happened_once,
    ended,
    staged,
    streaming,
)
from tests.support.model_steps import Hang, Reply, Usage
from tests.support.processes import frozen
from tests.support.worker_process import worker_process

pytestmark = pytest.mark.chaos


async def test_killed_in_the_middle_of_an_answer(tmp_path: Path) -> None:
    async with staged(tmp_path) as (_, harness):
        async with worker_process(harness, "first") as first:
            routine = await harness.routine(
                Hang("half an ans", 2), Reply("A whole answer.", usage=Usage(30, 4))
            )
            started = await harness.tickless.runs.trigger(routine)
            await streaming(harness, routine)
            await first.kill()
        async with worker_process(harness, "second"):
            view = await ended(harness, started.run_id)

            assert view.text == "A whole answer."
            assert view.record.attempts == 2
            assert len(asked(harness, routine)) == 2
            calls = await assert_happened_once(harness, view)
            assert [(call.attempt, call.status) for call in calls] == [
                (1, LlmCallStatus.STARTED),
                (2, LlmCallStatus.OK),
            ]
            assert (view.record.tokens_in, view.record.tokens_out) == (30, 4)
            await assert_counted(harness, routine, 1)


async def test_killed_between_the_stored_answer_and_its_report(tmp_path: Path) -> None:
    """The server stands still while the answer is stored, so the worker cannot report it."""
    async with staged(tmp_path) as (server, harness):
        async with worker_process(harness, "first") as first:
            gate = threading.Event()
            routine = await harness.routine(Reply("Stored once.", usage=Usage(30, 4), gate=gate))
            started = await harness.tickless.runs.trigger(routine)
            await streaming(harness, routine)
            with frozen(server.pid):
                gate.set()
                await answered(harness, started.run_id)
                await first.kill()
        async with worker_process(harness, "second"):
            view = await ended(harness, started.run_id)

            assert view.text == "Stored once."
            assert view.record.attempts == 2
            assert len(asked(harness, routine)) == 1, "a stored answer is not asked for again"
            (call,) = await assert_happened_once(harness, view)
            assert call.attempt == 1
            assert (view.record.tokens_in, view.record.tokens_out) == (30, 4)
            await assert_counted(harness, routine, 1)
