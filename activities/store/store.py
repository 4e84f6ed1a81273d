"""The store: one database with the tables of the ledger.

Owns putting the tables together and opening them. Source: DESIGN §5, triggers-and-actions.md §10.
"""

import asyncio
from types import TracebackType
from typing import Self

from sqlalchemy import select

from activities.store.engine import Database
from activities.store.llm_calls import LlmCallTable
from activities.store.migrator import describe, migrate
from activities.store.outbox import Outbox
from activities.store.runs import RunTable
from activities.store.threads import ThreadTable
from activities.store.urls import read_url


class Store:
    """The tables of one database; closed with `close` or at the end of `async with`.

    Attributes:
        runs: What happened to each run.
        threads: Conversations and their messages.
        calls: Calls of models.
        outbox: Texts for people.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.runs = RunTable(database)
        self.threads = ThreadTable(database)
        self.calls = LlmCallTable(database)
        self.outbox = Outbox(database)

    async def check(self) -> None:
        """Ask the database for an answer, any answer.

        Raises:
            StoreError: It gave none.
        """
        await self._database.rows(select(1))

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()


async def open_store(url: str) -> Store:
    """Open a store, after creating or upgrading its tables.

    Args:
        url: `sqlite:///path`, whose folder is made, or `postgresql://user:password@host/database`.

    Raises:
        StoreError: With the address (without password), what is wrong and what to do.
    """
    address = read_url(url)
    database = Database(address)
    await asyncio.to_thread(migrate, address)
    return Store(database)


async def check_store(url: str) -> str:
    """Look at a store without changing anything.

    Args:
        url: As for `open_store`.

    Returns:
        The address (without password) and the state of the schema.

    Raises:
        StoreError: It could not be opened, for the reason that `open_store` would give.
    """
    address = read_url(url)
    await Database(address).close()  # names a driver that is missing
    return await asyncio.to_thread(describe, address)
