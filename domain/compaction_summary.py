"""The summary that stands for messages which compaction dropped.

Owns its form and its size. It quotes the beginnings of the messages; no model is asked.

Source: chat-policies.md §6.4, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from collections.abc import Iterable
from typing import Final

from domain.message_text import CHARS_PER_TOKEN_ESTIMATE, extract_message_content
from domain.messages import Message
from domain.text_lines import one_line

SUMMARY_TITLE: Final = "[Compaction summary of earlier context]"
_MAX_LINE_TEXT_CHARS: Final = 220
_MIN_SUMMARY_CHARS: Final = 240
_DEFAULT_SUMMARY_TOKENS: Final = 500


def summarize_dropped(dropped: Iterable[Message], max_summary_tokens: int) -> str:
    """Summarise dropped messages (chat-policies.md §6.4).

    Args:
        dropped: The messages, the oldest first.
        max_summary_tokens: Size of the summary; 0 or less is the default of 500.

    Returns:
        A title and one line for each message with text, as many as fit; `""` when that is not
        shorter than the text it stands for.
    """
    limit = _max_chars(max_summary_tokens)
    lines = [SUMMARY_TITLE]
    size = len(SUMMARY_TITLE)
    original = 0
    is_full = False
    for msg in dropped:
        text, role = extract_message_content(msg)
        original += len(text)
        if is_full or not (line := _summary_line(text, role)):
            continue
        is_full = size + 1 + len(line) > limit
        if not is_full:
            lines.append(line)
            size += 1 + len(line)
    return "\n".join(lines) if size < original else ""


def _summary_line(text: str, role: str) -> str:
    """One message as a line; `""` when its text is blank."""
    words = one_line(text, _MAX_LINE_TEXT_CHARS)
    if len(words) > _MAX_LINE_TEXT_CHARS:
        words = words[:_MAX_LINE_TEXT_CHARS] + "..."
    return f"- {role}: {words}" if words else ""


def merge_summaries(earlier: str, later: str, max_summary_tokens: int) -> str:
    """One summary for two that follow each other.

    Args:
        earlier: A summary with its title; may be empty.
        later: What happened after that, likewise.
        max_summary_tokens: Size of the whole; 0 or less is the default of 500.

    Returns:
        The title and the lines of both; the oldest lines are left out when they do not fit.
    """
    limit = _max_chars(max_summary_tokens)
    lines = [*_lines(earlier), *_lines(later)]
    size = len(SUMMARY_TITLE)
    begin = len(lines)
    while begin and (size := size + 1 + len(lines[begin - 1])) <= limit:
        begin -= 1
    return "\n".join([SUMMARY_TITLE, *lines[begin:]]) if lines[begin:] else ""


def titled_summary(text: str, max_summary_tokens: int) -> str:
    """A summary that a model wrote, under the title that all have, cut to its size."""
    words = text.strip().removeprefix(SUMMARY_TITLE).strip()
    if not words:
        return ""
    return f"{SUMMARY_TITLE}\n{words}"[: _max_chars(max_summary_tokens)]


def _lines(summary: str) -> list[str]:
    return [line for line in summary.removeprefix(SUMMARY_TITLE).splitlines() if line.strip()]


def _max_chars(max_summary_tokens: int) -> int:
    tokens = max_summary_tokens if max_summary_tokens > 0 else _DEFAULT_SUMMARY_TOKENS
    return max(_MIN_SUMMARY_CHARS, tokens * CHARS_PER_TOKEN_ESTIMATE)
