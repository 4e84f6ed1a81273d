"""Reading the fields of one JSON object: the rules that hold for every field."""

import pytest

from domain.errors import DomainError, ErrorKind
from domain.fields import FieldReader, is_unicode, problems_of, raise_first, shown


def reader(**values: object) -> FieldReader:
    return FieldReader(values, "thing")


def messages(fields: FieldReader) -> list[str]:
    return [problem.message for problem in fields.problems]


@pytest.mark.parametrize("value", [None, [], "x", 1, True])
def test_only_a_json_object_has_fields(value: object) -> None:
    with pytest.raises(DomainError, match="JSON object") as caught:
        FieldReader.of(value, "thing")
    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID_FIELD, "thing")


def test_fields_are_named_by_their_dotted_path() -> None:
    assert FieldReader.of({}, "a.b").field("c") == "a.b.c"
    assert FieldReader.of({}, "").field("c") == "c"
    assert reader().field("\ud800") == "thing.\\ud800"


def test_null_counts_as_absent() -> None:
    fields = reader(x=None)
    assert not fields.given("x")
    assert fields.raw("x") is None
    assert fields.text("x") is None
    assert fields.items("x", "names") is None
    assert fields.integer("x", 1, 9, 5) == 5
    assert fields.optional_integer("x", 1) is None
    assert fields.boolean("x", default=True) is True
    assert fields.choice("x", ["a", "b"], "a") == "a"
    fields.close()


@pytest.mark.parametrize(
    ("given", "read"), [(" a ", "a"), ("", None), (" \n", None), ("Ä 🙂", "Ä 🙂")]
)
def test_texts_are_trimmed_and_blank_is_absent(given: str, read: str | None) -> None:
    fields = reader(x=given)
    assert fields.text("x") == read
    fields.close()


@pytest.mark.parametrize(
    ("value", "wrong"), [(1, "string"), ([], "string"), ("a\ud800", "Unicode")]
)
def test_texts_are_unicode_strings(value: object, wrong: str) -> None:
    fields = reader(x=value)
    assert fields.required_text("x") == ""
    assert len(fields.problems) == 1
    assert wrong in messages(fields)[0]


@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_required_text_must_be_there(value: object) -> None:
    fields = reader(x=value)
    assert fields.required_text("x") == ""
    assert [problem.kind for problem in fields.problems] == [ErrorKind.MISSING_FIELD]


def test_characters_and_bytes_are_limited_after_trimming() -> None:
    fields = reader(chars=" äää ", bytes=" äää ")
    fields.required_text("chars", max_chars=3)
    fields.required_text("bytes", max_bytes=6)
    fields.close()
    fields.required_text("chars", max_chars=2)
    fields.required_text("bytes", max_bytes=5)
    assert [problem.field for problem in fields.problems] == ["thing.chars", "thing.bytes"]


@pytest.mark.parametrize("value", [True, False, "5", 5.0, 5.5, [], 0, 10, -1, 10**400])
def test_integers_are_integers_in_range(value: object) -> None:
    fields = reader(x=value)
    assert fields.integer("x", 1, 9, 5) == 5
    assert "integer from 1 to 9" in messages(fields)[0]


@pytest.mark.parametrize("value", [1, 9])
def test_bounds_are_inclusive(value: int) -> None:
    assert reader(x=value).integer("x", 1, 9, 5) == value


def test_an_integer_may_be_open_above() -> None:
    fields = reader(big=10**30, small=0)
    assert fields.optional_integer("big", 1) == 10**30
    assert fields.optional_integer("small", 1) is None
    assert ">= 1" in messages(fields)[0]


@pytest.mark.parametrize("value", [0, 1, "true", []])
def test_booleans_are_true_or_false(value: object) -> None:
    fields = reader(x=value)
    assert fields.boolean("x", default=False) is False
    assert fields.problems[0].accepted == ["true", "false"]
    assert reader(x=True).boolean("x", default=False) is True


def test_choices_are_exact_words() -> None:
    assert reader(x=" b ").choice("x", ["a", "b"], "a") == "b"
    assert reader(x=" ").choice("x", ["a", "b"], "a") == "a"
    for value in ("B", 1, ["a"]):
        fields = reader(x=value)
        assert fields.choice("x", ["a", "b"], "a") == "a"
        assert fields.problems[0].accepted == ["a", "b"]


def test_lists_are_lists() -> None:
    assert reader(x=[1, "a"]).items("x", "names") == [1, "a"]
    fields = reader(x="a")
    assert fields.items("x", "names") is None
    assert "list of names" in messages(fields)[0]


@pytest.mark.parametrize("value", ["  RED ", "red", "Red"])
def test_a_tag_is_trimmed_and_lower_cased(value: str) -> None:
    assert reader(type=value).tag(["red", "blue"]) == "red"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, ErrorKind.MISSING_FIELD),
        (" ", ErrorKind.MISSING_FIELD),
        ("green", ErrorKind.INVALID_FIELD),
        (5, ErrorKind.INVALID_FIELD),
        (["red"], ErrorKind.INVALID_FIELD),
    ],
)
def test_a_wrong_tag_ends_the_reading(value: object, kind: ErrorKind) -> None:
    with pytest.raises(DomainError, match="red, blue") as caught:
        reader(type=value).tag(["red", "blue"])
    assert (caught.value.kind, caught.value.field) == (kind, "thing.type")


def test_unknown_keys_are_named_with_the_accepted_ones() -> None:
    fields = reader(a=1, b=2, c=3)
    fields.refuse_unknown(["a"])
    assert [problem.field for problem in fields.problems] == ["thing.b", "thing.c"]
    assert fields.problems[0].kind is ErrorKind.UNKNOWN_FIELD
    assert fields.problems[0].accepted == ["a"]


def test_the_first_problem_is_raised_and_all_are_listed() -> None:
    fields = reader(a="x", b="y")
    fields.integer("a", 1, 9, 5)
    fields.missing("c", "a hint")
    fields.integer("b", 1, 9, 5)
    with pytest.raises(DomainError) as caught:
        fields.close()
    assert caught.value.field == "thing.a"
    assert [problem.field for problem in caught.value.errors] == ["thing.a", "thing.c", "thing.b"]
    assert "a hint" in caught.value.errors[1].message


def test_a_single_problem_is_not_listed_again() -> None:
    fields = reader()
    fields.missing("c")
    with pytest.raises(DomainError) as caught:
        fields.close()
    assert caught.value.errors == []
    assert problems_of(caught.value)[0].field == "thing.c"


def test_problems_of_a_part_join_those_of_the_whole() -> None:
    part = reader(a=0)
    part.integer("a", 1, 9, 5)
    part.missing("b")
    fields = reader()
    assert fields.check(lambda: raise_first(part.problems)) is None
    assert fields.problems == part.problems
    assert fields.check(lambda: 7) == 7


def test_what_is_quoted_is_short() -> None:
    assert shown("a" * 500) == "'" + "a" * 79 + "…"
    assert shown(10**5000) == "an integer of 16610 bits"
    assert shown(12) == "12"
    assert is_unicode("🙂")
    assert is_unicode(shown("\ud800"))
