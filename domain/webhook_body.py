"""A delivery as the prompt shows it and as content is compared.

Owns the untrusted text of a webhook and the digest of its content. Marking it as data is
`domain.prompts`', deciding on duplicates is `domain.admission_rules`'. Source:
triggers-and-actions.md §3 and §4.

Invariants:
    1. Of the headers only content type, delivery id and `x-github-event` are shown.
    2. The text has at most 64 KiB, and says so where it was cut.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from domain.guardrails import content_hash
from domain.prompts import UntrustedText

MAX_BYTES: Final = 64 * 1024
MAX_HEADER_CHARS: Final = 255
SOURCE: Final = "webhook delivery"

_SHOWN_HEADERS: Final = ("content-type", "x-github-event")
# Bodies that nest deeper are shown as they are.
_MAX_DEPTH: Final = 64


class _NotStrict(ValueError):
    """JSON that two readers could understand differently."""


def delivery_text(headers: Mapping[str, str], delivery_id: str, body: bytes) -> UntrustedText:
    """What the prompt shows of a delivery.

    Args:
        headers: The request's headers, names in lower case.
        delivery_id: Which delivery it is.
        body: The body as it came.
    """
    given = [
        ("delivery id", delivery_id),
        *((name, headers.get(name, "")) for name in _SHOWN_HEADERS),
    ]
    shown = [(name, _one_line(value)) for name, value in given]
    head = "".join(f"{name}: {value}\n" for name, value in shown if value) + "\n"
    return UntrustedText(source=SOURCE, text=head + _shown(body, MAX_BYTES - len(head.encode())))


def body_hash(body: bytes) -> str:
    """The content hash of a body: of its JSON value, else of its text, else of its bytes."""
    try:
        return content_hash(_value(body))
    except (ValueError, RecursionError):
        text = _text(body)
        return content_hash(hashlib.sha256(body).hexdigest() if text is None else text)


def _shown(body: bytes, limit: int) -> str:
    text = _text(body)
    if text is None:
        digest = hashlib.sha256(body).hexdigest()
        return f"[{len(body)} bytes that are no text, sha256 {digest}]"
    marker = f"\n[cut: the body has {len(body)} bytes]"
    pieces: list[str] = []
    size = 0
    for piece in _pretty(body, text):
        encoded = piece.encode()
        if size + len(encoded) > limit:
            whole = "".join(pieces).encode() + encoded
            kept = whole[: limit - len(marker.encode())]
            return kept.decode("utf-8", "ignore") + marker
        pieces.append(piece)
        size += len(encoded)
    return "".join(pieces)


def _pretty(body: bytes, text: str) -> "list[str] | Any":
    """The pieces of the text to show; JSON comes indented, piece by piece."""
    try:
        return json.JSONEncoder(ensure_ascii=False, indent=2).iterencode(_value(body))
    except (ValueError, RecursionError):
        return [text]


def _value(body: bytes) -> object:
    """The JSON value of a body.

    Raises:
        ValueError: It has none that every reader would agree on.
    """
    value = json.loads(
        body.decode("utf-8"),
        object_pairs_hook=_object,
        parse_constant=_no_constant,
        parse_float=_finite,
    )
    _check(value, 0)
    return value


def _check(value: object, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise _NotStrict
    match value:
        case str():
            value.encode()
        case dict():
            for key, item in value.items():  # pyright: ignore[reportUnknownVariableType]
                _check(key, depth)  # pyright: ignore[reportUnknownArgumentType]
                _check(item, depth + 1)  # pyright: ignore[reportUnknownArgumentType]
        case list():
            for item in value:  # pyright: ignore[reportUnknownVariableType]
                _check(item, depth + 1)  # pyright: ignore[reportUnknownArgumentType]
        case _:
            return


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _NotStrict
    return found


def _no_constant(_name: str) -> NoReturn:
    raise _NotStrict


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise _NotStrict
    return value


def _text(body: bytes) -> str | None:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _one_line(text: str) -> str:
    shown = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(shown.split())[:MAX_HEADER_CHARS]
