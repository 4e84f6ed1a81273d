"""The activities that answer for the ledger to those outside who have no store.

Owns reading and repairing deliveries. Each activity has the name of the question it answers
(`domain.ledger_requests`) and is called by the workflow `Ledger`. Source: DESIGN §3 (Lists),
triggers-and-actions.md §9.

Invariants:
    1. Who asks sees the rows of its own scope; any other row is not found, in the same words.
    2. An answer fits into a workflow's result.
    3. What is sent again is a row of its own, in the ledger before its channel hears of it.
    4. Every question has its activity (`tests/unit/test_ledger_questions.py`).
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import wraps
from typing import Final, TypeVar

from pydantic import BaseModel
from temporalio import activity

from activities.delivery_steps import DeliverySteps, never_repeated
from activities.emitting import Emitter, tell_or_log
from activities.messenger import Messenger
from activities.store import Ledger, Store
from activities.store.outbox import DeliveryFilter
from domain.deliveries import (
    RESENDABLE,
    Delivery,
    DeliveryStatus,
    next_resend,
    resend_prefix,
)
from domain.delivery_events import event_of_unknown
from domain.errors import DomainError, ErrorKind
from domain.ledger_requests import (
    MAX_ANSWER_BYTES,
    PREVIEW_CHARS,
    DeliveryPage,
    DeliveryRecord,
    FindOwnMessage,
    GetDelivery,
    LedgerAnswer,
    ListDeliveries,
    OwnMessage,
    ResendDelivery,
    ResolveDelivery,
)

Self_ = TypeVar("Self_")
Question = TypeVar("Question", bound=BaseModel)

# A text of four bytes a character, and what stands around it.
MAX_TEXT_CHARS: Final = MAX_ANSWER_BYTES // 4 - 4_096


def answering(
    work: Callable[[Self_, Question], Awaitable[BaseModel]],
) -> Callable[[Self_, Question], Awaitable[LedgerAnswer]]:
    """Make an answer of what an activity returns, or of the problem it raises."""

    @wraps(work)
    async def answered(self: Self_, question: Question, /) -> LedgerAnswer:
        try:
            found = await work(self, question)
        except DomainError as error:
            return LedgerAnswer(problem=error.to_problem())
        return LedgerAnswer(answer=found.model_dump(mode="json"))

    # What the SDK reads of a function: the types of the work would be those of another answer.
    answered.__annotations__ = {**work.__annotations__, "return": LedgerAnswer}
    return answered


class LedgerActivities:
    """Answers questions about the ledger."""

    def __init__(self, store: Store, messenger: Messenger, emitter: Emitter | None = None) -> None:
        """Take what is needed.

        Args:
            store: The ledger; stays its owner's.
            messenger: Sends what is to be sent again.
            emitter: Hears of texts whose fate nobody knows; null where nobody listens.
        """
        self._store = store
        self._messenger = messenger
        self._emitter = emitter

    def all(self) -> list[Callable[..., Awaitable[LedgerAnswer]]]:
        """The activities, for the worker that serves them."""
        return [
            self.list_deliveries,
            self.get_delivery,
            self.resend_delivery,
            self.resolve_delivery,
            self.find_own_message,
        ]

    @activity.defn
    @answering
    async def list_deliveries(self, question: ListDeliveries) -> DeliveryPage:
        """The newest deliveries, as many as fit."""
        at = question.before_at
        wanted = DeliveryFilter(
            scope=question.scope,
            status=question.status,
            before=None if at is None else (at, question.before_id),
        )
        rows = await self._store.outbox.listing(wanted, question.limit + 1)
        records = [DeliveryRecord.of(row, PREVIEW_CHARS) for row in rows[: question.limit]]
        kept = fitting(records)
        return DeliveryPage(deliveries=kept, more=len(rows) > len(kept))

    @activity.defn
    @answering
    async def get_delivery(self, question: GetDelivery) -> DeliveryRecord:
        """One delivery with its text."""
        row = await self._store.read(_own, question.id, question.scope)
        return DeliveryRecord.of(row, MAX_TEXT_CHARS)

    @activity.defn
    @answering
    async def resend_delivery(self, question: ResendDelivery) -> DeliveryRecord:
        """Send a text again, once, as a row of its own; answers that row."""
        steps = await self._store.write(self._begin_resend, question)
        row = steps.rows[0]
        ended = await self._messenger.send_once(row)
        await self._store.write(steps.go_on, ended)
        await self._tell(steps)
        return DeliveryRecord.of(steps.rows[0], PREVIEW_CHARS)

    @activity.defn
    @answering
    async def resolve_delivery(self, question: ResolveDelivery) -> DeliveryRecord:
        """Write down what a person has found out."""
        row = await self._store.write(_resolve, question)
        return DeliveryRecord.of(row, PREVIEW_CHARS)

    @activity.defn
    @answering
    async def find_own_message(self, question: FindOwnMessage) -> OwnMessage:
        """Whether a channel calls one of our own texts so."""
        ours = await self._store.read(_was_sent, question.message_id)
        return OwnMessage(ours=ours)

    def _begin_resend(self, ledger: Ledger, question: ResendDelivery) -> DeliverySteps:
        row = _own(ledger, question.id, question.scope)
        if row.status not in RESENDABLE:
            raise _conflict(row, "sent again", RESENDABLE)
        number = next_resend(ledger.outbox.keys(resend_prefix(row.occurrence_id)))
        steps = DeliverySteps([self._messenger.again(row, number)], never_repeated)
        if steps.enqueue(ledger) is None:
            # Somebody else has taken the number within the same moment.
            raise _conflict(row, "sent again twice at once", RESENDABLE)
        return steps

    async def _tell(self, steps: DeliverySteps) -> None:
        for row in steps.unknown:
            event = event_of_unknown(row)
            if self._emitter is not None and event is not None:
                await tell_or_log(self._emitter, [event], row.scope or "")


RecordT = TypeVar("RecordT", bound=BaseModel)


def fitting(records: Sequence[RecordT]) -> list[RecordT]:
    """The first records, as many as an answer may hold, at least one."""
    kept: list[RecordT] = []
    room = MAX_ANSWER_BYTES
    for record in records:
        room -= len(record.model_dump_json().encode())
        if kept and room < 0:
            break
        kept.append(record)
    return kept


def _own(ledger: Ledger, key: str, scope: str) -> Delivery:
    row = ledger.outbox.get(key)
    if row is None or row.scope != scope:
        raise DomainError(ErrorKind.NOT_FOUND, "id", key)
    return row


def _resolve(ledger: Ledger, question: ResolveDelivery) -> Delivery:
    row = _own(ledger, question.id, question.scope)
    if row.status != DeliveryStatus.UNKNOWN:
        raise _conflict(row, "resolved", [DeliveryStatus.UNKNOWN])
    return ledger.outbox.settle(
        row.occurrence_id, question.status, message_id=row.message_id, error=row.error
    )


def _was_sent(ledger: Ledger, message_id: str) -> bool:
    return ledger.outbox.was_sent_as(message_id)


def _conflict(row: Delivery, what: str, possible: Sequence[DeliveryStatus]) -> DomainError:
    states = " or ".join(possible)
    return DomainError(
        ErrorKind.CONFLICT,
        "status",
        f"status is {row.status}: {row.occurrence_id} is not {what}, only what is {states}",
        possible,
    )
