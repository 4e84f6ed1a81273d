"""What became of each message to a session: a row of the table `inbound`.

Owns the row model and the ends a message can come to. When it comes to which is `domain.inbox`'s.
Source: chat-policies.md §3.6.

Invariant: a message comes to exactly one end; `waiting` is none.
"""

from enum import StrEnum
from functools import cached_property

from pydantic import AwareDatetime, BaseModel, ConfigDict


class MessageFate(StrEnum):
    """Where a message is, or how it ended.

    `answered` by a turn of its own, `merged` into the turn of another, `steered` into one that ran;
    `dropped` from the queue, `aborted` with the turn that was stopped (the word that stopped it,
    too), `ignored` as the stop of somebody who may not, `failed` with its turn.
    """

    WAITING = "waiting"
    ANSWERED = "answered"
    MERGED = "merged"
    STEERED = "steered"
    DROPPED = "dropped"
    ABORTED = "aborted"
    IGNORED = "ignored"
    FAILED = "failed"


class InboundRecord(BaseModel):
    """One row of `inbound`; `id` is `<session key>/<message id>`.

    `text` null leaves the stored one as it is: it was written when the message had to wait. An id
    may come again after a day: a message that waits writes its text over that of the former one.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    session_key: str
    message_id: str
    sender_id: str = ""
    sender_label: str = ""
    text: str | None = None
    status: MessageFate
    reason: str | None = None
    turn_id: str | None = None
    received_at: AwareDatetime
    settled_at: AwareDatetime | None = None

    @cached_property
    def weight(self) -> int:
        """Its bytes in a payload."""
        return len(self.model_dump_json().encode())


def inbound_id(session_key: str, message_id: str) -> str:
    """The key of a message's row."""
    return f"{session_key}/{message_id}"
