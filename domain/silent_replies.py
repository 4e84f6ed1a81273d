"""The silent reply: the token a model answers with when nothing should be sent.

Owns the token, recognising it in a whole text or while it is typed, and holding back a stream that
may turn out to be it. Does not know about tags (`domain.directive_tags`).

Source: chat-policies.md §1, §1.5, §1.6 and §1.9, after the public package beeper/ai-bridge
`pkg/runtime`.
"""

import re
from typing import Final

SILENT_REPLY_TOKEN: Final = "NO_REPLY"

_TOKEN_CHARS = re.compile(r"[A-Z_]+")


def is_silent_reply_text(text: str | None, token: str | None = SILENT_REPLY_TOKEN) -> bool:
    """Whether a text is nothing but the silent token (chat-policies.md §1.5).

    Args:
        text: The text, with any blanks around it.
        token: The token; blank means the default.
    """
    return (text or "").strip() == _token_or_default(token)


def is_silent_reply_prefix_text(text: str | None, token: str | None = SILENT_REPLY_TOKEN) -> bool:
    """Whether a text looks like the beginning of the silent token (chat-policies.md §1.6).

    Case does not matter, but the underscore must be there: the plain word "No" is an answer.

    Args:
        text: The text so far; blanks before it do not count.
        token: The token; blank means the default.
    """
    begun = (text or "").lstrip(" \t\r\n").upper()
    return (
        "_" in begun
        and _TOKEN_CHARS.fullmatch(begun) is not None
        and _token_or_default(token).upper().startswith(begun)
    )


def _token_or_default(token: str | None) -> str:
    return (token or "").strip() or SILENT_REPLY_TOKEN


class SilentReplyHold:
    """Holds a stream back for as long as it may be the silent token (chat-policies.md §1.9, 5).

    What is held is compared once, from where the last comparison ended, so a stream of single
    characters costs no more than one big chunk.

    Attributes:
        seen_text: Whether anything but leading whitespace came; it is held or was released.
    """

    __slots__ = ("_held", "_matched", "_released", "seen_text")

    def __init__(self) -> None:
        self.seen_text = False
        self._released = False
        self._matched = 0
        self._held: list[str] = []

    @property
    def is_holding(self) -> bool:
        """Whether text is held back."""
        return bool(self._held)

    def add(self, text: str) -> str:
        """Take the next stretch of the stream.

        Returns:
            What may be shown now: all that was held and `text` as soon as it is not the token, else
            nothing.
        """
        if self._released:
            return text
        if not self.seen_text:
            text = text.lstrip()
        if not text:
            return ""
        self.seen_text = True
        self._held.append(text)
        return "" if self._matches_token(text) else self._release()

    def finish(self) -> tuple[str, bool]:
        """End the stream.

        Returns:
            What was held and is no token after all, and whether the whole stream was the token.
        """
        if self.is_holding and self._matched == len(SILENT_REPLY_TOKEN):
            return "", True
        return self._release(), False

    def _matches_token(self, text: str) -> bool:
        rest_of_token = SILENT_REPLY_TOKEN[self._matched :]
        begun = text[: len(rest_of_token)]
        self._matched += len(begun)
        after = text[len(begun) :]
        return rest_of_token.startswith(begun) and (not after or after.isspace())

    def _release(self) -> str:
        text = "".join(self._held)
        self._held.clear()
        self._released = bool(text)
        return text
