"""The table `outbox`: every text for a person, before, while and after it is sent.

Owns the steps of a delivery's row. Does not send (`activities.deliveries`).
Source: triggers-and-actions.md §9 and §10, `domain.deliveries`.

Invariants:
    1. A row that is settled (`sent`, `failed`, `suppressed`) is not changed any more.
    2. An attempt is counted, and the row `unknown`, before anything is sent. Of several senders
       that saw the same number of attempts one begins.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, RowMapping, and_, bindparam, or_, select, update

from activities.store.errors import StoreError
from activities.store.key_ranges import begins, bounds
from activities.store.tables import outbox
from activities.store.urls import shown
from activities.store.writes import insert, or_nothing
from domain.deliveries import SETTLED, Delivery, DeliveryStatus
from domain.scopes import Route

_ENQUEUE: Final = insert(outbox, lambda new: or_nothing(new).returning(outbox))
_BY_ID: Final = select(outbox).where(outbox.c.occurrence_id == bindparam("key"))
_CHANGE: Final = (
    update(outbox)
    .where(outbox.c.occurrence_id == bindparam("key"), outbox.c.status.not_in(SETTLED))
    .returning(outbox)
)
_BEGIN: Final = _CHANGE.where(outbox.c.attempts == bindparam("seen_attempts")).values(
    status=DeliveryStatus.UNKNOWN, attempts=outbox.c.attempts + 1, error=None
)
_OF_RUN: Final = (
    select(outbox)
    .where(outbox.c.run_id == bindparam("of_run"))
    .order_by(outbox.c.created_at, outbox.c.occurrence_id)
)
_LAST_SENT: Final = (
    select(outbox.c.sent_at)
    .where(begins(outbox.c.occurrence_id), outbox.c.status == DeliveryStatus.SENT)
    .order_by(outbox.c.sent_at.desc())
    .limit(1)
)
_KEYS: Final = select(outbox.c.occurrence_id).where(begins(outbox.c.occurrence_id))
_SENT_AS: Final = (
    select(outbox.c.occurrence_id).where(outbox.c.message_id == bindparam("called")).limit(1)
)
_NEWEST: Final = select(outbox).order_by(outbox.c.created_at.desc(), outbox.c.occurrence_id.desc())


@dataclass(frozen=True, slots=True)
class DeliveryFilter:
    """Which deliveries are wanted; null is any. `before` are time and key of the last one known."""

    scope: str | None = None
    status: DeliveryStatus | None = None
    before: tuple[datetime, str] | None = None


class Outbox:
    """Deliveries, by occurrence id."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def enqueue(self, delivery: Delivery) -> Delivery:
        """Insert a delivery unless its occurrence id exists; returns the stored row.

        Raises:
            StoreError: The database failed, or `run_id` names no run.
        """
        row = delivery.model_dump(exclude={"route"}) | delivery.route.model_dump()
        written = self._connection.execute(_ENQUEUE[self._connection.dialect.name], row)
        if inserted := written.mappings().one_or_none():
            return _delivery(inserted)
        return self._stored(delivery.occurrence_id)

    def begin_attempt(self, occurrence_id: str, *, seen_attempts: int) -> Delivery | None:
        """Count an attempt and mark the row `unknown`; has to be committed before sending.

        Args:
            occurrence_id: The row.
            seen_attempts: The attempts of the row the caller decided on.

        Returns:
            The row, a settled one unchanged; null when another sender was faster.

        Raises:
            StoreError: The database failed, or there is no such row.
        """
        wanted = {"key": occurrence_id, "seen_attempts": seen_attempts}
        if row := self._connection.execute(_BEGIN, wanted).mappings().one_or_none():
            return _delivery(row)
        stored = self._stored(occurrence_id)
        return stored if stored.status in SETTLED else None

    def settle(
        self,
        occurrence_id: str,
        status: DeliveryStatus,
        *,
        message_id: str | None = None,
        error: str | None = None,
        sent_at: datetime | None = None,
    ) -> Delivery:
        """Write down how an attempt ended.

        Returns:
            The row; one that was settled before unchanged.

        Raises:
            StoreError: The database failed, or there is no such row.
        """
        values = {"status": status, "message_id": message_id, "error": error, "sent_at": sent_at}
        changed = self._connection.execute(_CHANGE, values | {"key": occurrence_id})
        if row := changed.mappings().one_or_none():
            return _delivery(row)
        return self._stored(occurrence_id)

    def get(self, occurrence_id: str) -> Delivery | None:
        """A delivery, null if there is none."""
        found = self._connection.execute(_BY_ID, {"key": occurrence_id})
        row = found.mappings().one_or_none()
        return _delivery(row) if row else None

    def of_run(self, run_id: str) -> list[Delivery]:
        """The deliveries of a run by creation, then occurrence id."""
        found = self._connection.execute(_OF_RUN, {"of_run": run_id})
        return [_delivery(row) for row in found.mappings()]

    def last_sent(self, prefix: str) -> datetime | None:
        """When the last text whose key begins so was sent; null if none was."""
        found = self._connection.execute(_LAST_SENT, bounds(prefix))
        sent_at: datetime | None = found.scalar_one_or_none()
        return sent_at

    def listing(self, wanted: DeliveryFilter, limit: int) -> list[Delivery]:
        """The newest deliveries first."""
        query = _NEWEST
        if wanted.scope is not None:
            query = query.where(outbox.c.scope == wanted.scope)
        if wanted.status is not None:
            query = query.where(outbox.c.status == wanted.status)
        if wanted.before is not None:
            at, key = wanted.before
            same = and_(outbox.c.created_at == at, outbox.c.occurrence_id < key)
            query = query.where(or_(outbox.c.created_at < at, same))
        found = self._connection.execute(query.limit(limit))
        return [_delivery(row) for row in found.mappings()]

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin so."""
        return list(self._connection.execute(_KEYS, bounds(prefix)).scalars())

    def was_sent_as(self, message_id: str) -> bool:
        """Whether a channel calls a text of ours so."""
        found = self._connection.execute(_SENT_AS, {"called": message_id})
        return found.first() is not None

    def _stored(self, occurrence_id: str) -> Delivery:
        if stored := self.get(occurrence_id):
            return stored
        address = shown(self._connection.engine.url)
        raise StoreError(f"the store {address} has no delivery {occurrence_id!r}")


def _delivery(row: RowMapping) -> Delivery:
    fields = dict(row)
    route = Route(
        receive_id_type=fields.pop("receive_id_type"), receive_id=fields.pop("receive_id")
    )
    return Delivery(route=route, **fields)
