"""What a session remembers of each message: its first answer, and where it is now.

Owns finding and forgetting. Source: DESIGN §3 rule 4.

Invariants:
    1. A message that has not come to its end is never forgotten.
    2. Others are remembered for a day, at most a thousand and `KEPT_BYTES` of them: it all goes
       through continue-as-new.
"""

import hashlib
import json
from datetime import datetime, timedelta
from typing import Final

from domain.inbound_records import MessageFate
from domain.inbox_state import InboxState, RememberedMessage

KEPT_FOR: Final = timedelta(hours=24)
KEPT_ANSWERS: Final = 1_000
KEPT_BYTES: Final = 131_072

# Of the id as JSON, with its quotes.
_ID_BYTES: Final = 66


def memory_of(state: InboxState, message_id: str) -> RememberedMessage | None:
    """What is remembered of a message; null for one that never came, or long ago."""
    wanted = kept_id(message_id)
    kept = reversed(state.remembered)
    return next((one for one in kept if one.message_id == wanted), None)


def forget(state: InboxState, now: datetime) -> None:
    """Forget what is over and old, or one of too many."""
    newest: list[RememberedMessage] = []
    weight = 0
    for number, kept in enumerate(reversed(state.remembered)):
        if kept.fate != MessageFate.WAITING:
            weight += kept.weight
            if number >= KEPT_ANSWERS or weight > KEPT_BYTES or now - kept.at >= KEPT_FOR:
                continue
        newest.append(kept)
    state.remembered = newest[::-1]


def kept_id(message_id: str) -> str:
    """The id by which a message is remembered: its own, or a hash of a long one."""
    if len(json.dumps(message_id, ensure_ascii=False).encode()) <= _ID_BYTES:
        return message_id
    return hashlib.sha256(message_id.encode()).hexdigest()
