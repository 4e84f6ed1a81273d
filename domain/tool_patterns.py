"""Patterns that select tools by name, where `*` stands for any run of characters.

Owns their normal form and matching, which is linear: the pieces between the stars are looked for
from left to right, each after the one before.

Source: chat-policies.md §4.4, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class ToolPatterns:
    """A set of patterns; blank ones are not in it.

    Attributes:
        exact: The names without a star.
        globs: The pieces between the stars of each other pattern.
    """

    exact: frozenset[str]
    globs: tuple[tuple[str, ...], ...]

    @classmethod
    def parse(cls, patterns: Iterable[str | None]) -> Self:
        """Read patterns as written; blanks around them and case do not count."""
        names = {normal_tool_name(pattern) for pattern in patterns} - {""}
        return cls(
            exact=frozenset(name for name in names if "*" not in name),
            globs=tuple(tuple(name.split("*")) for name in sorted(names) if "*" in name),
        )

    def __bool__(self) -> bool:
        return bool(self.exact or self.globs)

    def match(self, name: str) -> bool:
        """Whether a name in normal form matches any of the patterns."""
        return name in self.exact or any(_matches(name, pieces) for pieces in self.globs)


def normal_tool_name(name: str | None) -> str:
    """A tool's name or pattern as it is compared: trimmed and in lower case."""
    return (name or "").strip().lower()


def _matches(name: str, pieces: tuple[str, ...]) -> bool:
    first, *middle, last = pieces
    end = len(name) - len(last)
    position = len(first)
    if position > end or not name.startswith(first) or not name.endswith(last):
        return False
    for piece in middle:
        found = name.find(piece, position, end)
        if found < 0:
            return False
        position = found + len(piece)
    return True
