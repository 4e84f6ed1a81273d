"""Several writers at once, in one process and in several, and writers that are interrupted."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import psycopg
import pytest

from activities.store import Store, StoreError, open_store
from domain.deliveries import DeliveryStatus
from domain.runs import RunStatus
from tests.support.ledger_rows import NOON, RUN_ID, delivery, message, run_record, thread

pytest_plugins = ["tests.support.databases"]

APPEND = """
import asyncio, sys
from activities.store import open_store
from tests.support.ledger_rows import message

async def main(url, name):
    async with await open_store(url) as store:
        for number in range(30):
            await store.threads.append([message(f"{name}-{number}"), message(f"both-{number}")])

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
async def stores(store_url: str) -> AsyncIterator[list[Store]]:
    """Four stores of one database, each with connections of its own."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await open_store(store_url)) for _ in range(4)]


async def assert_gapless(store: Store, thread_id: str, ids: set[str]) -> None:
    stored = await store.threads.messages(thread_id)
    assert [item.sequence for item in stored] == list(range(1, len(ids) + 1))
    assert {item.id for item in stored} == ids


async def test_appends_of_many_stores_leave_no_gap(stores: list[Store]) -> None:
    for thread_id in ("thread-1", "thread-2"):
        await stores[0].threads.ensure(thread(thread_id))

    # Each store appends to both threads, in either order, what others append as well.
    appends = [
        store.threads.append(
            [
                message(f"{first}/{number}", f"thread-{first}"),
                message(f"{second}/{number}", f"thread-{second}"),
                message(f"{first}/{number}/{index}", f"thread-{first}"),
            ]
        )
        for number in range(15)
        for index, store in enumerate(stores)
        for first, second in [(1, 2) if index % 2 else (2, 1)]
    ]
    results = await asyncio.gather(*appends)

    for name, indexes in ((1, (1, 3)), (2, (0, 2))):
        ids = {f"{name}/{number}" for number in range(15)}
        ids |= {f"{name}/{number}/{index}" for number in range(15) for index in indexes}
        await assert_gapless(stores[0], f"thread-{name}", ids)
    numbers = {(item.id, item.sequence) for result in results for item in result}
    assert len(numbers) == 90  # everybody was told the same sequence of each message


async def test_appends_of_several_processes_leave_no_gap(store: Store, store_url: str) -> None:
    await store.threads.ensure(thread())
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", APPEND, store_url, name, stderr=asyncio.subprocess.PIPE
        )
        for name in ("a", "b", "c")
    ]
    ended = await asyncio.gather(*(process.communicate() for process in processes))
    assert [process.returncode for process in processes] == [0] * 3, ended
    names = ("a", "b", "c", "both")
    ids = {f"{name}-{number}" for name in names for number in range(30)}
    await assert_gapless(store, "thread-1", ids)


async def test_first_inserts_of_the_same_row_meet(stores: list[Store]) -> None:
    await asyncio.gather(*(store.threads.ensure(thread()) for store in stores * 5))
    record = run_record(thread_id="thread-1")
    for number in range(10):
        other = run_record(f"{RUN_ID}-{number}", thread_id="thread-1")
        await asyncio.gather(*(store.runs.put(other) for store in stores * 5))
    await asyncio.gather(*(store.runs.put(record) for store in stores * 5))
    rows = await asyncio.gather(*(store.outbox.enqueue(delivery()) for store in stores * 5))
    assert set(map(str, rows)) == {str(delivery())}
    assert await stores[0].runs.get(RUN_ID) == record


async def test_one_of_many_senders_begins(stores: list[Store]) -> None:
    await stores[0].runs.put(run_record())
    key = (await stores[0].outbox.enqueue(delivery())).occurrence_id
    begun = await asyncio.gather(
        *(store.outbox.begin_attempt(key, seen_attempts=0) for store in stores * 5)
    )
    winners = [row for row in begun if row is not None]
    assert [(row.status, row.attempts) for row in winners] == [(DeliveryStatus.UNKNOWN, 1)]


async def test_finished_run_survives_late_writers(stores: list[Store]) -> None:
    finished = run_record(status=RunStatus.OK, finished_at=NOON)
    await asyncio.gather(
        *(
            store.runs.put(finished if number == 7 else run_record())
            for number in range(15)
            for store in stores
        )
    )
    assert await stores[0].runs.get(RUN_ID) == finished


async def test_cancelled_write_frees_the_store(store: Store) -> None:
    await store.threads.ensure(thread())
    items = [message(str(number)) for number in range(200)]
    for steps in range(0, 60, 3):
        append = asyncio.create_task(store.threads.append(items))
        for _ in range(steps):
            await asyncio.sleep(0)
        append.cancel()
        await asyncio.gather(append, return_exceptions=True)
        assert len(await store.threads.messages("thread-1")) in {0, 200}
    await store.threads.append([message("last")])


async def test_closing_waits_for_what_still_runs(store_url: str) -> None:
    store = await open_store(store_url)
    await store.threads.ensure(thread())
    append = asyncio.create_task(store.threads.append([message(str(n)) for n in range(100)]))
    await asyncio.sleep(0)
    await store.close()
    async with await open_store(store_url) as again:
        assert len(await again.threads.messages("thread-1")) == len(await append) == 100


async def test_reading_does_not_wait_for_a_writer(stores: list[Store]) -> None:
    writer, reader = stores[:2]
    await writer.threads.ensure(thread())
    appending = asyncio.create_task(
        writer.threads.append([message(str(number)) for number in range(500)])
    )
    seen = []
    while not appending.done():
        seen.append(len(await reader.threads.messages("thread-1")))
    await appending
    assert len(seen) > 1
    assert set(seen) <= {0, 500}


async def test_connections_that_the_server_closed_are_replaced(postgres_url: str) -> None:
    async with await open_store(postgres_url) as store:
        await asyncio.gather(*(store.check() for _ in range(5)))
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            await store.runs.put(run_record())
            assert await store.runs.get(RUN_ID) == run_record()


async def test_server_that_goes_away_is_a_retryable_error(postgres_url: str) -> None:
    async with await open_store(postgres_url) as store:
        await store.threads.ensure(thread())
        with psycopg.connect(postgres_url) as other:
            # Keeps the append waiting until its connection is gone.
            other.execute("SELECT 1 FROM threads FOR UPDATE")
            append = asyncio.create_task(store.threads.append([message("a")]))

            def end_the_waiter() -> None:
                while not other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE wait_event_type = 'Lock' AND datname = current_database()"
                ).fetchone():
                    other.execute("SELECT pg_stat_clear_snapshot()")

            await asyncio.to_thread(end_the_waiter)
            with pytest.raises(StoreError) as caught:
                await append
        assert caught.value.retryable
        assert await store.threads.messages("thread-1") == []
