"""The tables `threads` and `messages`: conversations and what was said in them.

Owns appending, and with it the sequence of a thread's messages.
Source: triggers-and-actions.md §10.

Invariants:
    1. The messages of a thread are numbered 1, 2, 3 … without gaps, in the order they were
       appended, whoever appends at the same time.
    2. A message is written once: appending its id again returns what is stored.
"""

from collections.abc import Sequence

from sqlalchemy import RowMapping, func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.store.engine import Database
from activities.store.errors import StoreError
from activities.store.tables import messages, threads
from activities.store.writes import insert_missing
from domain.threads import Thread, ThreadMessage


class ThreadTable:
    """Threads with their messages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, thread: Thread) -> None:
        """Insert a thread unless its id exists.

        Raises:
            StoreError: The database failed.
        """
        statement = insert_missing(self._database.dialect, threads, thread.model_dump())
        await self._database.execute(statement)

    async def get(self, thread_id: str) -> Thread | None:
        """A thread, null if there is none."""
        rows = await self._database.rows(select(threads).where(threads.c.id == thread_id))
        return Thread.model_validate(dict(rows[0])) if rows else None

    async def append(self, new: Sequence[ThreadMessage]) -> list[ThreadMessage]:
        """Append messages to their threads, all or none.

        Args:
            new: The messages in the order they were said; their `sequence` is ignored.

        Returns:
            The messages as stored, in the order given.

        Raises:
            StoreError: The database failed, or a thread or model call that is named does not exist.
        """
        ids = {item.id for item in new}

        async def append(connection: AsyncConnection) -> list[ThreadMessage]:
            following = await self._lock_threads(connection, {item.thread_id for item in new})
            found = await connection.execute(select(messages).where(messages.c.id.in_(ids)))
            stored = {row["id"]: _message(row) for row in found.mappings()}
            for item in new:
                if item.id in stored:
                    continue
                row = item.model_dump() | {"sequence": following[item.thread_id]}
                written = await connection.execute(insert(messages).values(row).returning(messages))
                stored[item.id] = _message(written.mappings().one())
                following[item.thread_id] += 1
            return [stored[item.id] for item in new]

        return await self._database.write(append) if new else []

    async def messages(self, thread_id: str) -> list[ThreadMessage]:
        """All messages of a thread, in sequence."""
        query = select(messages).where(messages.c.thread_id == thread_id)
        rows = await self._database.rows(query.order_by(messages.c.sequence))
        return [_message(row) for row in rows]

    async def message(self, message_id: str) -> ThreadMessage | None:
        """A message, null if there is none."""
        rows = await self._database.rows(select(messages).where(messages.c.id == message_id))
        return _message(rows[0]) if rows else None

    async def _lock_threads(self, connection: AsyncConnection, ids: set[str]) -> dict[str, int]:
        """Keep others from appending to these threads; returns the next sequence of each."""
        # On SQLite the transaction is the only writer and FOR UPDATE is left out. In order of id,
        # so that two appends to the same threads do not wait for each other.
        chosen = select(threads.c.id).where(threads.c.id.in_(ids)).order_by(threads.c.id)
        locked = await connection.execute(chosen.with_for_update())
        if missing := sorted(ids - set(locked.scalars())):
            raise StoreError(f"the store {self._database.address} has no thread {missing[0]!r}")
        last = await connection.execute(
            select(messages.c.thread_id, func.max(messages.c.sequence))
            .where(messages.c.thread_id.in_(ids))
            .group_by(messages.c.thread_id)
        )
        return dict.fromkeys(ids, 1) | {thread_id: top + 1 for thread_id, top in last}


def _message(row: RowMapping) -> ThreadMessage:
    return ThreadMessage.model_validate(dict(row))
