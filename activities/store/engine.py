"""The connection to the database: pools, pragmas and the two kinds of transaction.

Owns how a transaction begins on each database. Does not know any table.

Invariants:
    1. SQLite has one writer: writes of a process queue here in order of arrival (SQLite itself lets
       waiters starve), those of several processes at `BEGIN IMMEDIATE` until `BUSY_TIMEOUT`. So
       nothing changes between what a write reads and what it writes.
    2. On PostgreSQL a write takes the row locks it needs (READ COMMITTED).
    3. References are enforced on both.
    4. A transaction that began is not cancelled halfway: the drivers would leave its connection,
       and with SQLite the lock on the whole file, to the garbage collector.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import nullcontext
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, TypeVar

from sqlalchemy import URL, Connection, Engine, Executable, RowMapping, Select, event
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from activities.store.errors import StoreError, store_errors
from activities.store.urls import shown

# A writer holds SQLite for milliseconds; half a minute of waiting means that something is wrong.
BUSY_TIMEOUT: Final = timedelta(seconds=30)
CONNECT_TIMEOUT: Final = timedelta(seconds=10)
# How long a cancelled caller waits for its transaction, which takes milliseconds unless the
# database is in trouble.
CANCELLATION_GRACE: Final = timedelta(seconds=2)

T = TypeVar("T")

_OPTION: Final = "tickless_transaction"


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
    """One pool of connections, with transactions for reading and for writing."""

    def __init__(self, url: URL) -> None:
        self.address = shown(url)
        self.dialect = url.get_backend_name()
        try:
            self._engine = create_async_engine(url, **engine_options(url))
        except ImportError:
            raise StoreError(
                f"the store {self.address} needs the package psycopg:"
                " install tickless with its extra `postgres`"
            ) from None
        self._turn = asyncio.Lock() if self.dialect == "sqlite" else nullcontext()
        self._running: set[asyncio.Task[Any]] = set()
        if self.dialect == "sqlite":
            prepare_sqlite(self._engine.sync_engine)

    async def rows(self, query: Select[Any]) -> Sequence[RowMapping]:
        """All rows of a query.

        Raises:
            StoreError: The database failed.
        """

        async def read(connection: AsyncConnection) -> Sequence[RowMapping]:
            rows: Sequence[RowMapping] = (await connection.execute(query)).mappings().all()
            return rows

        return await self._to_its_end(self._transaction(read, Transaction.READ))

    async def execute(self, statement: Executable) -> None:
        """Write with one statement.

        Raises:
            StoreError: The database failed; nothing was changed.
        """

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(statement)

        await self.write(write)

    async def write(self, work: Callable[[AsyncConnection], Awaitable[T]]) -> T:
        """Write with several statements: committed together, or rolled back by any exception.

        Returns:
            What `work` returned.

        Raises:
            StoreError: The database failed; nothing was changed.
        """
        async with self._turn:
            return await self._to_its_end(self._transaction(work, Transaction.WRITE))

    async def close(self) -> None:
        """Close all connections, after the transactions that still run."""
        if self._running:
            await asyncio.wait(self._running, timeout=CANCELLATION_GRACE.total_seconds())
        await self._engine.dispose()

    async def _transaction(
        self, work: Callable[[AsyncConnection], Awaitable[T]], kind: Transaction
    ) -> T:
        with store_errors(self.address):
            engine = self._engine.execution_options(**kind.options)
            async with engine.begin() as connection:
                return await work(connection)

    async def _to_its_end(self, transaction: Coroutine[Any, Any, T]) -> T:
        """Run a transaction in a task of its own, out of reach of the caller's cancellation."""
        task = asyncio.create_task(transaction)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task], timeout=CANCELLATION_GRACE.total_seconds())
            task.cancel()
            raise


def engine_options(url: URL) -> dict[str, Any]:
    """Options of `create_engine` for this database, the same for both drivers of it."""
    if url.get_backend_name() == "sqlite":
        timeout = BUSY_TIMEOUT.total_seconds()
        return {"hide_parameters": True, "connect_args": {"timeout": timeout}}
    return {
        "hide_parameters": True,
        # A server that was restarted costs one ping instead of one failed write.
        "pool_pre_ping": True,
        "connect_args": {"connect_timeout": int(CONNECT_TIMEOUT.total_seconds())},
    }


def prepare_sqlite(engine: Engine) -> None:
    """Enforce references and make transactions begin as `Database` promises."""

    def on_connect(connection: Any, _entry: ConnectionPoolEntry) -> None:
        # The driver would begin transactions by its own rules; ours come from `on_begin`.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    def on_begin(connection: Connection) -> None:
        if statement := connection.get_execution_options().get(_OPTION, Transaction.READ):
            connection.exec_driver_sql(statement)

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
