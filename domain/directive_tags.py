"""The tags in a model's answer: `[[audio_as_voice]]`, `[[reply_to_current]]`, `[[reply_to: id]]`.

Owns the grammar, finding tags, removing them, and knowing an unfinished one at the end of a text.
What is made of the tags is decided in `domain.directives` and `domain.streaming_directives`.

Invariants:
    1. Finding and removing are linear: an inner text holds no bracket, so nothing is scanned twice.
    2. Only the surroundings of a removed tag change.
    3. A cut of `split_trailing_directive` loses nothing: body + tail is the text.

Source: chat-policies.md §1.1, §1.2, §1.7, after the public package beeper/ai-bridge `pkg/runtime`.
"""

import re
import string
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

MAX_TAG_CHARS: Final = 512

_WS: Final = " \t\n\r\f"
_HSPACE: Final = " \t"
_LINE_BREAKS: Final = frozenset("\r\n")
_NO_SPACE_AFTER: Final = frozenset(("", " ", "\t", "\r", "\n"))
_LINE_BREAK = re.compile(r"[\r\n]")
_ASCII_LOWER: Final = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)

# The look-ahead bounds the inner text before anything else is tried. Possessive quantifiers never
# give back, so a failing tag costs its length once.
_BODY: Final = (
    r"[ \t\n\r\f]*+"
    r"(?:(?P<audio>audio_as_voice)[ \t\n\r\f]*+"
    r"|(?P<current>reply_to_current)[ \t\n\r\f]*+"
    r"|reply_to[ \t\n\r\f]*+:(?P<id>[^\[\]]*+))"
)
_TAG = re.compile(
    rf"\[\[(?=[^\[\]]{{0,{MAX_TAG_CHARS - 4}}}\]\]){_BODY}\]\]", re.ASCII | re.IGNORECASE
)
_WHOLE_BODY = re.compile(_BODY, re.ASCII | re.IGNORECASE)
_KEYWORDS: Final = ("audio_as_voice", "reply_to_current", "reply_to")
_OPEN_ID = re.compile(r"reply_to[ \t\n\r\f]*+:(.*)", re.DOTALL)


class TagKind(StrEnum):
    """What a tag asks for (chat-policies.md §1.1)."""

    AUDIO = "audio_as_voice"
    REPLY_TO_CURRENT = "reply_to_current"
    REPLY_TO_ID = "reply_to"


@dataclass(frozen=True, slots=True)
class Tag:
    """One tag in a text.

    Attributes:
        kind: What it asks for.
        start: Index of its first bracket.
        end: Index after its last bracket.
        reply_to_id: The id of `REPLY_TO_ID`, trimmed and not empty; else `""`.
    """

    kind: TagKind
    start: int
    end: int
    reply_to_id: str = ""


@dataclass(frozen=True, slots=True)
class TagSummary:
    """What several tags ask for together (chat-policies.md §1.1).

    Attributes:
        audio: Some tag asks for a voice message.
        reply: There is a reply tag.
        current: Some tag asks to reply to the message being answered.
        explicit_id: The last explicit id, or `""`.
    """

    audio: bool = False
    reply: bool = False
    current: bool = False
    explicit_id: str = ""

    def then(self, later: "TagSummary") -> "TagSummary":
        """This summary with that of a later text: flags are sticky, the later id wins."""
        return TagSummary(
            audio=self.audio or later.audio,
            reply=self.reply or later.reply,
            current=self.current or later.current,
            explicit_id=later.explicit_id or self.explicit_id,
        )

    @property
    def reply_to_current(self) -> bool:
        """Whether the current message is the target: an explicit id beats it wherever it stands."""
        return self.current and not self.explicit_id


def find_tags(text: str) -> Iterator[Tag]:
    """Yield the tags of a text from left to right; anything else in double brackets is text."""
    for match in _TAG.finditer(text):
        tag = _tag_of(match)
        if tag is not None:
            yield tag


def _tag_of(match: re.Match[str]) -> Tag | None:
    start, end = match.span()
    if match["audio"] is not None:
        return Tag(TagKind.AUDIO, start, end)
    if match["current"] is not None:
        return Tag(TagKind.REPLY_TO_CURRENT, start, end)
    reply_to_id = match["id"].strip()
    if _LINE_BREAK.search(reply_to_id):
        return None
    if not reply_to_id:
        return Tag(TagKind.REPLY_TO_CURRENT, start, end)
    return Tag(TagKind.REPLY_TO_ID, start, end, reply_to_id)


def summarize_tags(tags: list[Tag]) -> TagSummary:
    """What the tags of one text ask for together."""
    kinds = {tag.kind for tag in tags}
    ids = [tag.reply_to_id for tag in tags if tag.kind is TagKind.REPLY_TO_ID]
    return TagSummary(
        audio=TagKind.AUDIO in kinds,
        reply=not kinds <= {TagKind.AUDIO},
        current=TagKind.REPLY_TO_CURRENT in kinds,
        explicit_id=ids[-1] if ids else "",
    )


class TagRemover:
    """Takes tags out of a text that may come in pieces (chat-policies.md §1.2).

    The state between two pieces is the last character before the next one and whether a tag was
    removed right after it. Within a piece the blanks before a tag go too; blanks of an earlier
    piece are out already and stand for the one space that would take the tag's place.
    """

    __slots__ = ("_after_tag", "_last")

    def __init__(self) -> None:
        self._last = ""
        self._after_tag = False

    def remove(self, text: str, tags: list[Tag]) -> str:
        """Take tags out of the next piece.

        Args:
            text: The piece.
            tags: The tags of the piece to take out, in order; any other tag is ordinary text.

        Returns:
            What is left of the piece, with the space that a tag before it may have left to write.
        """
        parts: list[str] = []
        position = 0
        for tag in tags:
            self._add(parts, text[position : tag.start].rstrip(_HSPACE))
            self._after_tag = True
            position = tag.end
        self._add(parts, text[position:])
        return "".join(parts)

    def _add(self, parts: list[str], text: str) -> None:
        """Write a stretch without tags, joined to what stands before the tags that were removed."""
        if self._after_tag:
            text = text.lstrip(_HSPACE)
        if not text:
            return
        if self._after_tag and self._last not in _NO_SPACE_AFTER and text[0] not in _LINE_BREAKS:
            parts.append(" ")
        parts.append(text)
        self._last = text[-1]
        self._after_tag = False

    def forget_text(self) -> None:
        """Treat all text so far as never seen: it was whitespace that nobody gets to see."""
        self._last = ""


def remove_tags(text: str, tags: list[Tag]) -> str:
    """Take tags out of a whole text (chat-policies.md §1.2); see `TagRemover.remove`."""
    return TagRemover().remove(text, tags)


def split_trailing_directive(text: str | None) -> tuple[str, str]:
    """Cut an unfinished tag off the end of a stream buffer (chat-policies.md §1.7).

    Args:
        text: The buffer.

    Returns:
        The body, and the tail that may still become a tag; together they are the text.
    """
    text = text or ""
    start = text.rfind("[[")
    if start >= 0 and len(text) - start < MAX_TAG_CHARS and _is_viable(text[start + 2 :]):
        return text[:start], text[start:]
    if text.endswith("["):
        return text[:-1], "["
    return text, ""


def _is_viable(inner: str) -> bool:
    """Whether what follows the opening brackets can still become a tag."""
    closing = inner.endswith("]")
    inner = inner.removesuffix("]")
    if "[" in inner or "]" in inner:
        return False
    if closing:
        match = _WHOLE_BODY.fullmatch(inner)
        return match is not None and _tag_of(match) is not None
    rest = inner.lstrip(_WS).translate(_ASCII_LOWER)
    if any(keyword.startswith(rest) for keyword in _KEYWORDS) or rest.rstrip(_WS) in _KEYWORDS:
        return True
    match = _OPEN_ID.fullmatch(rest)
    return match is not None and not _LINE_BREAK.search(match[1].strip())
