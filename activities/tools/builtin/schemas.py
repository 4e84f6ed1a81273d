"""The JSON Schemas of the builtin tools' arguments.

Owns the one shape they all have: an object that takes exactly the named keys.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

Schema = Mapping[str, Any]


def arguments(properties: Mapping[str, Schema], required: Sequence[str] = ()) -> dict[str, Any]:
    """The schema of a tool's arguments (JSON Schema 2020-12)."""
    return {
        "type": "object",
        "properties": {name: dict(schema) for name, schema in properties.items()},
        "required": list(required),
        "additionalProperties": False,
    }


def text(description: str, *, longest: int = 4096, shortest: int = 1, **more: Any) -> Schema:
    """A text of limited length in characters."""
    limits = {"minLength": shortest, "maxLength": longest}
    return {"type": "string", "description": description} | limits | more


def integer(description: str, low: int, high: int, default: int) -> Schema:
    """An integer in a range."""
    limits = {"minimum": low, "maximum": high, "default": default}
    return {"type": "integer", "description": description} | limits


def flag(description: str, *, default: bool = False) -> Schema:
    """True or false."""
    return {"type": "boolean", "description": description, "default": default}


def any_object(description: str) -> Schema:
    """An object whose keys somebody else checks."""
    return {"type": "object", "description": description, "additionalProperties": True}


def as_json(value: object) -> str:
    """Data as a tool's output: one line of JSON, other alphabets as they are."""
    return sayable(json.dumps(value, ensure_ascii=False))


def sayable(said: str) -> str:
    """A text as UTF-8 can say it: names of files and JSON may hold halves of characters."""
    return said.encode("utf-8", "replace").decode()
