"""The activity that ends a run in the ledger and sends what it has to say.

Owns what becomes of a delivery whose sender was refused or got no answer, and which channel gets
it. The ledger's side is `activities.delivery_steps`', how a channel sends `activities.channels`',
what is said the run's. Source: triggers-and-actions.md §9 and §10, DESIGN §6.

Invariants:
    1. The ledger knows of a text before a channel does, and of an attempt before it is made.
    2. A text that may have arrived is sent again only to a channel that ignores a repeated key.
    3. No error holds an address, a secret or the text.
    4. A run without texts is one transaction, every text adds one.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog
from pydantic import BaseModel
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.channels.channel import Ambiguous, Channel, Refused
from activities.clock import Clock, utc_now
from activities.delivery_steps import DeliverySteps, Sending
from activities.failures import DELIVERY_REFUSED, STORE_FAILED
from activities.heartbeats import beating
from domain.deliveries import MAX_ATTEMPTS, Delivery, DeliveryStatus, occurrence_id
from domain.runs import RunRecord
from domain.scopes import Route
from domain.threads import Thread

if TYPE_CHECKING:
    # Heavy to import, and this module is imported for its payloads by every client.
    from activities.store import Store

BEAT: Final = timedelta(seconds=3)
RETRY_FACTOR: Final = 4

log = structlog.get_logger(__name__)


class Part(BaseModel):
    """One text of a run: `start`, `progress-1`, `final`, `failure`."""

    part: str
    route: Route
    text: str


class FinishRun(BaseModel):
    """What is known of a run, and what it says.

    Attributes:
        record: The row of the ledger.
        thread: The thread that the record names; made if there is none.
        parts: Texts to deliver, in order.
    """

    record: RunRecord
    thread: Thread | None = None
    parts: list[Part] = []


class DeliveryReceipt(BaseModel):
    """How a delivery stands after the activity."""

    occurrence_id: str
    status: DeliveryStatus
    message_id: str | None = None
    error: str | None = None


class RunFinished(BaseModel):
    """One receipt for each part, in order."""

    deliveries: list[DeliveryReceipt] = []


class Delivering(BaseModel):
    """Heartbeat: the delivery that is being made, null before and between."""

    occurrence_id: str | None = None


class DeliveryActivities:
    """Writes runs to the ledger and delivers their texts."""

    def __init__(
        self,
        store: "Store",
        channels: Mapping[str, Channel],
        default_channel: str,
        clock: Clock = utc_now,
    ) -> None:
        """Take what is needed.

        Args:
            store: The ledger; stays its owner's, like the channels.
            channels: By name, as routes name them.
            default_channel: Takes what no channel claims.
            clock: For the times in the outbox.

        Raises:
            ValueError: There is no channel `default_channel`.
        """
        if default_channel not in channels:
            raise ValueError(f"there is no channel {default_channel!r}, only {sorted(channels)}")
        self._store = store
        self._channels = channels
        self._default = default_channel
        self._clock = clock

    @activity.defn
    async def finish_run(self, request: FinishRun) -> RunFinished:
        """Write the record, then deliver the parts that are not settled yet.

        Returns:
            How every part stands; none of them waits for another attempt.

        Raises:
            ApplicationError: `delivery_refused`, to be retried after the delay it names, with the
                `RunFinished` so far; `store_failed` from the store, or because another sender is at
                one of the parts.
        """
        current = Delivering()
        steps = DeliverySteps(self._rows(request), self._may_be_repeated)
        with beating(lambda: current, BEAT):
            row = await self._store.write(steps.begin, request.record, request.thread)
            while row is not None:
                current = Delivering(occurrence_id=row.occurrence_id)
                row = await self._store.write(steps.go_on, await self._send(row))
        if steps.disturbed is not None:
            key = steps.disturbed.occurrence_id
            raise ApplicationError(f"another sender is at {key!r}", type=STORE_FAILED)
        finished = RunFinished(
            deliveries=[DeliveryReceipt.model_validate(row.model_dump()) for row in steps.rows]
        )
        if steps.held:
            raise self._refusal(steps, finished)
        return finished

    def _rows(self, request: FinishRun) -> list[Delivery]:
        """The parts as they are before anybody tried."""
        return [
            Delivery(
                occurrence_id=occurrence_id(request.record.id, part.part),
                run_id=request.record.id,
                route=part.route,
                part=part.part,
                text=part.text,
                created_at=self._clock(),
            )
            for part in request.parts
        ]

    async def _send(self, row: Delivery) -> Sending:
        """Hand a text to its channel."""
        key = row.occurrence_id
        channel, route = self._channel_of(row.route)
        try:
            message_id = await channel.send(
                key, route, row.text, row.run_id, row.part, repeated=row.attempts > 1
            )
        except Refused as refused:
            again = refused.retryable and row.attempts < MAX_ATTEMPTS
            status = DeliveryStatus.PENDING if again else DeliveryStatus.FAILED
            error = str(refused)
        except Ambiguous as ambiguous:
            again = self._may_be_repeated(row)
            status = DeliveryStatus.PENDING if again else DeliveryStatus.UNKNOWN
            error = str(ambiguous)
        else:
            return Sending(DeliveryStatus.SENT, message_id=message_id, sent_at=self._clock())
        log.warning(
            "delivery.not_sent",
            occurrence_id=key,
            route=row.route.text,
            attempt=row.attempts,
            status=status,
            error=error,
        )
        return Sending(status, error=error)

    def _may_be_repeated(self, row: Delivery) -> bool:
        """Whether a text that may have arrived may be sent again."""
        channel, _ = self._channel_of(row.route)
        return channel.deduplicates and row.attempts < MAX_ATTEMPTS

    def _channel_of(self, route: Route) -> tuple[Channel, Route]:
        """The channel of a route, and the route as that channel understands it."""
        channel = self._channels.get(route.receive_id_type)
        if channel is not None:
            return channel, route
        # The target was meant for a channel that is not there; to this one it says nothing.
        return self._channels[self._default], Route(receive_id_type=self._default)

    def _refusal(self, steps: DeliverySteps, finished: RunFinished) -> ApplicationError:
        waiting = [
            row for row in steps.rows if row.status == DeliveryStatus.PENDING and row.attempts
        ]
        return ApplicationError(
            "; ".join(f"{row.occurrence_id} was not delivered: {row.error}" for row in waiting),
            finished,
            type=DELIVERY_REFUSED,
            next_retry_delay=max(map(self._delay, waiting)),
        )

    def _delay(self, row: Delivery) -> timedelta:
        channel, _ = self._channel_of(row.route)
        return timedelta(seconds=channel.retry_seconds * RETRY_FACTOR ** (row.attempts - 1))
