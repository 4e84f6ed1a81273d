"""Redaction: no secret gets into a log, the ledger, a notice or a prompt.

Owns the walk over objects and lists, and what is declared sensitive. Names that tell are
`domain.secret_keys`', forms inside texts `domain.secret_texts`'.
Source: triggers-and-actions.md §7.

Invariants:
    1. What was redacted is not changed by redacting it again.
    2. The shape stays: same keys, same list lengths; a masked value is one text.
"""

from collections.abc import Mapping, Sequence
from typing import Final, cast

from domain.secret_keys import is_sensitive_key
from domain.secret_texts import mask_secrets, masked_parts
from domain.secret_values import PLACEHOLDER

__all__ = [
    "MAX_DEPTH",
    "PLACEHOLDER",
    "REASON_CHARS",
    "is_sensitive_key",
    "masked_parts",
    "redact",
    "redact_reason",
    "redact_text",
]

MAX_DEPTH: Final = 32
REASON_CHARS: Final = 200
# Looked at no further: whoever writes more is told with its beginning.
_READ_CHARS: Final = 16_384


def redact(value: object, sensitive: Sequence[str] = ()) -> object:
    """A JSON value with every secret replaced by `[REDACTED]`.

    Args:
        value: Objects, lists, texts, numbers, booleans, null.
        sensitive: What a tool declares sensitive: a name, which counts at every depth, or a dotted
            path from the outermost object, without the indexes of lists. Masked whatever it holds.

    Returns:
        A new value. What lies deeper than 32 levels is masked without being looked at.
    """
    return _redact(value, frozenset(sensitive), "", 0)


def redact_text(text: str) -> str:
    """A text with every secret in it replaced by `[REDACTED]`."""
    return mask_secrets(text)


def redact_reason(reason: str) -> str:
    """Why somebody ended something, as it is shown and written down.

    Senders of plain messages to a workflow are checked by nobody before it: what they say is
    masked here, and cut to 200 characters.
    """
    return redact_text(reason[:_READ_CHARS])[:REASON_CHARS]


def _redact(value: object, sensitive: frozenset[str], path: str, depth: int) -> object:
    if depth > MAX_DEPTH:
        return PLACEHOLDER
    match value:
        case str():
            return mask_secrets(value)
        case Mapping():
            items = cast("Mapping[str, object]", value).items()
            return {
                mask_secrets(key): _redact_item(key, item, sensitive, path, depth)
                for key, item in items
            }
        case list() | tuple():
            parts = cast("Sequence[object]", value)
            return [_redact(part, sensitive, path, depth + 1) for part in parts]
        case _:
            return value


def _redact_item(
    key: str, value: object, sensitive: frozenset[str], outer: str, depth: int
) -> object:
    path = f"{outer}.{key}" if outer else key
    if key in sensitive or path in sensitive:
        return PLACEHOLDER
    # A name may itself hold a secret, and tell something else once that is masked.
    tells = is_sensitive_key(key) or is_sensitive_key(mask_secrets(key))
    if value is not None and not isinstance(value, bool) and tells:
        return PLACEHOLDER
    return _redact(value, sensitive, path, depth + 1)
