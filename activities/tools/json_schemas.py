"""JSON Schemas of tools, made ready to check arguments with.

Owns what makes a schema usable, and where ours are stricter than the standard. Loaded by workers
only: the library is heavy. Source: triggers-and-actions.md §7.

Invariants:
    1. A key that the schema does not name is refused, unless the schema says what becomes of it.
    2. Patterns run in RE2, so that no argument can hold up the process.
    3. Nothing is fetched: a reference leads to a place in the schema, or it is refused.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import re2
from jsonschema import Draft202012Validator, SchemaError, ValidationError, validators
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from activities.tools.arguments import SchemaRefused, as_object, parts_of

# Keywords beside which a schema says itself what becomes of keys it does not name.
_OPEN: Final = frozenset({"additionalProperties", "unevaluatedProperties"})
_COMBINED: Final = frozenset({"$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if"})
# A reference to elsewhere fails instead of being fetched.
_NOTHING_ELSE: Final = Registry[Any]()
_QUIET: Final = re2.Options()
_QUIET.log_errors = False


def compiled(schema: Mapping[str, Any]) -> Any:
    """A validator of the library for a schema.

    Raises:
        SchemaRefused: It is no JSON Schema 2020-12 of type object.
    """
    if schema.get("type") != "object":
        raise SchemaRefused("its type must be 'object'")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = "/".join(str(step) for step in error.absolute_path) or "the whole"
        raise SchemaRefused(f"{place}: {error.message}") from None
    _check_patterns(schema)
    _check_references(schema)
    return _Validator(_closed(schema, outermost=True), registry=_NOTHING_ELSE)


def _closed(schema: Any, *, outermost: bool = False) -> Any:
    """The schema with the places that name their keys closed to others.

    Parts of a combination are left alone: there a key is unknown only to all of them together.
    """
    given = as_object(schema)
    if given is None:
        return schema
    closed = dict(given)
    for keyword in ("items", "additionalProperties"):
        if keyword in closed:
            closed[keyword] = _closed(closed[keyword])
    if "prefixItems" in closed:
        closed["prefixItems"] = [_closed(item) for item in closed["prefixItems"]]
    if "properties" in closed:
        named: dict[str, Any] = closed["properties"]
        closed["properties"] = {name: _closed(part) for name, part in named.items()}
    if (outermost or "properties" in closed) and not _OPEN & closed.keys():
        how = "unevaluatedProperties" if _COMBINED & closed.keys() else "additionalProperties"
        closed[how] = False
    return closed


def _check_patterns(schema: object) -> None:
    """Refuse patterns that RE2 does not know, wherever they stand."""
    given = as_object(schema) or {}
    for pattern in [given.get("pattern"), *(as_object(given.get("patternProperties")) or ())]:
        if isinstance(pattern, str):
            _compiled(pattern)
    for _, part in parts_of(schema):
        _check_patterns(part)


def _check_references(schema: Mapping[str, Any]) -> None:
    """Refuse references that lead nowhere or elsewhere, before somebody calls."""
    whole = Resource.from_contents(schema, default_specification=DRAFT202012)
    place = whole.id() or ""
    resolver = _NOTHING_ELSE.with_resource(place, whole).resolver(place)
    for reference in _references(schema):
        try:
            resolver.lookup(reference)
        except Unresolvable:
            raise SchemaRefused(f"the reference {reference!r} leads nowhere") from None


def _references(schema: object) -> Iterator[str]:
    for step, part in parts_of(schema):
        if step == "$ref" and isinstance(part, str):
            yield part
        yield from _references(part)


def _compiled(pattern: str) -> Any:
    try:
        return re2.compile(pattern, _QUIET)
    except re2.error:
        raise SchemaRefused(f"the pattern {pattern!r} is not RE2") from None


def _found(pattern: str, text: str) -> bool:
    return _compiled(pattern).search(text) is not None


def _pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _found(pattern, instance):
        yield ValidationError("does not match")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _: Any
) -> Iterator[ValidationError]:
    for pattern, part in patterns.items():
        for key, value in (as_object(instance) or {}).items():
            if _found(pattern, key):
                yield from validator.descend(value, part, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, rule: Any, instance: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    patterns = schema.get("patternProperties", {})
    for key, value in (as_object(instance) or {}).items():
        if key in schema.get("properties", {}) or any(_found(item, key) for item in patterns):
            continue
        if rule is False:
            yield ValidationError("is not accepted")
        else:
            yield from validator.descend(value, rule, path=key)


_library: Any = validators  # its stubs leave `extend` without types
_Validator: Final[Any] = _library.extend(
    Draft202012Validator,
    {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional_properties,
    },
)
