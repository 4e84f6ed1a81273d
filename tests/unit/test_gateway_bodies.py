"""JSON read strictly: everything that comes out can be written again, everything else is told."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.gateway.bodies import MAX_DEPTH, MAX_DIGITS, parse_object
from domain.errors import DomainError, ErrorKind
from tests.support.routines import assert_refused, refusal

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**290), max_value=10**290)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda below: st.lists(below, max_size=4) | st.dictionaries(st.text(), below, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5), st.booleans())
def test_what_is_json_is_read_as_it_is(value: dict[str, Any], ascii_only: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    assert parse_object(text.encode()) == value


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:0123456789eE.-+\\u d8a', max_size=60))
def test_whatever_comes_is_read_or_told(given: bytes | str) -> None:
    body = given.encode() if isinstance(given, str) else given
    try:
        value = parse_object(body)
    except DomainError as error:
        found = error
    else:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        return
    assert_refused(found, ErrorKind.INVALID_FIELD, "body", "JSON object")


@pytest.mark.parametrize("body", [b"", b" ", b"\n\t", b"{}", b" {} "])
def test_nothing_is_an_empty_object(body: bytes) -> None:
    assert parse_object(body) == {}


@pytest.mark.parametrize(
    ("body", "contains"),
    [
        (b'{"a": 1, "a": 1}', "twice"),
        (b'{"a": [{"b": 1, "b": 2}]}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": Infinity}', "Infinity"),
        (b'{"a": -1e400}', "too large"),
        (b'{"a": ' + b"1" * (MAX_DIGITS + 1) + b"}", str(MAX_DIGITS + 1)),
        (b'{"a": "\\udc00"}', "surrogate"),
        (b'{"\\ud83d": 1}', "surrogate"),
        (b"[" * 50_000, str(MAX_DEPTH)),
        (b'{"a":' * 50_000, str(MAX_DEPTH)),
        (b"\xef\xbb\xbf{}", "no JSON"),
        (b"[]", "a list"),
        (b"false", "false"),
    ],
)
def test_what_two_readers_could_take_differently(body: bytes, contains: str) -> None:
    assert_refused(refusal(lambda: parse_object(body)), "invalid_field", "body", contains)


@pytest.mark.parametrize("opening", ["{}", "[]"])
def test_the_depth_has_an_exact_limit(opening: str) -> None:
    def nested(depth: int) -> bytes:
        value: Any = {} if opening == "{}" else []
        for _ in range(depth - 1):
            value = {"a": value} if opening == "{}" else [value]
        return json.dumps({"a": value}).encode()

    assert parse_object(nested(MAX_DEPTH))
    error = refusal(lambda: parse_object(nested(MAX_DEPTH + 1)))
    assert_refused(error, "invalid_field", "body", str(MAX_DEPTH))


def test_pairs_of_surrogates_are_one_character() -> None:
    assert parse_object(b'{"a": "\\ud83c\\udf31"}') == {"a": "🌱"}
