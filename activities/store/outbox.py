"""The table `outbox`: every text for a person, before, while and after it is sent.

Owns the steps of a delivery's row. Does not send (`activities.deliveries`).
Source: triggers-and-actions.md §9 and §10, `domain.deliveries`.

Invariants:
    1. A row that is settled (`sent`, `failed`, `suppressed`) is not changed any more.
    2. An attempt is counted, and the row `unknown`, before anything is sent. Of several senders
       that saw the same number of attempts one begins, the others are refused.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, Select, Update, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from activities.store.engine import Database
from activities.store.errors import StoreError
from activities.store.tables import outbox
from activities.store.writes import insert_missing
from domain.deliveries import SETTLED, Delivery, DeliveryStatus
from domain.scopes import Route


class Outbox:
    """Deliveries, by occurrence id."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue(self, delivery: Delivery) -> Delivery:
        """Insert a delivery unless its occurrence id exists; returns the stored row.

        Raises:
            StoreError: The database failed, or `run_id` names no run.
        """
        row = delivery.model_dump(exclude={"route"}) | delivery.route.model_dump()

        async def enqueue(connection: AsyncConnection) -> Delivery:
            await connection.execute(insert_missing(self._database.dialect, outbox, row))
            found = await connection.execute(_by_id(delivery.occurrence_id))
            return _delivery(found.mappings().one())

        return await self._database.write(enqueue)

    async def begin_attempt(
        self, occurrence_id: str, *, seen_attempts: int | None = None
    ) -> Delivery:
        """Count an attempt and mark the row `unknown`; to be called before the channel is.

        Args:
            occurrence_id: The row.
            seen_attempts: The attempts of the row the caller decided on; another number by now
                means that another sender was faster.

        Returns:
            The row; a settled one unchanged.

        Raises:
            StoreError: The database failed, there is no such row, or another sender was faster
                (retryable: the caller should look again).
        """
        statement = _unsettled(occurrence_id).values(
            status=DeliveryStatus.UNKNOWN, attempts=outbox.c.attempts + 1, error=None
        )
        if seen_attempts is not None:
            statement = statement.where(outbox.c.attempts == seen_attempts)
        row, began = await self._change(occurrence_id, statement)
        if not began and row.status not in SETTLED:
            raise StoreError(f"another sender is at {occurrence_id!r}", retryable=True)
        return row

    async def settle(
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
        statement = _unsettled(occurrence_id).values(
            status=status, message_id=message_id, error=error, sent_at=sent_at
        )
        row, _ = await self._change(occurrence_id, statement)
        return row

    async def get(self, occurrence_id: str) -> Delivery | None:
        """A delivery, null if there is none."""
        rows = await self._database.rows(_by_id(occurrence_id))
        return _delivery(rows[0]) if rows else None

    async def of_run(self, run_id: str) -> list[Delivery]:
        """The deliveries of a run by creation, then occurrence id."""
        query = select(outbox).where(outbox.c.run_id == run_id)
        rows = await self._database.rows(
            query.order_by(outbox.c.created_at, outbox.c.occurrence_id)
        )
        return [_delivery(row) for row in rows]

    async def listing(self, status: DeliveryStatus | None, limit: int) -> list[Delivery]:
        """The newest deliveries first, of one status or of all."""
        query = select(outbox).order_by(outbox.c.created_at.desc(), outbox.c.occurrence_id)
        if status is not None:
            query = query.where(outbox.c.status == status)
        return [_delivery(row) for row in await self._database.rows(query.limit(limit))]

    async def _change(self, occurrence_id: str, statement: Update) -> tuple[Delivery, bool]:
        """Change a row; returns it and whether the statement matched it."""

        async def change(connection: AsyncConnection) -> tuple[Delivery, bool]:
            changed = await connection.execute(statement.returning(outbox))
            if row := changed.mappings().one_or_none():
                return _delivery(row), True
            if row := (await connection.execute(_by_id(occurrence_id))).mappings().one_or_none():
                return _delivery(row), False
            raise StoreError(
                f"the store {self._database.address} has no delivery {occurrence_id!r}"
            )

        return await self._database.write(change)


def _by_id(occurrence_id: str) -> Select[Any]:
    return select(outbox).where(outbox.c.occurrence_id == occurrence_id)


def _unsettled(occurrence_id: str) -> Update:
    return update(outbox).where(
        outbox.c.occurrence_id == occurrence_id, outbox.c.status.not_in(SETTLED)
    )


def _delivery(row: RowMapping) -> Delivery:
    fields = dict(row)
    route = Route(
        receive_id_type=fields.pop("receive_id_type"), receive_id=fields.pop("receive_id")
    )
    return Delivery(route=route, **fields)
