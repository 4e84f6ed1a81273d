"""The activity that sends an alert of the watchdog.

Owns the cooldown between equal alerts, read from the outbox so that it survives everything the
ledger survives. Whether something is wrong is `domain.watchdog`'s. Source: automation.md §11.

Invariant: the same routine and kind is told of again only when the cooldown since the last alert
that was sent successfully has passed.
"""

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict
from temporalio import activity

from activities.delivery_steps import DeliverySteps, never_repeated
from activities.emitting import Emitter, tell_or_log
from activities.messenger import Messenger
from domain.deliveries import Delivery, DeliveryStatus, Part
from domain.delivery_events import event_of_unknown
from domain.notices import alert_notice
from domain.routine import Routine
from domain.scopes import Route
from domain.timestamps import format_timestamp, whole_second
from domain.watchdog import DEFAULT_COOLDOWN_SECONDS, Alert, due_at, may_alert

if TYPE_CHECKING:
    # Heavy to import, and this module is imported for its payloads by every client.
    from activities.store import Ledger, Store

PREFIX: Final = "watchdog/"


class SendAlert(BaseModel):
    """An alert about a routine.

    Attributes:
        route: Where it goes, under `reply_to` where the channel can.
        since: The planned time of what is overdue, or when the stuck run started.
        at: When it was noticed.
        busy: Whether the session is, for what is overdue; null where there is none.
        scope: Whose routine it is.
    """

    model_config = ConfigDict(frozen=True)

    routine_id: str
    title: str
    route: Route
    reply_to: str | None = None
    alert: Alert
    since: AwareDatetime
    at: AwareDatetime
    busy: bool | None = None
    scope: str | None = None

    @classmethod
    def of(
        cls, routine: Routine, alert: Alert, at: datetime, *, busy: bool | None = None
    ) -> "SendAlert":
        """The alert for the routine's effective route."""
        return cls(
            routine_id=routine.id,
            title=routine.title or routine.id,
            route=routine.notify.route or routine.route,
            reply_to=None if routine.notify.route else routine.source_message_id or None,
            alert=alert,
            since=(routine.last_run_at if routine.running else due_at(routine)) or at,
            at=at,
            busy=busy,
            scope=routine.scope.text,
        )

    @property
    def prefix(self) -> str:
        """What the keys of all alerts of this routine and kind begin with."""
        return f"{PREFIX}{self.routine_id}/{self.alert.kind}/"


class AlertActivities:
    """Sends alerts."""

    def __init__(
        self,
        store: "Store",
        messenger: Messenger,
        cooldown: timedelta = timedelta(seconds=DEFAULT_COOLDOWN_SECONDS),
        emitter: Emitter | None = None,
    ) -> None:
        """Take what is needed.

        Args:
            store: The ledger; stays its owner's.
            messenger: Sends the texts.
            cooldown: Shortest time between two equal alerts.
            emitter: Hears of alerts whose fate nobody knows; null where nobody listens.
        """
        self._store = store
        self._messenger = messenger
        self._cooldown = cooldown
        self._emitter = emitter

    @activity.defn
    async def send_alert(self, request: SendAlert) -> bool:
        """Send an alert; false when it was sent before, a short while ago, or could not be."""
        name = f"watchdog-{request.alert.kind}"
        text = alert_notice(
            request.alert, request.routine_id, request.title, request.since, busy=request.busy
        )
        key = request.prefix + format_timestamp(whole_second(request.at))
        part = Part(part=name, route=request.route, reply_to=request.reply_to, text=text)
        text_row = self._messenger.row(part, None, key, scope=request.scope)
        steps = DeliverySteps([text_row], never_repeated)
        row = await self._store.write(self._begin, request, steps)
        if row is None:
            await self._tell(steps, request)
            return False
        sent = await self._messenger.send_once(row)
        await self._store.write(steps.go_on, sent)
        await self._tell(steps, request)
        return sent.status == DeliveryStatus.SENT

    async def _tell(self, steps: DeliverySteps, request: SendAlert) -> None:
        """Tell of an alert that may be lost; that nobody can be told fails nothing."""
        for row in steps.unknown:
            event = event_of_unknown(row, routine_id=request.routine_id)
            if self._emitter is not None and event is not None:
                await tell_or_log(self._emitter, [event], row.scope or "")

    def _begin(self, ledger: "Ledger", request: SendAlert, steps: DeliverySteps) -> Delivery | None:
        last = ledger.outbox.last_sent(request.prefix)
        if not may_alert(last, request.at, int(self._cooldown.total_seconds())):
            return None
        return steps.enqueue(ledger)
