"""The Temporal server is killed and comes back with its file: what was under way goes on, once."""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from temporalio.service import RPCError, RPCStatusCode

from domain.identifiers import routine_workflow_id
from domain.runs import FireKind, RunRecord, RunStatus, run_id, scheduled_occurrence
from domain.timestamps import format_timestamp
from tests.chaos.stage import (
    answered,
    asked,
    assert_counted,
    assert_happened_once,
    durably_staged,
    ended,
    streaming,
)
from tests.support.harness import Harness, until
from tests.support.model_steps import Reply, Usage
from tests.support.worker_process import WorkerProcess, worker_process

pytestmark = pytest.mark.chaos

# Long enough to fit the outage between two full minutes of the clock.
LEAD = timedelta(seconds=12)
# Ten seconds of patience, twice at the same time, and what a busy machine needs besides.
ACCEPTED_WITHIN = 25
FILE = {"route": {"receive_id_type": "file", "receive_id": ""}}


async def _until_time(at: datetime) -> None:
    """Wait until the clock is past a time: the only thing a schedule waits for."""
    await asyncio.sleep(max(0.0, (at - datetime.now(UTC)).total_seconds()))


def _full_minute(after: datetime) -> datetime:
    return after.replace(second=0, microsecond=0) + timedelta(minutes=1)


async def test_the_server_is_killed_in_the_middle_of_everything(tmp_path: Path) -> None:
    async with (
        durably_staged(tmp_path) as (server, harness),
        worker_process(harness) as worker,
    ):
        early, late = threading.Event(), threading.Event()
        meanwhile = await harness.routine(Reply("During.", usage=Usage(30, 4), gate=early))
        waiting = await harness.routine(Reply("After.", gate=late))
        # Two times fall into the outage: one set by hand, and the full minute after it.
        minute = _full_minute(datetime.now(UTC) + LEAD)
        by_hand = minute - timedelta(seconds=2)
        once = await harness.routine(Reply("Once."), schedule={"run_at": format_timestamp(by_hand)})
        repeated = await harness.routine(
            Reply("For all of them."),
            schedule={"cron_expr": "* * * * *"},
            next_run_at=format_timestamp(by_hand),
        )
        await _until_time(minute - timedelta(seconds=6))
        runs = [await harness.tickless.runs.trigger(item) for item in (meanwhile, waiting)]
        await streaming(harness, meanwhile)
        await streaming(harness, waiting)

        await server.kill()
        early.set()
        await answered(harness, runs[0].run_id)
        await _until_time(minute + timedelta(seconds=1))
        await server.start()
        late.set()

        for started, text in zip(runs, ("During.", "After."), strict=True):
            view = await ended(harness, started.run_id)
            assert view.text == text
            await assert_happened_once(harness, view)
            await assert_counted(harness, view.record.routine_id, 1)
            assert len(asked(harness, view.record.routine_id)) == 1, "the call survived the outage"

        view = await ended(harness, run_id(once, scheduled_occurrence(by_hand)))
        assert view.late_seconds >= 2
        assert len(asked(harness, once)) == 1
        await assert_happened_once(harness, view)
        await assert_counted(harness, once, 1)
        await _assert_collapsed(harness, repeated, by_hand, minute)
        assert worker.text().count("Serving ") == 1, "the same worker process all the time"


async def _assert_collapsed(
    harness: Harness, routine: str, oldest: datetime, newest: datetime
) -> None:
    """Both missed times became one run, at the oldest of them and labelled late."""
    view = await ended(harness, run_id(routine, scheduled_occurrence(oldest)))
    assert view.record.scheduled_at == oldest
    assert view.late_seconds >= (newest - oldest).total_seconds()
    await assert_happened_once(harness, view)

    async def settled() -> bool:
        records = await _scheduled(harness, routine)
        return all(record.status != RunStatus.RUNNING for record in records)

    await until(settled, "no fire is left")
    counted = [
        record
        for record in await _scheduled(harness, routine)
        if record.status != RunStatus.SKIPPED and (record.scheduled_at or oldest) <= newest
    ]
    assert [record.scheduled_at for record in counted] == [oldest]


async def _scheduled(harness: Harness, routine: str) -> list[RunRecord]:
    records = await harness.tickless.routines.runs(routine)
    return [record for record in records if record.trigger_type == FireKind.SCHEDULE]


async def test_a_log_that_nobody_reads_does_not_stall_the_worker(tmp_path: Path) -> None:
    with _full_pipe(tmp_path / "errors") as pipe:
        async with durably_staged(tmp_path) as (server, harness):
            worker = WorkerProcess(harness, errors=pipe)
            try:
                await worker.start()
                gate = threading.Event()
                routine = await harness.routine(Reply("Heard.", gate=gate))
                started = await harness.tickless.runs.trigger(routine)
                await streaming(harness, routine)
                await server.kill()
                await server.start()
                gate.set()
                view = await ended(harness, started.run_id)
                await assert_happened_once(harness, view)
                assert await worker.stop() == 0
            finally:
                await worker.kill()


@contextmanager
def _full_pipe(path: Path) -> Generator[Path]:
    """A pipe that takes nothing more, because nobody reads it."""
    os.mkfifo(path)
    unread = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    full = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    try:
        with suppress(BlockingIOError):
            while True:
                os.write(full, b"x" * 4096)
        yield path
    finally:
        os.close(unread)
        os.close(full)


async def test_what_was_accepted_without_a_worker_is_kept(tmp_path: Path) -> None:
    async with durably_staged(tmp_path) as (server, harness):
        name = harness.name()
        harness.scripts.on(name, Reply("In the end."))
        body = {"prompt": f"Do {name}.", "trigger": {"type": "manual"}, "notify": FILE}
        began = time.monotonic()
        creating = asyncio.create_task(harness.tickless.routines.create(body, name=name))
        await until(_exists(harness, routine_workflow_id(name)), "the creation is begun")
        started = await harness.tickless.runs.trigger(name)
        created = await creating
        assert time.monotonic() - began < ACCEPTED_WITHIN
        assert (created.id, created.accepted, created.routine) == (name, True, None)
        assert (started.verdict, started.duplicate) == (None, False)

        await server.kill()
        await server.start()
        async with worker_process(harness):
            view = await ended(harness, started.run_id)
            assert view.text == "In the end."
            await assert_happened_once(harness, view)
            await assert_counted(harness, name, 1)
            page = await harness.tickless.routines.list()
            assert [item["id"] for item in page.routines] == [name]
            again = await harness.run_once(name)
            await assert_happened_once(harness, again)
            await assert_counted(harness, name, 2)


def _exists(harness: Harness, workflow_id: str) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        try:
            await harness.client.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True

    return holds
