"""One attempt to send a text: which channel gets it, and what its answer means.

Owns finding the channel of a route, and falling back from a reply to a plain message. When attempts
are made is `activities.deliveries`' and `activities.announcements`'; how a channel sends is
`activities.channels`'. Source: triggers-and-actions.md §9, automation.md §7.6 and §7.8.

Invariants:
    1. A text that may have arrived is sent again only to a channel that ignores a repeated key.
    2. A reply that was refused is sent to the route itself, in the same attempt.
    3. No error holds an address, a secret or the text.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Final

import structlog

from activities.channels.channel import Ambiguous, Channel, MessageGone, Outgoing, Refused
from activities.clock import Clock, utc_now
from activities.delivery_steps import Sending
from domain.deliveries import (
    MAX_ATTEMPTS,
    Delivery,
    DeliveryStatus,
    Part,
    occurrence_id,
    resend,
)
from domain.redaction import redact_text
from domain.scopes import Route

RETRY_FACTOR: Final = 4
NOTICE_TIMEOUT: Final = timedelta(seconds=10)
TOO_SLOW: Final = "the channel took too long; the text may have arrived"

log = structlog.get_logger(__name__)


class Messenger:
    """Hands texts to channels."""

    def __init__(
        self, channels: Mapping[str, Channel], default_channel: str, clock: Clock = utc_now
    ) -> None:
        """Take what is needed.

        Args:
            channels: By name, as routes name them; they stay their owner's.
            default_channel: Takes what no channel claims.
            clock: For the times in the outbox.

        Raises:
            ValueError: There is no channel `default_channel`.
        """
        if default_channel not in channels:
            raise ValueError(f"there is no channel {default_channel!r}, only {sorted(channels)}")
        self._channels = channels
        self._default = default_channel
        self._clock = clock

    def row(
        self, part: Part, run_id: str | None, key: str | None = None, *, scope: str | None = None
    ) -> Delivery:
        """A text as it is before anybody tried.

        Args:
            part: The text.
            run_id: The run that says it, null for what no run says.
            key: Its occurrence id; else that of the run's part.
            scope: Who may see it, in text form.
        """
        return Delivery(
            occurrence_id=key or occurrence_id(run_id or "", part.part),
            run_id=run_id,
            route=part.route,
            part=part.part,
            text=part.text,
            created_at=self._clock(),
            scope=scope,
            reply_to=part.reply_to,
            audio_as_voice=part.audio_as_voice,
        )

    def again(self, row: Delivery, number: int) -> Delivery:
        """The text once more, because a person wants it sent again."""
        return resend(row, number, self._clock())

    def may_be_repeated(self, row: Delivery) -> bool:
        """Whether a text that may have arrived may be sent again."""
        channel, _ = self._channel_of(row.route)
        return channel.deduplicates and row.attempts < MAX_ATTEMPTS

    def threads(self, row: Delivery) -> bool:
        """Whether a later text can be a reply to this one."""
        channel, _ = self._channel_of(row.route)
        return channel.threads and row.status == DeliveryStatus.SENT

    def delay(self, row: Delivery) -> timedelta:
        """How long to wait after a refusal."""
        channel, _ = self._channel_of(row.route)
        return timedelta(seconds=channel.retry_seconds * RETRY_FACTOR ** (row.attempts - 1))

    def speaks(self, route: Route) -> bool:
        """Whether a text to a route can be marked as one to be spoken."""
        return self._channel_of(route)[0].speaks

    async def send(self, row: Delivery, *, last: bool = False) -> Sending:
        """Hand a text to its channel, once.

        Args:
            row: The text, its attempt counted.
            last: A refusal is final.
        """
        channel, route = self._channel_of(row.route)
        message = Outgoing(
            key=row.occurrence_id,
            route=route,
            text=row.text,
            run_id=row.run_id,
            part=row.part,
            repeated=row.attempts > 1,
            reply_to=row.reply_to if channel.threads else None,
            audio_as_voice=row.audio_as_voice and channel.speaks,
        )
        try:
            message_id, gone = await _sent(channel, message)
        except Refused as refused:
            again = refused.retryable and row.attempts < MAX_ATTEMPTS and not last
            status = DeliveryStatus.PENDING if again else DeliveryStatus.FAILED
            error = redact_text(str(refused))
        except Ambiguous as ambiguous:
            again = self.may_be_repeated(row) and not last
            status = DeliveryStatus.PENDING if again else DeliveryStatus.UNKNOWN
            error = redact_text(str(ambiguous))
        else:
            return Sending(
                DeliveryStatus.SENT, message_id=message_id, sent_at=self._clock(), gone=gone
            )
        log.warning(
            "delivery.not_sent",
            occurrence_id=row.occurrence_id,
            route=row.route.text,
            attempt=row.attempts,
            status=status,
            error=error,
        )
        return Sending(status, error=error)

    async def send_once(self, row: Delivery) -> Sending:
        """Send a notice: one attempt, within a short time; after that it may have arrived."""
        try:
            async with asyncio.timeout(NOTICE_TIMEOUT.total_seconds()):
                return await self.send(row, last=True)
        except TimeoutError:
            return Sending(DeliveryStatus.UNKNOWN, error=TOO_SLOW)

    def _channel_of(self, route: Route) -> tuple[Channel, Route]:
        """The channel of a route, and the route as that channel understands it."""
        channel = self._channels.get(route.receive_id_type)
        if channel is not None:
            return channel, route
        # The target was meant for a channel that is not there; to this one it says nothing.
        return self._channels[self._default], Route(receive_id_type=self._default)


async def _sent(channel: Channel, message: Outgoing) -> tuple[str, bool]:
    """Send a text, as a reply first; gives its id, and whether the message to reply to is gone.

    Raises:
        Refused: It was not delivered.
        Ambiguous: It may have been.
    """
    if message.reply_to is None:
        return await channel.send(message), False
    try:
        return await channel.send(message), False
    except Refused as refused:
        gone = isinstance(refused, MessageGone)
        log.info("delivery.not_a_reply", occurrence_id=message.key, gone=gone, error=str(refused))
    return await channel.send(replace(message, reply_to=None)), gone
