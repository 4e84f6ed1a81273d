"""A run is told to end before it has begun, and more than once.

What comes together is brought about: nobody serves runs while the messages are sent.
"""

import asyncio
import os
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.deliveries import FinishRun, RunFinished
from activities.entity_updates import EntityUpdates
from activities.failures import ENTITY_SILENT
from client.context import CallerContext
from client.runs import Runs
from domain.admission import BeginRun, Decision, EndRun, RunEnded, Verdict
from domain.identifiers import RUNS_QUEUE, SERVED_QUEUES
from domain.run_messages import CancelRun
from domain.run_start import StartRun
from domain.runs import FireKind, RunStatus, run_workflow_id
from tests.support.harness import Harness, running_harness, running_server
from tests.support.model_steps import Hang, Reply
from tests.support.own_workers import activities_over, forgetful, serving, unserved
from worker.process import running_workers
from workflows.routine_run import NOT_ADMITTED, RoutineRun

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
        local = (self.begin_run, self.claim_grant, self.end_run)
        return forgetful(client, RUNS_QUEUE, RoutineRun, *local)


async def test_a_cancel_is_heard_beside_the_turn_that_comes(tmp_path: Path) -> None:
    turn = Turn()
    async with (
        unserved(tmp_path) as harness,
        serving(harness.client, RUNS_QUEUE, turn.claim_grant, turn.finish_run),
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
        await activities_over(run)
        await run.signal("cancel")
        async with turn.workflows(harness.client), asyncio.timeout(20):
            view = await run.result()
    assert view.record.status == RunStatus.CANCELLED


class Silent(Turn):
    """A routine that does not answer."""

    @activity.defn(name="begin_run")
    async def begin_run(self, _request: BeginRun) -> Verdict:
        if activity.info().is_local:
            raise ApplicationError("busy", type=ENTITY_SILENT)
        self.begun.set()
        await self.gate.wait()
        raise AssertionError("nobody waits for this any more")


async def test_who_asks_for_the_verdict_on_a_run_that_was_cancelled_is_answered(
    tmp_path: Path,
) -> None:
    silent = Silent()
    async with (
        unserved(tmp_path) as harness,
        serving(
            harness.client,
            RUNS_QUEUE,
            *(silent.begin_run, silent.end_run, silent.finish_run),
            workflows=[RoutineRun],
        ),
        asyncio.timeout(30),
    ):
        run = await harness.client.start_workflow(
            RoutineRun.run,
            StartRun(routine_id="r", kind=FireKind.MANUAL, occurred_at=datetime.now(UTC)),
            id=run_workflow_id("r/m-1"),
            task_queue=RUNS_QUEUE,
        )
        asking = asyncio.create_task(run.execute_update(RoutineRun.admission))
        await silent.begun.wait()
        await run.execute_update(RoutineRun.cancel_update, CancelRun(reason="not now"))
        answer = await asking
        view = await run.result()
    assert (answer.verdict.decision, answer.verdict.reason) == (Decision.SKIP, NOT_ADMITTED)
    assert (view.record.status, view.record.reason) == (RunStatus.CANCELLED, "not now")


class TooLate(EntityUpdates):
    """Updates that arrive when the run has ended."""

    def __init__(self, client: Client, gate: threading.Event) -> None:
        super().__init__(client)
        self._runs, self._gate = client, gate

    async def send(self, workflow_id: str, *args: Any, **kwargs: Any) -> Any:
        self._gate.set()
        await self._runs.get_workflow_handle(workflow_id).result()
        return await super().send(workflow_id, *args, **kwargs)


async def test_a_run_that_ends_while_it_is_cancelled_stays_as_it_ended(harness: Harness) -> None:
    gate = threading.Event()
    routine = await harness.routine(Reply("Done.", gate=gate))
    started = await harness.tickless.runs.trigger(routine)
    context = CallerContext.model_validate(harness.settings.context.model_dump(exclude_none=True))
    runs = Runs(harness.client, TooLate(harness.client, gate), context, "")
    view = await runs.cancel(started.run_id)
    assert (view.record.status, view.text) == (RunStatus.ATTENTION, "Done.")
