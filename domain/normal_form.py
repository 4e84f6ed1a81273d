"""The normal form of a record given as JSON: how texts are spelled, before anything is checked.

Owns trimming and lower-casing; which fields are words is the noun's matter. Source: automation.md
§4.
"""

from collections.abc import Mapping
from typing import cast


def trimmed(value: object) -> object:
    """The value with every text in it trimmed, at any depth."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, Mapping):
        return {key: trimmed(part) for key, part in cast("Mapping[str, object]", value).items()}
    if isinstance(value, list):
        return [trimmed(part) for part in cast("list[object]", value)]
    return value


def lower_word(values: dict[str, object], key: str, default: str | None = None) -> None:
    """Put a field into lower case; a blank or absent one gets the default, where there is one."""
    value = values.get(key)
    if isinstance(value, str) and value:
        values[key] = value.lower()
    elif default is not None and value in (None, ""):
        values[key] = default
