"""What a caller gives as a JSON object (automation.md §14 row 30)."""

from typing import Any

import pytest

from client.json_objects import MAX_DEPTH, checked_object
from domain.errors import ErrorKind
from tests.support.routines import assert_refused, refusal


def _nested(depth: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(depth):
        value = {"a": value}
    return value


def test_what_json_can_say_is_handed_on() -> None:
    value = {"a": [1, 2.5, True, None, {"b": "ü \U0001f600"}], "c": _nested(MAX_DEPTH - 2)}
    assert checked_object(value) == value


@pytest.mark.parametrize(
    ("value", "word"),
    [
        (None, "JSON object"),
        ([1], "JSON object"),
        ("text", "JSON object"),
        ({"a": float("nan")}, "nan"),
        ({"a": [float("inf")]}, "inf"),
        ({1: "x"}, "1"),
        ({"\ud800": 1}, "Unicode"),
        ({"a": {"b": "\ud800"}}, "Unicode"),
        ({"a": {1, 2}}, "set"),
        ({"a": b"x"}, "bytes"),
        (_nested(MAX_DEPTH + 1), str(MAX_DEPTH)),
    ],
)
def test_what_it_cannot_is_refused(value: object, word: str) -> None:
    error = refusal(lambda: checked_object(value))
    assert_refused(error, ErrorKind.INVALID_FIELD, "body", word)
