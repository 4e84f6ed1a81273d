"""Directives in a complete answer: what its tags ask for, and whether it is silent.

Owns the results for whole texts and is the front door to directives: the names for streams, for the
silent token and for cutting a buffer come from the modules that own them.

Source: chat-policies.md §1, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from dataclasses import dataclass

from domain.directive_tags import (
    TagKind,
    find_tags,
    remove_tags,
    split_trailing_directive,
    summarize_tags,
)
from domain.silent_replies import (
    SILENT_REPLY_TOKEN,
    is_silent_reply_prefix_text,
    is_silent_reply_text,
)
from domain.streaming_directives import (
    StreamingDirectiveAccumulator,
    StreamingDirectives,
    has_renderable_streaming_content,
    parse_streaming_chunk,
)

__all__ = [
    "SILENT_REPLY_TOKEN",
    "InlineDirectives",
    "ReplyDirectives",
    "StreamingDirectiveAccumulator",
    "StreamingDirectives",
    "has_renderable_streaming_content",
    "is_silent_reply_prefix_text",
    "is_silent_reply_text",
    "parse_inline_directives",
    "parse_reply_directives",
    "parse_streaming_chunk",
    "split_trailing_directive",
]


@dataclass(frozen=True, slots=True)
class InlineDirectives:
    """What the tags of a text ask for (chat-policies.md §1.3).

    Attributes:
        text: The text without the removed tags, trimmed.
        audio_as_voice: Send the reply as a voice message.
        reply_to_id: The message to reply to: the explicit id, else the current one if asked for.
        reply_to_explicit_id: The last id a tag named.
        reply_to_current: Reply to the message being answered; never with an explicit id.
        has_audio_tag: There was an audio tag.
        has_reply_tag: There was a reply tag.
        is_silent: What is left of the text is the silent token; it stays in `text`.
    """

    text: str = ""
    audio_as_voice: bool = False
    reply_to_id: str = ""
    reply_to_explicit_id: str = ""
    reply_to_current: bool = False
    has_audio_tag: bool = False
    has_reply_tag: bool = False
    is_silent: bool = False


@dataclass(frozen=True, slots=True)
class ReplyDirectives:
    """What a complete answer of the assistant says (chat-policies.md §1.4).

    Attributes:
        text: What to send, without tags; `""` when silent.
        reply_to_id: The message to reply to: the explicit id, else the current one if asked for.
        reply_to_explicit_id: The last id a tag named.
        reply_to_current: Reply to the message being answered; never with an explicit id.
        has_reply_tag: There was a reply tag.
        audio_as_voice: Send the reply as a voice message.
        is_silent: Nothing should be sent.
    """

    text: str = ""
    reply_to_id: str = ""
    reply_to_explicit_id: str = ""
    reply_to_current: bool = False
    has_reply_tag: bool = False
    audio_as_voice: bool = False
    is_silent: bool = False


def parse_inline_directives(
    text: str | None,
    *,
    current_message_id: str | None = "",
    strip_audio_tag: bool = True,
    strip_reply_tags: bool = True,
) -> InlineDirectives:
    """Read the tags of a text and remove them (chat-policies.md §1.3).

    Args:
        text: The text.
        current_message_id: Id of the message being answered, for `[[reply_to_current]]`.
        strip_audio_tag: Remove audio tags; what they ask for is reported either way.
        strip_reply_tags: Remove reply tags; what they ask for is reported either way.

    Returns:
        The text that is left and what the tags ask for.
    """
    text = text or ""
    tags = list(find_tags(text))
    found = summarize_tags(tags)
    removed = [
        tag for tag in tags if (strip_audio_tag if tag.kind is TagKind.AUDIO else strip_reply_tags)
    ]
    left = remove_tags(text, removed).strip()
    current = (current_message_id or "").strip() if found.current else ""
    return InlineDirectives(
        text=left,
        audio_as_voice=found.audio,
        reply_to_id=found.explicit_id or current,
        reply_to_explicit_id=found.explicit_id,
        reply_to_current=found.reply_to_current,
        has_audio_tag=found.audio,
        has_reply_tag=found.reply,
        is_silent=is_silent_reply_text(left),
    )


def parse_reply_directives(raw: str | None, current_message_id: str | None = "") -> ReplyDirectives:
    """Read a complete answer of the assistant (chat-policies.md §1.4).

    Args:
        raw: The answer.
        current_message_id: Id of the message being answered, for `[[reply_to_current]]`.

    Returns:
        What to send and where; a silent answer has no text but keeps everything else.
    """
    inline = parse_inline_directives(raw, current_message_id=current_message_id)
    return ReplyDirectives(
        text="" if inline.is_silent else inline.text,
        reply_to_id=inline.reply_to_id,
        reply_to_explicit_id=inline.reply_to_explicit_id,
        reply_to_current=inline.reply_to_current,
        has_reply_tag=inline.has_reply_tag,
        audio_as_voice=inline.audio_as_voice,
        is_silent=inline.is_silent,
    )
