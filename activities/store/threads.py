"""The tables `threads` and `messages`: conversations and what was said in them.

Owns appending, and with it the sequence of a thread's messages.
Source: triggers-and-actions.md §10.

Invariants:
    1. The messages of a thread are numbered 1, 2, 3 … without gaps, in the order they were
       appended, whoever appends at the same time.
    2. A message is written once: appending its id again returns what is stored.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, RowMapping, bindparam, func, select

from activities.store.errors import StoreError
from activities.store.tables import messages, threads
from activities.store.urls import shown
from activities.store.writes import insert, or_nothing
from domain.threads import Thread, ThreadMessage

_ENSURE: Final = insert(threads, or_nothing)
_THREAD: Final = select(threads).where(threads.c.id == bindparam("thread_id"))
# In order of id, so that two appends to the same threads do not wait for each other; not so strong
# that a new run of the thread would wait. On SQLite the transaction is the only writer, and the
# clause is left out.
_LOCK: Final = (
    select(threads.c.id)
    .where(threads.c.id.in_(bindparam("ids", expanding=True)))
    .order_by(threads.c.id)
    .with_for_update(key_share=True)
)
_NEXT: Final = (
    select(func.coalesce(func.max(messages.c.sequence), 0) + 1)
    .where(messages.c.thread_id == bindparam("of_thread"))
    .scalar_subquery()
)
_APPEND: Final = insert(
    messages,
    lambda new: (
        new.values(sequence=_NEXT)
        .on_conflict_do_nothing(index_elements=[messages.c.id])
        .returning(messages)
    ),
)
_MESSAGE: Final = select(messages).where(messages.c.id == bindparam("message_id"))
_MESSAGES: Final = (
    select(messages)
    .where(messages.c.thread_id == bindparam("thread_id"))
    .order_by(messages.c.sequence)
)


class ThreadTable:
    """Threads with their messages."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ensure(self, thread: Thread) -> None:
        """Insert a thread unless its id exists.

        Raises:
            StoreError: The database failed.
        """
        self._connection.execute(_ENSURE[self._connection.dialect.name], thread.model_dump())

    def get(self, thread_id: str) -> Thread | None:
        """A thread, null if there is none."""
        found = self._connection.execute(_THREAD, {"thread_id": thread_id})
        row = found.mappings().one_or_none()
        return Thread.model_validate(dict(row)) if row else None

    def append(self, new: Sequence[ThreadMessage]) -> list[ThreadMessage]:
        """Append messages to their threads, all or none.

        Args:
            new: The messages in the order they were said; their `sequence` is ignored.

        Returns:
            The messages as stored, in the order given.

        Raises:
            StoreError: The database failed, or a thread or model call that is named does not exist.
        """
        self._lock({item.thread_id for item in new})
        return [self._append(item) for item in new]

    def messages(self, thread_id: str) -> list[ThreadMessage]:
        """All messages of a thread, in sequence."""
        found = self._connection.execute(_MESSAGES, {"thread_id": thread_id})
        return [_message(row) for row in found.mappings()]

    def message(self, message_id: str) -> ThreadMessage | None:
        """A message, null if there is none."""
        found = self._connection.execute(_MESSAGE, {"message_id": message_id})
        row = found.mappings().one_or_none()
        return _message(row) if row else None

    def _lock(self, ids: set[str]) -> None:
        """Keep others from appending to these threads until the transaction ends."""
        found = set(self._connection.execute(_LOCK, {"ids": sorted(ids)}).scalars())
        if missing := sorted(ids - found):
            address = shown(self._connection.engine.url)
            raise StoreError(f"the store {address} has no thread {missing[0]!r}")

    def _append(self, item: ThreadMessage) -> ThreadMessage:
        row = item.model_dump(exclude={"sequence"}) | {"of_thread": item.thread_id}
        written = self._connection.execute(_APPEND[self._connection.dialect.name], row)
        if inserted := written.mappings().one_or_none():
            return _message(inserted)
        return _message(
            self._connection.execute(_MESSAGE, {"message_id": item.id}).mappings().one()
        )


def _message(row: RowMapping) -> ThreadMessage:
    return ThreadMessage.model_validate(dict(row))
