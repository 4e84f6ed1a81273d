"""A goal that an event has woken: the chain of events it is part of goes on through its rounds."""

from collections.abc import Callable
from typing import Final

import pytest

from domain.goal_book import GoalBook
from domain.goal_iteration import iteration_job
from domain.trigger_matching import HOP_LIMIT, SystemEvent
from tests.unit.test_goal_book import HOUR, NOON, a_book, iterate

# What happens after a round of a chain, and the hop of the next one.
AFTERWARDS: Final[list[tuple[Callable[[GoalBook], object], int]]] = [
    (lambda book: book.resume(NOON), 0),
    (lambda book: book.delay(60, "why", NOON), 0),
    (lambda book: book.delay(60, "why", NOON, "ci:done"), 0),
    (lambda book: book.delay(0, "at once", NOON), 3),
]


def came(hop: int) -> SystemEvent:
    return SystemEvent(source="ci", event_type="done", hop=hop)


def woken_book(hop: int = 3) -> GoalBook:
    """A goal that rested until an event came."""
    book = a_book()
    book.delay(3600, "the build", NOON, "ci:done")
    assert book.event_came(came(hop), NOON)
    return book


def hop_of_job(book: GoalBook) -> int:
    return iteration_job(book.state, "goal/user/me", "Go", NOON, job_id="j", wrap_up=None).hop


def test_rounds_and_events_have_the_hop_of_what_woke_it() -> None:
    book = woken_book()
    for _ in range(2):
        iterate(book, NOON)
        assert hop_of_job(book) == 3
    book.complete(NOON)
    (event,) = book.take_events()
    assert event.hop == 4


def test_what_no_event_has_woken_begins_a_chain() -> None:
    book = a_book()
    book.pause(NOON)
    (event,) = book.take_events()
    assert (hop_of_job(book), event.hop) == (0, 1)


@pytest.mark.parametrize(("happens", "hop"), AFTERWARDS)
def test_a_person_or_the_clock_ends_the_chain(
    happens: Callable[[GoalBook], object], hop: int
) -> None:
    book = woken_book()
    iterate(book, NOON)
    happens(book)
    iterate(book, NOON + HOUR)
    assert hop_of_job(book) == hop


def test_the_next_event_begins_its_own() -> None:
    book = woken_book()
    iterate(book, NOON)
    book.delay(60, "why", NOON, "ci:done")
    book.event_came(came(0), NOON)
    iterate(book, NOON)
    assert hop_of_job(book) == 0


def test_an_event_beyond_the_limit_wakes_nobody() -> None:
    book = a_book()
    book.delay(3600, "the build", NOON, "ci:done")
    assert not book.event_came(came(HOP_LIMIT + 1), NOON)
    assert book.event_came(came(HOP_LIMIT), NOON)
