"""Message id hints: `[message_id: …]` tags that name a message inside a text.

Owns recognising, cleaning and removing them.

Source: chat-policies.md §2.8, after the public package beeper/ai-bridge `pkg/runtime`.
"""

import re
from typing import Final

_HINT_START: Final = "[message_id:"
# No bracket in the id: a text of nothing but hint starts is scanned once.
_HINT = re.compile(r"\[message_id:([^\[\]\r\n]+)\]", re.ASCII | re.IGNORECASE)
_HINT_LINE = re.compile(r"\[message_id:[^\]]+\]")
_QUOTES: Final = "`\"'<>"
_NOT_IN_ID = re.compile(r"[\[\] \t\r\n]")
_LINE_BLANKS: Final = " \t\n\r\f\v"


def contains_message_id_hint(value: str | None) -> bool:
    """Whether a message id hint begins anywhere in the text; case counts."""
    return _HINT_START in (value or "")


def normalize_hint_message_id(value: str | None) -> str:
    """Clean the id of a hint.

    Args:
        value: The id as written, possibly quoted.

    Returns:
        The bare id; `""` when nothing is left or it holds a bracket or a blank.
    """
    bare = (value or "").strip().strip(_QUOTES).strip()
    return "" if _NOT_IN_ID.search(bare) else bare


def normalize_message_id(value: str | None) -> str:
    """Read a message id that may be wrapped in a hint, in any case.

    Args:
        value: The id, or a text with a hint.

    Returns:
        The id of the first hint, cleaned; without a hint the trimmed text.
    """
    text = (value or "").strip()
    hint = _HINT.search(text)
    return normalize_hint_message_id(hint[1]) if hint else text


def strip_message_id_hint_lines(text: str | None) -> str:
    """Drop the lines that are nothing but a hint.

    Args:
        text: The text.

    Returns:
        The text without them; unchanged when no hint occurs.
    """
    text = text or ""
    if not contains_message_id_hint(text):
        return text
    return "\n".join(line for line in text.split("\n") if not _is_hint_line(line))


def _is_hint_line(line: str) -> bool:
    return _HINT_START in line and _HINT_LINE.fullmatch(line.strip(_LINE_BLANKS)) is not None
