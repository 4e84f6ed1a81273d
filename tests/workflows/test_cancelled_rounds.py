"""A run's work is told to end while its model or one of its tools ends well all the same."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.models import CallModel, ModelAnswer
from activities.tools.requests import (
    CallStatus,
    DispatchTool,
    OfferedTools,
    OfferTools,
    ToolOutcome,
)
from domain.identifiers import LLM_QUEUE, TOOLS_QUEUE
from domain.scopes import Scope, ScopeKind
from domain.tool_specs import AskedCall, ToolCaller
from tests.support.harness import Harness, until
from tests.support.ledger_rows import thread
from tests.support.own_workers import serving, unserved
from workflows.model_calls import ModelCalls
from workflows.tool_rounds import ToolRounds

MODEL, FIRST_TOOL, FAILING_TOOL = "model", "first tool", "failing tool"


@workflow.defn(name="Rounds")
class Rounds:
    """The rounds of a run, told to end by a signal."""

    def __init__(self) -> None:
        self._work: asyncio.Task[ModelAnswer] | None = None

    @workflow.run
    async def run(self, request: CallModel) -> int:
        calls = ModelCalls(budget=timedelta(seconds=30))
        caller = ToolCaller(caller="api", scope=Scope(kind=ScopeKind.USER, id="me"))
        rounds = ToolRounds(calls, caller, max_rounds=3)
        self._work = asyncio.create_task(rounds.answer(request, "ask"))
        try:
            await self._work
        except asyncio.CancelledError:
            return calls.spent.tokens_in or 0
        return -1

    @workflow.signal
    def stop(self) -> None:
        assert self._work is not None
        self._work.cancel()


class Stubborn:
    """A model that asks for two calls, and tools; one of them does not end when it is told to."""

    def __init__(self, which: str) -> None:
        self._which = which
        self.models = 0
        self.tools: list[str] = []
        self.begun = asyncio.Event()

    async def _outlasts(self) -> None:
        self.begun.set()
        try:
            while True:
                activity.heartbeat()
                await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            if self._which == FAILING_TOOL:
                raise ApplicationError("no store", non_retryable=True) from None

    @activity.defn(name="offer_tools")
    async def offer_tools(self, request: OfferTools) -> OfferedTools:
        return OfferedTools(names=["pay"], read_only=[])

    @activity.defn(name="call_model")
    async def call_model(self, request: CallModel) -> ModelAnswer:
        self.models += 1
        if self._which == MODEL:
            await self._outlasts()
        return ModelAnswer(
            text="",
            message_id="m",
            model="first",
            provider="p",
            tokens_in=5,
            elapsed_seconds=0.1,
            attempts=1,
            tool_calls=[AskedCall(id="c1", name="pay"), AskedCall(id="c2", name="pay")],
        )

    @activity.defn(name="dispatch_tool")
    async def dispatch_tool(self, request: DispatchTool) -> ToolOutcome:
        self.tools.append(request.call.id)
        await self._outlasts()
        return ToolOutcome(call_id=request.call.id, tool="pay", status=CallStatus.OK)


@pytest.mark.parametrize(
    ("which", "tools"), [(MODEL, []), (FIRST_TOOL, ["c1"]), (FAILING_TOOL, ["c1"])]
)
async def test_nothing_follows_what_was_told_to_end(
    tmp_path: Path, which: str, tools: list[str]
) -> None:
    stubborn = Stubborn(which)
    async with (
        unserved(tmp_path) as harness,
        serving(harness.client, LLM_QUEUE, stubborn.call_model, workflows=[Rounds]),
        serving(harness.client, TOOLS_QUEUE, stubborn.offer_tools, stubborn.dispatch_tool),
    ):
        rounds = await harness.client.start_workflow(
            Rounds.run, CallModel(thread=thread()), id="rounds", task_queue=LLM_QUEUE
        )
        await stubborn.begun.wait()
        await rounds.signal(Rounds.stop)
        assert await rounds.result() == 5, "what it spent is counted"
    assert (stubborn.models, stubborn.tools) == (1, tools)


async def test_an_offer_that_comes_with_the_order_to_end_is_not_followed(tmp_path: Path) -> None:
    tools = Stubborn("none")
    async with unserved(tmp_path) as harness:

        def works() -> Worker:
            return serving(harness.client, "rounds", workflows=[Rounds])

        async def happened(kind: str) -> None:
            async def found() -> bool:
                return kind in await harness.events("rounds")

            await until(found, kind)

        async with works():
            rounds = await harness.client.start_workflow(
                Rounds.run, CallModel(thread=thread()), id="rounds", task_queue="rounds"
            )
            await happened("ACTIVITY_TASK_SCHEDULED")
        async with serving(harness.client, TOOLS_QUEUE, tools.offer_tools):
            await happened("ACTIVITY_TASK_COMPLETED")
        # Nobody serves the workflow: it hears of both at once.
        await rounds.signal(Rounds.stop)
        async with works():
            assert await rounds.result() == 0
        assert "call_model" not in await _scheduled(harness)


async def _scheduled(harness: Harness) -> list[str]:
    """The activities that the rounds have asked for."""
    history = await harness.client.get_workflow_handle("rounds").fetch_history()
    events = [event.activity_task_scheduled_event_attributes for event in history.events]
    return [event.activity_type.name for event in events if event.activity_id]


@workflow.defn(name="Resumes")
class Resumes:
    """Rounds that are told to end, and go on later."""

    def __init__(self) -> None:
        self._stopped = False

    @workflow.run
    async def run(self, request: CallModel) -> str:
        calls = ModelCalls(budget=timedelta(seconds=30))
        caller = ToolCaller(caller="api", scope=Scope(kind=ScopeKind.USER, id="me"))
        rounds = ToolRounds(calls, caller, max_rounds=3)
        work = asyncio.create_task(rounds.answer(request, "ask"))
        await workflow.wait_condition(lambda: self._stopped)
        work.cancel()
        await workflow.wait([work])
        assert work.cancelled()
        return (await rounds.answer(request, "ask again")).text

    @workflow.signal
    def stop(self) -> None:
        self._stopped = True


class Late(Stubborn):
    """A model whose first answer comes when nobody waits for it any more."""

    def __init__(self) -> None:
        super().__init__(MODEL)
        self.prompts: list[str | None] = []

    @activity.defn(name="call_model")
    async def call_model(self, request: CallModel) -> ModelAnswer:
        self.prompts.append(request.prompt)
        if self.models == 0:
            return await super().call_model(request)
        return ModelAnswer(
            text="Paid.", message_id="n", model="first", provider="p", elapsed_seconds=0, attempts=1
        )

    @activity.defn(name="dispatch_tool")
    async def dispatch_tool(self, request: DispatchTool) -> ToolOutcome:
        self.tools.append(request.call.id)
        return ToolOutcome(call_id=request.call.id, tool="pay", status=CallStatus.OK)


async def test_an_answer_that_came_too_late_is_gone_on_with(tmp_path: Path) -> None:
    """It is in the thread with what it answers, so neither is asked for again."""
    late = Late()
    async with (
        unserved(tmp_path) as harness,
        serving(harness.client, LLM_QUEUE, late.call_model, workflows=[Resumes]),
        serving(harness.client, TOOLS_QUEUE, late.offer_tools, late.dispatch_tool),
    ):
        request = CallModel(thread=thread(), prompt="Pay")
        resumes = await harness.client.start_workflow(
            Resumes.run, request, id="resumes", task_queue=LLM_QUEUE
        )
        await late.begun.wait()
        await resumes.signal(Resumes.stop)
        assert await resumes.result() == "Paid."
    assert late.prompts == ["Pay", None]
    assert late.tools == ["c1", "c2"]
