"""The table `compactions`: what stands for the beginning of a thread in later prompts.

Owns reading and writing of `Compaction`s. What they say is `domain.call_prompts`'.
Source: chat-policies.md §6.
"""

from typing import Final

from sqlalchemy import Connection, bindparam, select

from activities.store.tables import compactions
from activities.store.writes import insert, or_nothing
from domain.threads import Compaction

_INSERT: Final = insert(compactions, or_nothing)
_NEWEST: Final = (
    select(compactions)
    .where(compactions.c.thread_id == bindparam("of_thread"))
    .order_by(compactions.c.sequence.desc())
    .limit(1)
)


class CompactionTable:
    """Compactions, by thread."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, compaction: Compaction) -> None:
        """Insert a compaction unless its id exists: what was summarised once stays so.

        Raises:
            StoreError: The database failed, or `thread_id` names no thread.
        """
        statement = _INSERT[self._connection.dialect.name]
        self._connection.execute(statement, compaction.model_dump())

    def newest(self, thread_id: str) -> Compaction | None:
        """The compaction that reaches furthest, null if there is none."""
        found = self._connection.execute(_NEWEST, {"of_thread": thread_id})
        row = found.mappings().one_or_none()
        return Compaction.model_validate(dict(row)) if row else None
