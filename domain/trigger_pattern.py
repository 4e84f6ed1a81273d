r"""The pattern of an event trigger: RE2, compiled at creation by the engine that runs it.

Owns what a pattern may be and what is said when it does not compile. RE2 is linear in the text, so
a pattern from outside cannot stall a process. Source: triggers-and-actions.md §2.

Invariant: patterns and texts go to the engine as UTF-8. A pattern may match a single byte (`\C`),
so what comes back need not be UTF-8.
"""

from collections.abc import Callable
from typing import Protocol, cast

import re2

from domain.errors import DomainError, ErrorKind
from domain.fields import is_unicode

MAX_PATTERN_CHARS = 1000

# The pieces of a pattern that the engine names, by what the user meant with them.
_LOOK_AROUND = ("(?=", "(?!", "(?<=", "(?<!")
_BACK_REFERENCE = tuple(f"\\{letter}" for letter in "123456789kg")
_BAD_ESCAPE = "invalid escape sequence"


class PatternMatch(Protocol):
    """A match over UTF-8 bytes."""

    def group(self) -> bytes:
        """What matched as a whole."""
        ...

    def groups(self) -> tuple[bytes | None, ...]:
        """The groups in order; null where one took no part."""
        ...

    def groupdict(self) -> dict[bytes, bytes | None]:
        """The named groups."""
        ...


class Pattern(Protocol):
    """A compiled pattern over UTF-8 bytes."""

    def search(self, text: bytes) -> PatternMatch | None:
        """The leftmost match anywhere in the text."""
        ...


# The engine ships no types; these two lines give it some.
_COMPILE = cast("Callable[[bytes, re2.Options], Pattern]", re2.compile)  # pyright: ignore[reportUnknownMemberType]
_ERROR = cast("type[Exception]", re2.error)  # pyright: ignore[reportUnknownMemberType]


def compile_pattern(pattern: object, field: str = "trigger.pattern") -> Pattern:
    """Compile a pattern.

    Args:
        pattern: RE2 syntax, kept verbatim: blanks at its ends count.
        field: Name of the field, for errors.

    Raises:
        DomainError: `missing_field` when it is absent or empty; `invalid_field` when it is too
            long or RE2 does not take it.
    """
    if pattern is None or pattern == "":
        message = f"{field} is required: an RE2 pattern; write .* for any message"
        raise DomainError(ErrorKind.MISSING_FIELD, field, message)
    if not isinstance(pattern, str):
        raise _invalid(field, f"must be a string in RE2 syntax, not {pattern!r:.80}")
    if len(pattern) > MAX_PATTERN_CHARS:
        raise _invalid(
            field, f"must have 1 to {MAX_PATTERN_CHARS} characters of RE2, not {len(pattern)}"
        )
    if not is_unicode(pattern):
        raise _invalid(field, "must be Unicode text in RE2 syntax; it holds half a surrogate pair")
    options = re2.Options()
    options.log_errors = False  # The engine would write the user's pattern to stderr.
    try:
        return _COMPILE(pattern.encode(), options)
    except _ERROR as error:
        raise _invalid(field, _explain(error, pattern)) from None


def _explain(error: Exception, pattern: str) -> str:
    """What is wrong with a pattern, in words for somebody who knows other engines."""
    # The engine answers `<what is wrong>: <the piece of the pattern>`.
    complaint = cast("bytes", error.args[0]).decode("utf-8", "replace")
    wrong, _, piece = complaint.partition(": ")
    if piece.startswith(_LOOK_AROUND) and not wrong.startswith("missing"):
        return f"uses look-around, which RE2 does not have: {complaint}"
    is_named_reference = piece == "(?P" and "(?P=" in pattern
    if is_named_reference or (wrong == _BAD_ESCAPE and piece.startswith(_BACK_REFERENCE)):
        return f"uses a back-reference, which RE2 does not have: {complaint}"
    return f"is not RE2: {complaint}"


def _invalid(field: str, wrong: str) -> DomainError:
    return DomainError(ErrorKind.INVALID_FIELD, field, f"{field} {wrong}")
