"""The arguments of a call: read from the model's JSON, and checked against the tool's schema.

Owns step 2 of the dispatch. What makes a schema usable is `activities.tools.json_schemas`'.
Source: triggers-and-actions.md §7.

Invariants:
    1. Nothing is converted: a text is not a number, `true` is not 1.
    2. What is told of a refusal names the place and the rule, never the value: it may be a secret.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

if TYPE_CHECKING:
    # Heavy to import, and workflows and clients import this module's users for their payloads.
    from jsonschema import ValidationError

MAX_STRING_BYTES: Final = 100_000
MAX_DEPTH: Final = 32
MAX_TOLD: Final = 3


class ArgumentsRefused(Exception):
    """The arguments are not what the tool takes; its text says where and why."""


class SchemaRefused(Exception):
    """A schema that arguments cannot be checked against; its text says why."""


class Schema:
    """A tool's schema, ready to check arguments."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        """Check the schema itself.

        Raises:
            SchemaRefused: It is no JSON Schema 2020-12 of type object.
        """
        from activities.tools.json_schemas import compiled

        self._validator = compiled(schema)

    def check(self, arguments: Mapping[str, Any]) -> None:
        """Check arguments.

        Raises:
            ArgumentsRefused: With up to `MAX_TOLD` of the places that are wrong.
        """
        _check_values(arguments, (), 1)
        errors = sorted(self._validator.iter_errors(arguments), key=_place_of)
        if errors:
            told = dict.fromkeys(_told(error) for error in errors)
            raise ArgumentsRefused("; ".join(list(told)[:MAX_TOLD]))


def read_arguments(text: str) -> dict[str, Any]:
    """The arguments as a model wrote them; an empty text is none.

    Raises:
        ArgumentsRefused: They are no JSON object.
    """
    try:
        value = json.loads(text or "{}", parse_float=_finite, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        # The parser's own words quote what it read.
        raise ArgumentsRefused("arguments: must be a JSON object; this is no JSON") from None
    arguments = as_object(value)
    if arguments is None:
        raise ArgumentsRefused(f"arguments: must be a JSON object, not {_kind(value)}")
    return arguments


def as_object(value: object) -> dict[str, Any] | None:
    """A JSON value as an object, whose keys are texts; null if it is none."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None


def _as_list(value: object) -> Sequence[Any]:
    return cast("Sequence[Any]", value) if isinstance(value, list) else ()


def _finite(digits: str) -> float:
    """A number with a fraction or an exponent, unless it is too large to be one."""
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("too large")
    return number


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _check_values(value: Any, path: tuple[str, ...], depth: int) -> None:
    """Check what no schema can allow: depth, NUL, half characters, size of texts."""
    if isinstance(value, str):
        _check_text(value, path)
        return
    if depth > MAX_DEPTH and type(value) in (dict, list):
        raise ArgumentsRefused(f"{_place(path)}: is deeper than {MAX_DEPTH} levels")
    for key in as_object(value) or ():
        _check_text(key, path)
    for step, item in parts_of(value):
        _check_values(item, (*path, step), depth + 1)


def parts_of(value: object) -> list[tuple[str, Any]]:
    """What an object or a list holds, each with its step of the path."""
    held = as_object(value)
    if held is not None:
        return list(held.items())
    return [(str(index), item) for index, item in enumerate(_as_list(value))]


def _check_text(text: str, path: tuple[str, ...]) -> None:
    if "\x00" in text:
        raise ArgumentsRefused(f"{_place(path)}: must not contain NUL")
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise ArgumentsRefused(f"{_place(path)}: must not contain half a character") from None
    if size > MAX_STRING_BYTES:
        raise ArgumentsRefused(f"{_place(path)}: must be at most {MAX_STRING_BYTES} bytes")


def _place_of(error: "ValidationError") -> list[str]:
    return [str(step) for step in error.absolute_path]


def _place(path: tuple[Any, ...]) -> str:
    return ".".join(["arguments", *(str(step) for step in path)])[:200]


def _kind(value: object) -> str:
    names = {"str": "text", "list": "list", "bool": "boolean", "NoneType": "null"}
    return names.get(type(value).__name__, "number")


def _told(error: "ValidationError") -> str:
    """What was wrong, without the value."""
    place, rule = _place(tuple(error.absolute_path)), cast("Any", error.validator_value)
    match error.validator:
        case "required":
            given = as_object(error.instance) or {}
            return f"{place}: missing {', '.join(str(key) for key in rule if key not in given)}"
        case "additionalProperties" | "unevaluatedProperties":
            schema = as_object(error.schema) or {}
            accepted = ", ".join(schema.get("properties", {})) or "none"
            return f"{place}: has a key that is not accepted; accepted: {accepted}"
        case "type":
            return f"{place}: must be {rule if isinstance(rule, str) else ' or '.join(rule)}"
        case keyword:
            return f"{place}: does not satisfy {keyword} {json.dumps(rule, default=str)[:200]}"
