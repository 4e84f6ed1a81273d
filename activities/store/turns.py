"""The table `turns`: what became of each chat turn.

Owns reading and writing of `TurnRecord`s. Source: triggers-and-actions.md §10.

Invariant: a turn that ended is never turned back into one that goes on, whatever arrives late.
"""

from typing import Final

from sqlalchemy import Connection, bindparam, select, update

from activities.store.tables import turns
from activities.store.writes import insert, or_nothing
from domain.turns import TurnRecord, TurnStatus

_INSERT: Final = insert(turns, lambda new: or_nothing(new).returning(turns.c.id))
_REPLACE: Final = update(turns).where(turns.c.id == bindparam("turn_id"))
_REPLACE_OPEN: Final = _REPLACE.where(turns.c.status == TurnStatus.RUNNING)
_BY_ID: Final = select(turns).where(turns.c.id == bindparam("turn_id"))
_OF_SESSION: Final = (
    select(turns)
    .where(turns.c.session_key == bindparam("of_session"))
    .order_by(turns.c.started_at, turns.c.id)
)


class TurnTable:
    """Records of turns, by turn id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, record: TurnRecord) -> None:
        """Write a record over the one with its id.

        A running one does not replace one that ended; otherwise the last write wins.

        Raises:
            StoreError: The database failed, or `thread_id` names no thread.
        """
        row = record.model_dump()
        inserted = self._connection.execute(_INSERT[self._connection.dialect.name], row)
        if inserted.first() is not None:
            return
        running = record.status == TurnStatus.RUNNING
        self._connection.execute(
            _REPLACE_OPEN if running else _REPLACE, row | {"turn_id": record.id}
        )

    def get(self, turn_id: str) -> TurnRecord | None:
        """The record of a turn, null if there is none."""
        row = self._connection.execute(_BY_ID, {"turn_id": turn_id}).mappings().one_or_none()
        return TurnRecord.model_validate(dict(row)) if row else None

    def of_session(self, session_key: str) -> list[TurnRecord]:
        """The turns of a session, by their beginning."""
        found = self._connection.execute(_OF_SESSION, {"of_session": session_key})
        return [TurnRecord.model_validate(dict(row)) for row in found.mappings()]
