"""The prompt of a call: put together within the window, and made smaller after an overflow."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.call_prompts import (
    GO_ON,
    CallPrompt,
    Shortened,
    Window,
    call_prompt,
    flush_messages,
    needs_flush,
    reserve_tokens,
    shortened,
)
from domain.history import MAX_TURNS, Said
from domain.messages import Message
from domain.pruning_config import OverflowFlushConfig, PruningConfig, apply_pruning_defaults
from domain.threads import ThreadKind
from tests.support.chat_requests import request_problem

SYSTEM: list[Message] = [{"role": "system", "content": "You are a routine."}]
QUESTION: Message = {"role": "user", "content": "What is new?"}
CONFIG = apply_pruning_defaults(PruningConfig(enabled=True))
WINDOW = Window(10_000, 500)


def user(text: str, sequence: int) -> Said:
    return Said({"role": "user", "content": text}, sequence)


def answer(text: str, sequence: int) -> Said:
    return Said({"role": "assistant", "content": text}, sequence)


def tool_round(number: int, output: str, sequence: int) -> list[Said]:
    function = {"name": "look", "arguments": "{}"}
    call = {"id": f"c{number}", "type": "function", "function": function}
    return [
        Said({"role": "assistant", "content": None, "tool_calls": [call]}, sequence),
        Said({"role": "tool", "content": output, "tool_call_id": f"c{number}"}, sequence),
    ]


def turns(count: int, chars: int = 40) -> list[Said]:
    found: list[Said] = []
    for number in range(count):
        found.append(user(f"u{number} ".ljust(chars, "."), 2 * number + 1))
        found.append(answer(f"a{number} ".ljust(chars, "."), 2 * number + 2))
    return found


def made(said: Sequence[Said], question: Message | None = QUESTION, **fields: Any) -> CallPrompt:
    known: dict[str, Any] = {"kind": ThreadKind.SESSION, "config": CONFIG, "window": WINDOW}
    return call_prompt(SYSTEM, "", said, question, **known | fields)


class TestPuttingTogether:
    def test_the_order(self) -> None:
        said = turns(1)
        prompt = call_prompt(
            SYSTEM,
            "Before that: much.",
            said,
            QUESTION,
            kind=ThreadKind.JOB,
            config=CONFIG,
            window=WINDOW,
        )
        summary: Message = {"role": "system", "content": "Before that: much."}
        assert prompt.messages == [*SYSTEM, summary, *(item.message for item in said), QUESTION]

    def test_who_goes_on_after_the_words_of_somebody_else_is_told_so(self) -> None:
        said = [user("Do it.", 1), *tool_round(1, "done", 2), user("And?", 4), answer("Soon.", 5)]
        assert made(said, None).messages[-1] == {"role": "user", "content": GO_ON}
        assert made(said[:3], None).messages[-1]["role"] == "tool"

    @pytest.mark.parametrize("kind", [ThreadKind.SESSION, ThreadKind.JOB, ThreadKind.GOAL])
    def test_other_threads_are_told_whole(self, kind: ThreadKind) -> None:
        assert len(made(turns(60), kind=kind).said) == 120

    def test_routines_take_their_newest_turns(self) -> None:
        prompt = made(turns(60), kind=ThreadKind.ROUTINE)
        assert len(prompt.said) == 2 * MAX_TURNS

    def test_routines_take_what_half_of_the_window_holds(self) -> None:
        prompt = made(turns(10, 4000), kind=ThreadKind.ROUTINE)
        assert [item.sequence for item in prompt.said] == [17, 18, 19, 20]

    @pytest.mark.parametrize("kind", [ThreadKind.ROUTINE, ThreadKind.SESSION])
    @pytest.mark.parametrize(("limit", "kept"), [(1, 0), (2, 2), (99, 18)])
    def test_a_setting_limits_the_turns_and_counts_the_question(
        self, kind: ThreadKind, limit: int, kept: int
    ) -> None:
        config = replace(CONFIG, max_history_turns=limit)
        assert len(made(turns(9), kind=kind, config=config).said) == kept

    def test_without_a_question_the_setting_counts_the_newest_turn(self) -> None:
        config = replace(CONFIG, max_history_turns=1)
        assert len(made(turns(9), None, config=config).said) == 2

    def test_what_is_to_be_answered_is_always_there(self) -> None:
        said = [user("x" * 60_000, 1), *tool_round(1, "y" * 60_000, 2)]
        assert len(made(said, None, kind=ThreadKind.ROUTINE).said) == 3
        # Nobody asked, so all there is may be what is to be answered.
        assert len(made(said[1:], None, kind=ThreadKind.ROUTINE).said) == 2

    def test_old_results_are_shortened(self) -> None:
        rounds = [item for number in range(6) for item in tool_round(number, "z" * 9000, number)]
        prompt = made([user("go", 1), *rounds])
        lengths = [len(str(item.message["content"])) for item in prompt.said]
        assert min(lengths[2::2]) < 9000
        assert lengths[-1] == 9000
        assert made([user("go", 1), *rounds], config=PruningConfig()).said[2].message == (
            rounds[1].message
        )


class TestFlush:
    @pytest.mark.parametrize(("chars", "due"), [(4 * 75_990, False), (4 * 76_001, True)])
    def test_it_is_due_just_before_the_limit(self, chars: int, due: bool) -> None:
        prompt = CallPrompt([], "", [user("x" * chars, 1)], None)
        assert needs_flush(prompt, CONFIG, 100_000) is due

    def test_an_unknown_window_is_128000_tokens(self) -> None:
        prompt = CallPrompt([], "", [user("x" * 4 * 103_000, 1)], None)
        assert not needs_flush(prompt, CONFIG, 0)
        assert needs_flush(CallPrompt([], "", [user("x" * 4 * 105_000, 1)], None), CONFIG, 0)

    def test_a_window_without_room_has_none(self) -> None:
        assert not needs_flush(CallPrompt([], "", [user("x" * 400_000, 1)], None), CONFIG, 8_192)

    def test_it_can_be_turned_off(self) -> None:
        config = replace(CONFIG, overflow_flush=OverflowFlushConfig(enabled=False))
        prompt = CallPrompt([], "", [user("x" * 900_000, 1)], None)
        assert not needs_flush(prompt, config, 100_000)

    def test_its_prompt(self) -> None:
        said = turns(2)
        messages = flush_messages(CallPrompt(SYSTEM, "Sum.", said, QUESTION), CONFIG, 100_000)
        flush = CONFIG.overflow_flush
        assert flush is not None
        texts = [message["content"] for message in messages]
        told = [item.message["content"] for item in said]
        assert texts == [
            SYSTEM[0]["content"],
            flush.system_prompt,
            "Sum.",
            *told,
            flush.prompt,
        ]

    @pytest.mark.parametrize("window", [4_000, 40_000])
    def test_it_fits_where_the_prompt_did_not(self, window: int) -> None:
        prompt = CallPrompt(SYSTEM, "", turns(100, 4000), QUESTION)
        messages = flush_messages(prompt, CONFIG, window)
        assert CallPrompt(messages, "", [], None).tokens <= window

    def test_a_chosen_reserve_has_no_floor(self) -> None:
        assert reserve_tokens(CONFIG) == 20_000
        small = apply_pruning_defaults(PruningConfig(reserve_tokens=500))
        assert reserve_tokens(small) == 500
        assert reserve_tokens(PruningConfig()) == 0


def smaller(prompt: CallPrompt, window: int, requested: int = 0) -> Shortened:
    found = shortened(prompt, CONFIG, window, requested)
    assert found is not None
    assert found.prompt.tokens < prompt.tokens
    return found


class TestShortening:
    def test_the_oldest_turns_are_dropped(self) -> None:
        prompt = CallPrompt(SYSTEM, "Sum.", turns(20, 4000), QUESTION)
        found = smaller(prompt, 20_000)
        assert found.sequence == len(found.dropped)
        assert [item.sequence for item in found.prompt.said] == list(range(found.sequence + 1, 41))
        assert found.dropped[0]["content"] == prompt.said[0].message["content"]
        assert found.prompt.question == QUESTION
        assert found.prompt.refresh == CONFIG.post_compaction_refresh_prompt
        assert found.prompt.messages[1]["content"] == "Sum."
        # What is said only once does not count where prompts are compared.
        assert found.prompt.lasting_tokens == replace(found.prompt, refresh="").tokens
        assert found.prompt.lasting_tokens < found.prompt.tokens

    def test_what_the_provider_counted_decides(self) -> None:
        prompt = CallPrompt(SYSTEM, "", turns(20, 4000), QUESTION)
        left = smaller(prompt, 8_000, 24_000).prompt
        assert left.tokens <= prompt.tokens / 3 + 1_100

    def test_the_newest_word_of_a_user_stays_in_a_job(self) -> None:
        rounds = [
            item for number in range(1, 30) for item in tool_round(number, "z" * 4000, 2 * number)
        ]
        prompt = CallPrompt(SYSTEM, "", [user("The task.", 1), *rounds], None)
        found = smaller(prompt, 20_000)
        first, second = found.prompt.said[:2]
        assert first.message["content"] == "The task."
        assert found.sequence == second.sequence - 1
        assert second.message["role"] == "assistant"

    def test_when_nothing_else_is_left_all_before_it_is_dropped(self) -> None:
        said = [answer("x" * 40_000, 1), answer("x" * 40_000, 2), user("Well?", 3)]
        found = shortened(CallPrompt(SYSTEM, "", said, None), CONFIG, 3_000)
        assert found is not None
        assert found.sequence == 3
        assert [item.sequence for item in found.prompt.said] == [3]

    def test_a_word_said_between_a_call_and_its_result_is_not_lost(self) -> None:
        """The result is told right after its call, though the thread has it later."""
        said = [*tool_round(1, "z" * 40_000, 1), user("hurry", 2), *turns(8, 4000)]
        said = [*said[:3], *(Said(item.message, item.sequence + 3) for item in said[3:])]
        found = smaller(CallPrompt(SYSTEM, "", said, QUESTION), 20_000)
        kept = {item.sequence for item in found.prompt.said}
        assert found.sequence is not None
        assert all(item.sequence in kept for item in said if item.sequence > found.sequence)

    def test_results_are_trimmed_where_nothing_can_be_dropped(self) -> None:
        said = [user("go", 1), *tool_round(1, "z" * 90_000, 2)]
        found = smaller(CallPrompt(SYSTEM, "", said, None), 8_000)
        assert (found.dropped, found.sequence, found.prompt.refresh) == ([], None, "")
        assert len(str(found.prompt.said[-1].message["content"])) < 3_000

    def test_one_long_result_is_cut_as_the_last_resort(self) -> None:
        """A half-full window that was too small all the same: no pass finds anything to do."""
        said = [user("go", 1), *tool_round(1, "z" * 60_000, 2)]
        found = smaller(CallPrompt(SYSTEM, "", said, None), 40_000)
        assert (found.dropped, found.sequence) == ([], None)
        assert found.prompt.said[0] == said[0]
        assert len(str(found.prompt.said[-1].message["content"])) < 4_000

    def test_a_long_question_cannot_be_made_shorter(self) -> None:
        question: Message = {"role": "user", "content": "x" * 100_000}
        assert shortened(CallPrompt(SYSTEM, "", [], question), CONFIG, 8_000) is None

    def test_dropping_the_first_message_that_is_not_numbered_keeps_nothing(self) -> None:
        said = [Said(item.message, 0) for item in turns(9, 4000)]
        found = smaller(CallPrompt(SYSTEM, "", said, QUESTION), 8_000)
        assert found.sequence is None


ITEMS = st.lists(
    st.one_of(
        st.builds(lambda size: [user("x" * size, 0)], st.integers(1, 9_000)),
        st.builds(lambda size: [answer("x" * size, 0)], st.integers(1, 9_000)),
        st.builds(lambda size: tool_round(1, "x" * size, 0), st.integers(1, 9_000)),
    ),
    min_size=1,
    max_size=25,
)


@given(ITEMS, st.integers(500, 30_000), st.booleans())
def test_a_shorter_prompt_is_complete(items: list[list[Said]], window: int, asked: bool) -> None:
    said = [
        Said(item.message, sequence) for sequence, group in enumerate(items, 1) for item in group
    ]
    prompt = CallPrompt(SYSTEM, "", said, QUESTION if asked else None)
    found = shortened(prompt, CONFIG, window)
    if found is None:
        return
    messages = found.prompt.messages
    assert request_problem({"model": "m", "messages": messages}) is None
    newest = [item for item in [*said, Said(QUESTION, 99)] if item.message["role"] == "user"]
    if asked or len(newest) > 1:
        wanted = QUESTION if asked else newest[-2].message
        assert wanted in messages
    if found.sequence is not None:
        kept = {item.sequence for item in found.prompt.said}
        assert all(item.sequence in kept for item in said if item.sequence > found.sequence)
