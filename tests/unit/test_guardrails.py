"""Guardrails: defaults, refusals, content hashes (triggers-and-actions.md §4, §12 rows 15-17)."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import DomainError, ErrorKind
from domain.guardrails import Guardrails, canonical_json, content_hash, validate_guardrails
from domain.triggers import TriggerType

NO_LIMITS = {
    "dedup_window_seconds": None,
    "max_age_seconds": None,
    "rate_limit": None,
    "run_timeout_seconds": None,
    "max_tokens_total": None,
    "max_tool_calls": None,
    "allowed_tools": None,
    "max_cost_usd": None,
}


def valid(**given: object) -> Guardrails:
    return validate_guardrails(given, TriggerType.CRON)


def refused(guardrails: object) -> DomainError:
    with pytest.raises(DomainError) as caught:
        validate_guardrails(guardrails, TriggerType.CRON)
    return caught.value


class TestDefaults:
    @pytest.mark.parametrize("kind", ["cron", "interval", "at", "manual"])
    def test_a_clock_or_a_person_has_no_cooldown(self, kind: str) -> None:
        assert validate_guardrails(None, TriggerType(kind)).model_dump() == {
            "cooldown_seconds": 0,
            "max_concurrent": 1,
            "overlap": "queue_one",
            **NO_LIMITS,
        }

    @pytest.mark.parametrize("kind", ["event", "system_event", "webhook"])
    def test_pushed_triggers_cool_down_and_skip(self, kind: str) -> None:
        assert validate_guardrails({}, TriggerType(kind)).model_dump() == {
            "cooldown_seconds": 300,
            "max_concurrent": 1,
            "overlap": "skip",
            **NO_LIMITS,
        }

    def test_null_counts_as_absent(self) -> None:
        nulls = dict.fromkeys(Guardrails.model_fields)
        assert valid(**nulls) == Guardrails()


class TestValues:
    @pytest.mark.parametrize(
        ("field", "values"),
        [
            ("cooldown_seconds", [0, 31_536_000]),
            ("max_concurrent", [1, 10]),
            ("overlap", ["queue_one", "skip"]),
            ("dedup_window_seconds", [1, 604_800]),
            ("max_age_seconds", [1, 604_800]),
            ("run_timeout_seconds", [1, 86_400]),
            ("max_tokens_total", [1, 10**12]),
            ("max_tool_calls", [0, 10_000]),
            ("allowed_tools", [[], ["file_read", "http_get"]]),
            ("max_cost_usd", ["0.000001", "1000000"]),
            (
                "rate_limit",
                [
                    {"max_runs": 1, "window_seconds": 1},
                    {"max_runs": 10_000, "window_seconds": 2_678_400},
                ],
            ),
        ],
    )
    def test_bounds_are_inclusive(self, field: str, values: list[object]) -> None:
        for value in values:
            normal = valid(**{field: value}).model_dump()
            assert normal == {**Guardrails().model_dump(), field: value}

    @pytest.mark.parametrize(
        ("given", "text"),
        [("0.50", "0.5"), (0.5, "0.5"), (2, "2"), (2.0, "2"), (" 10.10 ", "10.1")],
    )
    def test_a_cost_is_kept_as_the_shortest_text(self, given: object, text: str) -> None:
        assert valid(max_cost_usd=given).max_cost_usd == text

    def test_tool_names_are_trimmed_and_kept_once(self) -> None:
        assert valid(allowed_tools=[" b ", "a", "b"]).allowed_tools == ["b", "a"]

    def test_the_json_of_guardrails_is_their_normal_form_again(self) -> None:
        normal = valid(
            rate_limit={"max_runs": 3, "window_seconds": 60}, max_cost_usd="0.50", overlap="skip"
        )
        assert Guardrails.model_validate_json(normal.model_dump_json()) == normal
        assert valid(**normal.model_dump()) == normal


class TestRefusals:
    @pytest.mark.parametrize(
        ("field", "value", "contains"),
        [
            pytest.param("cooldown_seconds", -1, ["0", "31536000"], id="row 15"),
            pytest.param("max_concurrent", 0, ["1", "10"], id="row 15"),
            pytest.param("overlap", "allow", ["queue_one", "skip"], id="row 15"),
            pytest.param("max_cost_usd", 0, ["USD"], id="row 17"),
            pytest.param("max_cost_usd", "$1", ["USD"], id="row 17"),
            pytest.param("max_cost_usd", "0.0000001", ["USD"], id="row 17"),
            ("max_cost_usd", True, ["USD"]),
            ("max_cost_usd", "", ["USD"]),
            ("cooldown_seconds", 31_536_001, ["31536000"]),
            ("cooldown_seconds", "300", ["integer"]),
            ("cooldown_seconds", True, ["integer"]),
            ("cooldown_seconds", 0.5, ["integer"]),
            ("max_concurrent", 11, ["1", "10"]),
            ("overlap", 1, ["queue_one", "skip"]),
            ("dedup_window_seconds", 0, ["1", "604800"]),
            ("dedup_window_seconds", 604_801, ["604800"]),
            ("max_age_seconds", 0, ["1", "604800"]),
            ("max_age_seconds", 604_801, ["604800"]),
            ("run_timeout_seconds", 0, ["1", "86400"]),
            ("run_timeout_seconds", 86_401, ["86400"]),
            ("max_tokens_total", 0, [">= 1"]),
            ("max_tool_calls", -1, ["0", "10000"]),
            ("max_tool_calls", 10_001, ["10000"]),
            ("allowed_tools", "file_read", ["list"]),
            ("allowed_tools", ["file_read", ""], ["list"]),
            ("allowed_tools", [5], ["list"]),
            ("allowed_tools", ["\ud800"], ["list"]),
            ("rate_limit", 5, ["object"]),
            ("rate_limit", [], ["object"]),
        ],
    )
    def test_a_value_out_of_range_is_named(
        self, field: str, value: object, contains: list[str]
    ) -> None:
        error = refused({field: value})
        assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, f"guardrails.{field}")
        assert all(text in error.message for text in contains)

    @pytest.mark.parametrize(
        ("limit", "kind", "field"),
        [
            pytest.param({"max_runs": 3}, ErrorKind.MISSING_FIELD, "window_seconds", id="row 16"),
            ({"window_seconds": 60}, ErrorKind.MISSING_FIELD, "max_runs"),
            ({}, ErrorKind.MISSING_FIELD, "max_runs"),
            ({"max_runs": 3, "window_seconds": None}, ErrorKind.MISSING_FIELD, "window_seconds"),
            ({"max_runs": 0, "window_seconds": 60}, ErrorKind.INVALID_FIELD, "max_runs"),
            ({"max_runs": 10_001, "window_seconds": 60}, ErrorKind.INVALID_FIELD, "max_runs"),
            (
                {"max_runs": 3, "window_seconds": 2_678_401},
                ErrorKind.INVALID_FIELD,
                "window_seconds",
            ),
            ({"max_runs": 3, "window_seconds": 60, "per": 1}, ErrorKind.UNKNOWN_FIELD, "per"),
        ],
    )
    def test_a_rate_limit_is_whole_and_in_range(
        self, limit: object, kind: ErrorKind, field: str
    ) -> None:
        error = refused({"rate_limit": limit})
        assert (error.kind, error.field) == (kind, f"guardrails.rate_limit.{field}")
        assert field in error.message

    @pytest.mark.parametrize("value", [[], "x", 5, True])
    def test_only_an_object_holds_guardrails(self, value: object) -> None:
        error = refused(value)
        assert (error.kind, error.field) == (ErrorKind.INVALID_FIELD, "guardrails")

    def test_unknown_keys_are_named_with_the_accepted_ones(self) -> None:
        error = refused({"cooldown": 5})
        assert (error.kind, error.field) == (ErrorKind.UNKNOWN_FIELD, "guardrails.cooldown")
        assert "cooldown_seconds" in error.message

    def test_all_wrong_fields_are_listed_in_the_order_of_the_table(self) -> None:
        error = refused(
            {"max_cost_usd": 0, "rate_limit": {}, "overlap": "x", "cooldown_seconds": -1, "odd": 1}
        )
        assert [problem.field for problem in error.errors] == [
            "guardrails.odd",
            "guardrails.cooldown_seconds",
            "guardrails.overlap",
            "guardrails.rate_limit.max_runs",
            "guardrails.rate_limit.window_seconds",
            "guardrails.max_cost_usd",
        ]


class TestContentHash:
    @pytest.mark.parametrize(
        ("content", "canonical"),
        [
            ({"b": "ü", "a": 1}, '{"a":1,"b":"ü"}'),
            ({"a": {"z": 1, "y": [1, 2.5, None, True]}}, '{"a":{"y":[1,2.5,null,true],"z":1}}'),
            ("text", '"text"'),
            ('say "hi"\n', '"say \\"hi\\"\\n"'),
            (None, "null"),
            ({}, "{}"),
        ],
    )
    def test_it_is_the_sha256_of_canonical_json(self, content: object, canonical: str) -> None:
        assert canonical_json(content) == canonical.encode()
        assert content_hash(content) == hashlib.sha256(canonical.encode()).hexdigest()

    def test_the_specified_example(self) -> None:
        digest = "1a59e522e02ce50ad2c27c11a6d30f8667489c199580627fe9e3e33e2b0e91d5"
        assert content_hash({"b": "ü", "a": 1}) == digest

    def test_a_body_hashes_the_same_as_text_and_as_bytes(self) -> None:
        assert content_hash("ü".encode()) == content_hash("ü")
        assert content_hash(b"\xff") != content_hash(b"\xfe")

    def test_what_is_no_unicode_has_a_hash_too(self) -> None:
        assert content_hash({"a": "\ud800"}) != content_hash({"a": "\ud801"})

    @given(st.dictionaries(st.text(), st.integers() | st.text(), max_size=5))
    def test_the_order_of_keys_does_not_matter(self, content: dict[str, object]) -> None:
        reversed_content = dict(reversed(content.items()))
        assert content_hash(content) == content_hash(reversed_content)
