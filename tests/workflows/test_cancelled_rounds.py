"""A run's work is told to end while its model or one of its tools ends well all the same."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

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
from domain.threads import Thread, ThreadKind
from domain.tool_specs import AskedCall, ToolCaller
from tests.support.harness import running_harness, running_server
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
    thread = Thread(
        id="t",
        scope="user:me",
        session_key="",
        kind=ThreadKind.ROUTINE,
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
    )
    stubborn = Stubborn(which)
    often = timedelta(milliseconds=100)
    async with (
        # Queues that nobody else serves.
        running_server(tmp_path) as server,
        running_harness(tmp_path / "tickless", server, queues=()) as harness,
        Worker(
            harness.client,
            task_queue=LLM_QUEUE,
            workflows=[Rounds],
            activities=[stubborn.call_model],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_heartbeat_throttle_interval=often,
        ),
        Worker(
            harness.client,
            task_queue=TOOLS_QUEUE,
            activities=[stubborn.offer_tools, stubborn.dispatch_tool],
            max_heartbeat_throttle_interval=often,
        ),
    ):
        rounds = await harness.client.start_workflow(
            Rounds.run, CallModel(thread=thread), id="rounds", task_queue=LLM_QUEUE
        )
        await stubborn.begun.wait()
        await rounds.signal(Rounds.stop)
        assert await rounds.result() == 5, "what it spent is counted"
    assert (stubborn.models, stubborn.tools) == (1, tools)
