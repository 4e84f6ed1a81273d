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
from activities.emitting import Emitter, tell_or_log
from activities.messenger import Messenger
from domain.deliveries import Delivery, Part
from domain.delivery_events import event_of_unknown

if TYPE_CHECKING:
    from activities.store import Ledger, Store

log = structlog.get_logger(__name__)


class Announcer:
    """Says what a run announces."""

    def __init__(
        self, store: "Store", messenger: Messenger, emitter: Emitter | None = None
    ) -> None:
        self._store = store
        self._messenger = messenger
        self._emitter = emitter

    def prepare(
        self, part: Part, run_id: str, *, scope: str | None = None, hop: int = 0
    ) -> "Announcement":
        """A text that is about to be said; `scope` may see it, `hop` is the run's."""
        row = self._messenger.row(part, run_id, scope=scope)
        return Announcement(self._store, self._messenger, self._emitter, row, hop)


class Announcement:
    """One text: written with `begin`, in the transaction of whoever announces it, then sent."""

    def __init__(
        self,
        store: "Store",
        messenger: Messenger,
        emitter: Emitter | None,
        row: Delivery,
        hop: int,
    ) -> None:
        self._store = store
        self._messenger = messenger
        self._emitter = emitter
        self._hop = hop
        self._steps = DeliverySteps([row], never_repeated)
        self._begun: Delivery | None = None

    def begin(self, ledger: "Ledger") -> None:
        """Write the text and its attempt, unless there was one.

        Raises:
            StoreError: The database failed.
        """
        self._begun = self._steps.enqueue(ledger)

    async def send(self) -> None:
        """Send what was begun, tell of what may be lost; raises nothing but cancellation."""
        try:
            if self._begun is not None:
                ended = await self._messenger.send_once(self._begun)
                await self._store.write(self._steps.go_on, ended)
            await self._tell()
        except Exception as error:  # a notice never fails its run
            key = self._steps.rows[0].occurrence_id
            log.warning("announcement.not_recorded", key=key, error=str(error))

    async def _tell(self) -> None:
        for row in self._steps.unknown:
            event = event_of_unknown(row, hop=self._hop)
            if self._emitter is not None and event is not None:
                await tell_or_log(self._emitter, [event], row.scope or "")
