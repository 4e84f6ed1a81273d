"""Keeping a prompt inside the window: which tool results are shortened, how far, and when."""

from copy import deepcopy
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.context import (
    PruningConfig,
    estimate_message_chars,
    prune_context,
    smart_truncate_prompt,
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

PLACEHOLDER = "[Old tool result content cleared]"
TRIM = PruningConfig(
    enabled=True,
    soft_trim_ratio=0,
    hard_clear_ratio=99,
    keep_last_assistants=1,
    soft_trim_max_chars=100,
    soft_trim_head_chars=10,
    soft_trim_tail_chars=5,
)
CLEAR = replace(TRIM, soft_trim_max_chars=10**6, hard_clear_ratio=0, min_prunable_chars=0)
LONG = "r" * 1000
TRIMMED = (
    "r" * 10
    + "\n...\n"
    + "r" * 5
    + "\n\n[Tool result trimmed: first 10 and last 5 of 1000 characters kept.]"
)


def contents(prompt: list[Message]) -> list[object]:
    """What became of each tool result."""
    return [msg["content"] for msg in prompt if msg.get("role") == "tool"]


def turn(call_id: str, text: str = LONG) -> list[Message]:
    return [call(call_id), result(call_id, text)]


PROMPT = [system(), user(), *turn("c1"), *turn("c2"), assistant("ok"), *turn("c3"), user()]


class TestWhen:
    """§4.7, steps 1 to 3 and 7."""

    @pytest.mark.parametrize(
        "config",
        [
            None,
            replace(TRIM, enabled=False),
            replace(TRIM, mode=" OFF "),
            replace(TRIM, soft_trim_ratio=2),
        ],
    )
    def test_switched_off_or_not_reached(self, config: PruningConfig | None) -> None:
        left = prune_context(PROMPT, config, 1000)
        assert left == PROMPT
        assert left is not PROMPT
        assert all(new is old for new, old in zip(left, PROMPT, strict=True))

    @pytest.mark.parametrize("window", [0, -1])
    def test_without_a_window(self, window: int) -> None:
        assert prune_context(PROMPT, TRIM, window) == PROMPT

    def test_without_messages(self) -> None:
        assert prune_context([], TRIM, 1000) == []

    def test_the_ratio_counts_everything_in_characters(self) -> None:
        prompt = [user("u" * 29), *turn("c1", "r" * 368), assistant("")]
        assert sum(map(estimate_message_chars, prompt)) == 400
        at = replace(TRIM, soft_trim_ratio=0.5)
        assert contents(prune_context(prompt, at, 200)) != ["r" * 368]
        assert contents(prune_context(prompt, at, 201)) == ["r" * 368]

    def test_turns_are_limited_whatever_the_size(self) -> None:
        config = PruningConfig(enabled=True, soft_trim_ratio=99, max_history_turns=1)
        assert roles(prune_context(PROMPT, config, 10**9)) == "SU"

    def test_nothing_set_but_enabled_uses_the_defaults(self) -> None:
        old = [user(), *turn("c1", "r" * 10_000), *[assistant()] * 3]
        assert len(str(contents(prune_context(old, PruningConfig(enabled=True), 8000))[0])) == 3080
        assert prune_context(old, PruningConfig(enabled=True), 9000) == old


class TestWhat:
    """§4.7, steps 4 to 8."""

    def test_results_before_the_last_assistants(self) -> None:
        assert contents(prune_context(PROMPT, TRIM, 1000)) == [TRIMMED, TRIMMED, LONG]
        two = replace(TRIM, keep_last_assistants=2)
        assert contents(prune_context(PROMPT, two, 1000)) == [TRIMMED, TRIMMED, LONG]
        three = replace(TRIM, keep_last_assistants=3)
        assert contents(prune_context(PROMPT, three, 1000)) == [TRIMMED, LONG, LONG]

    def test_no_assistant_to_keep_means_all_of_them(self) -> None:
        none = replace(TRIM, keep_last_assistants=0)
        assert contents(prune_context(PROMPT, none, 1000)) == [TRIMMED] * 3

    def test_fewer_assistants_than_to_keep_means_nothing(self) -> None:
        assert prune_context(PROMPT, replace(TRIM, keep_last_assistants=5), 1000) == PROMPT

    def test_results_before_the_first_user_message_stay(self) -> None:
        prompt = [system(), *turn("c1"), user(), *turn("c2"), assistant()]
        assert contents(prune_context(prompt, TRIM, 1000)) == [LONG, TRIMMED]

    def test_without_a_user_message_nothing_is_pruned(self) -> None:
        prompt = [system(), *turn("c1"), assistant()]
        assert prune_context(prompt, TRIM, 1000) == prompt

    def test_the_name_is_that_of_the_closest_earlier_call(self) -> None:
        prompt = [
            user(),
            call("c1", name="Read_File"),
            result(" c1 ", LONG),
            call("c1", name="search"),
            result("c1", LONG),
            result("c9", LONG),
            call("", name="read_"),
            result("", LONG),
            raw(role="tool", content=LONG),
            assistant(),
        ]
        allow = replace(TRIM, tools_allow=["read_*"])
        assert contents(prune_context(prompt, allow, 1000)) == [TRIMMED, *[LONG] * 4]
        deny = replace(TRIM, tools_deny=["read_*"])
        assert contents(prune_context(prompt, deny, 1000)) == [LONG, *[TRIMMED] * 4]

    def test_results_with_other_parts_are_skipped(self) -> None:
        with_image = parts(text_part(LONG), IMAGE, role="tool", tool_call_id="c1")
        odd = parts({"type": "text", "text": 7}, text_part(LONG), role="tool", tool_call_id="c1")
        only_text = parts(
            text_part("r" * 400), text_part("r" * 600), role="tool", tool_call_id="c1"
        )
        prompt = [user(), call("c1"), with_image, odd, only_text, assistant()]
        left = prune_context(prompt, TRIM, 1000)
        assert contents(left) == [with_image["content"], odd["content"], TRIMMED]

    def test_other_messages_are_never_pruned(self) -> None:
        prompt = [user(LONG), assistant(LONG), developer(LONG), system(LONG), assistant(LONG)]
        assert prune_context(prompt, TRIM, 1000) == prompt


class TestHowFar:
    """§4.7, steps 9 to 11."""

    def test_only_texts_above_the_size_are_trimmed(self) -> None:
        prompt = [user(), *turn("c1", "r" * 200), *turn("c2", "r" * 201), assistant()]
        config = replace(TRIM, soft_trim_max_chars=200)
        first, second = contents(prune_context(prompt, config, 1000))
        assert first == "r" * 200
        assert "of 201 characters" in str(second)

    def test_what_trimming_would_not_shorten_stays(self) -> None:
        prompt = [user(), *turn("c1", "r" * 115), *turn("c2", "r" * 116), assistant()]
        first, second = contents(prune_context(prompt, TRIM, 1000))
        assert first == "r" * 115
        assert "of 116 characters" in str(second)

    def test_a_trimmed_message_keeps_its_other_keys(self) -> None:
        prompt = [user(), raw(role="tool", content=LONG, tool_call_id=" c", name="n"), assistant()]
        before = deepcopy(prompt)
        left = prune_context(prompt, TRIM, 1000)
        assert left[1] == {"role": "tool", "content": TRIMMED, "tool_call_id": " c", "name": "n"}
        assert prompt == before

    def test_the_oldest_are_cleared_until_the_prompt_fits(self) -> None:
        prompt = [user("u"), *turn("c1"), *turn("c2"), *turn("c3"), assistant("a")]
        assert sum(map(estimate_message_chars, prompt)) == 3011
        config = replace(CLEAR, hard_clear_ratio=0.5)
        assert contents(prune_context(prompt, config, 1506)) == [LONG] * 3
        assert contents(prune_context(prompt, config, 1505)) == [PLACEHOLDER, LONG, LONG]
        assert contents(prune_context(prompt, config, 1023)) == [PLACEHOLDER, LONG, LONG]
        assert contents(prune_context(prompt, config, 1000)) == [PLACEHOLDER, PLACEHOLDER, LONG]
        assert contents(prune_context(prompt, config, 1)) == [PLACEHOLDER] * 3

    def test_trimming_may_be_enough(self) -> None:
        prompt = [user(), *turn("c1"), assistant()]
        assert contents(prune_context(prompt, replace(TRIM, hard_clear_ratio=0.5), 60)) == [TRIMMED]

    def test_too_little_is_not_worth_clearing(self) -> None:
        prompt = [user(), *turn("c1"), *turn("c2"), assistant()]
        at = replace(CLEAR, min_prunable_chars=2000)
        assert contents(prune_context(prompt, at, 1000)) == [PLACEHOLDER] * 2
        above = replace(CLEAR, min_prunable_chars=2001)
        assert contents(prune_context(prompt, above, 1000)) == [LONG] * 2
        after_trimming = replace(above, soft_trim_max_chars=100, min_prunable_chars=1000)
        assert contents(prune_context(prompt, after_trimming, 1000)) == [TRIMMED] * 2

    def test_clearing_can_be_disabled(self) -> None:
        prompt = [user(), *turn("c1"), assistant()]
        config = replace(CLEAR, hard_clear_enabled=False)
        assert contents(prune_context(prompt, config, 1000)) == [LONG]

    def test_only_texts_longer_than_the_placeholder_are_cleared(self) -> None:
        exact, longer = "r" * len(PLACEHOLDER), "r" * (len(PLACEHOLDER) + 1)
        prompt = [user(), *turn("c1", exact), *turn("c2", longer), *turn("c3", ""), assistant()]
        assert contents(prune_context(prompt, CLEAR, 1)) == [exact, PLACEHOLDER, ""]

    def test_the_placeholder_is_a_setting(self) -> None:
        prompt = [user(), *turn("c1"), assistant()]
        config = replace(CLEAR, hard_clear_placeholder="-")
        assert contents(prune_context(prompt, config, 1)) == ["-"]


configs = st.builds(
    PruningConfig,
    enabled=st.just(True),
    mode=st.sampled_from(["", "off"]),
    soft_trim_ratio=st.sampled_from([None, 0, 0.2]),
    hard_clear_ratio=st.sampled_from([None, 0, 0.2, 0.9]),
    keep_last_assistants=st.sampled_from([None, 0, 1, 2]),
    min_prunable_chars=st.sampled_from([None, 0, 1000]),
    soft_trim_max_chars=st.sampled_from([None, 50, 300]),
    soft_trim_head_chars=st.sampled_from([None, 1, 100]),
    soft_trim_tail_chars=st.sampled_from([None, 1, 100]),
    hard_clear_placeholder=st.sampled_from(["", "-", "c" * 100]),
    tools_deny=st.sampled_from([[], ["f"], ["*"]]),
    max_history_turns=st.sampled_from([None, 1, 2]),
)
windows = st.sampled_from([1, 100, 1000, 10_000])


class TestProperties:
    """The invariants, on prompts of all kinds."""

    @given(prompts, configs, windows)
    def test_pruning_never_enlarges(
        self, prompt: list[Message], config: PruningConfig, window: int
    ) -> None:
        left = prune_context(prompt, config, window)
        assert sum(map(estimate_message_chars, left)) <= sum(map(estimate_message_chars, prompt))
        assert len(left) <= len(prompt)

    @given(prompts, configs, windows)
    def test_pruning_twice_is_pruning_once(
        self, prompt: list[Message], config: PruningConfig, window: int
    ) -> None:
        left = prune_context(prompt, config, window)
        assert prune_context(left, config, window) == left

    @given(prompts, configs, windows)
    def test_the_prompt_given_is_not_touched(
        self, prompt: list[Message], config: PruningConfig, window: int
    ) -> None:
        before = deepcopy(prompt)
        prune_context(prompt, config, window)
        smart_truncate_prompt(prompt, 0.7)
        assert prompt == before

    @given(prompts, configs, windows)
    def test_no_result_is_orphaned(
        self, prompt: list[Message], config: PruningConfig, window: int
    ) -> None:
        left = prune_context(prompt, config, window)
        assert len(left) == len(prompt) or not orphans(left)
        without_turns = replace(config, max_history_turns=0)
        assert [
            msg.get("tool_call_id") for msg in prune_context(prompt, without_turns, window)
        ] == ([msg.get("tool_call_id") for msg in prompt])

    @given(prompts, st.floats())
    def test_truncating_never_enlarges(self, prompt: list[Message], reduction: float) -> None:
        left = smart_truncate_prompt(prompt, reduction)
        assert (left is None) is (len(prompt) <= 2)
        if left is not None:
            assert sum(map(estimate_message_chars, left)) <= sum(
                map(estimate_message_chars, prompt)
            )
            assert smart_truncate_prompt(left, 0) is not None


class TestSmartTruncate:
    """§4.8."""

    def test_two_messages_are_too_few(self) -> None:
        assert smart_truncate_prompt([], 0.5) is None
        assert smart_truncate_prompt([system(), user()], 0.5) is None

    def test_a_long_result_is_cut_with_a_single_assistant(self) -> None:
        prompt = [system(), user(), assistant(), result("c1", "r" * 10_000), user()]
        left = smart_truncate_prompt(prompt, 0.5)
        assert left is not None
        assert roles(left) == "SUATU"
        assert left[3]["content"] == (
            "r" * 1000 + "\n...\n" + "r" * 500 + "\n\n"
            "[Tool result trimmed: first 1000 and last 500 of 10000 characters kept.]"
        )

    def test_nothing_to_trim_gives_the_same_messages(self) -> None:
        prompt = [system(), user(), assistant()]
        assert smart_truncate_prompt(prompt, 1) == prompt

    def test_the_last_assistants_stay_whole(self) -> None:
        """Two of them, but never all there are."""
        long = "r" * 3000
        one = [user(), *turn("c1", long), user()]
        two = [user(), *turn("c1", long), *turn("c2", long)]
        four = [user(), *turn("c1", long), *turn("c2", long), *turn("c3", long), *turn("c4", long)]
        none = [user(), result("c1", long), result("c2", long)]
        for prompt, is_cut in (
            (one, [True]),
            (two, [True, False]),
            (four, [True, True, False, False]),
            (none, [True, True]),
        ):
            left = smart_truncate_prompt(prompt, 0)
            assert left is not None
            assert [content != long for content in contents(left)] == is_cut

    @pytest.mark.parametrize(
        ("reduction", "cleared"),
        [(0.0, 1), (-1, 1), (float("nan"), 1), (0.5, 6), (0.9, 8), (1.0, 8), (float("inf"), 8)],
    )
    def test_results_are_cleared_only_until_the_target_is_met(
        self, reduction: float, cleared: int
    ) -> None:
        """Ten results, 5,000 tokens and 20,031 characters in all; a clearing saves 1,967."""
        prompt = [user()]
        for number in range(10):
            prompt += turn(f"c{number}", "r" * 2000)
        left = smart_truncate_prompt(prompt, reduction)
        assert left is not None
        assert contents(left) == [PLACEHOLDER] * cleared + ["r" * 2000] * (10 - cleared)
