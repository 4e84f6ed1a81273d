"""`TICKLESS_…` variables: any setting from the environment.

Owns how a variable names a setting and how its text becomes a value. Whether the value is accepted
is checked with all others later. Source: automation.md §13.

Rules: `__` leads one level down; case does not matter; a number is the index of a list's item, one
past the end adds an item; a whole list or mapping is JSON; an empty text is null where null is
accepted.
"""

import json
import re
from collections.abc import Collection, Mapping
from typing import NoReturn

from pydantic import JsonValue

from client.settings.schema import Schema, SettingsSchema
from client.settings.tree import DEFAULT_ORIGIN, Node, Step, dotted
from domain.errors import ErrorKind, FieldProblem

PREFIX = "TICKLESS_"
CONFIG_VARIABLE = "TICKLESS_CONFIG"

# Bounded, because Python refuses to read integers of thousands of digits.
_INTEGER = re.compile(r"[-+]?[0-9]{1,30}")
_NUMBER = re.compile(r"[-+]?[0-9]{1,30}(\.[0-9]{0,30})?([eE][-+]?[0-9]{1,2})?")
_INDEX = re.compile(r"[0-9]{1,4}")
_TRUE = frozenset({"true", "1", "yes", "on"})
_FALSE = frozenset({"false", "0", "no", "off"})


class _UnusableError(ValueError):
    """A variable whose value has no place or cannot be read; `path` is how far it got."""

    def __init__(self, path: list[Step], message: str) -> None:
        super().__init__(message)
        self.path = path


def apply_environment(
    tree: Node, environ: Mapping[str, str], schema: SettingsSchema
) -> list[FieldProblem]:
    """Put every setting that the environment names into the tree.

    Args:
        tree: The values so far; changed.
        environ: All variables; those without the prefix are ignored.
        schema: What the settings are.

    Returns:
        What cannot be placed: a bad list index, a list or mapping that is not JSON.
    """
    problems: list[FieldProblem] = []
    for variable in sorted(filter(_is_setting, environ), key=_order):
        try:
            path = _locate(tree, _parts(variable), schema)
            setting = schema.at(path, tree.plain()) or {}
            value = _converted(environ[variable], setting, schema, path)
        except _UnusableError as error:
            field = dotted(error.path)
            message = f"{field} {error} ({variable})"
            problems.append(
                FieldProblem(kind=ErrorKind.INVALID_FIELD, field=field, message=message)
            )
        else:
            tree.put(path, Node.of(value, f"env {variable}"))
    return problems


def _is_setting(variable: str) -> bool:
    name = variable.upper()
    return name.startswith(PREFIX) and name != CONFIG_VARIABLE


def _parts(variable: str) -> list[str]:
    return variable[len(PREFIX) :].split("__")


def _order(variable: str) -> list[tuple[int, str]]:
    """Sorts a container before its items, and the items of a list by number."""
    return [(int(part) if _INDEX.fullmatch(part) else -1, part) for part in _parts(variable)]


def _locate(tree: Node, parts: list[str], schema: SettingsSchema) -> list[Step]:
    """The path that a variable names."""
    path: list[Step] = []
    for part in parts:
        setting = schema.at(path, tree.plain()) or {}
        here = tree.at(path)
        filled: JsonValue = setting.get("default")
        if here is None and "properties" not in setting and isinstance(filled, dict | list):
            # One item of a list or mapping that starts out filled is changed; the others stay.
            here = Node.of(filled, DEFAULT_ORIGIN)
            tree.put(path, here)
        if "array" in schema.kinds(setting):
            path.append(_index(part, here, path))
        else:
            given = list(here.value) if here is not None and isinstance(here.value, dict) else []
            path.append(_key(part, [*given, *schema.keys(setting)]))
    return path


def _index(part: str, here: Node | None, path: list[Step]) -> int:
    length = len(here.value) if here is not None and isinstance(here.value, list) else 0
    if _INDEX.fullmatch(part) and int(part) <= length:
        return int(part)
    raise _UnusableError(
        path, f"is a list of {length} items: the index must be 0 to {length}, not {part!r}"
    )


def _key(part: str, known: Collection[str]) -> str:
    """The known key that differs in case only, else the part, lower-cased unless it mixes cases."""
    match = next((key for key in known if key.lower() == part.lower()), None)
    return match or (part.lower() if part.isupper() else part)


def _converted(text: str, setting: Schema, schema: SettingsSchema, path: list[Step]) -> JsonValue:
    """The text as what the setting takes; unchanged where it is nothing of the kind."""
    kinds = schema.kinds(setting)
    word = text.strip()
    value: JsonValue = text
    if not word and "null" in kinds:
        value = None
    elif kinds & {"array", "object"}:
        value = _json(text, schema.expected(setting), path)
    elif "integer" in kinds and _INTEGER.fullmatch(word):
        value = int(word)
    elif "number" in kinds and _NUMBER.fullmatch(word):
        value = float(word)
    elif "boolean" in kinds and word.lower() in _TRUE | _FALSE:
        value = word.lower() in _TRUE
    return value


def _json(text: str, expected: str, path: list[Step]) -> JsonValue:
    """A list or mapping; the text is not part of the error, since it may hold a secret."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is no number")

    try:
        value: JsonValue = json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        at = f" (at character {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        raise _UnusableError(path, f"must be {expected} as JSON; this is not{at}") from error
    return value
