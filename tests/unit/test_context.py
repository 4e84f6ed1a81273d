"""Sizes of messages, settings and their defaults, tool patterns, turns and single results."""

import re
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.context import (
    CHARS_PER_TOKEN_ESTIMATE,
    IMAGE_CHAR_ESTIMATE,
    OverflowFlushConfig,
    PruningConfig,
    apply_pruning_defaults,
    build_tool_prunable_predicate,
    default_pruning_config,
    estimate_message_chars,
    extract_message_content,
    limit_history_turns,
    prompt_text_payloads,
    soft_trim_tool_result,
)
from domain.messages import Message
from tests.unit.prompt_samples import (
    IMAGE,
    assistant,
    call,
    developer,
    orphans,
    parts,
    prompts,
    raw,
    result,
    roles,
    system,
    text_part,
    user,
)

NAN = float("nan")


def test_the_constants_are_fixed() -> None:
    assert (CHARS_PER_TOKEN_ESTIMATE, IMAGE_CHAR_ESTIMATE) == (4, 8000)


class TestSizes:
    """§4.1."""

    @pytest.mark.parametrize(
        ("msg", "text", "role"),
        [
            (user("x"), "x", "user"),
            (system("x"), "x", "system"),
            (developer("x"), "x", "developer"),
            (assistant(None), "", "assistant"),
            (raw(role="user"), "", "user"),
            (parts(text_part("a"), IMAGE, text_part("b")), "ab", "user"),
            (parts(text_part("p"), text_part("q"), role="tool", tool_call_id="c"), "pq", "tool"),
            (parts({"type": "text", "text": 5}, {"type": "text"}, {"text": "x"}), "", "user"),
            (raw(role="user", content=["x", None, 7, text_part("y")]), "y", "user"),
            (raw(role="user", content=7), "", "user"),
            (raw(role="function", content="x"), "", ""),
            (raw(role="User", content="x"), "", ""),
            (raw(content="x"), "", ""),
            (raw(role=None, content="x"), "", ""),
            (raw(role=["user"], content="x"), "", ""),
        ],
    )
    def test_text_and_role(self, msg: Message, text: str, role: str) -> None:
        assert extract_message_content(msg) == (text, role)

    @pytest.mark.parametrize(
        ("msg", "size"),
        [
            (user("é"), 1),
            (user("e\u0301😀"), 3),
            (parts(text_part("ab"), IMAGE), 8002),
            (parts(IMAGE, IMAGE, role="tool"), 16_000),
            (call("long id", "b", name="f", arguments="{}"), 6),
            (assistant(None), 0),
            (raw(role="assistant", tool_calls=None), 0),
            (raw(role="assistant", tool_calls=[{"id": "a"}, 7, {"function": "f"}]), 0),
            (raw(role="assistant", tool_calls=[{"function": {"name": 5, "arguments": "{}"}}]), 2),
            (raw(role="user", content="a", tool_calls=[{"function": {"name": "f"}}]), 1),
            (raw(role="other", content="a"), 0),
            (raw(), 0),
        ],
    )
    def test_size_in_characters(self, msg: Message, size: int) -> None:
        assert estimate_message_chars(msg) == size

    def test_the_texts_of_a_prompt(self) -> None:
        assert prompt_text_payloads([]) == ([], 0)
        assert prompt_text_payloads([system("s"), user(""), user("uu"), assistant(None)]) == (
            ["s", "uu"],
            3,
        )


class TestDefaults:
    """§4.2 and §4.3."""

    def test_the_default_column(self) -> None:
        filled = default_pruning_config()
        assert filled == PruningConfig(
            mode="cache-ttl",
            ttl_seconds=3600,
            enabled=True,
            soft_trim_ratio=0.3,
            hard_clear_ratio=0.5,
            keep_last_assistants=3,
            min_prunable_chars=50_000,
            soft_trim_max_chars=4000,
            soft_trim_head_chars=1500,
            soft_trim_tail_chars=1500,
            hard_clear_enabled=True,
            hard_clear_placeholder="[Old tool result content cleared]",
            summarization_enabled=True,
            max_summary_tokens=500,
            compaction_mode="safeguard",
            keep_recent_tokens=20_000,
            max_history_share=0.5,
            reserve_tokens=20_000,
            reserve_tokens_floor=20_000,
            post_compaction_refresh_prompt=(
                "[Post-compaction context refresh]\n"
                "Go back to what the user most recently asked for, and keep open tasks and"
                " identifiers intact."
            ),
            overflow_flush=OverflowFlushConfig(
                enabled=True,
                soft_threshold_tokens=4000,
                prompt=(
                    "The conversation is about to be compacted. Save anything worth remembering"
                    " now in memory/YYYY-MM-DD.md, creating the memory directory if it is missing."
                    " Append to an existing file; never overwrite what it already holds. Answer"
                    " NO_REPLY when there is nothing to save."
                ),
                system_prompt=(
                    "This turn runs just before automatic compaction so that lasting facts can be"
                    " written to disk. A visible answer is allowed, but NO_REPLY is normally right."
                ),
            ),
            max_history_turns=0,
        )
        assert apply_pruning_defaults(PruningConfig()) == replace(filled, enabled=False)

    @pytest.mark.parametrize(
        "name",
        [
            "soft_trim_ratio",
            "hard_clear_ratio",
            "keep_last_assistants",
            "min_prunable_chars",
            "keep_recent_tokens",
            "reserve_tokens",
            "max_history_turns",
        ],
    )
    def test_zero_is_a_value_where_it_makes_sense(self, name: str) -> None:
        default = getattr(apply_pruning_defaults(PruningConfig()), name)
        for value, filled in ((0, 0), (7, 7), (None, default), (-1, default), (NAN, default)):
            assert getattr(apply_pruning_defaults(config(name, value)), name) == filled

    @pytest.mark.parametrize(
        "name",
        [
            "ttl_seconds",
            "soft_trim_max_chars",
            "soft_trim_head_chars",
            "soft_trim_tail_chars",
            "max_summary_tokens",
        ],
    )
    def test_zero_is_unset_elsewhere(self, name: str) -> None:
        default = getattr(apply_pruning_defaults(PruningConfig()), name)
        for value, filled in ((7, 7), (0, default), (None, default), (-1, default)):
            assert getattr(apply_pruning_defaults(config(name, value)), name) == filled

    @pytest.mark.parametrize(
        ("share", "filled"),
        [
            (None, 0.5),
            (0, 0.5),
            (-3, 0.5),
            (NAN, 0.5),
            (0.05, 0.1),
            (0.1, 0.1),
            (0.7, 0.7),
            (3, 0.9),
        ],
    )
    def test_the_history_share_is_clamped(self, share: float | None, filled: float) -> None:
        assert apply_pruning_defaults(PruningConfig(max_history_share=share)).max_history_share == (
            filled
        )

    @pytest.mark.parametrize(
        ("reserve", "floor", "filled"),
        [
            (None, None, 20_000),
            (-1, None, 20_000),
            (0, None, 0),
            (5000, None, 0),
            (None, 0, 0),
            (None, -1, 20_000),
            (5000, -1, 0),
            (5000, 7, 7),
            (None, 7, 7),
        ],
    )
    def test_the_reserve_floor(self, reserve: int | None, floor: int | None, filled: int) -> None:
        given_config = PruningConfig(reserve_tokens=reserve, reserve_tokens_floor=floor)
        assert apply_pruning_defaults(given_config).reserve_tokens_floor == filled

    @pytest.mark.parametrize(
        ("mode", "filled"),
        [
            (" Default ", "default"),
            ("SAFEGUARD", "safeguard"),
            ("", "safeguard"),
            ("other", "safeguard"),
            (None, "safeguard"),
        ],
    )
    def test_the_compaction_mode(self, mode: Any, filled: str) -> None:
        assert apply_pruning_defaults(config("compaction_mode", mode)).compaction_mode == filled

    @pytest.mark.parametrize("name", ["mode", "post_compaction_refresh_prompt"])
    def test_blank_texts_are_unset(self, name: str) -> None:
        default = getattr(apply_pruning_defaults(PruningConfig()), name)
        for value, filled in ((" Off ", " Off "), (" \n", default), ("", default), (None, default)):
            assert getattr(apply_pruning_defaults(config(name, value)), name) == filled

    def test_the_placeholder_is_unset_only_when_empty(self) -> None:
        for value, filled in (
            (" ", " "),
            ("", "[Old tool result content cleared]"),
            (None, "[Old tool result content cleared]"),
        ):
            got = apply_pruning_defaults(config("hard_clear_placeholder", value))
            assert got.hard_clear_placeholder == filled

    def test_what_is_given_stays(self) -> None:
        given_config = PruningConfig(
            hard_clear_enabled=False,
            summarization_enabled=False,
            summarization_model=" m ",
            tools_allow=[" A "],
            tools_deny=("b",),
            custom_instructions=" c ",
            identifier_policy="d",
            identifier_instructions="e",
        )
        filled = apply_pruning_defaults(given_config)
        for name in (
            "enabled",
            "hard_clear_enabled",
            "summarization_enabled",
            "summarization_model",
            "tools_allow",
            "tools_deny",
            "custom_instructions",
            "identifier_policy",
            "identifier_instructions",
        ):
            assert getattr(filled, name) == getattr(given_config, name), name

    def test_a_partly_filled_flush_is_completed(self) -> None:
        default = default_pruning_config().overflow_flush
        assert default is not None
        given_flush = OverflowFlushConfig(enabled=False, prompt="p", system_prompt=" \n")
        for threshold, filled in ((None, 4000), (0, 4000), (-1, 4000), (9, 9)):
            flush = replace(given_flush, soft_threshold_tokens=threshold)
            assert apply_pruning_defaults(
                PruningConfig(overflow_flush=flush)
            ).overflow_flush == replace(
                default, enabled=False, prompt="p", soft_threshold_tokens=filled
            )

    def test_null_strings_are_empty(self) -> None:
        names = {field.name for field in fields(PruningConfig) if field.type is str}
        assert apply_pruning_defaults(
            PruningConfig(**dict.fromkeys(names))  # type: ignore[arg-type]  # nulls on purpose
        ) == apply_pruning_defaults(PruningConfig())

    @given(
        st.builds(
            PruningConfig,
            mode=st.sampled_from(["", " ", "off", "x"]),
            soft_trim_ratio=st.none() | st.floats(),
            max_history_share=st.none() | st.floats(),
            reserve_tokens=st.none() | st.integers(-2, 2),
            reserve_tokens_floor=st.none() | st.integers(-2, 2),
            compaction_mode=st.sampled_from(["", "DEFAULT", "x"]),
            overflow_flush=st.none() | st.builds(OverflowFlushConfig),
        )
    )
    def test_filling_twice_is_filling_once(self, given_config: PruningConfig) -> None:
        once = apply_pruning_defaults(given_config)
        assert apply_pruning_defaults(once) == once
        assert None not in [getattr(once, field.name) for field in fields(once)]


def config(name: str, value: Any) -> PruningConfig:
    return PruningConfig(**{name: value})


class TestToolPatterns:
    """§4.4."""

    @pytest.mark.parametrize(
        ("allow", "deny", "name", "is_prunable"),
        [
            ([], [], "anything", True),
            ([], [], "", True),
            (["web_*"], [], " Web_Search ", True),
            (["web_*"], [], "read", False),
            (["*"], ["read"], "read", False),
            (["*"], ["read"], "READ ", False),
            (["*"], ["read"], "reader", True),
            (["read"], ["*"], "read", False),
            (["read"], ["r*d"], "read", False),
            ([], ["r*"], "write", True),
            (["", " "], [], "a", True),
            (["", "b"], [], "a", False),
            ([], ["", " "], "", True),
            (["a*a"], [], "a", False),
            (["a*a"], [], "aa", True),
            (["a*a"], [], "aba", True),
            (["a**b"], [], "ab", True),
            (["a**b"], [], "axb", True),
            (["*b*"], [], "abc", True),
            (["*b*"], [], "ac", False),
            (["*ab*ab"], [], "ab", False),
            (["*ab*bc*"], [], "abc", False),
            (["a*b*c"], [], "axxbxxc", True),
            (["a*b*c"], [], "axxcxxb", False),
            (["a.c"], [], "abc", False),
            (["a?[b]"], [], "a?[b]", True),
            (["***"], [], "", True),
            ([" Read "], [], "read", True),
        ],
    )
    def test_patterns(
        self, allow: list[str], deny: list[str], name: str, is_prunable: bool
    ) -> None:
        predicate = build_tool_prunable_predicate(PruningConfig(tools_allow=allow, tools_deny=deny))
        assert predicate(name) is is_prunable

    def test_nothing_allows_all(self) -> None:
        assert build_tool_prunable_predicate(None)("x")
        nulls = PruningConfig(tools_allow=None, tools_deny=[None])  # type: ignore[arg-type, list-item]  # nulls on purpose
        assert build_tool_prunable_predicate(nulls)(None)

    @given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
    def test_a_star_is_any_run(self, pattern: str, name: str) -> None:
        expected = re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), name) is not None
        predicate = build_tool_prunable_predicate(PruningConfig(tools_allow=[pattern]))
        assert predicate(name) is (expected or not pattern)


class TestHistoryTurns:
    """§4.5."""

    conversation = (system(), user("1"), assistant(), user("2"), assistant())

    @pytest.mark.parametrize(
        ("limit", "kept"), [(1, "SUA"), (2, "SUAUA"), (3, "SUAUA"), (0, "SUAUA"), (-1, "SUAUA")]
    )
    def test_the_last_turns_stay(self, limit: int, kept: str) -> None:
        left = limit_history_turns(self.conversation, limit)
        assert roles(left) == kept
        assert left[0] is self.conversation[0]
        assert left[-1] is self.conversation[-1]

    def test_the_first_turn_is_kept_with_what_precedes_it(self) -> None:
        prompt = [system(), assistant("hi"), user("1"), assistant()]
        assert limit_history_turns(prompt, 1) == prompt
        assert roles(limit_history_turns([*prompt, user("2")], 1)) == "SU"

    def test_developer_messages_belong_to_the_preamble(self) -> None:
        prompt = [developer(), system(), user("1"), developer("x"), user("2"), system("y")]
        assert limit_history_turns(prompt, 1) == [developer(), system(), user("2"), system("y")]

    def test_results_whose_call_is_cut_off_go(self) -> None:
        prompt = [
            user("1"),
            call(" c1", "c2"),
            result("c1"),
            user("2"),
            result("c2"),
            call("c3"),
            result("c3 "),
            result("c3"),
            result(""),
            raw(role="tool", content="no id"),
        ]
        assert limit_history_turns(prompt, 1) == [user("2"), call("c3"), result("c3 ")]
        assert limit_history_turns(prompt, 2) == prompt

    @given(prompts, st.integers(-1, 5))
    def test_turns_are_limited_and_nothing_is_orphaned(
        self, prompt: list[Message], limit: int
    ) -> None:
        before = list(prompt)
        left = limit_history_turns(prompt, limit)
        assert prompt == before
        assert limit_history_turns(left, limit) == left
        turns = sum(msg.get("role") == "user" for msg in left)
        assert limit <= 0 or turns <= limit
        assert left == prompt or not orphans(left)
        remaining = iter(prompt)
        assert all(any(msg is other for other in remaining) for msg in left)


class TestSoftTrim:
    """§4.6."""

    def test_head_and_tail_stay(self) -> None:
        text = "h" * 1500 + "m" * 6000 + "t" * 1500
        assert soft_trim_tool_result(text, None) == (
            "h" * 1500 + "\n...\n" + "t" * 1500 + "\n\n"
            "[Tool result trimmed: first 1500 and last 1500 of 9000 characters kept.]"
        )

    def test_a_text_hardly_longer_than_that_is_left_alone(self) -> None:
        for length in (0, 1, 3099, 3100):
            assert soft_trim_tool_result("x" * length, PruningConfig()) == "x" * length
        assert len(soft_trim_tool_result("x" * 3101, PruningConfig())) == 3079

    def test_sizes_are_those_of_the_settings(self) -> None:
        sizes = PruningConfig(soft_trim_head_chars=10, soft_trim_tail_chars=5)
        assert soft_trim_tool_result("😀" * 500, sizes) == (
            "😀" * 10 + "\n...\n" + "😀" * 5 + "\n\n"
            "[Tool result trimmed: first 10 and last 5 of 500 characters kept.]"
        )

    @pytest.mark.parametrize("size", [None, 0, -1])
    def test_sizes_that_make_no_sense_are_the_defaults(self, size: int | None) -> None:
        sizes = PruningConfig(soft_trim_head_chars=size, soft_trim_tail_chars=size)
        assert "first 1500 and last 1500 of 9000" in soft_trim_tool_result("x" * 9000, sizes)

    def test_nothing_is_an_empty_text(self) -> None:
        assert soft_trim_tool_result(None, None) == ""

    @given(st.integers(0, 400), st.integers(1, 150), st.integers(1, 150))
    def test_a_result_never_gets_longer(self, length: int, head: int, tail: int) -> None:
        sizes = PruningConfig(soft_trim_head_chars=head, soft_trim_tail_chars=tail)
        trimmed = soft_trim_tool_result("x" * length, sizes)
        assert len(trimmed) < length or trimmed == "x" * length
        assert soft_trim_tool_result(trimmed, sizes) == trimmed
