"""A goal that was deleted: whoever wants something of it is refused, and nothing more is told."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from domain.errors import DomainError, ErrorKind
from domain.goal_book import GoalBook
from domain.goal_state import CompletionClaim, GoalLimits, IterationEnd, IterationEnded, NextStep
from domain.trigger_matching import SystemEvent
from domain.usage import Spent
from tests.unit.test_goal_book import NOON, a_book

PROVEN = CompletionClaim(summary="done", evidence=["a"], proven=True)
COST = Spent(tokens_in=3)

Happens = Callable[[GoalBook], object]
ASKS: Final[list[Happens]] = [
    lambda book: book.pause(NOON),
    lambda book: book.resume(NOON),
    lambda book: book.complete(NOON, "ghost"),
    lambda book: book.delay(60, "why", NOON),
    lambda book: book.delay(60, "why", NOON, "ci:done"),
    lambda book: book.extend(60, NOON),
    lambda book: book.claim(PROVEN, NOON, judged=False),
    lambda book: book.check_there(),
]
LATE: Final[list[Happens]] = [
    lambda book: book.progress("half way"),
    lambda book: book.thread_ready("t", NOON),
    lambda book: book.event_came(SystemEvent(source="ci", event_type="done"), NOON),
    lambda book: book.judge_agreed(COST, NOON),
    lambda book: book.judge_refused("no", COST, NOON),
    lambda book: book.judge_unpaid(COST, NOON),
    lambda book: book.judge_stopped(COST),
    lambda book: book.judge_failed("no answer", COST, NOON),
]


def ends(end: IterationEnd) -> Happens:
    """The iteration that ran ends so."""
    return lambda book: book.end_iteration(IterationEnded(end=end, spent=COST), NOON)


def deleted_book(**fields: Any) -> GoalBook:
    """A goal that was deleted while an iteration of it ran; all it had to say is told."""
    book = a_book(limits=GoalLimits(max_tokens_total=1), **fields)
    book.begin_iteration("job", NOON)
    book.claim(PROVEN, NOON, judged=True)
    book.delay(3600, "the build", NOON, "ci:done")
    book.delete(NOON)
    book.take_notices()
    book.take_events()
    return book


@pytest.mark.parametrize("ask", ASKS)
def test_whoever_asks_is_refused_and_nothing_changes(ask: Happens) -> None:
    book = deleted_book()
    before = book.state.model_copy(deep=True)
    with pytest.raises(DomainError, match="no goal here any more") as caught:
        ask(book)
    assert (caught.value.kind, caught.value.field) == (ErrorKind.NOT_FOUND, "goal")
    assert book.state == before


@pytest.mark.parametrize("happens", [*LATE, *map(ends, IterationEnd)])
def test_what_comes_late_changes_no_status_and_is_not_told(happens: Happens) -> None:
    book = deleted_book(thread_id=None)
    before = book.goal
    happens(book)
    assert not book.has_news
    assert (book.goal.status, book.goal.thread_id) == (before.status, None)
    assert book.next_step(NOON).step is NextStep.CLOSE


def test_what_a_late_answer_cost_is_counted() -> None:
    book = deleted_book()
    book.judge_agreed(COST, NOON)
    book.end_iteration(IterationEnded(end=IterationEnd.CANCELLED, spent=COST), NOON)
    assert book.state.spent.tokens == 6
