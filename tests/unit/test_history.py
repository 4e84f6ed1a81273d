"""How much of the earlier conversation goes with a prompt (DESIGN §4, automation.md §7.5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.history import HISTORY_SHARE, MAX_TURNS, with_history
from domain.message_text import estimate_message_tokens
from domain.messages import Message

SYSTEM: Message = {"role": "system", "content": "You are a routine."}
QUESTION: Message = {"role": "user", "content": "What is new?"}
PROMPT: list[Message] = [SYSTEM, QUESTION]
# Room for 1,000 tokens of conversation beside the prompt and an answer of 100.
PROMPT_TOKENS = sum(map(estimate_message_tokens, PROMPT))
WINDOW = 2_000 + 100 + PROMPT_TOKENS


def user(tokens: int, name: str = "u") -> Message:
    return {"role": "user", "content": name.ljust(4 * tokens, ".")}


def assistant(tokens: int, name: str = "a") -> Message:
    return {"role": "assistant", "content": name.ljust(4 * tokens, ".")}


def kept(history: list[Message], window_tokens: int = WINDOW) -> list[Message]:
    """What of a conversation is left, which stands between the system's message and the rest."""
    system, *found, last = with_history(
        PROMPT, history, window_tokens=window_tokens, max_tokens=100
    )
    assert (system, last) == (SYSTEM, QUESTION)
    return found


class TestWhole:
    def test_no_conversation(self) -> None:
        assert kept([]) == []

    def test_all_of_a_short_one(self) -> None:
        history = [user(1), assistant(1), user(2), assistant(2)]
        assert kept(history) == history

    def test_everything_else_of_the_prompt_follows_it(self) -> None:
        more: list[Message] = [SYSTEM, {"role": "developer", "content": "brief"}, QUESTION]
        found = with_history(more, [user(1)], window_tokens=WINDOW, max_tokens=100)
        assert found == [SYSTEM, user(1), *more[1:]]

    def test_nothing_that_was_given_is_changed(self) -> None:
        prompt, history = list(PROMPT), [user(900), assistant(900)]
        with_history(prompt, history, window_tokens=WINDOW, max_tokens=100)
        assert (prompt, history) == (PROMPT, [user(900), assistant(900)])


class TestRoom:
    def test_a_turn_that_just_fits(self) -> None:
        turn = [user(600), assistant(400)]
        assert kept(turn) == turn

    def test_one_token_too_many(self) -> None:
        assert kept([user(601), assistant(400)]) == []

    def test_the_oldest_turns_go_first(self) -> None:
        newest = [user(300, "new"), assistant(200)]
        assert kept([user(400, "old"), assistant(400), *newest]) == newest

    def test_a_turn_goes_as_a_whole(self) -> None:
        """The answer of the older turn would fit, but not without its question."""
        newest = [user(300, "new"), assistant(200)]
        assert kept([user(800, "old"), assistant(100), *newest]) == newest

    def test_an_old_short_turn_is_not_kept_behind_a_gap(self) -> None:
        newest = [user(10, "new"), assistant(10)]
        assert kept([user(1, "old"), assistant(1), user(990), assistant(10), *newest]) == newest

    def test_answers_without_a_question_are_dropped(self) -> None:
        assert kept([assistant(1), assistant(1)]) == []
        assert kept([assistant(1), user(1)]) == [user(1)]

    @pytest.mark.parametrize("window_tokens", [0, 100, 100 + PROMPT_TOKENS])
    def test_a_window_that_is_full_already(self, window_tokens: int) -> None:
        assert kept([user(1), assistant(1)], window_tokens) == []

    def test_room_for_the_answer_comes_first(self) -> None:
        history = [user(100), assistant(100)]
        narrow = with_history(PROMPT, history, window_tokens=WINDOW, max_tokens=2_000)
        assert narrow == PROMPT


class TestTurns:
    def test_twenty_turns_at_most(self) -> None:
        history = [
            message
            for number in range(MAX_TURNS + 1)
            for message in (user(1, f"{number}"), assistant(1))
        ]
        assert kept(history) == history[2:]


MESSAGES = st.lists(
    st.builds(lambda role, size: role(size), st.sampled_from([user, assistant]), st.integers(1, 50))
)


@given(MESSAGES, st.integers(0, 1_500))
def test_what_is_left_is_the_end_of_the_conversation_and_fits(
    history: list[Message], window_tokens: int
) -> None:
    found = kept(history, window_tokens)
    assert found == history[len(history) - len(found) :]
    assert not found or found[0]["role"] == "user"
    room = max(0, window_tokens - 100 - PROMPT_TOKENS) * HISTORY_SHARE
    assert sum(map(estimate_message_tokens, found)) <= room
