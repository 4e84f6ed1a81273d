"""What a transaction promises: all or nothing, to its end, and not for ever."""

import asyncio
import sqlite3
import threading
from collections.abc import Generator
from contextlib import closing, contextmanager
from datetime import timedelta

import psycopg
import pytest
from sqlalchemy import create_engine

from activities.store import Ledger, Store, StoreError, engine, open_store
from activities.store.urls import read_url
from domain.runs import RunRecord, RunStatus
from tests.support.ledger_rows import NOON, RUN_ID, delivery, message, run_record, thread

pytest_plugins = ["tests.support.databases"]


@contextmanager
def runs_locked(url: str) -> Generator[None]:
    """Keep others from writing runs."""
    if url.startswith("sqlite"):
        path = read_url(url).database
        assert path is not None
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
        return
    with psycopg.connect(url) as server:
        server.execute("LOCK TABLE runs IN EXCLUSIVE MODE")
        yield


async def asked_for(store: Store, record: RunRecord) -> asyncio.Task[None]:
    """A write that has been asked for and waits for its turn."""
    task = asyncio.create_task(store.runs.put(record))
    await asyncio.sleep(0)
    return task


async def test_several_steps_are_one_transaction(store: Store) -> None:
    def work(ledger: Ledger, failing: bool) -> str:
        ledger.threads.ensure(thread())
        ledger.runs.put(run_record(thread_id="thread-1"))
        (said,) = ledger.threads.append([message("a")])
        ledger.outbox.enqueue(delivery())
        if failing:
            raise LookupError("changed my mind")
        return said.id

    with pytest.raises(LookupError, match="changed my mind"):
        await store.write(work, True)
    assert await store.threads.get("thread-1") is None
    assert await store.runs.get(RUN_ID) is None

    assert await store.write(work, False) == "a"
    assert await store.runs.get(RUN_ID) == run_record(thread_id="thread-1")
    assert await store.outbox.of_run(RUN_ID) == [delivery()]


async def test_steps_see_what_was_written_before_them(store: Store) -> None:
    def work(ledger: Ledger) -> list[str]:
        ledger.threads.ensure(thread())
        ledger.threads.append([message("a")])
        return [item.id for item in ledger.threads.messages("thread-1")]

    assert await store.write(work) == ["a"]


async def test_several_reads_are_one_transaction(store: Store) -> None:
    await store.runs.put(run_record())

    def work(ledger: Ledger, run_id: str) -> tuple[RunRecord | None, int]:
        return ledger.runs.get(run_id), len(ledger.calls.of_run(run_id))

    assert await store.read(work, RUN_ID) == (run_record(), 0)


async def test_write_ends_although_its_caller_is_cancelled(store: Store, store_url: str) -> None:
    await store.check()
    with runs_locked(store_url):
        # The second has not even begun on SQLite, where it waits for the first.
        tasks = [await asked_for(store, run_record(f"a/m-{number}")) for number in range(2)]
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]
    assert await store.runs.get("a/m-0") == run_record("a/m-0")
    assert await store.runs.get("a/m-1") == run_record("a/m-1")


async def test_write_that_fails_does_not_hide_the_cancellation(
    store: Store, store_url: str
) -> None:
    with runs_locked(store_url):
        task = await asked_for(store, run_record(thread_id="missing"))
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_write_that_hangs_does_not_hold_up_the_cancellation(
    store: Store, store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "CANCELLATION_GRACE", timedelta(milliseconds=10))
    with runs_locked(store_url):
        task = await asked_for(store, run_record())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    monkeypatch.undo()
    # One that goes on is not replaced by what was asked for before it ended.
    ended = run_record(status=RunStatus.OK, finished_at=NOON)
    await store.runs.put(ended)
    assert await store.runs.get(RUN_ID) == ended


async def test_new_run_of_a_thread_does_not_wait_for_an_append(postgres_url: str) -> None:
    async with await open_store(postgres_url) as store:
        await store.threads.ensure(thread())
        appended, put = threading.Event(), threading.Event()

        def append(ledger: Ledger) -> bool:
            ledger.threads.append([message("a")])
            appended.set()
            return put.wait(10)

        appending = asyncio.create_task(store.write(append))
        await asyncio.to_thread(appended.wait)
        await store.runs.put(run_record(thread_id="thread-1"))
        put.set()
        assert await appending


async def test_waiting_for_somebody_else_has_an_end(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "BUSY_TIMEOUT", timedelta(milliseconds=50))
    async with await open_store(store_url) as store:
        with runs_locked(store_url), pytest.raises(StoreError, match="lock") as caught:
            await store.runs.put(run_record())
        assert caught.value.retryable
        await store.runs.put(run_record())


def test_commits_on_sqlite_are_flushed_to_the_disk(sqlite_url: str) -> None:
    url = read_url(sqlite_url)
    asked = create_engine(url.set(database=":memory:"))
    engine.prepare(asked)
    try:
        with asked.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
    finally:
        asked.dispose()
