"""What a caller of the library gives as a JSON object, checked before it travels.

Owns the refusal of what JSON cannot say. What the object must hold is the noun's matter.
Source: automation.md §14 row 30.

Invariant: what comes out can be written as JSON and UTF-8, so nothing is changed on the way.
"""

import math
from collections.abc import Mapping
from typing import Any, Final, cast

from domain.errors import DomainError, ErrorKind
from domain.fields import is_unicode, shown

MAX_DEPTH: Final = 64


def checked_object(value: object, field: str = "body") -> dict[str, Any]:
    """The object, if all of it is JSON.

    Raises:
        DomainError: `invalid_field` on `field`.
    """
    if not isinstance(value, Mapping):
        raise _invalid(field, f"must be a JSON object, not {shown(value)}")
    found = cast("Mapping[object, object]", value)
    _check(found, field, 0)
    return cast("dict[str, Any]", dict(found))


def _check(value: object, field: str, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise _invalid(field, f"must be a JSON object of at most {MAX_DEPTH} levels")
    match value:
        case None | bool() | int():
            return
        case str():
            if not is_unicode(value):
                raise _invalid(field, "must be a JSON object of Unicode text")
        case float():
            if not math.isfinite(value):
                raise _invalid(field, f"must be a JSON object; {value} is no JSON number")
        case Mapping():
            for key, item in cast("Mapping[object, object]", value).items():
                if not isinstance(key, str):
                    raise _invalid(field, f"must be a JSON object; {key!r} is no text for a key")
                _check(key, field, depth)
                _check(item, field, depth + 1)
        case list() | tuple():
            for item in cast("list[object]", value):
                _check(item, field, depth + 1)
        case _:
            kind = type(value).__name__
            raise _invalid(field, f"must be a JSON object; a {kind} cannot be written as JSON")


def _invalid(field: str, rule: str) -> DomainError:
    return DomainError(ErrorKind.INVALID_FIELD, field, f"{field} {rule}")
