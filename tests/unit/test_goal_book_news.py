"""What a goal has to tell and cannot yet: the newest of it waits, the rest is counted."""

from domain.goal_bodies import MAX_CALL_CHARS, MAX_SUMMARY_BYTES, MAX_TOLD_CHARS
from domain.goal_book import GoalBook
from domain.goal_judge import MAX_EVIDENCE
from domain.goal_record import MAX_OBJECTIVE_BYTES
from domain.goal_state import (
    MAX_WAITING_BYTES,
    MAX_WAITING_EVENTS,
    CompletionClaim,
    GoalNoticeKind,
)
from tests.unit.test_goal_book import NOON, a_book

LONG = "x" * 3_900
FIT = MAX_WAITING_BYTES // len(LONG)
MAX_STATE_BYTES = 64 * 1024


def reports(book: GoalBook, count: int, text: str = LONG) -> None:
    for number in range(count):
        assert book.progress(f"{number:02}{text}")


def parts(book: GoalBook) -> list[str]:
    return [notice.part for notice in book.take_notices()]


def test_the_newest_notices_wait_and_the_others_are_counted() -> None:
    book = a_book()
    reports(book, FIT + 4)
    assert book.state.left_out == 4
    first, *rest = book.take_notices()
    assert (first.kind, first.stands_for) == (GoalNoticeKind.LEFT_OUT, 4)
    assert "4 older notices" in first.text
    assert [notice.part for notice in rest] == [f"progress-{n}" for n in range(5, 5 + FIT)]
    assert (book.state.left_out, book.has_news) == (0, False)


def test_what_could_not_be_told_waits_in_front_and_counts_as_before() -> None:
    book = a_book()
    reports(book, FIT + 1)
    taken = book.take_notices()
    assert book.progress("y" * 600)
    book.put_back(taken, [])
    # Two had to go for the new one: the count of the first, which stands for it, and the second.
    waiting = [notice.part for notice in book.state.notices]
    assert waiting[-1] == f"progress-{FIT + 3}"
    lost = [notice for notice in taken if notice.part not in waiting]
    assert book.state.left_out == sum(notice.stands_for for notice in lost) == 2
    assert parts(book)[0] == f"left_out-{FIT + 4}"


def test_one_notice_waits_however_long_it_is() -> None:
    book = a_book()
    reports(book, 1)
    book.complete(NOON, "x" * MAX_SUMMARY_BYTES)
    assert parts(book) == ["left_out-3", "complete-2"]


def test_the_newest_events_wait() -> None:
    book = a_book()
    for _ in range(MAX_WAITING_EVENTS):
        book.pause(NOON)
        book.resume(NOON)
    book.complete(NOON)
    events = book.take_events()
    assert len(events) == MAX_WAITING_EVENTS
    assert events[-1].event_type == "goal.completed"
    book.put_back([], [*events, *events])
    assert len(book.state.events) == MAX_WAITING_EVENTS


def test_a_state_with_the_longest_texts_is_small() -> None:
    wide = "€"
    goal = a_book().state.goal.model_copy(
        update={"objective": wide * (MAX_OBJECTIVE_BYTES // 3), "delay_reason": wide * 1_000}
    )
    book = GoalBook(a_book().state.model_copy(update={"goal": goal, "judge": "second"}))
    book.begin_iteration("job_1", NOON)
    reports(book, 40, wide * 3_900)
    claim = CompletionClaim(
        summary=wide * MAX_TOLD_CHARS, evidence=["c" * MAX_CALL_CHARS] * MAX_EVIDENCE, proven=True
    )
    for _ in range(MAX_WAITING_EVENTS):
        book.pause(NOON)
        book.resume(NOON)
    book.claim(claim, NOON, judged=True)
    assert len(book.state.model_dump_json().encode()) < MAX_STATE_BYTES
    book.complete(NOON, wide * (MAX_SUMMARY_BYTES // 3))
    assert len(book.state.model_dump_json().encode()) < MAX_STATE_BYTES
