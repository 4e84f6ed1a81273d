"""A model call that is told to end and fails instead is followed by no other call."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

from activities.failures import CONTEXT_OVERFLOW, MODEL_FAILOVER, ModelFailure, Overflow
from activities.models import CallModel, ModelAnswer
from domain.identifiers import LLM_QUEUE
from tests.support.ledger_rows import thread
from tests.support.own_workers import serving, unserved
from workflows.model_calls import ModelCalls


@workflow.defn(name="Asker")
class Asker:
    """Asks, and is told to stop while the model answers."""

    def __init__(self) -> None:
        self._work: asyncio.Task[ModelAnswer] | None = None

    @workflow.run
    async def run(self, request: CallModel) -> int:
        calls = ModelCalls(budget=timedelta(seconds=30))
        self._work = asyncio.create_task(calls.ask(request, "ask"))
        try:
            await self._work
        except asyncio.CancelledError:
            return calls.spent.tokens_in or 0
        return -1

    @workflow.signal
    def stop(self) -> None:
        assert self._work is not None
        self._work.cancel()


class Failing:
    """Calls that fail in their own way when they are told to end; the second would answer."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self.calls = 0
        self.begun = asyncio.Event()

    @activity.defn(name="call_model")
    async def call_model(self, request: CallModel) -> ModelAnswer:
        self.calls += 1
        self.begun.set()
        if self.calls > 1:
            raise ApplicationError("called again", non_retryable=True)
        try:
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            overflow = Overflow(prompt_tokens=9) if self._kind == CONTEXT_OVERFLOW else None
            failure = ModelFailure(
                model="first", provider="p", tokens_in=5, cooldown_seconds=9, overflow=overflow
            )
            raise ApplicationError("busy", failure, type=self._kind, non_retryable=True) from None


@pytest.mark.parametrize("kind", [MODEL_FAILOVER, CONTEXT_OVERFLOW])
async def test_a_call_that_was_told_to_end_is_followed_by_none(tmp_path: Path, kind: str) -> None:
    failing = Failing(kind)
    async with (
        unserved(tmp_path) as harness,
        serving(harness.client, LLM_QUEUE, failing.call_model, workflows=[Asker]),
    ):
        asker = await harness.client.start_workflow(
            Asker.run, CallModel(thread=thread()), id="asker", task_queue=LLM_QUEUE
        )
        await failing.begun.wait()
        await asker.signal(Asker.stop)
        assert await asker.result() == 5, "what it spent is counted"
    assert failing.calls == 1
