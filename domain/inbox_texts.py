"""The texts of an inbox: a message as it is queued, several as one prompt, what was dropped.

Owns the normal form of a message's text, previews, and the layout of joined messages.
Source: chat-policies.md §2.3, §3.5 and §3.6.
"""

import hashlib
import json
from bisect import bisect_right
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from domain.inbound import InboundContext, finalize_inbound_context
from domain.inbox_memory import kept_id
from domain.inbox_state import QueuedMessage, RememberedMessage, RunningTurn
from domain.queueing import QueueMode, build_queue_summary_line, elide_queue_text
from domain.session_messages import InboundMessage, MessageDecision

PREVIEW_CHARS: Final = 160
# A thread's opener is context, not a message; it goes through continue-as-new with each of them.
STARTER_CHARS: Final = 1_000

# What a message and a context call the same.
_SAME: Final = (
    *("provider", "surface", "chat_type", "chat_id", "conversation_label"),
    *("sender_label", "sender_id", "message_id", "message_id_full", "reply_to_id", "thread_id"),
    *("thread_starter_body", "command_authorized", "media_urls", "media_types", "timestamp_ms"),
)
# What is remembered of a message is at most this much more than its ids.
_LONGEST_REASON: Final = "steer_backlog_mode__"
_LONGEST_PLACE: Final = 1_000
_TURN_ID_TAIL: Final = "/t-" + "0" * 26
_COLLECT_TITLE: Final = "Messages that came while you were busy:"
_MISSING: Final = "[the text of this message is not known any more]"


def inbound_context(message: InboundMessage) -> InboundContext:
    """A message as chat policies see it, in its normal form."""
    given = {name: getattr(message, name) for name in _SAME}
    return finalize_inbound_context(InboundContext(raw_body=message.text, **given))


def queued_message(message: InboundMessage, mode: QueueMode, now: datetime) -> QueuedMessage:
    """A message as it waits: its attachments in its text, an opener cut short."""
    text = "\n".join([inbound_context(message).body_for_agent, *_attachments(message)]).strip("\n")
    about = message.model_copy(
        update={
            "text": "",
            "thread_starter_body": elide_queue_text(message.thread_starter_body, STARTER_CHARS),
            "media_urls": [],
            "media_types": [],
        }
    )
    bare = QueuedMessage(
        message=about,
        received_at=now,
        mode=mode,
        bytes=len(text.encode()),
        weight=json_bytes(text),
        text_hash=hashlib.sha256(text.encode()).hexdigest()[:16],
        preview=build_queue_summary_line(text, PREVIEW_CHARS),
    )
    weight = len(bare.model_dump_json().encode()) + _memory_bytes(message, now)
    whole = about.model_copy(update={"text": text})
    return bare.model_copy(update={"message": whole, "about_bytes": weight})


def json_bytes(text: str) -> int:
    """How many bytes a text has in a payload: a control character six."""
    return len(json.dumps(text, ensure_ascii=False).encode())


def cut_to_bytes(text: str, limit: int) -> str:
    """The longest beginning of a text that has at most so many bytes in a payload."""
    if json_bytes(text) <= limit:
        return text
    lengths = range(1, len(text) + 1)
    return text[: bisect_right(lengths, limit, key=lambda length: json_bytes(text[:length]))]


def _memory_bytes(message: InboundMessage, now: datetime) -> int:
    """The most that is remembered of a message while it waits."""
    return RememberedMessage(
        message_id=kept_id(message.message_id),
        at=now,
        decision=MessageDecision.INTERRUPT,
        reason=_LONGEST_REASON,
        position=_LONGEST_PLACE,
        turn_id=message.session_key + _TURN_ID_TAIL,
        retryable=True,
        request_id=message.request_id,
        digest=message.digest,
    ).weight


def summary_text(lines: Iterable[str], dropped: int) -> str:
    """What is said of messages that gave way because too many waited."""
    were = "1 message was" if dropped == 1 else f"{dropped} messages were"
    return "\n".join([f"{were} dropped because too many waited:", *(f"- {one}" for one in lines)])


class TextBlock(BaseModel):
    """A piece of what a turn asks: a text, or the message whose text it is."""

    model_config = ConfigDict(frozen=True)

    text: str = ""
    message_id: str = ""


def turn_text(turn: RunningTurn, kept: Mapping[str, str], heard: int | None = None) -> str:
    """What a turn asks the model.

    Args:
        turn: The turn.
        kept: The texts that are in the store, by message id.
        heard: As for `turn_blocks`.
    """
    return text_of_blocks(turn_blocks(turn, (), heard), kept)


def turn_blocks(
    turn: RunningTurn, known: Collection[str], heard: int | None = None
) -> list[TextBlock]:
    """What a turn asks the model, in pieces.

    Args:
        turn: The turn.
        known: Ids of the messages whose texts the reader of the pieces has; others are in them, but
            for those in the store.
        heard: How many of those that joined the model has heard, with all that came before them:
            they are left out. Null: it has heard nothing.
    """
    blocks = _begins_with(turn, known) if heard is None else []
    blocks += [block for one in turn.steered[heard:] for block in _blocks_of(one.item, known)]
    return [block for block in blocks if block.text or block.message_id]


def text_of_blocks(blocks: Iterable[TextBlock], texts: Mapping[str, str]) -> str:
    """What a turn asks the model.

    Args:
        blocks: Its pieces.
        texts: Of the messages that they name.
    """
    found = [one.text or texts.get(one.message_id, _MISSING) for one in blocks]
    return "\n\n".join(text for text in found if text)


def _begins_with(turn: RunningTurn, known: Collection[str]) -> list[TextBlock]:
    items = [_blocks_of(item, known) for item in turn.items]
    if not turn.collect or not (len(items) > 1 or turn.summary):
        return [TextBlock(text=turn.summary), *(block for texts in items for block in texts)]
    blocks = [TextBlock(text=_COLLECT_TITLE), TextBlock(text=turn.summary)]
    for number, texts in enumerate(items, start=1):
        blocks += [TextBlock(text="---"), TextBlock(text=f"Queued #{number}"), *texts]
    return blocks


def _blocks_of(item: QueuedMessage, known: Collection[str]) -> list[TextBlock]:
    return [
        TextBlock(message_id=one.id)
        if one.kept or one.id in known
        else TextBlock(text=one.message.text)
        for one in item.parts
    ]


def _attachments(message: InboundMessage) -> list[str]:
    """A line for each attachment; types may be fewer than addresses."""
    types = [*message.media_types, *[""] * len(message.media_urls)]
    return [
        f"[attachment: {' '.join(word for word in (kind, url) if word)}]"
        for kind, url in zip(types, message.media_urls, strict=False)
    ]
