"""Deliveries, as a caller works with them: see how they stand, decide about what nobody knows.

Owns the library calls; the ledger's side is `activities.ledger_reads`'. Source:
triggers-and-actions.md §9.

Invariant: whoever calls sees and repairs the deliveries of its own scope.
"""

from datetime import datetime
from typing import Final, Literal

from pydantic import BaseModel
from temporalio.client import Client

from client.context import CallerContext
from client.ledger import LedgerCalls
from client.pages import check_limit, read_cursor, write_cursor
from domain.actor import preferred_id
from domain.deliveries import DeliveryStatus
from domain.errors import DomainError, ErrorKind
from domain.fields import is_unicode, shown
from domain.ledger_requests import (
    DeliveryPage,
    DeliveryRecord,
    GetDelivery,
    ListDeliveries,
    ResendDelivery,
    ResolveDelivery,
)
from domain.runs import hex32

Resolution = Literal[DeliveryStatus.SENT, DeliveryStatus.FAILED]
_RESOLUTIONS: Final = (DeliveryStatus.SENT, DeliveryStatus.FAILED)


class DeliveryList(BaseModel):
    """A page of deliveries, newest first; `next_cursor` while there is more."""

    deliveries: list[DeliveryRecord]
    count: int
    next_cursor: str | None = None


class Deliveries:
    """Library calls for deliveries, in the scope of one caller."""

    def __init__(self, temporal: Client, context: CallerContext) -> None:
        self._ledger = LedgerCalls(temporal)
        self._context = context

    async def list(
        self, *, status: str = "", limit: int = 20, cursor: str | None = None
    ) -> DeliveryList:
        """The caller's deliveries, newest first, their texts cut.

        Args:
            status: `pending`, `sent`, `failed`, `unknown` or `suppressed`; blank is any.
            limit: 1 to 200.
            cursor: `next_cursor` of the page before.

        Raises:
            DomainError: `invalid_field` on `status`, `limit` or `cursor`; `unavailable`.
        """
        check_limit(limit)
        before = read_cursor(cursor) if cursor is not None else None
        question = ListDeliveries(
            scope=self._scope(),
            status=_read_status(status),
            limit=limit,
            before_at=datetime.fromisoformat(before[0]) if before else None,
            before_id=before[1] if before else "",
        )
        page = await self._ledger.ask(question, DeliveryPage)
        found, last = page.deliveries, page.deliveries[-1] if page.deliveries else None
        return DeliveryList(
            deliveries=found,
            count=len(found),
            next_cursor=(
                write_cursor((last.created_at.isoformat(), last.occurrence_id))
                if last is not None and page.more
                else None
            ),
        )

    async def get(self, delivery: str) -> DeliveryRecord:
        """One delivery, with its text.

        Raises:
            DomainError: `not_found`; `unavailable` without a worker.
        """
        question = GetDelivery(scope=self._scope(), id=_checked_id(delivery))
        return await self._ledger.ask(question, DeliveryRecord)

    async def resend(self, delivery: str, *, idempotency_key: str | None = None) -> DeliveryRecord:
        """Send a text again, as a delivery of its own.

        Args:
            delivery: One that is `unknown` or `failed`.
            idempotency_key: Makes a repetition the same resend.

        Returns:
            The new delivery, `…/resend-1` or the next number, and how it ended.

        Raises:
            DomainError: `not_found`; `conflict` on `status` naming it; `unavailable`, when it may
                have been sent again.
        """
        # Without a worker this one is told sooner, and nothing is left behind.
        await self.get(delivery)
        key = None
        if idempotency_key is not None:
            actor = preferred_id(self._context.actor())
            key = "resend-" + hex32(f"{actor}\n{delivery}\n{idempotency_key}")
        question = ResendDelivery(scope=self._scope(), id=delivery)
        return await self._ledger.ask(question, DeliveryRecord, key=key)

    async def resolve(self, delivery: str, status: str) -> DeliveryRecord:
        """Say how a delivery ended of which nobody knew.

        Args:
            delivery: One that is `unknown`.
            status: `sent` or `failed`.

        Raises:
            DomainError: `not_found`; `invalid_field` or `conflict` on `status`; `unavailable`.
        """
        wanted = _read_resolution(status)
        question = ResolveDelivery(scope=self._scope(), id=_checked_id(delivery), status=wanted)
        return await self._ledger.ask(question, DeliveryRecord)

    def _scope(self) -> str:
        return self._context.scope().text


def _checked_id(delivery: str) -> str:
    # No row has such a key, and Temporal could not carry it.
    if not is_unicode(delivery):
        raise DomainError(ErrorKind.NOT_FOUND, "id", "")
    return delivery


def _read_status(text: str) -> DeliveryStatus | None:
    word = text.strip().lower()
    if not word:
        return None
    if word not in set(DeliveryStatus):
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "status",
            f"status must be one of {', '.join(DeliveryStatus)}, not {shown(text)}",
            list(DeliveryStatus),
        )
    return DeliveryStatus(word)


def _read_resolution(text: str) -> Resolution:
    for status in _RESOLUTIONS:
        if text == status:
            return status
    raise DomainError(
        ErrorKind.INVALID_FIELD,
        "status",
        f"status must be one of {', '.join(_RESOLUTIONS)}, not {shown(text)}",
        _RESOLUTIONS,
    )
