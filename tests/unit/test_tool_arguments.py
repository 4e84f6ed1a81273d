"""What is let through to a tool, and what a refusal says."""

import json
import time
from typing import Any

import pytest

from activities.tools.arguments import (
    MAX_DEPTH,
    MAX_STRING_BYTES,
    ArgumentsRefused,
    Schema,
    SchemaRefused,
    read_arguments,
)

PATH: dict[str, Any] = {
    "type": "object",
    "properties": {
        "path": {"type": "string", "minLength": 1, "pattern": "^[a-z/]+$"},
        "count": {"type": "integer", "minimum": 1},
        "options": {"type": "object", "properties": {"deep": {"type": "boolean"}}},
        "rows": {"type": "array", "items": {"type": "object", "properties": {"a": {}}}},
        "pair": {"type": "array", "prefixItems": [{"type": "object", "properties": {}}]},
        "free": {"type": "object"},
        "mode": {"enum": ["r", "w"]},
    },
    "required": ["path"],
}


def nested(levels: int) -> Any:
    """Lists in lists, so many."""
    value: Any = []
    for _ in range(levels - 1):
        value = [value]
    return value


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": "a/b"},
        {"path": "a", "count": 3, "options": {"deep": True}, "rows": [{"a": None}], "mode": "r"},
        {"path": "a", "free": {"anything": ["goes", {"x": 1}]}},
        {"path": "a", "pair": [{}]},
        {"path": "a", "free": {"x": nested(MAX_DEPTH - 2)}},
        {"path": "a", "free": {"x": "é" * (MAX_STRING_BYTES // 2)}},
    ],
)
def test_valid_arguments_pass(arguments: dict[str, Any]) -> None:
    Schema(PATH).check(arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "arguments: missing path"),
        ({"path": 5}, "arguments.path: must be string"),
        ({"path": "A"}, "arguments.path: does not satisfy pattern"),
        ({"path": ""}, "arguments.path: does not satisfy minLength 1"),
        ({"path": "a", "count": "3"}, "arguments.count: must be integer"),
        ({"path": "a", "count": True}, "arguments.count: must be integer"),
        ({"path": "a", "count": 0}, "arguments.count: does not satisfy minimum 1"),
        ({"path": "a", "mode": "x"}, 'arguments.mode: does not satisfy enum ["r", "w"]'),
        ({"path": "a", "other": 1}, "has a key that is not accepted; accepted: path, count"),
        ({"path": "a", "options": {"x": 1}}, "arguments.options: has a key that is not accepted"),
        ({"path": "a", "rows": [{}, {"x": 1}]}, "arguments.rows.1: has a key"),
        ({"path": "a", "pair": [{"x": 1}]}, "arguments.pair.0: has a key"),
        ({"path": "a\x00"}, "arguments.path: must not contain NUL"),
        ({"path": "a", "free": {"\x00": 1}}, "arguments.free: must not contain NUL"),
        ({"path": "\ud800"}, "arguments.path: must not contain half a character"),
        ({"path": "a", "free": {"x": "é" * 50_001}}, "arguments.free.x: must be at most 100000"),
        ({"path": "a", "free": {"x": nested(31)}}, "is deeper than 32 levels"),
    ],
)
def test_refusal_names_place_and_rule(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ArgumentsRefused) as caught:
        Schema(PATH).check(arguments)
    assert says in str(caught.value)


def test_refusal_never_shows_a_value() -> None:
    with pytest.raises(ArgumentsRefused) as caught:
        Schema(PATH).check({"path": "HUNTER2!", "count": "HUNTER2", "mode": "HUNTER2"})
    assert "HUNTER2" not in str(caught.value)
    assert str(caught.value).count(";") == 2


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": "object"}, {}, {"x": 1}),
        ({"type": "object", "additionalProperties": True}, {"x": 1}, None),
        ({"type": "object", "additionalProperties": {"type": "string"}}, {"x": "1"}, {"x": 1}),
        ({"type": "object", "patternProperties": {"^x": {"type": "string"}}}, {"x1": ""}, {"y": 1}),
        ({"type": "object", "patternProperties": {"^x": {"type": "string"}}}, {"x": ""}, {"x": 1}),
        (
            {"type": "object", "allOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}]},
            {"a": 1, "b": 2},
            {"c": 1},
        ),
        (
            {
                "type": "object",
                "properties": {"at": {"$ref": "#/$defs/at"}},
                "$defs": {"at": {"type": "string"}},
            },
            {"at": "x"},
            {"at": 1},
        ),
    ],
)
def test_schema_says_what_becomes_of_unknown_keys(
    schema: dict[str, Any], good: dict[str, Any], bad: dict[str, Any] | None
) -> None:
    Schema(schema).check(good)
    if bad is not None:
        with pytest.raises(ArgumentsRefused):
            Schema(schema).check(bad)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({}, "type must be 'object'"),
        ({"type": "array"}, "type must be 'object'"),
        ({"type": "object", "properties": {"x": {"type": "text"}}}, "properties/x/type"),
        ({"type": "object", "properties": {"x": {"pattern": "(?=a)b"}}}, "is not RE2"),
        ({"type": "object", "patternProperties": {"(": {}}}, "is not"),
        ({"type": "object", "allOf": [{"patternProperties": {"(a)\\1": {}}}]}, "is not RE2"),
        ({"type": "object", "$ref": "https://example.com/x.json"}, "example.com"),
        ({"type": "object", "$ref": "#/$defs/missing"}, "leads nowhere"),
        ({"type": "object", "properties": {"x": {"$ref": "#/$defs/y"}}}, "'#/$defs/y'"),
    ],
)
def test_schema_that_cannot_be_used_is_refused(schema: dict[str, Any], says: str) -> None:
    with pytest.raises(SchemaRefused) as caught:
        Schema(schema)
    assert says in str(caught.value)


def test_pattern_cannot_hold_up_the_process() -> None:
    schema = Schema({"type": "object", "properties": {"x": {"pattern": "^(a+)+$"}}})
    began = time.perf_counter()
    with pytest.raises(ArgumentsRefused):
        schema.check({"x": "a" * 50_000 + "!"})
    assert time.perf_counter() - began < 2


@pytest.mark.parametrize("text", ["", "{}", '{"a": {"b": [1, 2.5, null, "x"]}}'])
def test_arguments_are_read_as_written(text: str) -> None:
    assert read_arguments(text) == json.loads(text or "{}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "no JSON"),
        ('{"x": NaN}', "no JSON"),
        ('{"x": -Infinity}', "no JSON"),
        ('{"x": 1e999}', "no JSON"),
        ('{"x": [-1.5e400]}', "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('{"x": ' + "9" * 5000 + "}", "no JSON"),
        ("hunter2", "no JSON"),
        ("[]", "not list"),
        ('"x"', "not text"),
        ("null", "not null"),
        ("true", "not boolean"),
        ("1", "not number"),
    ],
)
def test_arguments_that_are_no_object_are_refused(text: str, says: str) -> None:
    with pytest.raises(ArgumentsRefused) as caught:
        read_arguments(text)
    assert says in str(caught.value)
    assert "hunter2" not in str(caught.value)
