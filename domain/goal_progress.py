"""What an iteration says of itself, as it is told to people.

Owns what of a text is told. When it is told is `domain.goal_book`'s. Source: automation.md §7 and
§9 (Goal progress).
"""

import re
from typing import Final

from domain.outcome import classify_reply

MAX_CHARS: Final = 4_000
CUT: Final = "\n[cut]"

# `M src/app.py`, `diff --git a/x b/x`, `+++ b/x`: how tools list the files that they have changed.
_FILE_CHANGE: Final = re.compile(
    r"(?:[AMDRCU?]{1,2}\s+\S*[./]\S*|diff --git .*|(?:\+\+\+|---) [ab]/.*|file[ _-]change\b.*)",
    re.IGNORECASE,
)


def progress_text(said: str) -> str | None:
    """What is told; null where there is nothing.

    Args:
        said: The words of an iteration, perhaps one of the answers that mean silence.
    """
    text = classify_reply(said).text
    if text is None:
        return None
    lines = [line.rstrip() for line in text.splitlines()]
    kept = [line for line in lines if line and not _FILE_CHANGE.fullmatch(line.strip())]
    told = "\n".join(kept)
    if len(told) > MAX_CHARS:
        told = told[: MAX_CHARS - len(CUT)].rstrip() + CUT
    return told or None
