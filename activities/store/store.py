"""The store: one database with the tables of the ledger.

Owns opening it, and running work on its tables as transactions.
Source: DESIGN §5, triggers-and-actions.md §10.
"""

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar, TypeVarTuple

from sqlalchemy import Connection, select

from activities.store.approvals import ApprovalTable
from activities.store.engine import Database
from activities.store.inbound import InboundTable
from activities.store.job_actions import JobActionTable
from activities.store.jobs import JobTable
from activities.store.ledger import Ledger
from activities.store.llm_calls import LlmCallTable
from activities.store.migrator import describe, migrate
from activities.store.outbox import Outbox
from activities.store.runs import RunTable
from activities.store.single_steps import (
    ApprovalSteps,
    InboundSteps,
    JobActionSteps,
    JobSteps,
    LlmCallSteps,
    OutboxSteps,
    RunSteps,
    StandingGrantSteps,
    ThreadSteps,
    TurnSteps,
)
from activities.store.standing_grants import StandingGrantTable
from activities.store.threads import ThreadTable
from activities.store.turns import TurnTable
from activities.store.urls import read_url

Arguments = TypeVarTuple("Arguments")
T = TypeVar("T")


class Store:
    """One database; closed with `close` or at the end of `async with`.

    What is awaited on its tables is a transaction each. Several steps are one transaction as a
    plain function whose first argument is the `Ledger`, which has the same tables and steps.

    Attributes:
        runs: What happened to each run.
        threads: Conversations and their messages.
        turns: What became of each chat turn.
        inbound: Messages to sessions.
        calls: Calls of models.
        outbox: Texts for people.
        jobs: What became of each job.
        actions: Calls of tools.
        approvals: What people were asked.
        grants: Which calls need not be asked for again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.runs = RunSteps(database, RunTable)
        self.threads = ThreadSteps(database, ThreadTable)
        self.turns = TurnSteps(database, TurnTable)
        self.inbound = InboundSteps(database, InboundTable)
        self.calls = LlmCallSteps(database, LlmCallTable)
        self.outbox = OutboxSteps(database, Outbox)
        self.jobs = JobSteps(database, JobTable)
        self.actions = JobActionSteps(database, JobActionTable)
        self.approvals = ApprovalSteps(database, ApprovalTable)
        self.grants = StandingGrantSteps(database, StandingGrantTable)

    async def read(self, work: Callable[[Ledger, *Arguments], T], *arguments: *Arguments) -> T:
        """Read; what is read belongs to one moment on SQLite, to one each statement on PostgreSQL.

        Args:
            work: What to do.
            *arguments: Given to `work` after the ledger.

        Returns:
            What `work` returned.

        Raises:
            StoreError: The database failed.
        """
        return await self._database.read(_on_ledger(work, *arguments))

    async def write(self, work: Callable[[Ledger, *Arguments], T], *arguments: *Arguments) -> T:
        """Write, all or nothing: what `work` raises undoes what it did.

        Args:
            work: What to do.
            *arguments: Given to `work` after the ledger.

        Returns:
            What `work` returned, once it is committed.

        Raises:
            StoreError: The database failed; nothing was changed.
            CancelledError: The caller was cancelled; a transaction that had begun is committed all
                the same.
        """
        return await self._database.write(_on_ledger(work, *arguments))

    async def check(self) -> None:
        """Ask the database for an answer, any answer.

        Raises:
            StoreError: It gave none.
        """
        await self._database.read(lambda connection: connection.execute(select(1)))

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


def _on_ledger(
    work: Callable[[Ledger, *Arguments], T], *arguments: *Arguments
) -> Callable[[Connection], T]:
    return lambda connection: work(Ledger(connection), *arguments)
