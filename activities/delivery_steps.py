"""What the ledger is told around each sending of a run's texts.

Owns which text is next, and the transactions between the sendings: how the last one ended and that
the next begins are written together. Does not send (`activities.deliveries`).
Source: triggers-and-actions.md §9 and §10.

Invariants:
    1. A text is handed out with its attempt counted and its row `unknown`.
    2. A text that may have arrived is handed out again only if it may be repeated.
    3. Texts to one route go out in order: one that waits for another attempt holds back those after
       it, one that failed or is unknown does not.
    4. How a sending ended is kept whatever stands in the way of the next one.
    5. Who lost the session it spoke in says nothing more: what was not tried yet, or refused, is
       `suppressed`.
    6. A run's last word is in the thread of the session in which it may have arrived.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from activities.open_calls import close_run_calls
from domain.deliveries import FINAL_PART, SETTLED, Delivery, DeliveryStatus
from domain.runs import RunRecord
from domain.scopes import Route
from domain.threads import Thread, ThreadMessage

if TYPE_CHECKING:
    from activities.store import Ledger

SENDER_DIED: Final = (
    "the sender ended while it was sending; the text may have arrived and is not sent again"
)
GATE_REVOKED: Final = "a user had been given the session by then"
_MAY_HAVE_ARRIVED: Final = frozenset({DeliveryStatus.SENT, DeliveryStatus.UNKNOWN})


def never_repeated(_row: Delivery) -> bool:
    """One attempt is all a notice gets, also where a repeated one would do no harm."""
    return False


@dataclass(frozen=True, slots=True)
class Sending:
    """How an attempt to send a text ended; `gone` if what it replied to exists no more."""

    status: DeliveryStatus
    message_id: str | None = None
    error: str | None = None
    sent_at: datetime | None = None
    gone: bool = False


class DeliverySteps:
    """The texts of a run, taken one after the other.

    `begin` and `go_on` are transactions; each gives the text to send next, null at the end.

    Attributes:
        rows: How every text stands, in order.
        disturbed: The text at which another sender was faster; nothing after it was tried.
        gone: Occurrence ids of the texts whose message to reply to exists no more.
        unknown: The texts of which nobody knows and which are not sent again, as they were found
            or ended.
        revoked: A user has been given the session by now, so nothing more is sent.
    """

    def __init__(
        self,
        rows: Sequence[Delivery],
        may_be_repeated: Callable[[Delivery], bool],
        session: Thread | None = None,
    ) -> None:
        """Take the texts.

        Args:
            rows: As they are before they are in the outbox.
            may_be_repeated: Whether a text that may have arrived may be sent again.
            session: The thread of the session in which they are said; null when in none.
        """
        self.rows = list(rows)
        self.disturbed: Delivery | None = None
        self.gone: set[str] = set()
        self.unknown: list[Delivery] = []
        self.revoked = False
        self._session = session
        self._may_be_repeated = may_be_repeated
        self._at = 0

    def begin(self, ledger: "Ledger", record: RunRecord, thread: Thread | None) -> Delivery | None:
        """Write the run, what it has left open and its texts, then take the first.

        Args:
            ledger: Where to write.
            record: The run.
            thread: The thread that the record names; made if there is none.

        Raises:
            StoreError: The database failed.
        """
        if thread is not None:
            ledger.threads.ensure(thread)
        ledger.runs.put(record)
        close_run_calls(ledger, record, datetime.now(UTC))
        return self.enqueue(ledger)

    def enqueue(self, ledger: "Ledger") -> Delivery | None:
        """Write the texts of a run that is in the ledger, or of none, then take the first.

        Raises:
            StoreError: The database failed.
        """
        self.rows = [ledger.outbox.enqueue(row) for row in self.rows]
        return self._take(ledger)

    def go_on(self, ledger: "Ledger", ended: Sending) -> Delivery | None:
        """Write how the text that was taken last fared, then take the next.

        Raises:
            StoreError: The database failed.
        """
        self.rows[self._at] = ledger.outbox.settle(
            self.rows[self._at].occurrence_id,
            ended.status,
            message_id=ended.message_id,
            error=ended.error,
            sent_at=ended.sent_at,
        )
        if ended.gone:
            self.gone.add(self.rows[self._at].occurrence_id)
        if ended.status == DeliveryStatus.UNKNOWN:
            self.unknown.append(self.rows[self._at])
        self._keep(ledger, self.rows[self._at])
        self._at += 1
        return self._take(ledger)

    @property
    def held(self) -> list[Route]:
        """Routes on which a text waits for another attempt."""
        tried = self.rows[: self._at]
        return [row.route for row in tried if row.status == DeliveryStatus.PENDING]

    def _take(self, ledger: "Ledger") -> Delivery | None:
        while self._at < len(self.rows) and not self.disturbed:
            row = self.rows[self._at]
            if row.route not in self.held and self._begins(ledger, row):
                return self.rows[self._at]
            self._at += 1
        return None

    def _begins(self, ledger: "Ledger", row: Delivery) -> bool:
        """Begin an attempt if one may be made."""
        key = row.occurrence_id
        if row.status == DeliveryStatus.UNKNOWN and not self._is_repeated(row):
            # Whoever sent it is gone; what it knew of the reason, if anything, stays.
            error = row.error or SENDER_DIED
            self.rows[self._at] = ledger.outbox.settle(key, row.status, error=error)
            self.unknown.append(self.rows[self._at])
            self._keep(ledger, self.rows[self._at])
            return False
        if row.status == DeliveryStatus.PENDING and self.revoked:
            self.rows[self._at] = ledger.outbox.settle(
                key, DeliveryStatus.SUPPRESSED, error=GATE_REVOKED
            )
            return False
        if row.status in SETTLED:
            return False
        begun = ledger.outbox.begin_attempt(key, seen_attempts=row.attempts)
        if begun is None:
            # Not raised from here: the end of the former sending would be forgotten with this.
            self.disturbed = row
            return False
        self.rows[self._at] = begun
        return begun.status not in SETTLED

    def _is_repeated(self, row: Delivery) -> bool:
        return not self.revoked and self._may_be_repeated(row)

    def _keep(self, ledger: "Ledger", row: Delivery) -> None:
        """Add a run's last word to the session's thread, so that its user can speak of it."""
        session = self._session
        if session is None or row.part != FINAL_PART or row.status not in _MAY_HAVE_ARRIVED:
            return
        if not ledger.threads.ensure(session):
            return
        said = ThreadMessage(
            id=row.occurrence_id,
            thread_id=session.id,
            role="assistant",
            content=row.text,
            created_at=row.created_at,
        )
        ledger.threads.append([said])
