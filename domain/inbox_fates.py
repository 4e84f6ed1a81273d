"""How messages come to their end: counted, remembered, and written down.

Owns booking an end in the state of an inbox. Which end it is is `domain.inbox`'s and
`domain.inbox_edit`'s.

Invariant: what is booked here was in the queue or in the turn, and is taken out by whoever books.
"""

from dataclasses import dataclass
from datetime import datetime

from domain.inbound_records import InboundRecord, MessageFate, inbound_id
from domain.inbox_memory import memory_of
from domain.inbox_state import InboxState, QueuedMessage


@dataclass(frozen=True, slots=True)
class Ending:
    """How a message ends, when, by which turn."""

    fate: MessageFate
    at: datetime
    reason: str | None = None
    turn_id: str | None = None


def settle(state: InboxState, key: str, item: QueuedMessage, ending: Ending) -> None:
    """Book the end of a message and of those merged into it, to be written by the session."""
    rows = records(key, item, ending)
    state.settled += rows
    for row in rows:
        book(state, row)


def records(key: str, item: QueuedMessage, ending: Ending) -> list[InboundRecord]:
    """The rows of a message and of those merged into it.

    A turn answers a message; what was merged into that is merged.
    """
    found: list[InboundRecord] = []
    for part in item.parts:
        answered = ending.fate == MessageFate.ANSWERED
        fate = MessageFate.MERGED if answered and part is not item else ending.fate
        found.append(record(key, part, ending, fate))
    return found


def record(
    key: str, item: QueuedMessage, ending: Ending | None, fate: MessageFate
) -> InboundRecord:
    """The row of one message; without an ending it waits."""
    return InboundRecord(
        id=inbound_id(key, item.id),
        session_key=key,
        message_id=item.id,
        sender_id=item.message.sender_id,
        sender_label=item.message.sender_label,
        text=None if item.kept else item.message.text,
        status=fate,
        reason=ending.reason if ending else None,
        turn_id=ending.turn_id if ending else None,
        received_at=item.received_at,
        settled_at=ending.at if ending else None,
    )


def book(state: InboxState, row: InboundRecord) -> None:
    """Count an end, and remember it for whoever asks."""
    state.counts[row.status] = state.counts.get(row.status, 0) + 1
    kept = memory_of(state, row.message_id)
    if kept is not None:
        kept.end(row.status, row.turn_id)
