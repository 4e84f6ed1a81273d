"""The connection to the database: pools, threads and the two kinds of transaction.

Owns how a transaction begins on each database and where it runs. Does not know any table.

A transaction is a plain function of a connection that runs in a thread: it cannot wait for anything
but the database, and costs one change of threads instead of several for each statement.

Invariants:
    1. SQLite has one writer: writes of a process queue for one thread in order of arrival (SQLite
       itself lets waiters starve), those of several processes at `BEGIN IMMEDIATE` until
       `BUSY_TIMEOUT`. So nothing changes between what a write reads and what it writes.
    2. On PostgreSQL a write takes the row locks it needs (READ COMMITTED), and waits for each until
       `BUSY_TIMEOUT`.
    3. References are enforced on both.
    4. A transaction that was asked for runs to its end, whatever becomes of its caller.
    5. What was committed survives the loss of power, on SQLite by `synchronous = FULL`: one flush
       for each write. NORMAL would be enough for a process that is killed, but could lose the last
       commits with the machine, and with them that an attempt to deliver was begun (the text would
       be sent again) or how a run ended (Temporal, on another machine, would not say it twice).
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import ConnectionPoolEntry

from activities.store.errors import StoreError, store_errors
from activities.store.urls import shown

# A writer holds a lock for milliseconds; half a minute of waiting means that something is wrong.
BUSY_TIMEOUT: Final = timedelta(seconds=30)
CONNECT_TIMEOUT: Final = timedelta(seconds=10)
# A server that says nothing, not even that it lives, for so long is gone. Without it the thread of
# a transaction would wait for hours.
SILENCE_TIMEOUT: Final = timedelta(seconds=30)
# How long a cancelled caller waits for its transaction, which takes milliseconds unless the
# database is in trouble.
CANCELLATION_GRACE: Final = timedelta(seconds=2)
READERS: Final = 4
# Writers wait for the network and for each other, so there are more of them than processors.
SERVER_WRITERS: Final = 8

T = TypeVar("T")

_OPTION: Final = "tickless_transaction"
log = structlog.get_logger(__name__)


class Transaction(StrEnum):
    """How a transaction begins on SQLite."""

    READ = "BEGIN"
    WRITE = "BEGIN IMMEDIATE"
    NONE = ""

    @property
    def options(self) -> dict[str, Any]:
        """As execution options of an engine or a connection, which PostgreSQL ignores."""
        return {_OPTION: self}


class Database:
    """One pool of connections, with threads for reading and for writing."""

    def __init__(self, url: URL) -> None:
        self._address = shown(url)
        writers = 1 if _is_file(url) else SERVER_WRITERS
        try:
            self._engine = create_engine(
                url, pool_size=READERS + writers, max_overflow=0, **engine_options(url)
            )
        except ImportError:
            raise StoreError(
                f"the store {self._address} needs the package psycopg:"
                " install tickless with its extra `postgres`"
            ) from None
        prepare(self._engine)
        self._reading = self._engine.execution_options(**Transaction.READ.options)
        self._writing = self._engine.execution_options(**Transaction.WRITE.options)
        self._readers = ThreadPoolExecutor(READERS, "store-reader")
        self._writers = ThreadPoolExecutor(writers, "store-writer")
        self._running: set[asyncio.Future[Any]] = set()

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Read in one transaction.

        Args:
            work: Is called in a thread.

        Returns:
            What `work` returned.

        Raises:
            StoreError: The database failed.
        """
        return await self._run(self._readers, partial(self._transaction, self._reading, work))

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Write in one transaction: committed as a whole, or rolled back by any exception.

        Args:
            work: Is called in a thread.

        Returns:
            What `work` returned.

        Raises:
            StoreError: The database failed; nothing was changed.
        """
        return await self._run(self._writers, partial(self._transaction, self._writing, work))

    async def close(self) -> None:
        """Close all connections, after the transactions that still run."""
        if self._running:
            await asyncio.wait(self._running, timeout=CANCELLATION_GRACE.total_seconds())
        for threads in (self._readers, self._writers):
            threads.shutdown(wait=False, cancel_futures=True)
        # The last connection to an SQLite file moves the log into it, which takes a moment.
        await asyncio.to_thread(self._engine.dispose)

    def _transaction(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        with store_errors(self._address), engine.begin() as connection:
            return work(connection)

    async def _run(self, threads: ThreadPoolExecutor, transaction: Callable[[], T]) -> T:
        queued = threads.submit(transaction)
        ended = asyncio.wrap_future(queued)
        self._running.add(ended)
        ended.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            await asyncio.wait([ended], timeout=CANCELLATION_GRACE.total_seconds())
            if not ended.done() or ended.cancelled() or ended.exception():
                log.warning("store.unfinished_after_cancel", store=self._address)
            raise


def engine_options(url: URL) -> dict[str, Any]:
    """Options of `create_engine` for this database, whoever opens it."""
    if _is_file(url):
        timeout = BUSY_TIMEOUT.total_seconds()
        return {"hide_parameters": True, "connect_args": {"timeout": timeout}}
    silence_seconds = int(SILENCE_TIMEOUT.total_seconds())
    return {
        "hide_parameters": True,
        # A server that was restarted costs one ping instead of one failed write.
        "pool_pre_ping": True,
        "connect_args": {
            "connect_timeout": int(CONNECT_TIMEOUT.total_seconds()),
            "keepalives_idle": silence_seconds // 2,
            "keepalives_interval": silence_seconds // 6,
            "keepalives_count": 3,
            "tcp_user_timeout": silence_seconds * 1000,
        },
    }


def prepare(engine: Engine) -> None:
    """Make connections and transactions keep what `Database` promises."""
    if not _is_file(engine.url):
        event.listen(engine, "connect", _bound_waits)
        return
    event.listen(engine, "connect", _prepare_file)
    event.listen(engine, "begin", _begin)


def _is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _prepare_file(connection: Any, _entry: ConnectionPoolEntry) -> None:
    # The driver would begin transactions by its own rules; ours come from `_begin`.
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    # Some builds of SQLite have another default.
    connection.execute("PRAGMA synchronous = FULL")


def _begin(connection: Connection) -> None:
    if statement := connection.get_execution_options().get(_OPTION, Transaction.READ):
        connection.exec_driver_sql(statement)


def _bound_waits(connection: Any, _entry: ConnectionPoolEntry) -> None:
    connection.execute(f"SET lock_timeout = {int(BUSY_TIMEOUT.total_seconds() * 1000)}")
    connection.commit()
