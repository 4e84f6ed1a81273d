"""The body of a request: one JSON object of limited size.

Owns the media types, the limit, and a stricter reading of JSON than Python's: what two readers
could understand differently is refused. What the object must hold is the noun's matter.
Source: automation.md §13, §14 rows 29-31.

Invariants:
    1. Never more than the limit is kept, whatever the headers say.
    2. What comes out can be written as JSON and UTF-8 again, and is nested at most `MAX_DEPTH`
       deep, so nothing behind has to expect otherwise.
"""

import asyncio
import json
import math
import re
import time
from collections.abc import AsyncIterator, Collection
from typing import Any, Final, NoReturn, cast

from fastapi import Request

from domain.errors import DomainError, ErrorKind
from domain.fields import shown

MAX_BYTES: Final = 1_048_576
MAX_DEPTH: Final = 64
# Longer numbers take Python time that grows with the square of their length.
MAX_DIGITS: Final = 300
BODY_SECONDS: Final = 30

JSON_TYPES: Final = ("application/json",)
PATCH_TYPES: Final = ("application/merge-patch+json", "application/json")

# What is still read of a body that is too large: who is told while sending sees no answer.
_DRAINED_BYTES = 8 * MAX_BYTES
_DRAIN_SECONDS = 2
_CHARSET = re.compile(r'charset="?([^";]+)"?', re.IGNORECASE)

JsonObject = dict[str, Any]


async def json_object(request: Request) -> JsonObject:
    """The JSON object of a request; an empty body is an empty object."""
    return await _read(request, JSON_TYPES)


async def merge_patch(request: Request) -> JsonObject:
    """The JSON merge patch of a request."""
    return await _read(request, PATCH_TYPES)


def parse_object(body: bytes) -> JsonObject:
    """Read a JSON object strictly; an empty text is an empty object.

    Raises:
        DomainError: `invalid_field` on `body`.
    """
    if not body.strip():
        return {}
    try:
        value = json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object,
            parse_constant=_no_constant,
            parse_int=_integer,
            parse_float=_float,
        )
        _check_depth(value)
        if b"\\u" in body:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        raise _no_object("it is not UTF-8") from None
    except UnicodeEncodeError:
        raise _no_object("it holds half of a surrogate pair") from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as error:
        raise _no_object(f"it is no JSON: {error}") from None
    if not isinstance(value, dict):
        raise _no_object(f"it is {_named(value)}")
    return cast("JsonObject", value)


async def whole_body(request: Request) -> bytes:
    """The body as the bytes that came.

    Raises:
        DomainError: `payload_too_large`, or `invalid_field` on `body` when it does not arrive.
    """
    pieces = request.stream()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _limited(request, pieces)
    except TimeoutError:
        raise DomainError(
            ErrorKind.INVALID_FIELD, "body", f"body did not arrive within {BODY_SECONDS} s"
        ) from None


async def refuse_declared(request: Request) -> None:
    """Refuse a body that is announced as too large, before anything else is done for it.

    Raises:
        DomainError: `payload_too_large`.
    """
    if _is_declared_too_large(request):
        await drain(request.stream())
        raise too_large_body()


async def _read(request: Request, media_types: Collection[str]) -> JsonObject:
    _check_encoding(request)
    body = await whole_body(request)
    if body or "content-type" in request.headers:
        _check_media_type(request, media_types)
    return parse_object(body)


def _is_declared_too_large(request: Request) -> bool:
    declared = request.headers.get("content-length", "")
    return declared.isdecimal() and int(declared[:20]) > MAX_BYTES


async def _limited(request: Request, pieces: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    too_large = _is_declared_too_large(request)
    while not too_large and (piece := await anext(pieces, None)) is not None:
        body += piece
        too_large = len(body) > MAX_BYTES
    if too_large:
        await drain(pieces)
        raise too_large_body()
    return bytes(body)


def too_large_body() -> DomainError:
    """The problem of a body above the limit."""
    return DomainError(
        ErrorKind.PAYLOAD_TOO_LARGE, "body", f"body must have at most {MAX_BYTES} bytes"
    )


async def drain(pieces: AsyncIterator[bytes]) -> None:
    """Read on for a while: who is told while sending sees no answer."""
    deadline, size = time.monotonic() + _DRAIN_SECONDS, 0
    try:
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for piece in pieces:
                size += len(piece)
                if size > _DRAINED_BYTES or time.monotonic() > deadline:
                    return
    except TimeoutError:
        return


def _check_encoding(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"", "identity"}:
        raise DomainError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE,
            "content_encoding",
            f"content_encoding must be identity, not {shown(encoding)}: send the body as it is",
            ["identity"],
        )


def _check_media_type(request: Request, accepted: Collection[str]) -> None:
    # A client that does not name the type means JSON, as everything here is.
    given = request.headers.get("content-type", next(iter(accepted)))
    media_type, _, parameters = given.partition(";")
    charset = _CHARSET.search(parameters)
    if media_type.strip().lower() not in accepted or (
        charset and charset[1].strip().lower() not in {"utf-8", "utf8"}
    ):
        raise DomainError(
            ErrorKind.UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            f"content_type must be {' or '.join(accepted)} in UTF-8, not {shown(given)}",
            accepted,
        )


def _object(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _no_object(f"key {shown(twice)} stands in it twice")
    return found


def _no_constant(name: str) -> NoReturn:
    raise _no_object(f"{name} is no JSON number")


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise _no_object(f"a number in it has {len(text)} digits")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise _no_object("a number in it is too large")
    return value


def _check_depth(value: object) -> None:
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        below: list[object] = []
        for item in level:
            if isinstance(item, dict):
                below += cast("dict[str, object]", item).values()
            elif isinstance(item, list):
                below += cast("list[object]", item)
        if not below:
            return
        level = below
    raise _too_deep()


def _too_deep() -> DomainError:
    return _no_object(f"it is nested more than {MAX_DEPTH} levels deep")


def _no_object(why: str) -> DomainError:
    return DomainError(ErrorKind.INVALID_FIELD, "body", f"body must be a JSON object: {why}")


def _named(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return "a list"
    return "a string" if isinstance(value, str) else shown(value).lower()
