"""An answer while it is written: every character once, tags never."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.live_replies import LiveReply


def test_it_grows() -> None:
    reply = LiveReply()
    assert reply.grown(0, "Hello") == "Hello"
    assert reply.grown(0, "Hello") == ""
    assert reply.grown(0, "Hello, world") == ", world"
    assert reply.grown(3, "lo, world!") == "!"
    assert reply.offset == 13
    assert reply.rest("Hello, world!\n\nBye.") == "\n\nBye."
    assert reply.rest("Hello, world!\n\nBye.") == ""


def test_tags_are_not_shown() -> None:
    reply = LiveReply()
    shown = reply.grown(0, "Yes [[reply_to_cur") + reply.grown(0, "Yes [[reply_to_current]] sir.")
    assert "[[" not in shown
    assert shown.split() == ["Yes", "sir."]
    # The delivered text has other blanks than the stream had.
    assert reply.rest("Yes sir. Done.") == " Done."


def test_silence_is_not_shown() -> None:
    reply = LiveReply()
    assert reply.grown(0, "NO_RE") + reply.grown(0, "NO_REPLY") == ""
    assert reply.rest("") == ""


def test_whoever_comes_back_goes_on() -> None:
    reply = LiveReply(4)
    assert reply.grown(0, "Hello") == "o"
    assert (reply.offset, reply.rest("Hello!")) == (5, "!")


def test_nothing_was_written_yet_when_he_came_back() -> None:
    reply = LiveReply(40)
    assert reply.grown(0, "Hello") == ""
    assert reply.offset == 40
    assert LiveReply(3).rest("Hello") == "lo"


def test_a_beginning_that_was_missed_counts() -> None:
    reply = LiveReply()
    assert reply.grown(100, "end") == "end"
    assert reply.offset == 103
    assert reply.grown(110, "far") == "far"
    assert reply.offset == 113
    assert reply.rest("x" * 113 + "!") == "!"


@given(st.text(alphabet="ab \n", max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_all_of_it_is_shown_once(text: str, cuts: list[int]) -> None:
    reply = LiveReply()
    shown = "".join(reply.grown(0, text[:cut]) for cut in sorted(cuts))
    shown += reply.rest(text)
    assert "".join(shown.split()) == "".join(text.split())


@pytest.mark.parametrize("had", [0, 2, 5])
def test_no_character_is_shown_twice(had: int) -> None:
    reply = LiveReply(had)
    assert reply.grown(0, "abc") + reply.rest("abcde") == "abcde"[had:]


def test_what_was_said_before_a_call_of_a_tool_is_not_the_beginning_of_the_answer() -> None:
    reply = LiveReply()
    assert reply.grown(0, "Let me look.") == "Let me look."
    assert reply.rest("It is five o'clock.") == "It is five o'clock."
    reply = LiveReply()
    assert reply.grown(0, "It  is five") == "It  is five"
    assert reply.rest("It is five o'clock.") == " o'clock."
