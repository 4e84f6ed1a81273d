"""The texts of an inbox: a message as it is queued, several as one prompt, what was dropped.

Owns the normal form of a message's text, previews, and the layout of joined messages.
Source: chat-policies.md §2.3, §3.5 and §3.6.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from domain.inbound import InboundContext, finalize_inbound_context
from domain.inbox_state import QueuedMessage, RunningTurn
from domain.queueing import QueueMode, build_queue_summary_line, elide_queue_text
from domain.session_messages import InboundMessage

PREVIEW_CHARS: Final = 160
# A thread's opener is context, not a message; it goes through continue-as-new with each of them.
STARTER_CHARS: Final = 1_000

# What a message and a context call the same.
_SAME: Final = (
    *("provider", "surface", "chat_type", "chat_id", "conversation_label"),
    *("sender_label", "sender_id", "message_id", "message_id_full", "reply_to_id", "thread_id"),
    *("thread_starter_body", "command_authorized", "media_urls", "media_types", "timestamp_ms"),
)
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
    return QueuedMessage(
        message=about.model_copy(update={"text": text}),
        received_at=now,
        mode=mode,
        bytes=len(text.encode()),
        weight=len(json.dumps(text, ensure_ascii=False).encode()),
        about_bytes=len(about.model_dump_json(exclude_defaults=True).encode()),
        text_hash=hashlib.sha256(text.encode()).hexdigest()[:16],
        preview=build_queue_summary_line(text, PREVIEW_CHARS),
    )


def summary_text(lines: Iterable[str], dropped: int) -> str:
    """What is said of messages that gave way because too many waited."""
    were = "1 message was" if dropped == 1 else f"{dropped} messages were"
    return "\n".join([f"{were} dropped because too many waited:", *(f"- {one}" for one in lines)])


def turn_text(turn: RunningTurn, kept: Mapping[str, str]) -> str:
    """What a turn asks the model.

    Args:
        turn: The turn.
        kept: The texts that are in the store, by message id.
    """
    texts = [_text_of(item, kept) for item in turn.items]
    if turn.collect and (len(texts) > 1 or turn.summary):
        blocks = [_COLLECT_TITLE, turn.summary]
        for number, text in enumerate(texts, start=1):
            blocks += ["---", f"Queued #{number}", text]
    else:
        blocks = [turn.summary, *texts]
    blocks += [_text_of(one.item, kept) for one in turn.steered]
    return "\n\n".join(block for block in blocks if block)


def _text_of(item: QueuedMessage, kept: Mapping[str, str]) -> str:
    parts = [kept.get(one.id, _MISSING) if one.kept else one.message.text for one in item.parts]
    return "\n\n".join(parts)


def _attachments(message: InboundMessage) -> list[str]:
    """A line for each attachment; types may be fewer than addresses."""
    types = [*message.media_types, *[""] * len(message.media_urls)]
    return [
        f"[attachment: {' '.join(word for word in (kind, url) if word)}]"
        for kind, url in zip(types, message.media_urls, strict=False)
    ]
