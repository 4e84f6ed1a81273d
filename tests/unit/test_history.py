"""The earlier conversation: calls with their results, and the newest turns that fit."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.history import (
    MAX_TURNS,
    NO_OUTPUT,
    NO_RESULT,
    NOT_DECIDED,
    UNASKED,
    conversation,
    newest_turns,
)
from domain.message_text import estimate_message_tokens
from domain.messages import Message, Role
from domain.threads import ThreadMessage
from tests.support.chat_requests import request_problem

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def said(role: Role, content: str = "", sequence: int = 1, **fields: Any) -> ThreadMessage:
    known: dict[str, Any] = {"id": f"{role}-{sequence}", "thread_id": "t", "created_at": NOW}
    return ThreadMessage(role=role, content=content, sequence=sequence, **known | fields)


def called(*names: str, content: str = "", sequence: int = 1) -> ThreadMessage:
    calls = [
        {"id": name, "type": "function", "function": {"name": f"do_{name}", "arguments": "{}"}}
        for name in names
    ]
    return said("assistant", content, sequence, tool_calls=calls)


def result(name: str, content: str = "done", sequence: int = 1) -> ThreadMessage:
    return said("tool", content, sequence, tool_calls=[{"id": name, "name": f"do_{name}"}])


def told(*messages: ThreadMessage) -> list[Message]:
    return [item.message for item in conversation(messages)]


def roles(*messages: ThreadMessage) -> list[str]:
    return [message["role"] for message in told(*messages)]


class TestConversation:
    def test_what_user_and_model_said(self) -> None:
        by: list[Role] = ["system", "user", "tool", "developer", "assistant"]
        messages = [said(role, f"by {role}") for role in by] + [said("assistant", " \n")]
        assert told(*messages) == [
            {"role": "user", "content": "by user"},
            {"role": "assistant", "content": "by assistant"},
        ]

    def test_a_call_and_its_result(self) -> None:
        call, answer = told(called("a", content="I look."), result("a", "42"))
        assert call["content"] == "I look."
        function = {"name": "do_a", "arguments": "{}"}
        assert call["tool_calls"] == [{"id": "a", "type": "function", "function": function}]
        assert answer == {"role": "tool", "content": "42", "tool_call_id": "a"}

    def test_a_call_alone_has_no_content(self) -> None:
        assert told(called("a"))[0]["content"] is None

    def test_results_come_in_the_order_of_the_calls(self) -> None:
        messages = told(called("a", "b"), result("b", "2"), result("a", "1"))
        assert [message["content"] for message in messages[1:]] == ["1", "2"]

    def test_an_open_call_may_be_said_to_wait_for_a_person(self) -> None:
        messages = [called("a", "b"), result("b"), said("user", "What is up?", 2)]
        told = [item.message["content"] for item in conversation(messages, NOT_DECIDED)]
        assert told == [None, NOT_DECIDED, "done", "What is up?"]

    def test_a_result_moves_in_front_of_what_was_said_meanwhile(self) -> None:
        messages = conversation([called("a"), said("user", "hurry", 2), result("a", sequence=3)])
        assert [item.message["role"] for item in messages] == ["assistant", "tool", "user"]
        assert [item.sequence for item in messages] == [1, 1, 2]

    def test_a_call_without_result_has_one_that_says_so(self) -> None:
        messages = told(called("a", "b"), result("a"), said("user", "and?"))
        assert [message["content"] for message in messages[1:]] == ["done", NO_RESULT, "and?"]

    def test_a_result_without_call_is_left_out(self) -> None:
        assert told(result("a"), said("user", "hello")) == [{"role": "user", "content": "hello"}]

    def test_an_empty_result_says_so(self) -> None:
        assert told(called("a"), result("a", " \n"))[1]["content"] == NO_OUTPUT

    def test_a_second_result_of_a_call_is_left_out(self) -> None:
        assert len(told(called("a"), result("a", "1"), result("a", "2"))) == 2

    def test_the_same_id_in_a_later_answer_is_another_call(self) -> None:
        first = [called("a"), result("a", "1")]
        messages = told(*first, called("a"), result("a", "2"))
        assert [message["content"] for message in messages] == [None, "1", None, "2"]

    def test_the_same_id_twice_in_an_answer_is_one_call(self) -> None:
        assert roles(called("a", "a"), result("a")) == ["assistant", "tool"]

    @pytest.mark.parametrize(
        "call", [{"id": "", "function": {"name": "x"}}, {"id": "a"}, {"id": "a", "function": {}}]
    )
    def test_a_call_that_nobody_could_answer_is_none(self, call: dict[str, Any]) -> None:
        assert told(said("assistant", "text", tool_calls=[call])) == [
            {"role": "assistant", "content": "text"}
        ]

    def test_nobody_speaks_twice_in_a_row_because_a_routine_did(self) -> None:
        routine = said("assistant", "It rains.")
        answer = said("assistant", "Yes.", llm_call_id="c")
        messages = told(routine, said("user", "Wet?"), answer, routine, said("user", "Still?"))
        assert [message["content"] for message in messages] == [
            UNASKED,
            "It rains.",
            "Wet?",
            "Yes.",
            UNASKED,
            "It rains.",
            "Still?",
        ]
        # What a compaction has left to begin with is nobody's.
        assert told(answer) == [{"role": "assistant", "content": "Yes."}]
        assert roles(said("user", "?"), routine) == ["user", "assistant"]

    def test_a_result_that_names_no_call_is_left_out(self) -> None:
        assert roles(called("a"), said("tool", "x", tool_calls=[{"id": None}])) == [
            "assistant",
            "tool",
        ]
        assert roles(said("tool", "x")) == []


IDS = st.sampled_from(["a", "b", "c"])
MESSAGES = st.one_of(
    st.builds(said, st.sampled_from(["user", "assistant", "tool", "system"]), st.text(max_size=3)),
    st.builds(lambda names: called(*names), st.lists(IDS, min_size=1, max_size=4)),
    st.builds(result, IDS, st.text(max_size=3)),
)


@given(st.lists(MESSAGES, max_size=12))
def test_no_provider_refuses_a_conversation(messages: list[ThreadMessage]) -> None:
    body = {"model": "m", "messages": [*told(*messages), {"role": "user", "content": "?"}]}
    assert request_problem(body) is None


def user(tokens: int, name: str = "u") -> Message:
    return {"role": "user", "content": name.ljust(4 * tokens, ".")}


def assistant(tokens: int, name: str = "a") -> Message:
    return {"role": "assistant", "content": name.ljust(4 * tokens, ".")}


class TestNewestTurns:
    def test_without_limits_all_is_kept(self) -> None:
        assert newest_turns([assistant(9), user(9)]) == 0
        assert newest_turns([]) == 0

    def test_a_turn_that_just_fits(self) -> None:
        assert newest_turns([user(600), assistant(400)], room_tokens=1000) == 0

    def test_one_token_too_many(self) -> None:
        assert newest_turns([user(601), assistant(400)], room_tokens=1000) == 2

    def test_a_turn_goes_as_a_whole(self) -> None:
        """The answer of the older turn would fit, but not without its question."""
        turns = [user(800, "old"), assistant(100), user(300, "new"), assistant(200)]
        assert newest_turns(turns, room_tokens=1000) == 2

    def test_an_old_short_turn_is_not_kept_behind_a_gap(self) -> None:
        turns = [user(1), assistant(1), user(990), assistant(10), user(10), assistant(10)]
        assert newest_turns(turns, room_tokens=1000) == 4

    def test_answers_without_a_question_are_dropped(self) -> None:
        assert newest_turns([assistant(1), assistant(1)], room_tokens=9) == 2
        assert newest_turns([assistant(1), user(1)], room_tokens=9) == 1

    @pytest.mark.parametrize("room", [0, -5])
    def test_no_room(self, room: float) -> None:
        assert newest_turns([user(1), assistant(1)], room_tokens=room) == 2

    @pytest.mark.parametrize(("limit", "begin"), [(0, 6), (1, 4), (2, 2), (3, 0), (4, 0)])
    def test_so_many_turns_at_most(self, limit: int, begin: int) -> None:
        turns = [user(1), assistant(1)] * 3
        assert newest_turns(turns, limit=limit) == begin

    def test_routines_take_twenty(self) -> None:
        assert newest_turns([user(1), assistant(1)] * (MAX_TURNS + 1), limit=MAX_TURNS) == 2


TURNS = st.lists(
    st.builds(lambda role, size: role(size), st.sampled_from([user, assistant]), st.integers(1, 50))
)


@given(TURNS, st.integers(0, 700))
def test_what_is_left_is_the_end_of_the_conversation_and_fits(
    history: list[Message], room: int
) -> None:
    kept = history[newest_turns(history, room_tokens=room) :]
    assert not kept or kept[0]["role"] == "user"
    assert sum(map(estimate_message_tokens, kept)) <= room
