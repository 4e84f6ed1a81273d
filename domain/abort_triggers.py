"""Abort triggers: whole messages such as "stop" that end the running answer.

Owns the phrases and how a message is compared with them. Who may abort is the caller's to check.

Source: chat-policies.md §2.9, after the public package beeper/ai-bridge `pkg/runtime`.
"""

import unicodedata
from typing import Final

from domain.text_lines import one_line

_PHRASES: Final = frozenset(
    unicodedata.normalize("NFKC", phrase)
    for phrase in (
        "stop",
        "esc",
        "abort",
        "wait",
        "exit",
        "interrupt",
        "halt",
        "stopp",
        "anhalten",
        "aufhören",
        "hoer auf",
        "pare",
        "arrete",
        "arrête",
        "detente",
        "deten",
        "detén",
        "停止",
        "やめて",
        "止めて",
        "रुको",
        "توقف",
        "стоп",
        "остановись",
        "останови",
        "остановить",
        "прекрати",
        "stop bot",
        "bot stop",
        "stop action",
        "stop current action",
        "stop run",
        "stop current run",
        "stop agent",
        "stop the agent",
        "please stop",
        "stop please",
        "stop don't do anything",
        "stop dont do anything",
        "stop do not do anything",
        "stop doing anything",
        "do not do that",
    )
)
_MARGIN: Final = frozenset(" .!?…,，。、;；:：！？¡¿'\"“”‘’()[]{}")
# A canonical decomposition has at most four code points, so a text more than four times as long as
# the longest phrase cannot become one.
_MAX_CANDIDATE_CHARS: Final = 4 * max(map(len, _PHRASES))


def is_abort_trigger_text(text: str | None) -> bool:
    """Whether a message is one of the phrases that abort a run (chat-policies.md §2.9).

    Case, blanks, punctuation around the phrase and the Unicode form do not count.

    Args:
        text: The whole message.
    """
    candidate = one_line(_without_margin(text or ""), _MAX_CANDIDATE_CHARS)
    if len(candidate) > _MAX_CANDIDATE_CHARS:
        return False
    folded = unicodedata.normalize("NFKC", candidate).lower().replace("\u2019", "'")
    return " ".join(folded.split()).strip("".join(_MARGIN)) in _PHRASES


def _without_margin(text: str) -> str:
    """The text without the characters at its ends that fold to blanks and punctuation.

    Only what is left is normalised: Python's NFKC takes quadratic time on a long run of combining
    marks, and anything long that is left is no phrase anyway. No margin character composes with
    what stands next to it, so taking it away first gives the same.
    """
    start, end = 0, len(text)
    while start < end and _is_margin(text[start]):
        start += 1
    while start < end and _is_margin(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_margin(character: str) -> bool:
    return (
        character in _MARGIN
        or character.isspace()
        or set(unicodedata.normalize("NFKC", character)) <= _MARGIN
    )
