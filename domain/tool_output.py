"""What a tool said, made fit to be kept and shown: cleaned of what steers a screen, and cut.

Owns the two rules. Masking secrets comes after them and is `domain.redaction`'s.
Source: triggers-and-actions.md §7.

Invariants:
    1. Cleaning twice is cleaning once.
    2. A cut falls between characters, and the text is never longer than the limit.
"""

import re
from typing import Final

from pydantic import BaseModel, ConfigDict

from domain.errors import DomainError, ErrorKind
from domain.fields import shown

MIN_LIMIT_BYTES: Final = 256
DEFAULT_LIMIT_BYTES: Final = 65_536
# For the marker between beginning and end.
_MARKER_BYTES: Final = 64
_CONTINUATION: Final = range(0x80, 0xC0)

_LINE_END = re.compile(r"\r\n?")
# Strings for the terminal (title, clipboard, device control) with their end, then control
# sequences, then short escapes. A string without an end loses its introducer only.
_TERMINAL = re.compile(
    r"""(?:\x1b[\]PX^_]|[\x9d\x90\x98\x9e\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*+(?:\x07|\x1b\\|\x9c)
      | (?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]
      | \x1b[ -/]*+[0-~]""",
    re.VERBOSE,
)
# Controls but tab and line end, direction embeddings, overrides and isolates, tag characters.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\U000e0000-\U000e007f]"
)


class TruncatedOutput(BaseModel):
    """An output within its limit, and what was left out of it; bytes are those of UTF-8."""

    model_config = ConfigDict(frozen=True)

    text: str
    truncated: bool
    original_bytes: int
    omitted_bytes: int


def sanitize_output(text: str) -> str:
    """The text with line ends as LF, and without what a person cannot see but a screen obeys."""
    return _INVISIBLE.sub("", _TERMINAL.sub("", _LINE_END.sub("\n", text)))


def truncate_output(text: str, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> TruncatedOutput:
    """Cut a text to a number of bytes: its beginning and its end stay.

    Args:
        text: The output.
        limit_bytes: At least 256.

    Raises:
        DomainError: `invalid_field` on `limit_bytes`.
    """
    if isinstance(limit_bytes, bool) or limit_bytes < MIN_LIMIT_BYTES:
        message = f"limit_bytes must be at least {MIN_LIMIT_BYTES}, not {shown(limit_bytes)}"
        raise DomainError(ErrorKind.INVALID_FIELD, "limit_bytes", message)
    data = text.encode("utf-8", "surrogatepass")
    if len(data) <= limit_bytes:
        return TruncatedOutput(
            text=text, truncated=False, original_bytes=len(data), omitted_bytes=0
        )
    room = limit_bytes - _MARKER_BYTES
    head_end, tail_start = room // 2, len(data) - (room - room // 2)
    while data[head_end] in _CONTINUATION:
        head_end -= 1
    while data[tail_start] in _CONTINUATION:
        tail_start += 1
    omitted = tail_start - head_end
    head, tail = (
        part.decode("utf-8", "surrogatepass") for part in (data[:head_end], data[tail_start:])
    )
    return TruncatedOutput(
        text=f"{head}\n[... {omitted} bytes omitted ...]\n{tail}",
        truncated=True,
        original_bytes=len(data),
        omitted_bytes=omitted,
    )
