"""The stage of the chaos tests: a server, workers in processes, and what must hold at last.

Owns the claim that all of them make: whatever was killed, the run happened once. The ledger is read
from its file, histories from the server.
"""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from activities.store import Store, open_store
from domain.deliveries import DeliveryStatus
from domain.llm_calls import LlmCall, LlmCallStatus
from domain.run_view import RunView
from domain.runs import RunStatus, run_workflow_id
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.model_server import Call
from worker.temporal_server import DevServer


@asynccontextmanager
async def staged(folder: Path, **overrides: str) -> AsyncGenerator[tuple[DevServer, Harness]]:
    """A server and a harness without workers."""
    # The shortest there may be: who waits for a lost step waits for this.
    quick = {"TICKLESS_JOB_STEP_HEARTBEAT_SECONDS": "10"}
    async with (
        running_server(folder) as server,
        running_harness(folder / "tickless", server, queues=(), **quick, **overrides) as harness,
    ):
        yield server, harness


@asynccontextmanager
async def durably_staged(folder: Path) -> AsyncGenerator[tuple[DevServer, Harness]]:
    """The same with a server that keeps what it knows in a file, so that it can be killed.

    A step of a job is not lost while the server is away for some seconds.
    """
    async with (
        running_server(folder, db_file=folder / "temporal.db") as server,
        running_harness(folder / "tickless", server, queues=()) as harness,
    ):
        yield server, harness


@asynccontextmanager
async def ledger(harness: Harness) -> AsyncGenerator[Store]:
    """The ledger that the workers write."""
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        yield store


async def streaming(harness: Harness, routine: str, requests: int = 1) -> None:
    """Wait until so many requests of a routine's prompt have begun to stream."""

    def begun() -> bool:
        return sum(call.pieces_sent > 0 for call in asked(harness, routine)) >= requests

    await harness.models.wait_for(begun, 30)


async def ended(harness: Harness, run: str, seconds: float = 60) -> RunView:
    """Wait for the end of a run; a failure shows how far it came."""
    try:
        async with asyncio.timeout(seconds):
            # After an outage the server takes its time to start what was due meanwhile.
            await harness.tickless.runs.wait_until_started(run, within=timedelta(seconds=seconds))
            return await harness.tickless.runs.wait(run)
    except TimeoutError:
        events = await harness.run_events(run)
        raise AssertionError(f"{run} has not ended within {seconds} s: {events}") from None


def asked(harness: Harness, routine: str) -> list[Call]:
    """The requests that reached the models for a routine's prompt."""
    return [call for call in harness.models.calls if routine in " ".join(call.texts)]


async def answered(harness: Harness, run: str) -> None:
    """Wait until the ledger has a run's answer."""
    async with ledger(harness) as store:

        async def holds() -> bool:
            return len(await store.threads.messages(run)) == 2

        await until(holds, "the answer is in the ledger")


async def delivery_reaches(harness: Harness, key: str, status: DeliveryStatus) -> None:
    """Wait until the outbox says so of a text."""
    async with ledger(harness) as store:

        async def holds() -> bool:
            row = await store.outbox.get(key)
            return row is not None and row.status == status

        await until(holds, f"{key} is {status}", 60)


def lines(harness: Harness, run: str, name: str = "deliveries.jsonl") -> list[dict[str, str]]:
    """What the file channel wrote for a run."""
    path = harness.deliveries.with_name(name)
    if not path.exists():
        return []
    written = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [item for item in written if item["run_id"] == run]


async def assert_happened_once(
    harness: Harness, view: RunView, *, status: RunStatus = RunStatus.ATTENTION
) -> list[LlmCall]:
    """Check a run that has ended: history, ledger and routine agree that it happened once.

    Returns:
        The rows of its model calls, one for each attempt.
    """
    record = view.record
    assert record.status == status
    await assert_closed_normally(harness, record.id)
    async with ledger(harness) as store:
        stored = await store.runs.get(record.id)
        calls = await store.calls.of_run(record.id)
        thread = await store.threads.messages(record.thread_id or "")
        outbox = await store.outbox.of_run(record.id)
    assert stored is not None
    assert (stored.status, stored.tokens_in, stored.tokens_out, stored.finished_at) == (
        record.status,
        record.tokens_in,
        record.tokens_out,
        record.finished_at,
    )
    # Runs of a routine go on in one thread.
    said = [message for message in thread if message.id.startswith(record.workflow_id)]
    assert [message.role for message in said] == ["user", "assistant"]
    assert said[1].content == view.text
    (answered,) = [call for call in calls if call.status == LlmCallStatus.OK]
    assert said[1].llm_call_id == answered.id
    assert record.tokens_out == sum(call.tokens_out or 0 for call in calls)
    starts = [row for row in outbox if row.part == "start"]
    assert len(starts) == (harness.settings.start_notices is True)
    # A sender that was killed leaves it unknown; it is never sent a second time.
    for start in starts:
        assert start.status in {DeliveryStatus.SENT, DeliveryStatus.UNKNOWN}
        assert start.attempts == 1
    assert [(row.occurrence_id, row.status) for row in outbox if row.part != "start"] == [
        (item.occurrence_id, item.status) for item in view.deliveries
    ]
    keys = Counter(line["key"] for line in lines(harness, record.id))
    assert all(count == 1 for count in keys.values()), keys
    return calls


async def assert_closed_normally(harness: Harness, run: str) -> None:
    """Check that a run's workflow completed and that no task of it failed by a fault of ours."""
    events = await harness.run_events(run)
    assert events[-1] == "WORKFLOW_EXECUTION_COMPLETED", events
    assert await harness.failed_tasks(run_workflow_id(run)) == []
    assert events.count("WORKFLOW_EXECUTION_STARTED") == 1
    handle = harness.client.get_workflow_handle(run_workflow_id(run))
    executions = [
        execution
        async for execution in harness.client.list_workflows(f"WorkflowId = '{handle.id}'")
    ]
    assert len(executions) <= 1, "the same run was started twice"


async def assert_counted(harness: Harness, routine: str, runs: int) -> None:
    """Check a routine's counters; nothing of it may be open."""
    found = (await harness.tickless.routines.get(routine)).routine
    assert (found.run_count, found.running, found.consecutive_failures) == (runs, False, 0)
