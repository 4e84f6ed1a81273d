"""A delivery: one user-visible text on its way to one route, a row of the table `outbox`.

Owns its states and its id. Does not send (activities) nor decide what is worth sending
(`domain.outcome`). Source: triggers-and-actions.md §9 and §10.

Invariants:
    1. The occurrence id `<run id>/<part>` is the row's key and the channel's idempotency key.
    2. A row is marked `unknown` before it is handed to its channel; only the channel's own answer
       changes that. So a sender that dies in between leaves the truth behind.
    3. `sent`, `failed` and `suppressed` are final for the machine; `unknown` is too, unless the
       channel can tell or ignore a repeated key.
    4. What a person has sent again is a row of its own, `<occurrence id>/resend-<n>`.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.scopes import Route

MAX_ATTEMPTS = 5
# The part with which a run or a turn says what came of it.
FINAL_PART: Final = "final"


class DeliveryStatus(StrEnum):
    """Where a delivery is."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"


SETTLED = frozenset({DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.SUPPRESSED})
# What a person may have sent again: it did not arrive, or nobody knows.
RESENDABLE: Final = (DeliveryStatus.UNKNOWN, DeliveryStatus.FAILED)

_RESEND: Final = re.compile(r"/resend-(\d{1,9})\Z")


class Delivery(BaseModel):
    """One row of the outbox.

    `message_id` is the channel's own id of what it sent, `run_id` null for what no run says.
    `scope` is who may see it, `user:me`; null where that was never known. `reply_to` is the message
    to send it under, `audio_as_voice` that it is to be spoken, each on a channel that can.
    """

    model_config = ConfigDict(frozen=True)

    occurrence_id: str
    run_id: str | None
    route: Route
    part: str
    text: str
    status: DeliveryStatus = DeliveryStatus.PENDING
    attempts: int = 0
    message_id: str | None = None
    error: str | None = None
    created_at: AwareDatetime
    sent_at: AwareDatetime | None = None
    scope: str | None = None
    reply_to: str | None = None
    audio_as_voice: bool = False


class Part(BaseModel):
    """One text of a run on its way out: `start`, `final`, `first_failure`.

    `reply_to` is the message to send it under, `audio_as_voice` that it is to be spoken, each on a
    channel that can.
    """

    model_config = ConfigDict(frozen=True)

    part: str
    route: Route
    reply_to: str | None = None
    audio_as_voice: bool = False
    text: str


def occurrence_id(run: str, part: str) -> str:
    """The key of a part of a run: `<run id>/final`."""
    return f"{run}/{part}"


def resend_prefix(occurrence: str) -> str:
    """What the keys of all resends of a text begin with, also given one of them."""
    return f"{_RESEND.sub('', occurrence)}/resend-"


def resend(row: Delivery, number: int, now: datetime) -> Delivery:
    """The same text once more, as a row that nobody has tried yet.

    Args:
        row: The text, or a former resend of it.
        number: How often it is then sent again, 1, 2, …
        now: When a person asked for it.
    """
    return Delivery(
        occurrence_id=f"{resend_prefix(row.occurrence_id)}{number}",
        run_id=row.run_id,
        route=row.route,
        part=f"{resend_prefix(row.part)}{number}",
        text=row.text,
        created_at=now,
        scope=row.scope,
        reply_to=row.reply_to,
        audio_as_voice=row.audio_as_voice,
    )


def next_resend(rows: list[str]) -> int:
    """The number after those of the resends that there are, given by their keys."""
    found = [int(match[1]) for key in rows if (match := _RESEND.search(key))]
    return max(found, default=0) + 1
