"""Directives in an answer that arrives in chunks.

Owns the parsing of one chunk on its own and the accumulator that sees all chunks of one message.
Tags are read by `domain.directive_tags`, the silent token by `domain.silent_replies`.

Invariants:
    1. However a text is cut, the texts of all results are that of `parse_reply_directives`, but for
       the length of whitespace runs.
    2. Per call the accumulator rescans at most the held-back tail of 511 characters.

Source: chat-policies.md §1.8 and §1.9, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from dataclasses import dataclass

from domain.directive_tags import (
    TagRemover,
    TagSummary,
    find_tags,
    remove_tags,
    split_trailing_directive,
    summarize_tags,
)
from domain.silent_replies import (
    SilentReplyHold,
    is_silent_reply_prefix_text,
    is_silent_reply_text,
)


@dataclass(frozen=True, slots=True)
class StreamingDirectives:
    """What one chunk says (chat-policies.md §1.8).

    Attributes:
        text: What to show.
        reply_to_explicit_id: The id of the message to reply to, if one was named.
        reply_to_current: Reply to the message being answered; never with an explicit id.
        has_reply_tag: There was a reply tag.
        audio_as_voice: Send the reply as a voice message.
        is_silent: The text is the silent token, or for a single chunk its beginning.
    """

    text: str = ""
    reply_to_explicit_id: str = ""
    reply_to_current: bool = False
    has_reply_tag: bool = False
    audio_as_voice: bool = False
    is_silent: bool = False


def parse_streaming_chunk(raw: str | None) -> StreamingDirectives:
    """Read one chunk without memory of the others (chat-policies.md §1.8).

    Args:
        raw: The chunk.

    Returns:
        Its directives; the blanks at its ends stay, but for those next to a tag.
    """
    raw = raw or ""
    tags = list(find_tags(raw))
    text = remove_tags(raw, tags)
    is_silent = is_silent_reply_text(text) or is_silent_reply_prefix_text(text)
    return _result("" if is_silent else text, summarize_tags(tags), is_silent=is_silent)


def has_renderable_streaming_content(result: StreamingDirectives | None) -> bool:
    """Whether a result has text or asks for voice (chat-policies.md §1.8)."""
    return result is not None and (bool(result.text) or result.audio_as_voice)


class StreamingDirectiveAccumulator:
    """Reads the chunks of one assistant message, in order (chat-policies.md §1.9)."""

    __slots__ = ("_finished", "_hold", "_remover", "_seen", "_tail")

    def __init__(self) -> None:
        self._tail = ""
        self._hold = SilentReplyHold()
        self._remover = TagRemover()
        self._seen = TagSummary()
        self._finished = False

    def consume(self, raw: str | None, final: bool = False) -> StreamingDirectives | None:
        """Take the next chunk.

        Args:
            raw: The chunk.
            final: Whether it is the last one; what is held back is decided then.

        Returns:
            What can be shown now, with the reply target as known so far; `None` when there is
            nothing to show, and always after the final chunk.
        """
        if self._finished:
            return None
        text = self._tail + (raw or "")
        self._tail = ""
        if not final:
            text, self._tail = split_trailing_directive(text)
        self._finished = final
        if not text and not (final and self._hold.is_holding):
            return None
        tags = list(find_tags(text))
        found = summarize_tags(tags)
        self._seen = self._seen.then(found)
        shown = self._hold.add(self._remover.remove(text, tags))
        if not self._hold.seen_text:
            self._remover.forget_text()
        is_silent = False
        if final:
            rest, is_silent = self._hold.finish()
            shown += rest
        result = _result(shown, self._seen, audio=found.audio, is_silent=is_silent)
        return result if has_renderable_streaming_content(result) else None


def _result(
    text: str, tags: TagSummary, *, is_silent: bool, audio: bool | None = None
) -> StreamingDirectives:
    return StreamingDirectives(
        text=text,
        reply_to_explicit_id=tags.explicit_id,
        reply_to_current=tags.reply_to_current,
        has_reply_tag=tags.reply,
        audio_as_voice=tags.audio if audio is None else audio,
        is_silent=is_silent,
    )
