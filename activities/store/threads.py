"""The tables `threads` and `messages`: conversations and what was said in them.

Owns appending, and with it the sequence of a thread's messages.
Source: triggers-and-actions.md §10.

Invariants:
    1. The messages of a thread are numbered 1, 2, 3 … without gaps, in the order they were
       appended, whoever appends at the same time.
    2. A message is written once: appending its id again returns what is stored. Only the arguments
       of a call that has ended are written over, where they held a secret.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, RowMapping, bindparam, func, select, update

from activities.store.errors import StoreError
from activities.store.key_ranges import begins, bounds
from activities.store.tables import messages, threads
from activities.store.urls import shown
from activities.store.writes import insert
from domain.messages import Role
from domain.threads import Thread, ThreadMessage

# Writes a row that exists over with itself, because that alone tells whose it is.
_ENSURE: Final = insert(
    threads,
    lambda new: new.on_conflict_do_update(
        index_elements=[threads.c.id], set_={"scope": threads.c.scope}
    ).returning(threads.c.scope),
)
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
    .where(messages.c.thread_id == bindparam("thread_id"), messages.c.sequence > bindparam("after"))
    .order_by(messages.c.sequence)
)
_NEWEST_BY: Final = (
    select(messages)
    .where(messages.c.thread_id == bindparam("thread_id"), messages.c.role == bindparam("role"))
    .order_by(messages.c.sequence.desc())
    .limit(1)
)
_NEWEST_ANSWER: Final = (
    select(messages)
    .where(begins(messages.c.id), messages.c.role == "assistant")
    .order_by(messages.c.sequence.desc())
    .limit(1)
)
_MASK: Final = (
    update(messages)
    .where(messages.c.id == bindparam("masked_id"))
    .values(tool_calls=bindparam("masked", type_=messages.c.tool_calls.type))
)


class ThreadTable:
    """Threads with their messages."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def ensure(self, thread: Thread) -> bool:
        """Insert a thread unless its id exists.

        Returns:
            Whether the thread of this id belongs to this scope. What another scope's thread holds
            is nothing to show.

        Raises:
            StoreError: The database failed.
        """
        statement = _ENSURE[self._connection.dialect.name]
        found = self._connection.execute(statement, thread.model_dump())
        return bool(found.scalar_one() == thread.scope)

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

    def messages(self, thread_id: str, after: int = 0) -> list[ThreadMessage]:
        """The messages of a thread in sequence: all, or those after one."""
        found = self._connection.execute(_MESSAGES, {"thread_id": thread_id, "after": after})
        return [_message(row) for row in found.mappings()]

    def newest_by(self, thread_id: str, role: Role) -> ThreadMessage | None:
        """The last message of a thread that somebody said, null if there is none."""
        found = self._connection.execute(_NEWEST_BY, {"thread_id": thread_id, "role": role})
        row = found.mappings().one_or_none()
        return _message(row) if row else None

    def newest_answer(self, prefix: str) -> ThreadMessage | None:
        """The last answer of a model whose id begins so, null if there is none."""
        row = self._connection.execute(_NEWEST_ANSWER, bounds(prefix)).mappings().one_or_none()
        return _message(row) if row else None

    def message(self, message_id: str) -> ThreadMessage | None:
        """A message, null if there is none."""
        found = self._connection.execute(_MESSAGE, {"message_id": message_id})
        row = found.mappings().one_or_none()
        return _message(row) if row else None

    def mask_call(self, message_id: str, call_id: str, arguments: str) -> None:
        """Write other arguments over those of a call that has ended: what must not be kept.

        Raises:
            StoreError: The database failed.
        """
        stored = self.message(message_id)
        if stored is None or stored.tool_calls is None:
            return
        self._lock({stored.thread_id})
        stored = self.message(message_id) or stored  # nobody changes it from here on
        calls = [
            call | {"function": call["function"] | {"arguments": arguments}}
            if call.get("id") == call_id
            else call
            for call in stored.tool_calls or ()
        ]
        self._connection.execute(_MASK, {"masked_id": message_id, "masked": calls})

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
