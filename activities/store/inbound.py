"""The table `inbound`: every message to a session, and what became of it.

Owns writing how messages end, and keeping the texts of those that have to wait.
Source: chat-policies.md §3.6, DESIGN §3 rule 12.

Invariants:
    1. A message that ended does not wait again; only one that was dropped can come once more.
    2. A text that is there stays, unless a message that waits has taken the id over: what is read
       is the text of the newest.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, func, select, update

from activities.store.tables import inbound
from activities.store.writes import insert, or_nothing
from domain.inbound_records import InboundRecord, MessageFate

_INSERT: Final = insert(inbound, lambda new: or_nothing(new).returning(inbound.c.id))
_OPEN: Final = (MessageFate.WAITING, MessageFate.DROPPED)
_SETTLE: Final = (
    update(inbound)
    .where(inbound.c.id == bindparam("row_id"), inbound.c.status.in_(_OPEN))
    .values(
        status=bindparam("new_status"),
        reason=bindparam("new_reason"),
        turn_id=bindparam("new_turn_id"),
        settled_at=bindparam("new_settled_at"),
    )
)
# Only what the texts of waiting messages are read for: how the former message ended stays.
_TAKE_OVER: Final = (
    update(inbound)
    .where(inbound.c.id == bindparam("row_id"), inbound.c.received_at <= bindparam("new_at"))
    .values(
        text=bindparam("new_text"),
        sender_id=bindparam("new_sender_id"),
        sender_label=bindparam("new_sender_label"),
        received_at=bindparam("new_at"),
    )
)
_FAIL_TURN: Final = (
    update(inbound)
    .where(inbound.c.turn_id == bindparam("of_turn"))
    .values(status=MessageFate.FAILED, reason=bindparam("new_reason"))
)
_TEXTS: Final = select(inbound.c.message_id, inbound.c.text).where(
    inbound.c.id.in_(bindparam("ids", expanding=True))
)
_OF_SESSION: Final = (
    select(inbound)
    .where(inbound.c.session_key == bindparam("of_session"))
    .order_by(inbound.c.received_at, inbound.c.id)
)
_COUNTS: Final = (
    select(inbound.c.status, func.count())
    .where(inbound.c.session_key == bindparam("of_session"))
    .group_by(inbound.c.status)
)


class InboundTable:
    """Messages to sessions, by session key and message id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, rows: Iterable[InboundRecord]) -> None:
        """Write messages; each again is the same.

        Args:
            rows: Where they are now. One without a text leaves the text that was kept; one that
                waits leaves how a former message of its id ended.

        Raises:
            StoreError: The database failed, or `turn_id` names no turn.
        """
        for row in rows:
            values = row.model_dump() | {"text": row.text or ""}
            inserted = self._connection.execute(_INSERT[self._connection.dialect.name], values)
            if inserted.first() is not None:
                continue
            if row.status == MessageFate.WAITING:
                self._take_over(row)
            else:
                self._settle(row)

    def fail_turn(self, turn_id: str, reason: str) -> None:
        """The turn that answered these messages could not deliver its answer after all."""
        self._connection.execute(_FAIL_TURN, {"of_turn": turn_id, "new_reason": reason})

    def texts(self, ids: Sequence[str]) -> dict[str, str]:
        """The texts of messages, by message id.

        Args:
            ids: Keys of rows, all of one session.
        """
        found = self._connection.execute(_TEXTS, {"ids": list(ids)})
        return {row.message_id: row.text for row in found}

    def of_session(self, session_key: str) -> list[InboundRecord]:
        """The messages of a session, as they came."""
        found = self._connection.execute(_OF_SESSION, {"of_session": session_key})
        return [InboundRecord.model_validate(dict(row)) for row in found.mappings()]

    def counts(self, session_key: str) -> dict[MessageFate, int]:
        """How many messages of a session are where."""
        found = self._connection.execute(_COUNTS, {"of_session": session_key})
        return {MessageFate(status): count for status, count in found}

    def _take_over(self, row: InboundRecord) -> None:
        if row.text is None:
            return
        self._connection.execute(
            _TAKE_OVER,
            {
                "row_id": row.id,
                "new_text": row.text,
                "new_sender_id": row.sender_id,
                "new_sender_label": row.sender_label,
                "new_at": row.received_at,
            },
        )

    def _settle(self, row: InboundRecord) -> None:
        self._connection.execute(
            _SETTLE,
            {
                "row_id": row.id,
                "new_status": row.status,
                "new_reason": row.reason,
                "new_turn_id": row.turn_id,
                "new_settled_at": row.settled_at,
            },
        )
