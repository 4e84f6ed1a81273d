r"""Values that follow a telling name in a text: `"api_key": "x"`, `API_KEY=x`, `password = 'x'`.

Owns where such a value begins and ends, in JSON (also inside a JSON string, where quotes are
escaped), in assignments, queries and settings files. Which names tell is `domain.secret_keys`'.
Source: triggers-and-actions.md §7.

Invariants:
    1. Linear: every name is looked at once, reading goes on behind the value that was masked, and
       a value that does not end takes the rest of the text with it.
    2. What is masked already, or empty, stays as it is.
    3. Where it cannot be told how long a secret is, the longer reading is masked.
"""

import re
from typing import Final

from domain.secret_keys import is_sensitive_key

PLACEHOLDER: Final = "[REDACTED]"

_NAME = re.compile(
    r"""(?<![\w.-])(?P<name>[\w.-]++)(?P<quote>\\*+["'])?+\]?+
        (?P<blank>[ \t]*+)(?P<sign>=>|:=|={1,2}+|:)(?P<gap>[ \t]*+)""",
    re.VERBOSE,
)
_NAME_REACH: Final = 128
_BLANKS = re.compile(r"\s*+")
_QUOTE = re.compile(r"""\\*+["']""")
_BRACKET = re.compile(r"[\[\]{}]")
_NUMBER = re.compile(r"-?[0-9][0-9.eE+-]*+")
# Ends where another name begins: `password=a;user=b`.
_BARE = re.compile(r"""(?:[^\s&"'`,;]++|[,;](?![A-Za-z_][\w.-]{0,64}[=:]))++""")
_CLOSING_MARKS: Final = ",;)}>"
# Alone on its line, and no word of a programming language: `password = hunter2`.
_LINE_VALUE = re.compile(
    r"""(?=[^\s0-9]*+[0-9])([^\s&"'`()\[\]{}=]{6,}+)(?=[ \t]*+(?:[\r\n]|\Z))"""
)


def mask_named_values(text: str, replaced: list[str]) -> str:
    """The text with the value behind every sensitive name replaced by the placeholder.

    Args:
        text: The text.
        replaced: Takes what stood where a placeholder stands now.
    """
    parts: list[str] = []
    copied = position = 0
    while name := _NAME.search(text, position):
        position = name.end()
        if not _tells(text, name):
            continue
        start, end, mask = _find_value(text, name)
        if text[start:end] not in {"", PLACEHOLDER}:
            parts += [text[copied:start], mask]
            replaced.append(text[start:end])
            copied = end
        position = max(position, end)
    return "".join([*parts, text[copied:]])


def end_of_quoted(text: str, start: int, quote: str, stop: int | None = None) -> int:
    r"""Where a quoted text ends: the index of its closing quote; of the stop where there is none.

    Args:
        text: The whole text.
        start: Behind the opening quote.
        quote: The opening quote with the backslashes in front of it. One that is written as `\"` is
            closed by the next one with as many backslashes, not counting those that are themselves
            written twice as often.
        stop: Where it ends at the latest; by default with the text.
    """
    depth = len(quote) - 1
    stop = len(text) if stop is None else stop
    for mark in _QUOTE.finditer(text, start, stop):
        if mark[0][-1] == quote[-1] and (len(mark[0]) - 1) % (2 * (depth + 1)) == depth:
            return mark.end() - 1 - depth
    return stop


def _tells(text: str, name: re.Match[str]) -> bool:
    """Whether a name is a sensitive one, also behind an escaped end of line, as JSON has it."""
    whole, start = _whole_name(text, name), name.start("name")
    if is_sensitive_key(whole):
        return True
    escaped = text[max(0, start - 1) : start] == "\\" and whole[0] in "nrt"
    return escaped and is_sensitive_key(whole[1:])


def _whole_name(text: str, name: re.Match[str]) -> str:
    """The name from its opening quote on, which may hold blanks: `"API Key"`."""
    quote, start = name["quote"], name.start("name")
    if not quote:
        return name["name"]
    opening = text.rfind(quote[-1], max(0, start - _NAME_REACH), start)
    return text[opening + 1 : name.end("name")] if opening >= 0 else name["name"]


def _find_value(text: str, name: re.Match[str]) -> tuple[int, int, str]:
    """The beginning and end of the value, and what is to stand there; empty when there is none."""
    start = name.end()
    if name["quote"] and (blanks := _BLANKS.match(text, start)):
        start = blanks.end()
    if opening := _QUOTE.match(text, start):
        return opening.end(), end_of_quoted(text, opening.end(), opening[0]), PLACEHOLDER
    if name["quote"]:
        return start, _end_of_json(text, start), name["quote"] + PLACEHOLDER + name["quote"]
    if name["sign"] == ":" or name["blank"] or name["gap"]:
        # Without a blank in front, names in a row would each read to the end of the row.
        alone = _LINE_VALUE.match(text, start) if name["blank"] or name["gap"] else None
        return start, alone.end() if alone else start, PLACEHOLDER
    return start, _end_of_bare(text, start), PLACEHOLDER


def _end_of_json(text: str, start: int) -> int:
    """Where a number, object or list ends; the beginning for anything else."""
    if number := _NUMBER.match(text, start):
        return number.end()
    if text[start : start + 1] not in {"[", "{"}:
        return start
    depth = 0
    for bracket in _BRACKET.finditer(text, start):
        depth += 1 if bracket[0] in "[{" else -1
        if depth == 0:
            return bracket.end()
    return len(text)


def _end_of_bare(text: str, start: int) -> int:
    bare = _BARE.match(text, start)
    return start + len(bare[0].rstrip(_CLOSING_MARKS)) if bare else start
