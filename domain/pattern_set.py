"""Many patterns tried on one text at once.

Owns which of its patterns match; what a match holds is for the single pattern to say
(`domain.trigger_pattern`). Source: triggers-and-actions.md §2.

Invariants:
    1. A pattern is found exactly when it matches by itself.
    2. A change compiles one bucket again, not all patterns.
"""

from collections.abc import Iterable
from typing import Final, Protocol, cast
from zlib import crc32

import re2

from domain.trigger_pattern import compile_pattern

BUCKETS: Final = 16
# What the patterns of one bucket may take when they are compiled together, and the states kept of
# texts that were searched.
MAX_MEMORY_BYTES: Final = 64 << 20

# Matches every text. Where the engine runs out of memory it answers "nothing", and then this one is
# missing.
_ALWAYS = b""


class _Set(Protocol):
    def Add(self, pattern: bytes) -> int: ...
    def Compile(self) -> None: ...
    def Match(self, text: bytes) -> list[int] | None: ...


class PatternSet:
    """A set of valid patterns that grows and shrinks."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._buckets = [_Bucket() for _ in range(BUCKETS)]
        for pattern in patterns:
            self.add(pattern)

    def add(self, pattern: str) -> None:
        """Put a pattern in; one that is there stays there once."""
        self._bucket(pattern).add(pattern)

    def discard(self, pattern: str) -> None:
        """Take a pattern out if it is there."""
        self._bucket(pattern).discard(pattern)

    def matching(self, text: bytes) -> list[str]:
        """The patterns that match somewhere in a UTF-8 text."""
        return [pattern for bucket in self._buckets for pattern in bucket.matching(text)]

    def _bucket(self, pattern: str) -> "_Bucket":
        return self._buckets[crc32(pattern.encode()) % BUCKETS]


class _Bucket:
    def __init__(self) -> None:
        self._patterns: dict[str, None] = {}
        self._order: list[str] = []
        self._compiled: _Set | None = None
        self._stale = False

    def add(self, pattern: str) -> None:
        self._stale = self._stale or pattern not in self._patterns
        self._patterns[pattern] = None

    def discard(self, pattern: str) -> None:
        if pattern in self._patterns:
            del self._patterns[pattern]
            self._stale = True

    def matching(self, text: bytes) -> list[str]:
        if self._stale:
            self._order = list(self._patterns)
            self._compiled = _compile(self._order)
            self._stale = False
        if not self._order:
            return []
        found = self._compiled.Match(text) if self._compiled else None
        if not found or len(self._order) not in found:
            return [item for item in self._order if compile_pattern(item).search(text)]
        return [self._order[place] for place in found if place < len(self._order)]


def _compile(patterns: list[str]) -> _Set | None:
    """The patterns as one; null where they are too large together."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_MEMORY_BYTES
    compiled = cast("_Set", re2.Set.SearchSet(options))  # pyright: ignore[reportUnknownMemberType]
    try:
        for pattern in (*(item.encode() for item in patterns), _ALWAYS):
            compiled.Add(pattern)
        compiled.Compile()
    except re2.error:  # pyright: ignore[reportUnknownMemberType]
        return None
    return compiled
