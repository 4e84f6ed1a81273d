"""A delivery: one user-visible text on its way to one route, a row of the table `outbox`.

Owns its states and its id. Does not send (activities) nor decide what is worth sending
(`domain.outcome`). Source: triggers-and-actions.md §9 and §10.

Invariants:
    1. The occurrence id `<run id>/<part>` is the row's key and the channel's idempotency key.
    2. A row is marked `unknown` before it is handed to its channel; only the channel's own answer
       changes that. So a sender that dies in between leaves the truth behind.
    3. `sent`, `failed` and `suppressed` are final for the machine; `unknown` is too, unless the
       channel can tell or ignore a repeated key.
"""

from enum import StrEnum

from pydantic import AwareDatetime, BaseModel, ConfigDict

from domain.scopes import Route

MAX_ATTEMPTS = 5


class DeliveryStatus(StrEnum):
    """Where a delivery is."""

    PENDING = "pending"
    SENT = "sent"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SUPPRESSED = "suppressed"


SETTLED = frozenset({DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.SUPPRESSED})


class Delivery(BaseModel):
    """One row of the outbox.

    `message_id` is the channel's own id of what it sent, `run_id` null for what no run says.
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


class Part(BaseModel):
    """One text of a run on its way out: `start`, `final`, `first_failure`.

    `reply_to` is the message to send it under, on a channel that can.
    """

    model_config = ConfigDict(frozen=True)

    part: str
    route: Route
    reply_to: str | None = None
    text: str


def occurrence_id(run: str, part: str) -> str:
    """The key of a part of a run: `<run id>/final`."""
    return f"{run}/{part}"
