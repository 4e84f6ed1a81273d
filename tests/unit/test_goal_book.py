"""The book of a goal: what its loop does next, its brakes, claims, deadline and notices."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.actor import Actor
from domain.errors import DomainError, ErrorKind
from domain.goal import GoalStatus
from domain.goal_book import GoalBook
from domain.goal_record import Goal, GoalPausedReason, GoalWaiting
from domain.goal_state import (
    ClaimAnswer,
    CompletionClaim,
    GoalLimits,
    GoalNoticeKind,
    GoalState,
    IterationEnd,
    IterationEnded,
    NextStep,
)
from domain.scopes import Route, Scope, ScopeKind
from domain.trigger_matching import SystemEvent
from domain.usage import Spent

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CLOSED = SystemEvent(source="ci", event_type="build.done")


def a_book(*, limits: GoalLimits | None = None, **fields: Any) -> GoalBook:
    """The book of a goal that may begin."""
    goal = Goal(
        id="goal_1",
        objective="Ship it",
        scope=Scope(kind=ScopeKind.USER, id="me"),
        route=Route(receive_id_type="console"),
        creator=Actor(user_id="me"),
        created_at=NOON,
        deadline_at=NOON + 48 * HOUR,
        thread_id="t",
    ).model_copy(update=fields)
    return GoalBook(GoalState(goal=goal, limits=limits or GoalLimits()))


def iterate(book: GoalBook, now: datetime, end: IterationEnd = IterationEnd.OK, **how: Any) -> None:
    """One iteration from its begin to its end; a different result each time unless told."""
    book.begin_iteration(f"job_{book.state.jobs + 1}", now)
    known: dict[str, object] = {
        "end": end,
        "elapsed_seconds": 600.0,
        "result_digest": f"d{book.state.jobs}",
    }
    book.end_iteration(IterationEnded.model_validate(known | how), now)


def told(book: GoalBook) -> list[str]:
    return [notice.kind for notice in book.take_notices()]


def test_iteration_after_iteration_each_announced_once() -> None:
    book = a_book()
    assert book.next_step(NOON).step == NextStep.ITERATE
    book.begin_iteration("job_1", NOON)
    assert (book.goal.running, book.goal.iteration, book.state.job_id) == (True, 1, "job_1")
    book.end_iteration(IterationEnded(end=IterationEnd.OK, elapsed_seconds=600), NOON)
    assert (book.goal.running, book.state.job_id) == (False, None)
    iterate(book, NOON)
    assert book.goal.iteration == 2
    assert told(book) == ["iteration", "iteration"]


def test_a_users_turn_repeats_the_iteration_without_announcing_it() -> None:
    book = a_book()
    iterate(book, NOON, IterationEnd.INTERRUPTED, thread_id="new")
    assert book.goal.thread_id == "new"
    iterate(book, NOON)
    assert book.goal.iteration == 1
    assert told(book) == ["iteration"]


def test_cancel_and_timeout_of_an_iteration_are_no_failures() -> None:
    book = a_book()
    for end in (IterationEnd.CANCELLED, IterationEnd.TIMEOUT):
        iterate(book, NOON, end)
    assert (book.goal.iteration, book.state.failures) == (2, 0)
    assert book.next_step(NOON).step == NextStep.ITERATE


def test_a_stop_command_pauses() -> None:
    book = a_book()
    iterate(book, NOON, IterationEnd.STOPPED)
    assert book.goal.paused_reason == GoalPausedReason.STOPPED_BY_USER
    assert book.next_step(NOON).until == book.goal.deadline_at


def test_errors_back_off_and_the_third_in_a_row_pauses() -> None:
    book = a_book()
    waits = []
    now = NOON
    for _ in range(2):
        iterate(book, now, IterationEnd.ERROR, error="boom")
        until = book.next_step(now).until
        assert until is not None
        waits.append((until - now).total_seconds())
        now = until
    assert waits == [30, 60]
    iterate(book, now, IterationEnd.ERROR)
    assert (book.goal.status, book.goal.paused_reason) == ("paused", "failures")
    assert book.goal.last_error == "unknown"
    assert told(book) == ["iteration"] * 3 + ["paused"]


def test_a_success_between_errors_begins_anew() -> None:
    book = a_book()
    for end in (IterationEnd.ERROR, IterationEnd.ERROR, IterationEnd.OK, IterationEnd.ERROR):
        iterate(book, NOON, end)
    assert book.goal.status == GoalStatus.ACTIVE


def test_a_longer_delay_outlives_the_back_off() -> None:
    book = a_book()
    book.begin_iteration("job_1", NOON)
    book.delay(3600, "rest", NOON)
    book.end_iteration(IterationEnded(end=IterationEnd.ERROR, error="e"), NOON)
    assert book.goal.next_run_at == NOON + HOUR


def test_the_fast_loop_pauses_at_the_fifth() -> None:
    book = a_book()
    for number in range(1, 6):
        iterate(book, NOON, elapsed_seconds=1)
        assert (book.goal.status == GoalStatus.PAUSED) == (number == 5)
    assert book.goal.paused_reason == GoalPausedReason.FAST_LOOP
    assert "180 s" in book.take_notices()[-1].text
    book.resume(NOON)
    assert book.goal.status == GoalStatus.ACTIVE
    assert book.goal.paused_reason is None


def test_a_delay_of_zero_does_not_release_the_fast_loop() -> None:
    book = a_book()
    for _ in range(5):
        book.begin_iteration("job", NOON)
        book.delay(0, "next step", NOON)
        book.end_iteration(
            IterationEnded(end=IterationEnd.OK, result_digest=str(book.goal.iteration)), NOON
        )
    assert book.goal.paused_reason == GoalPausedReason.FAST_LOOP


def test_a_positive_delay_releases_it() -> None:
    book = a_book()
    now = NOON
    for _ in range(7):
        book.begin_iteration("job", now)
        book.delay(60, "later", now)
        digest = str(book.goal.iteration)
        book.end_iteration(IterationEnded(end=IterationEnd.OK, result_digest=digest), now)
        now += timedelta(minutes=1)
    assert book.goal.status == GoalStatus.ACTIVE


def test_a_positive_delay_between_two_rounds_releases_it_too() -> None:
    book = a_book()
    for _ in range(4):
        iterate(book, NOON, elapsed_seconds=1)
    book.delay(60, "later", NOON)
    for _ in range(4):
        iterate(book, NOON + HOUR, elapsed_seconds=1)
    assert book.goal.status == GoalStatus.ACTIVE


@pytest.mark.parametrize(
    ("how", "pauses"),
    [
        ({"result_digest": "same"}, True),
        ({"result_digest": "same", "tool_actions": 1}, False),
        ({"result_digest": None}, True),
        ({}, False),
    ],
)
def test_the_same_result_without_a_tool_is_no_progress(how: dict[str, Any], pauses: bool) -> None:
    book = a_book()
    for _ in range(3):
        iterate(book, NOON, **how)
    assert (book.goal.paused_reason == GoalPausedReason.NO_PROGRESS) == pauses


def test_the_number_of_iterations_is_limited_and_counted_anew_after_a_resume() -> None:
    book = a_book(limits=GoalLimits(max_iterations=2))
    iterate(book, NOON)
    iterate(book, NOON)
    assert book.goal.paused_reason == GoalPausedReason.MAX_ITERATIONS
    book.resume(NOON)
    iterate(book, NOON, IterationEnd.INTERRUPTED)
    iterate(book, NOON)
    assert book.goal.status == GoalStatus.ACTIVE
    iterate(book, NOON)
    assert book.goal.paused_reason == GoalPausedReason.MAX_ITERATIONS


def test_failed_iterations_count_as_others_do() -> None:
    book = a_book(limits=GoalLimits(max_iterations=2))
    iterate(book, NOON, IterationEnd.ERROR)
    assert book.goal.status == GoalStatus.ACTIVE
    iterate(book, NOON, IterationEnd.ERROR)
    assert book.goal.paused_reason == GoalPausedReason.MAX_ITERATIONS
    assert book.goal.next_run_at is None


@pytest.mark.parametrize("limit", ["max_tokens_total", "max_cost_micros"])
@pytest.mark.parametrize("end", [IterationEnd.OK, IterationEnd.TIMEOUT, IterationEnd.ERROR])
def test_tokens_and_money_are_limited_whatever_came_of_them(limit: str, end: IterationEnd) -> None:
    book = a_book(limits=GoalLimits.model_validate({limit: 100}))
    iterate(book, NOON, end, spent=Spent(tokens_in=60, tokens_out=39, cost_micros=99))
    assert book.goal.status == GoalStatus.ACTIVE
    iterate(book, NOON, end, spent=Spent(tokens_in=1, cost_micros=1))
    assert book.goal.paused_reason == GoalPausedReason.BUDGET


def test_a_spent_budget_of_the_day_pauses() -> None:
    book = a_book()
    iterate(book, NOON, IterationEnd.BUDGET)
    assert book.goal.paused_reason == GoalPausedReason.BUDGET


def test_nothing_brakes_a_goal_that_was_paused_meanwhile() -> None:
    book = a_book()
    book.begin_iteration("job", NOON)
    book.pause(NOON)
    book.end_iteration(IterationEnded(end=IterationEnd.BUDGET), NOON)
    assert book.goal.paused_reason == GoalPausedReason.USER
    assert told(book) == ["iteration"]


def test_a_delay_waits_until_its_time_or_the_deadline() -> None:
    book = a_book(deadline_at=NOON + HOUR)
    book.delay(1800, "tea", NOON)
    assert book.next_step(NOON).until == NOON + HOUR / 2
    assert book.next_step(NOON + HOUR / 2).step == NextStep.ITERATE
    book.delay(2 * 3600, "sleep", NOON)
    assert book.next_step(NOON).until == NOON + HOUR
    assert book.next_step(NOON + HOUR).step == NextStep.WRAP_UP
    book.delay(0, "go", NOON)
    assert (book.goal.next_run_at, book.goal.delay_reason) == (None, None)
    assert told(book) == ["delayed", "delayed", "continued"]


def test_an_event_wakes_it_earlier() -> None:
    book = a_book()
    assert not book.event_came(CLOSED, NOON)
    book.delay(1800, "the build", NOON, event="ci:build.done")
    assert (book.goal.waiting_for, book.state.wait_event) == (GoalWaiting.EVENT, "ci:build.done")
    book.waits_inside(None, NOON)
    assert book.goal.waiting_for == GoalWaiting.EVENT
    assert book.event_came(CLOSED, NOON)
    assert book.next_step(NOON).step == NextStep.ITERATE
    book.delay(0, "now", NOON, event="ci:x")
    assert book.goal.waiting_for is None


def test_a_wait_set_inside_an_iteration_lasts_beyond_it() -> None:
    book = a_book()
    book.begin_iteration("job", NOON)
    book.delay(1800, "the build", NOON, event="ci:build.done")
    book.end_iteration(IterationEnded(end=IterationEnd.OK, elapsed_seconds=200), NOON)
    assert book.goal.waiting_for == GoalWaiting.EVENT


def test_what_the_job_waits_for_shows_on_the_goal() -> None:
    book = a_book()
    book.begin_iteration("job", NOON)
    before = book.goal.revision
    book.waits_inside(GoalWaiting.APPROVAL, NOON)
    book.waits_inside(GoalWaiting.APPROVAL, NOON)
    assert (book.goal.waiting_for, book.goal.revision) == ("approval", before + 1)
    book.waits_inside(None, NOON)
    assert book.goal.waiting_for is None


def test_the_deadline_brings_one_report_and_then_the_end() -> None:
    book = a_book()
    late = NOON + 48 * HOUR
    assert book.next_step(late).step == NextStep.WRAP_UP
    book.begin_wrap_up("job", late)
    assert book.goal.running
    book.end_wrap_up(IterationEnded(end=IterationEnd.OK, spent=Spent(tokens_in=5)), late)
    assert (book.goal.iteration, book.state.spent.tokens) == (0, 5)
    assert book.next_step(late).step == NextStep.TIME_OUT
    book.time_out(late)
    assert book.goal.status == GoalStatus.TIMEOUT
    assert book.next_step(late).step == NextStep.CLOSE
    (notice,) = book.take_notices()
    assert (notice.kind, notice.part) == (GoalNoticeKind.TIMEOUT, "timeout-1")
    assert "48h0m" in notice.text


@pytest.mark.parametrize("changes", [{"status": GoalStatus.PAUSED}, {"thread_id": None}])
def test_only_a_goal_that_could_work_writes_a_report(changes: dict[str, Any]) -> None:
    book = a_book(**changes)
    assert book.next_step(NOON + 48 * HOUR).step == NextStep.TIME_OUT
    book.time_out(NOON + 48 * HOUR)
    assert (book.goal.status, book.goal.paused_reason) == ("timeout", None)


def test_a_goal_without_deadline_waits_for_ever() -> None:
    book = a_book(deadline_at=None, status=GoalStatus.PAUSED)
    assert book.next_step(NOON + 9999 * HOUR).until is None
    book.resume(NOON)
    book.delay(60, "a minute", NOON)
    assert book.next_step(NOON).until == NOON + timedelta(minutes=1)


def test_extending_reopens_what_timed_out() -> None:
    book = a_book()
    book.begin_wrap_up(None, NOON)
    book.time_out(NOON)
    book.extend(3600, NOON)
    assert (book.goal.status, book.goal.deadline_at) == ("active", NOON + HOUR)
    assert book.next_step(NOON + HOUR).step == NextStep.WRAP_UP


def test_without_a_thread_it_waits_for_one() -> None:
    book = a_book(thread_id=None, status=GoalStatus.WAITING_FOR_SESSION)
    assert book.next_step(NOON).step == NextStep.WAIT
    book.thread_ready("t", NOON)
    assert book.next_step(NOON).step == NextStep.ITERATE
    book.complete(NOON)
    book.thread_ready("other", NOON)
    assert book.goal.thread_id == "t"


def test_completing_is_told_once() -> None:
    book = a_book()
    book.complete(NOON + HOUR, " all done ")
    book.complete(NOON + HOUR, "again")
    (notice,) = book.take_notices()
    assert notice.text.endswith("Ship it\nall done")
    assert book.state.summary == "all done"
    with pytest.raises(DomainError, match="status is complete") as caught:
        book.resume(NOON)
    assert caught.value.kind == ErrorKind.CONFLICT


def test_a_deleted_goal_is_closed() -> None:
    book = a_book()
    book.delete(NOON)
    assert book.next_step(NOON).step == NextStep.CLOSE
    book.begin_iteration("late", NOON)
    book.end_iteration(IterationEnded(end=IterationEnd.ERROR), NOON)
    assert book.goal.status == GoalStatus.ACTIVE


def claim(*, proven: bool) -> CompletionClaim:
    return CompletionClaim(summary="done", evidence=["a"] if proven else [], proven=proven)


def test_a_proven_claim_completes() -> None:
    book = a_book()
    book.begin_iteration("job", NOON)
    assert book.claim(claim(proven=True), NOON, judged=False) == ClaimAnswer.ACCEPTED
    assert (book.goal.status, book.state.summary) == ("complete", "done")


def test_a_claim_without_proof_is_refused_where_tools_were_used() -> None:
    book = a_book()
    iterate(book, NOON, tool_actions=2)
    for _ in range(2):
        book.begin_iteration("job", NOON)
        assert book.claim(claim(proven=False), NOON, judged=False) == ClaimAnswer.REFUSED
    assert book.goal.status == GoalStatus.ACTIVE


def test_without_tools_a_claim_needs_a_second_look() -> None:
    book = a_book()
    book.begin_iteration("job", NOON)
    for _ in range(2):
        assert book.claim(claim(proven=False), NOON, judged=False) == ClaimAnswer.CHECK
    book.end_iteration(IterationEnded(end=IterationEnd.OK, elapsed_seconds=300), NOON)
    book.begin_iteration("job", NOON)
    assert book.claim(claim(proven=False), NOON, judged=True) == ClaimAnswer.JUDGE
    assert book.claim(claim(proven=False), NOON, judged=False) == ClaimAnswer.ACCEPTED


def test_a_judge_without_a_verdict_pauses() -> None:
    book = a_book()
    book.judge_failed("no answer", Spent(), NOON)
    assert book.goal.paused_reason == GoalPausedReason.JUDGE_ERROR
    book.judge_failed("again", Spent(), NOON)
    (notice,) = book.take_notices()
    assert "no answer" in notice.text


def test_progress_is_told_in_order_and_not_twice_running() -> None:
    book = a_book()
    assert not book.has_news
    book.begin_iteration("job", NOON)
    for said in ("half way", " half way\n", "NO_REPLY", "done", "half way"):
        book.progress(said)
    assert book.has_news
    notices = book.take_notices()
    assert [one.part for one in notices] == [
        "iteration-1",
        "progress-2",
        "progress-3",
        "progress-4",
    ]
    assert [one.text for one in notices[1:]] == ["half way", "done", "half way"]
    assert [one.is_start for one in notices] == [True, False, False, False]
    assert not book.has_news


def judged_book(**limits: Any) -> GoalBook:
    """A goal whose claim waits for the judge, between two iterations."""
    book = a_book(limits=GoalLimits(**limits))
    book.begin_iteration("job", NOON)
    assert book.claim(claim(proven=True), NOON, judged=True) == ClaimAnswer.JUDGE
    book.end_iteration(IterationEnded(end=IterationEnd.OK, elapsed_seconds=300), NOON)
    book.take_notices()
    return book


COST = Spent(tokens_in=3, tokens_out=4, cost_micros=5)


def test_a_claim_is_put_to_the_judge_before_anything_else_but_the_deadline() -> None:
    book = judged_book()
    book.delay(3600, "whatever", NOON)
    assert book.next_step(NOON).step == NextStep.JUDGE
    assert book.next_step(NOON + 48 * HOUR).step == NextStep.WRAP_UP
    book.judge_agreed(COST, NOON)
    assert (book.goal.status, book.state.spent) == (GoalStatus.COMPLETE, COST)
    assert (book.state.summary, book.state.judged) == ("done", 1)


def test_a_claim_that_the_judge_refuses_is_answered_in_the_next_round() -> None:
    book = judged_book()
    book.judge_refused(" the tests fail ", COST, NOON)
    assert book.next_step(NOON).step == NextStep.ITERATE
    for end, left in ((IterationEnd.INTERRUPTED, "the tests fail"), (IterationEnd.OK, "")):
        assert book.state.judge_note == "the tests fail"
        iterate(book, NOON, end)
        assert book.state.judge_note == left
    book = judged_book(max_tokens_total=7)
    book.judge_refused("", COST, NOON)
    assert book.state.judge_note == "no reason given"
    assert book.goal.paused_reason == GoalPausedReason.BUDGET


def test_a_judge_nobody_can_pay_pauses_and_the_claim_waits() -> None:
    book = judged_book()
    book.judge_unpaid(COST, NOON)
    assert book.goal.paused_reason == GoalPausedReason.BUDGET
    book.judge_unpaid(COST, NOON)
    book.resume(NOON)
    assert (book.next_step(NOON).step, book.state.judged) == (NextStep.JUDGE, 0)


def test_a_look_without_a_result_only_costs() -> None:
    book = judged_book()
    book.judge_stopped(COST)
    assert (book.state.spent, book.state.judged) == (COST, 0)
    assert book.next_step(NOON).step == NextStep.JUDGE
    # One that was broken off had put its question: the next one is another.
    book.judge_stopped(Spent(), given_up=True)
    assert (book.state.spent, book.state.judged) == (COST, 1)
    assert book.next_step(NOON).step == NextStep.JUDGE


def test_a_parked_look_stays_parked_whatever_is_said_meanwhile() -> None:
    book = judged_book()
    book.waits_inside(GoalWaiting.SYSTEM_PAUSED, NOON)
    book.pause(NOON)
    assert book.goal.waiting_for == GoalWaiting.SYSTEM_PAUSED
    book.resume(NOON)
    assert book.goal.waiting_for == GoalWaiting.SYSTEM_PAUSED
    book.waits_inside(None, NOON)
    assert book.goal.waiting_for is None


def test_a_rest_set_in_a_parked_iteration_is_what_is_left_of_it() -> None:
    book = a_book()
    book.begin_iteration("job", NOON)
    book.waits_inside(GoalWaiting.SYSTEM_PAUSED, NOON)
    book.delay(3600, "why", NOON, "ci:done")
    book.end_iteration(IterationEnded(end=IterationEnd.CANCELLED), NOON)
    assert book.goal.waiting_for == GoalWaiting.EVENT


def test_what_a_judge_says_of_a_goal_that_has_ended_only_costs() -> None:
    for say in ("judge_agreed", "judge_refused", "judge_failed"):
        book = judged_book()
        book.complete(NOON, "By hand.")
        getattr(book, say)(*([] if say == "judge_agreed" else ["no"]), COST, NOON)
        assert (book.state.summary, book.state.spent) == ("By hand.", COST)


def test_a_change_of_status_is_told_once() -> None:
    book = a_book()
    book.pause(NOON)
    book.pause(NOON)
    book.resume(NOON)
    book.complete(NOON)
    told_events = [event.event_type for event in book.take_events()]
    assert told_events == ["goal.paused", "goal.completed"]
    assert book.take_events() == []


@pytest.mark.parametrize("say", ["pause", "complete", "delay", "wait", "resume"])
def test_what_an_iteration_waits_for_is_not_the_goals_rest(say: str) -> None:
    book = a_book()
    book.begin_iteration("job", NOON)
    book.waits_inside(GoalWaiting.APPROVAL, NOON)
    {
        "pause": lambda: book.pause(NOON),
        "complete": lambda: book.complete(NOON),
        "resume": lambda: book.resume(NOON),
        "delay": lambda: book.delay(3600, "why", NOON),
        "wait": lambda: book.delay(3600, "why", NOON, "ci:done"),
    }[say]()
    assert book.goal.waiting_for == GoalWaiting.APPROVAL
    book.waits_inside(None, NOON)
    assert book.goal.waiting_for == (GoalWaiting.EVENT if say == "wait" else None)
