"""Making a conversation shorter when it no longer fits, and saying what was done."""

from copy import deepcopy
from dataclasses import replace
from itertools import takewhile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.compaction import (
    CompactionDecision,
    CompactionResult,
    OverflowCompactionInput,
    OverflowCompactionResult,
    apply_compaction,
    compact_prompt_on_overflow,
)
from domain.context import estimate_message_chars, extract_message_content
from domain.messages import Message
from domain.prompt_blocks import droppable_positions, orphan_positions, split_blocks
from tests.unit.prompt_samples import (
    assistant,
    call,
    call_ids,
    chars,
    developer,
    orphans,
    prompts,
    raw,
    result,
    roles,
    system,
    user,
)

TITLE = "[Compaction summary of earlier context]"


def compact(prompt: list[Message], **settings: object) -> OverflowCompactionResult:
    return compact_prompt_on_overflow(OverflowCompactionInput(prompt, **settings))  # type: ignore[arg-type]  # names are fields


def tokens(prompt: list[Message]) -> int:
    return sum(estimate_message_chars(msg) // 4 for msg in prompt) or 3 * len(prompt)


def turns(count: int, size: int) -> list[Message]:
    """User and assistant in turn."""
    return [user("u" * size) if n % 2 == 0 else assistant("a" * size) for n in range(count)]


class TestTexts:
    """§6.1."""

    @pytest.mark.parametrize(
        ("texts", "max_chars", "tail", "left", "dropped", "reason"),
        [
            (["aaa", "bb", "c"], 3, 1, ["bb", "c"], 1, "drop_oldest"),
            (["aaa", "bb", "c"], 5, 1, ["bb", "c"], 1, "drop_oldest"),
            (["aaa", "bb", "c"], 6, 0, ["aaa", "bb", "c"], 0, "within_budget"),
            (["a", "b"], 0, 0, ["a", "b"], 0, "within_budget"),
            (["a", "b"], -1, 0, ["a", "b"], 0, "within_budget"),
            ([], 1, 0, [], 0, "within_budget"),
            (["aaa"], 1, 1, ["aaa"], 0, "protected_tail_prevented_drop"),
            (["aaa"], 1, 9, ["aaa"], 0, "protected_tail_prevented_drop"),
            (["aaa", "bbb"], 1, 1, ["bbb"], 1, "budget_exceeded_after_drop"),
            (["aaa", "bbb"], 1, 0, [], 2, "drop_oldest"),
            (["aaa", "bbb"], 1, -3, [], 2, "drop_oldest"),
            (["", "aa", "b"], 2, 0, ["b"], 2, "drop_oldest"),
            (["aa", "", "b"], 1, 1, ["", "b"], 1, "drop_oldest"),
        ],
    )
    def test_the_oldest_go_first(
        self,
        texts: list[str],
        max_chars: int,
        tail: int,
        left: list[str],
        dropped: int,
        reason: str,
    ) -> None:
        assert apply_compaction(texts, max_chars, tail) == CompactionResult(
            left,
            CompactionDecision(
                applied=dropped > 0,
                dropped_count=dropped,
                original_chars=len("".join(texts)),
                final_chars=len("".join(left)),
                reason=reason,
            ),
        )

    def test_null_texts_are_empty(self) -> None:
        assert apply_compaction([None, "a"], 9, 0).messages == ["", "a"]

    @given(st.lists(st.text("ab", max_size=5)), st.integers(-1, 20), st.integers(-1, 6))
    def test_what_is_left_is_the_end(self, texts: list[str], max_chars: int, tail: int) -> None:
        before = list(texts)
        compacted = apply_compaction(texts, max_chars, tail)
        left, decision = compacted.messages, compacted.decision
        assert texts == before
        assert left == texts[decision.dropped_count :]
        assert len(left) >= min(len(texts), max(0, tail))
        assert decision.final_chars == len("".join(left))
        fits = max_chars <= 0 or decision.final_chars <= max_chars
        assert fits == (decision.reason in ("within_budget", "drop_oldest"))


class TestBlocks:
    """§6.2: what goes together."""

    @pytest.mark.parametrize(
        ("prompt", "blocks"),
        [
            ([], []),
            ([system(), developer()], []),
            ([user(), assistant()], [[0], [1]]),
            ([system(), call("a", "b"), result("a"), result("b"), user()], [[1, 2, 3], [4]]),
            ([user(), result("a"), result("b")], [[0], [1, 2]]),
            ([system(), result("a"), user()], [[1], [2]]),
            ([user(), system(), result("a"), assistant(), result("b")], [[0], [1], [2], [3, 4]]),
            ([user(), raw(role="x"), result("a")], [[0], [1], [2]]),
            ([raw(role="x"), system()], [[0], [1]]),
        ],
    )
    def test_a_result_belongs_to_what_is_right_before_it(
        self, prompt: list[Message], blocks: list[list[int]]
    ) -> None:
        assert [list(block) for block in split_blocks(prompt)] == blocks

    @pytest.mark.parametrize(
        ("prompt", "lost"),
        [
            ([call(" a ", "b"), result("b"), result(" a"), result("a")], {3}),
            ([result("a"), call("a"), user(), result("a")], {0}),
            ([call("a"), result("a"), call("a"), result("a")], set()),
            ([call(""), result(""), raw(role="tool", content="x")], {1, 2}),
            ([raw(role="assistant", tool_calls=[{"id": "a"}]), result("a")], {1}),
            ([raw(role="user", tool_calls=call("a")["tool_calls"]), result("a")], {1}),
        ],
    )
    def test_a_result_needs_an_open_call(self, prompt: list[Message], lost: set[int]) -> None:
        assert orphan_positions(prompt) == lost

    def test_the_pass_stops_when_the_rest_fits(self) -> None:
        prompt = [assistant(), assistant(), user(), assistant(), assistant()]
        for limit, gone in ((50, set()), (40, {0}), (30, {0, 1}), (20, {0, 1, 3}), (0, {0, 1, 3})):
            assert droppable_positions(prompt, [10] * 5, limit) == gone

    def test_the_last_user_message_stays_and_earlier_ones_go(self) -> None:
        prompt = [user(), assistant(), user(), assistant(), assistant()]
        assert droppable_positions(prompt, [1] * 5, 0) == {0, 1, 3}

    def test_a_block_that_reaches_into_the_protected_part_stays(self) -> None:
        prompt = [user(), call("a", "b"), result("a"), result("b"), assistant(), user()]
        assert droppable_positions(prompt, [1] * 6, 0, 3) == {0}
        assert droppable_positions(prompt, [1] * 6, 0, 4) == {0, 1, 2, 3}
        assert droppable_positions(prompt, [1] * 6, 0, -1) == set()

    def test_results_that_lose_their_call_go_too(self) -> None:
        prompt = [call("a"), user(), result("a"), assistant(), result("z"), user()]
        assert droppable_positions(prompt, [1] * 6, 5) == {0, 2, 4}
        assert droppable_positions(prompt, [1] * 6, 6) == set()

    def test_the_preamble_and_the_last_block_stay(self) -> None:
        prompt = [system(), developer(), call("a"), result("a")]
        assert droppable_positions(prompt, [1] * 4, 0) == set()


class TestNothingToDo:
    """§6.4, steps 1 and 8."""

    @pytest.mark.parametrize(
        "prompt",
        [[], [user("x" * 9000)], [system(), user("abc")], [call("a")] * 4, [raw()] * 4],
    )
    def test_too_little_to_compact(self, prompt: list[Message]) -> None:
        assert compact(prompt, context_window_tokens=1) == OverflowCompactionResult(
            prompt,
            CompactionDecision(
                original_chars=chars(prompt),
                final_chars=chars(prompt),
                reason="insufficient_prompt",
            ),
            success=False,
        )

    def test_all_protected(self) -> None:
        prompt = [system(), user("aa"), assistant("b")]
        assert compact(prompt, refresh_prompt="x") == OverflowCompactionResult(
            prompt,
            CompactionDecision(
                original_chars=4, final_chars=4, reason="protected_tail_prevented_drop"
            ),
            success=False,
        )

    def test_text_within_the_limit(self) -> None:
        """One message that step 3 may not drop, and no text above the share."""
        prompt = [user(""), assistant(""), user("a")]
        assert compact(prompt).decision.reason == "within_budget"


class TestHistoryShare:
    """§6.4, step 3."""

    def test_history_is_cut_to_its_share_of_the_window(self) -> None:
        prompt = [system(), *turns(6, 200)]
        compacted = compact(prompt, context_window_tokens=200, max_history_share=0.1)
        assert compacted.prompt == [prompt[0], *prompt[-2:]]
        assert compacted.decision == CompactionDecision(True, 4, 1201, 401, "history_share_prune")
        assert compacted.success

    @pytest.mark.parametrize("share", [0, 1, -1, 3, float("nan")])
    def test_a_share_that_makes_no_sense_is_half(self, share: float) -> None:
        prompt = [system(""), *turns(9, 40), user("u" * 40)]
        compacted = compact(prompt, context_window_tokens=120, max_history_share=share)
        assert roles(compacted.prompt) == "SUAUAUU"
        assert compacted.decision.reason == "history_share_prune"

    def test_without_a_window_there_is_no_share(self) -> None:
        for window in (0, -1):
            prompt = [system(), *turns(9, 100)]
            compacted = compact(prompt, context_window_tokens=window)
            assert compacted.decision == CompactionDecision(True, 2, 901, 701, "drop_oldest")
            assert compacted.prompt == [prompt[0], *prompt[3:]]
            assert compacted.success

    def test_the_size_of_calls_counts(self) -> None:
        prompt = [user("q"), call("c", arguments="x" * 4000), result("c"), user("z"), assistant()]
        compacted = compact(prompt, context_window_tokens=1000)
        assert roles(compacted.prompt) == "UA"
        assert compacted.decision.dropped_count == 3


class TestTextLimit:
    """§6.4, steps 4 and 5; the window leaves history alone in these."""

    def left(self, prompt: list[Message], **settings: object) -> int:
        compacted = compact(prompt, **settings)
        assert compacted.decision.dropped_count == len(prompt) - len(compacted.prompt)
        return len(compacted.prompt)

    def test_what_is_reserved_lowers_it(self) -> None:
        prompt = turns(20, 100)
        wide = {"context_window_tokens": 1010, "max_history_share": 0.99, "protected_tail": 1}
        assert self.left(prompt, **wide) == 17
        assert self.left(prompt, **wide, reserve_tokens=-5) == 17
        assert self.left(prompt, **wide, reserve_tokens=700) == 12
        assert self.left(prompt, **wide, reserve_tokens=1010) == 17

    def test_what_was_asked_for_lowers_it(self) -> None:
        prompt = turns(20, 100)
        wide = {"context_window_tokens": 1010, "max_history_share": 0.99, "protected_tail": 1}
        assert self.left(prompt, **wide, requested_tokens=2020) == 10
        assert self.left(prompt, **wide, requested_tokens=1010) == 17
        assert self.left(prompt, **wide, requested_tokens=10**9) == 17

    def test_recent_text_is_kept_in_safeguard_mode(self) -> None:
        prompt = turns(20, 100)
        settings = {
            "context_window_tokens": 1010,
            "max_history_share": 0.99,
            "reserve_tokens": 900,
            "keep_recent_tokens": 300,
        }
        assert self.left(prompt, **settings) == 12
        assert self.left(prompt, **settings, compaction_mode=" SafeGuard ") == 12
        assert self.left(prompt, **settings, compaction_mode="default") == 4
        assert self.left(prompt, **settings, compaction_mode="other") == 4

    def test_the_tail_covers_what_is_kept(self) -> None:
        """One long message makes the average, and so the tail, smaller than the limit."""
        prompt = [user("u" * 40), assistant("a" * 4000), user("b" * 40), *turns(6, 40)]
        settings = {"keep_recent_tokens": 20, "requested_tokens": 0}
        assert self.left(prompt, **settings) == 7

    def test_the_tail_is_three_unless_given(self) -> None:
        prompt = [assistant("a" * 100), assistant("b" * 9000), assistant("c"), user("d")]
        assert self.left(prompt) == 3
        assert self.left(prompt, protected_tail=-1) == 3
        assert self.left(prompt, protected_tail=2) == 2
        assert self.left(prompt, protected_tail=4) == 4

    def test_what_remains_over_the_limit_is_said(self) -> None:
        prompt = [assistant("a"), user("u" * 9000), assistant("b" * 9000), assistant("c")]
        compacted = compact(prompt, protected_tail=1)
        assert compacted.decision.reason == "drop_oldest"
        prompt = [assistant("a"), user("u" * 9000), assistant("c")]
        compacted = compact(prompt, protected_tail=1)
        assert compacted.decision == CompactionDecision(
            True, 1, 9002, 9001, "budget_exceeded_after_drop"
        )

    def test_a_window_beyond_all_measure_is_no_error(self) -> None:
        prompt = turns(9, 100)
        huge = 10**400
        compacted = compact(
            prompt, context_window_tokens=huge, keep_recent_tokens=huge, reserve_tokens=huge
        )
        assert compacted.decision.reason == "protected_tail_prevented_drop"
        assert compact(prompt, context_window_tokens=1, requested_tokens=huge).success


class TestToolResults:
    """§6.4, step 6."""

    @staticmethod
    def prompt(size: int = 40_000) -> list[Message]:
        return [
            system(),
            user("q"),
            call("c1"),
            result("c1", "r" * size),
            call("c2"),
            result("c2", "k" * 100),
            assistant("ok"),
            user("z"),
            assistant("end"),
        ]

    def test_long_results_are_trimmed_when_nothing_may_go(self) -> None:
        prompt = self.prompt()
        compacted = compact(prompt, protected_tail=99)
        assert len(compacted.prompt) == 9
        assert "first 1000 and last 500 of 40000" in str(compacted.prompt[3]["content"])
        assert compacted.success
        assert compacted.decision == CompactionDecision(
            applied=True,
            original_chars=40_108,
            final_chars=chars(compacted.prompt),
            reason="tool_results_trimmed",
        )

    def test_a_prompt_at_the_target_is_left_alone(self) -> None:
        prompt = self.prompt()
        at = tokens(prompt)
        protected = {"protected_tail": 99}
        assert compact(prompt, **protected, current_prompt_tokens=2 * at).decision.reason == (
            "protected_tail_prevented_drop"
        )
        assert compact(prompt, **protected, current_prompt_tokens=2 * at - 2).success

    def test_the_target_comes_from_the_window(self) -> None:
        """Of a block that may not go, so that only trimming can help."""
        prompt = [user("q"), call("c1"), result("c1", "r" * 8000), call("c2"), result("c2")]
        at = tokens(prompt)
        assert at == 2000
        all_protected = {"protected_tail": 9, "max_history_share": 0.5, "requested_tokens": 1}
        for window, reserve, keep, mode, is_trimmed in (
            (4000, 0, 0, "", False),
            (3998, 0, 0, "", False),
            (8000, 6001, 0, "", True),
            (8000, 6000, 0, "", False),
            (8000, 6001, 2000, "", False),
            (8000, 6001, 2000, "default", True),
            (8000, 9000, 0, "", True),
        ):
            compacted = compact(
                prompt,
                **all_protected,
                context_window_tokens=window,
                reserve_tokens=reserve,
                keep_recent_tokens=keep,
                compaction_mode=mode,
            )
            if window != 3998:
                assert (compacted.decision.reason == "tool_results_trimmed") is is_trimmed
            else:
                assert compacted.decision.reason == "history_share_prune"

    def test_trimming_after_dropping_keeps_the_reason(self) -> None:
        prompt = [user("x" * 50_000), *self.prompt()[1:]]
        compacted = compact(prompt, protected_tail=8, current_prompt_tokens=1000)
        assert compacted.decision.reason == "drop_oldest"
        assert compacted.decision.dropped_count == 1
        assert "first 1000" in str(compacted.prompt[2]["content"])

    def test_results_that_cannot_be_shortened_do_not_count(self) -> None:
        prompt = [user("q" * 9000), call("c1"), result("c1", "short"), user("z")]
        assert compact(prompt, protected_tail=9).decision.reason == "protected_tail_prevented_drop"


class TestInsertions:
    """§6.4, step 9."""

    @staticmethod
    def inserted(prompt: list[Message], **settings: object) -> list[object]:
        """What stands between the preamble of the input and the rest."""
        compacted = compact(prompt, **settings)
        before = sum(msg.get("role") in ("system", "developer") for msg in prompt)
        after = sum(msg.get("role") in ("system", "developer") for msg in compacted.prompt)
        new = compacted.prompt[before:after]
        assert all(msg["role"] == "system" for msg in new)
        return [msg["content"] for msg in new]

    def test_the_summary_quotes_what_was_dropped(self) -> None:
        prompt = [
            system("kept"),
            developer("kept too"),
            user("  Do \n this  "),
            assistant(None),
            assistant(" \n"),
            call("c1"),
            result("c1", "r" * 900),
            user("x" * 220),
            assistant("y" * 221),
            user("now"),
            assistant("fine"),
        ]
        texts = self.inserted(
            prompt,
            summarization=True,
            protected_tail=1,
            requested_tokens=2,
            context_window_tokens=1,
        )
        assert texts == [
            "\n".join(
                (
                    TITLE,
                    "- user: Do this",
                    f"- tool: {'r' * 220}...",
                    f"- user: {'x' * 220}",
                    f"- assistant: {'y' * 220}...",
                )
            )
        ]

    def test_the_summary_stops_before_the_line_that_does_not_fit(self) -> None:
        """Lines of 50 characters; the title has 39."""
        prompt = [*(user("w" * 42) for _ in range(60)), user("now")]
        settings = {"summarization": True, "protected_tail": 1, "context_window_tokens": 1}
        for max_tokens, lines in ((0, 38), (-1, 38), (500, 38), (60, 3), (1, 3), (73, 4), (72, 4)):
            (text,) = self.inserted(prompt, **settings, max_summary_tokens=max_tokens)
            assert str(text).count("\n") == lines, max_tokens

    def test_a_line_that_does_not_fit_ends_the_summary(self) -> None:
        prompt = [user("a" * 300), user("b" * 300), user("c"), user("now")]
        (text,) = self.inserted(
            prompt, summarization=True, max_summary_tokens=1, context_window_tokens=1
        )
        assert text == TITLE

    def test_a_summary_must_be_shorter_than_what_it_stands_for(self) -> None:
        limit = len(TITLE) + len("\n- user: ")
        settings = {"summarization": True, "context_window_tokens": 1, "protected_tail": 1}
        long_enough = [user(" " * (limit + 1) + "a"), assistant(None), user("z")]
        assert self.inserted(long_enough, **settings) != []
        too_short = [user(" " * limit + "a"), assistant(None), user("z")]
        assert self.inserted(too_short, **settings) == []
        assert self.inserted([assistant(None), *turns(3, 9)], **settings) == []

    def test_it_is_only_written_when_asked_for_and_something_was_dropped(self) -> None:
        assert self.inserted(turns(9, 100)) == []
        assert self.inserted(TestToolResults.prompt(), protected_tail=99, summarization=True) == []

    def test_the_refresh_text_comes_after_the_summary(self) -> None:
        texts = self.inserted(
            [developer(), *turns(9, 400)], summarization=True, refresh_prompt=" go on\n"
        )
        assert len(texts) == 2
        assert str(texts[0]).startswith(TITLE)
        assert texts[1] == "go on"

    def test_it_comes_when_results_were_trimmed_too(self) -> None:
        settings = {"protected_tail": 99, "refresh_prompt": "go on"}
        assert self.inserted(TestToolResults.prompt(), **settings) == ["go on"]

    def test_it_is_not_repeated(self) -> None:
        for present in (system("go on"), developer(" go on\n")):
            prompt = [system(), present, *turns(9, 100)]
            assert self.inserted(prompt, refresh_prompt="go on ") == []
        assert self.inserted([system("go on!"), *turns(9, 100)], refresh_prompt="go on") == [
            "go on"
        ]
        for blank in (" \n", "", None):
            assert self.inserted(turns(9, 100), refresh_prompt=blank) == []

    def test_insertions_can_cost_the_success(self) -> None:
        compacted = compact(turns(9, 100), refresh_prompt="x" * 9000)
        assert compacted.decision.applied
        assert not compacted.success


def test_a_prompt_of_nothing_but_a_preamble_is_no_success() -> None:
    prompt = [system("s" * 500), developer("d"), system("x" * 500), system("y")]
    compacted = compact(prompt, context_window_tokens=1)
    assert not compacted.success
    assert compacted.decision.reason == "protected_tail_prevented_drop"


inputs = st.builds(
    OverflowCompactionInput,
    prompt=prompts,
    context_window_tokens=st.sampled_from([-1, 0, 1, 50, 400, 4000]),
    requested_tokens=st.sampled_from([0, 100, 5000]),
    current_prompt_tokens=st.sampled_from([0, 100, 5000]),
    reserve_tokens=st.sampled_from([-1, 0, 40, 5000]),
    keep_recent_tokens=st.sampled_from([0, 10, 1000]),
    compaction_mode=st.sampled_from(["", "default"]),
    summarization=st.booleans(),
    max_summary_tokens=st.sampled_from([0, 1, 70]),
    refresh_prompt=st.sampled_from(["", "go on"]),
    max_history_share=st.sampled_from([0.0, 0.1, 0.9]),
    protected_tail=st.sampled_from([0, 1, 5]),
)


class TestProperties:
    """The invariants, on prompts and settings of all kinds."""

    @given(inputs)
    def test_the_last_user_message_and_the_preamble_are_kept(
        self, given_input: OverflowCompactionInput
    ) -> None:
        prompt = list(given_input.prompt)
        left = compact_prompt_on_overflow(given_input).prompt
        last = [msg for msg in prompt if msg.get("role") == "user"][-1:]
        assert [msg for msg in left if msg.get("role") == "user"][-1:] == last
        preamble = next(
            (i for i, msg in enumerate(prompt) if msg.get("role") not in ("system", "developer")),
            len(prompt),
        )
        assert left[:preamble] == prompt[:preamble]

    @given(inputs)
    def test_a_call_and_its_results_go_together(self, given_input: OverflowCompactionInput) -> None:
        """No result without its call; and a call that had all its results still has them."""
        compacted = compact_prompt_on_overflow(given_input)
        if not compacted.decision.dropped_count:
            return
        assert not orphans(compacted.prompt)
        for block in split_blocks(given_input.prompt):
            head, *results = (given_input.prompt[index] for index in block)
            answered = [msg["tool_call_id"].strip() for msg in results]
            is_whole = "" not in answered and sorted(answered) == sorted(set(call_ids(head)))
            if is_whole and any(msg is head for msg in compacted.prompt):
                assert answered_after(compacted.prompt, head)[: len(answered)] == answered

    @given(inputs)
    def test_the_decision_reports_what_happened(self, given_input: OverflowCompactionInput) -> None:
        prompt = list(given_input.prompt)
        before = deepcopy(prompt)
        plain = replace(given_input, summarization=False, refresh_prompt="")
        compacted = compact_prompt_on_overflow(plain)
        decision = compacted.decision
        assert prompt == before
        assert len(compacted.prompt) == len(prompt) - decision.dropped_count
        assert decision.original_chars == known_chars(prompt)
        assert decision.final_chars == known_chars(compacted.prompt)
        assert decision.applied == (compacted.prompt != prompt)
        assert compacted.success <= (tokens(compacted.prompt) < tokens(prompt))

    @given(inputs)
    def test_insertions_change_nothing_else(self, given_input: OverflowCompactionInput) -> None:
        plain = compact_prompt_on_overflow(
            replace(given_input, summarization=False, refresh_prompt="")
        )
        full = compact_prompt_on_overflow(given_input)
        assert full.decision == plain.decision
        remaining = iter(full.prompt)
        assert all(any(msg == other for other in remaining) for msg in plain.prompt)


def answered_after(prompt: list[Message], head: Message) -> list[str]:
    """The call ids of the results right after a message."""
    position = next(index for index, msg in enumerate(prompt) if msg is head)
    results = takewhile(lambda msg: msg.get("role") == "tool", prompt[position + 1 :])
    return [msg["tool_call_id"].strip() for msg in results]


def known_chars(prompt: list[Message]) -> int:
    """The characters of the messages whose role is known."""
    return chars([msg for msg in prompt if extract_message_content(msg)[1]])
