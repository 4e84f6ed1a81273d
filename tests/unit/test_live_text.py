"""The end of a growing text, and the time that former attempts spent."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.live_text import TAIL_BYTES, LiveTail, LiveText, spent_before


@given(st.lists(st.tuples(st.sampled_from(["a", "é", "語", "😀", "\n"]), st.integers(0, 3000))))
def test_the_tail_is_the_end_of_the_text(pieces: list[tuple[str, int]]) -> None:
    tail = LiveTail()
    text = ""
    for character, count in pieces:
        piece = character * count
        text += piece
        tail.add(piece)
        shown = tail.live_text(0)
        assert text[shown.offset :] == shown.tail
        assert len(shown.tail.encode()) <= TAIL_BYTES
    assert len(shown.tail.encode()) > TAIL_BYTES - 4 if len(text) > TAIL_BYTES else True


def test_a_long_text_costs_no_more_than_its_tail() -> None:
    tail = LiveTail()
    for _ in range(5000):
        tail.add("word ")
    shown = tail.live_text(1.5)
    assert shown.offset + len(shown.tail) == 25_000
    assert shown.spent_seconds == 1.5


@pytest.mark.parametrize(
    ("details", "seconds"),
    [
        ([], 0.0),
        ([LiveText(offset=3, tail="x", spent_seconds=2.5)], 2.5),
        ([{"offset": 3, "tail": "x", "spent_seconds": 2.5}], 2.5),
        ([{"offset": "?"}], 0.0),
        ([None, {"spent_seconds": 1}], 1.0),
    ],
)
def test_time_spent_is_read_from_the_last_heartbeat(details: list[object], seconds: float) -> None:
    assert spent_before(details) == seconds
