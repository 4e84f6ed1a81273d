"""What a run says while it works: its start notice.

Owns sending a text beside other work, once, within a short time. Source: automation.md §7.3 and §9
(Notices).

Invariants:
    1. A text that cannot be sent is logged and changes nothing else.
    2. It is written to the ledger before it is sent, so a repeated attempt does not say it again.
"""

from typing import TYPE_CHECKING

import structlog

from activities.delivery_steps import DeliverySteps, never_repeated
from activities.messenger import Messenger
from domain.deliveries import Delivery, Part

if TYPE_CHECKING:
    from activities.store import Ledger, Store

log = structlog.get_logger(__name__)


class Announcer:
    """Says what a run announces."""

    def __init__(self, store: "Store", messenger: Messenger) -> None:
        self._store = store
        self._messenger = messenger

    def prepare(self, part: Part, run_id: str) -> "Announcement":
        """A text that is about to be said."""
        return Announcement(self._store, self._messenger, part, run_id)


class Announcement:
    """One text: written with `begin`, in the transaction of whoever announces it, then sent."""

    def __init__(self, store: "Store", messenger: Messenger, part: Part, run_id: str) -> None:
        self._store = store
        self._messenger = messenger
        self._reply_to = part.reply_to
        self._steps = DeliverySteps([messenger.row(part, run_id)], never_repeated)
        self._begun: Delivery | None = None

    def begin(self, ledger: "Ledger") -> None:
        """Write the text and its attempt, unless there was one.

        Raises:
            StoreError: The database failed.
        """
        self._begun = self._steps.enqueue(ledger)

    async def send(self) -> None:
        """Send what was begun; raises nothing but cancellation."""
        row = self._begun
        if row is None:
            return
        ended = await self._messenger.send_once(row, self._reply_to)
        try:
            await self._store.write(self._steps.go_on, ended)
        except Exception as error:  # a notice never fails its run
            log.warning("announcement.not_recorded", key=row.occurrence_id, error=str(error))
