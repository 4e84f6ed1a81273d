"""Headers and parameters that say under which condition, and how long.

Owns `If-Match`, `Idempotency-Key`, `wait` and `for`. Source: automation.md §6 and §13.
"""

import re
from typing import Annotated, Any, Final

from fastapi import Depends, Header, Query

from domain.errors import DomainError, ErrorKind
from domain.fields import shown

MAX_KEY_CHARS: Final = 255
MAX_WAIT_SECONDS: Final = 120

_REVISION = re.compile(r'(?:W/)?"?(\d{1,18})"?', re.ASCII)
_WAIT = re.compile(r"(\d{1,6})(s|m)?", re.ASCII)


def _if_match(
    if_match: Annotated[
        str | None,
        Header(
            description="The revision that the routine must still have, as its ETag tells it.",
            examples=['"5"'],
            json_schema_extra={"pattern": r'^(\*|"[0-9]{1,9}")$'},
        ),
    ] = None,
) -> int | None:
    text = (if_match or "*").strip()
    if text == "*":
        return None
    match = _REVISION.fullmatch(text)
    if match is None:
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "if_match",
            f'if_match must be a revision such as "5", not {shown(text)}',
        )
    return int(match[1])


def _idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            description="Makes a repetition the same request: 1 to 255 characters.",
            examples=["4f0c1c9e"],
            json_schema_extra={"pattern": "^[!-~]{1,255}$"},
        ),
    ] = None,
) -> str | None:
    if idempotency_key is None:
        return None
    key = idempotency_key.strip()
    if not key or len(key) > MAX_KEY_CHARS or not key.isprintable():
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "idempotency_key",
            f"idempotency_key must have 1 to {MAX_KEY_CHARS} printable characters",
        )
    return key


def _wait(
    wait: Annotated[
        str | None,
        Query(
            description="How long to wait for the end of what was asked for, at most 120 s. It is "
            "then told as it is.",
            examples=["30s"],
            json_schema_extra={"pattern": "^[1-9][0-9]?s$"},
        ),
    ] = None,
) -> float | None:
    return None if wait is None else _seconds("wait", wait)


def _for(
    length: Annotated[
        str | None,
        Query(
            alias="for",
            description="How long to follow, at most 120 s; left out, until the reader closes.",
            examples=["1s"],
            json_schema_extra={"pattern": "^[1-9][0-9]?s$"},
        ),
    ] = None,
) -> float | None:
    return None if length is None else _seconds("for", length)


def _seconds(name: str, text: str) -> float:
    match = _WAIT.fullmatch(text.strip())
    seconds = int(match[1]) * (60 if match[2] == "m" else 1) if match else -1
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            name,
            f"{name} must be seconds or minutes such as 30s, at most {MAX_WAIT_SECONDS}s, "
            f"not {shown(text)}",
            ["30s"],
        )
    return float(seconds)


IfMatch = Annotated[int | None, Depends(_if_match)]
IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
Wait = Annotated[float | None, Depends(_wait)]
For = Annotated[float | None, Depends(_for)]


def with_revision(body: dict[str, Any], if_match: int | None) -> dict[str, Any]:
    """A patch with the revision of the header.

    Raises:
        DomainError: `invalid_field` on `if_revision` when body and header differ.
    """
    if if_match is None:
        return body
    if body.get("if_revision") not in (None, if_match):
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "if_revision",
            f"if_revision is {shown(body['if_revision'])} in the body but {if_match} in If-Match",
        )
    return {**body, "if_revision": if_match}
