"""A run is told to end before it has begun, and more than once.

What comes together is brought about: nobody serves runs while the messages are sent.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.deliveries import FinishRun, RunFinished
from activities.failures import ENTITY_SILENT
from domain.admission import BeginRun, Decision, EndRun, RunEnded, Verdict
from domain.identifiers import RUNS_QUEUE, SERVED_QUEUES
from domain.run_messages import CancelRun
from domain.run_start import StartRun
from domain.runs import FireKind, RunStatus, run_workflow_id
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.model_steps import Hang, Reply
from worker.process import running_workers
from workflows.routine_run import RoutineRun

OTHERS = tuple(name for name in SERVED_QUEUES if name != RUNS_QUEUE)


@pytest.fixture(scope="module")
async def apart(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    """Everything but the runs is served."""
    folder: Path = tmp_path_factory.mktemp("runs")
    async with (
        running_server(folder) as server,
        running_harness(folder / "tickless", server, queues=OTHERS) as harness,
    ):
        yield harness


@pytest.mark.parametrize("by_server", [False, True], ids=["by messages", "by the server"])
async def test_a_run_that_is_cancelled_before_it_begins_does_nothing(
    apart: Harness, by_server: bool
) -> None:
    routine = await apart.routine(Reply("Never."))
    run = await apart.client.start_workflow(
        RoutineRun.run,
        StartRun(routine_id=routine, kind=FireKind.MANUAL, occurred_at=datetime.now(UTC)),
        id=run_workflow_id(f"{routine}/m-1"),
        task_queue=RUNS_QUEUE,
    )
    if by_server:
        await run.cancel()
    else:
        await run.signal("cancel", CancelRun(reason="too early"))
        await run.signal("cancel", CancelRun(reason="still too early"))
    async with (
        running_workers(apart.client, apart.settings, os.environ, (RUNS_QUEUE,)),
        asyncio.timeout(30),
    ):
        view = await run.result()
    reason = "cancelled by user" if by_server else "too early"
    assert (view.record.status, view.record.reason) == (RunStatus.CANCELLED, reason)
    assert view.deliveries == []
    assert not [call for call in apart.models.calls if routine in str(call.body)]


async def test_only_the_first_cancel_of_a_run_counts(apart: Harness) -> None:
    routine = await apart.routine(Hang("half", 1))
    async with running_workers(apart.client, apart.settings, os.environ, (RUNS_QUEUE,)):
        started = await apart.tickless.runs.trigger(routine)
        await apart.models.wait_for(
            lambda: any(routine in str(call.body) for call in apart.models.calls)
        )
    run = apart.client.get_workflow_handle(started.workflow_id)
    await run.signal("cancel", CancelRun(reason="one"))
    await run.signal("cancel", CancelRun(reason="two"))
    async with (
        running_workers(apart.client, apart.settings, os.environ, (RUNS_QUEUE,)),
        asyncio.timeout(30),
    ):
        view = await apart.tickless.runs.wait(started.run_id)
    assert (view.record.status, view.record.reason) == (RunStatus.CANCELLED, "one")


class Turn:
    """Everything around a run that waits for its turn; the answer to its last question lasts."""

    def __init__(self) -> None:
        self.begun, self.gate = asyncio.Event(), asyncio.Event()

    @activity.defn(name="begin_run")
    async def begin_run(self, _request: BeginRun) -> Verdict:
        return Verdict(decision=Decision.QUEUE)

    @activity.defn(name="claim_grant")
    async def claim_grant(self, _request: BeginRun) -> Verdict:
        if activity.info().is_local:
            raise ApplicationError("busy", type=ENTITY_SILENT)
        self.begun.set()
        await self.gate.wait()
        return Verdict(decision=Decision.SKIP, reason="paused")

    @activity.defn(name="end_run")
    async def end_run(self, _request: EndRun) -> RunEnded:
        return RunEnded(accepted=True)

    @activity.defn(name="finish_run")
    async def finish_run(self, _request: FinishRun) -> RunFinished:
        return RunFinished()

    def workflows(self, client: Client) -> Worker:
        """Who serves the workflow; it remembers nothing from one task to the next."""
        return Worker(
            client,
            task_queue=RUNS_QUEUE,
            workflows=[RoutineRun],
            activities=[self.begin_run, self.claim_grant, self.end_run],
            workflow_runner=UnsandboxedWorkflowRunner(),
            max_cached_workflows=0,
            no_remote_activities=True,
        )


async def test_a_cancel_is_heard_beside_the_turn_that_comes(tmp_path: Path) -> None:
    turn = Turn()
    async with (
        running_server(tmp_path) as server,
        running_harness(tmp_path / "tickless", server, queues=()) as harness,
        Worker(
            harness.client,
            task_queue=RUNS_QUEUE,
            activities=[turn.claim_grant, turn.finish_run],
        ),
    ):
        async with turn.workflows(harness.client):
            run = await harness.client.start_workflow(
                RoutineRun.run,
                StartRun(routine_id="r", kind=FireKind.MANUAL, occurred_at=datetime.now(UTC)),
                id=run_workflow_id("r/m-1"),
                task_queue=RUNS_QUEUE,
            )
            await run.signal("granted")
            await turn.begun.wait()
        turn.gate.set()

        async def over() -> bool:
            return not (await run.describe()).raw_description.pending_activities

        await until(over, "the answer is there")
        await run.signal("cancel")
        async with turn.workflows(harness.client), asyncio.timeout(20):
            view = await run.result()
    assert view.record.status == RunStatus.CANCELLED
