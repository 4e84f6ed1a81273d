"""A goal as it begins and is shown, its events, and its iterations as jobs."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.actor import Actor
from domain.goal import GoalStatus
from domain.goal_book import GoalBook
from domain.goal_events import event_of_change, event_of_creation, goal_title
from domain.goal_iteration import claim_message, iteration_ended, iteration_job
from domain.goal_messages import CreateGoal, GoalStart, goal_workflow_id
from domain.goal_progress import CUT, MAX_CHARS, progress_text
from domain.goal_record import Goal, GoalPausedReason, GoalWaiting
from domain.goal_state import ClaimAnswer, GoalLimits, GoalState, IterationEnd
from domain.goal_view import first_state, goal_details, goal_view, new_state
from domain.job_messages import JobEnded
from domain.jobs import JobStatus
from domain.scopes import Route, Scope, ScopeKind
from domain.trigger_matching import SystemEvent
from domain.usage import Spent

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
CHAT = Scope(kind=ScopeKind.CHAT, id="oc_1|thread:2")
WHOLE_CHAT = Scope(kind=ScopeKind.CHAT, id="oc_1")


def a_goal(**fields: Any) -> Goal:
    return Goal(
        id="goal_1",
        objective="Ship  it\nsoon",
        scope=CHAT,
        route=Route(receive_id_type="console"),
        creator=Actor(user_id="me"),
    ).model_copy(update=fields)


def created(**fields: Any) -> GoalState:
    return new_state(CreateGoal(goal=a_goal(**fields), work_scope=WHOLE_CHAT), NOON)


def test_the_id_of_the_workflow_names_the_scope() -> None:
    assert goal_workflow_id(CHAT) == "goal/chat/oc_1|thread:2"


@pytest.mark.parametrize(
    ("fields", "status", "thread"),
    [
        ({}, GoalStatus.ACTIVE, "goal_1"),
        ({"session_key": "oc_1"}, GoalStatus.WAITING_FOR_SESSION, None),
        ({"session_key": "oc_1", "thread_id": "t"}, GoalStatus.ACTIVE, "t"),
    ],
)
def test_a_goal_begins_with_its_thread_or_waits_for_one(
    fields: dict[str, Any], status: GoalStatus, thread: str | None
) -> None:
    state = created(**fields)
    goal = state.goal
    assert (goal.status, goal.thread_id, goal.created_at) == (status, thread, NOON)
    assert [event.event_type for event in state.events] == ["goal.created"]
    assert created(created_at=NOON - HOUR).goal.created_at == NOON - HOUR


def test_a_workflow_begins_with_a_creation_a_view_or_a_state() -> None:
    state = created()
    request = CreateGoal(goal=a_goal(), work_scope=WHOLE_CHAT)
    view = goal_view(state, "", NOON, whole=True)
    assert first_state(GoalStart(create=request), NOON) == state
    assert first_state(GoalStart(view=view), NOON) == state
    assert first_state(GoalStart(state=state), NOON) is state
    assert first_state(GoalStart(), NOON) is None


@pytest.mark.parametrize(
    ("do", "stage"),
    [
        (lambda book: None, "about to go on"),
        (lambda book: book.delay(60, "why", NOON), "resting"),
        (lambda book: book.delay(60, "why", NOON, "ci:done"), "waiting for an event"),
        (lambda book: book.pause(NOON), "paused"),
        (lambda book: book.complete(NOON), "complete"),
        (lambda book: book.time_out(NOON), "timed out"),
    ],
)
def test_the_view_says_what_it_does(do: Any, stage: str) -> None:
    state = created(deadline_at=NOON + 48 * HOUR)
    do(GoalBook(state))
    assert goal_view(state, "", NOON).stage == stage
    view = goal_view(state, "at work", NOON)
    assert (view.stage, view.state, view.work_scope) == ("at work", None, WHOLE_CHAT)
    assert goal_view(GoalState(goal=state.goal), "", NOON).work_scope == CHAT


def test_the_details_say_what_a_person_wants_to_know() -> None:
    book = GoalBook(created())
    assert "Deadline: none" in goal_details(goal_view(book.state, "", NOON), "n")
    book = GoalBook(created(deadline_at=NOON + HOUR, last_error="no model"))
    book.begin_iteration("job_1", NOON)
    book.delay(60, "the build", NOON, "ci:done")
    text = goal_details(goal_view(book.state, "", NOON), "n")
    for part in ("**Ship it soon**", "the build", "`ci:done`", "no model", "0 tokens", "Round 1"):
        assert part in text
    assert "/namespaces/n/workflows/job%2Fjob_1" in text
    book.pause(NOON, GoalPausedReason.STOPPED_BY_USER)
    assert "(stopped_by_user)" in goal_details(goal_view(book.state, "", NOON), "n")
    book.complete(NOON, "All done.\nReally.")
    assert "> All done.\n> Really." in goal_details(goal_view(book.state, "", NOON), "n")


def test_a_long_objective_is_cut_in_titles() -> None:
    assert goal_title(a_goal()) == "Ship it soon"
    title = goal_title(a_goal(objective="x" * 300))
    assert (len(title), title[-1]) == (200, "…")


def test_each_change_of_status_is_one_event() -> None:
    before = a_goal()
    created_event = event_of_creation(before)
    assert (created_event.source, created_event.hop) == ("tickless", 1)
    assert created_event.payload == {
        "goal_id": "goal_1",
        "title": "Ship it soon",
        "status": "active",
        "reason": None,
    }
    paused = before.model_copy(
        update={
            "status": GoalStatus.PAUSED,
            "paused_reason": GoalPausedReason.FAST_LOOP,
            "revision": 3,
        }
    )
    event = event_of_change(before, paused, 2)
    assert event is not None
    assert (event.event_type, event.id, event.hop) == ("goal.paused", "goal.paused goal_1#3", 3)
    assert event.payload["reason"] == "fast_loop"
    assert event_of_change(paused, paused, 0) is None
    assert event_of_change(paused, before, 0) is None


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("  Half way.  ", "Half way."),
        ("NO_REPLY", None),
        (" \n", None),
        ("One.\n\n \nTwo.", "One.\nTwo."),
        ("M src/app.py\ndiff --git a/x b/x\n+++ b/x\n--- a/x\nDone.", "Done."),
        ("file_change: src/app.py", None),
        ("A dog", "A dog"),
        ("x" * 5000, "x" * (MAX_CHARS - len(CUT)) + CUT),
    ],
)
def test_progress_is_told_without_blank_lines_and_lists_of_files(
    said: str, told: str | None
) -> None:
    assert progress_text(said) == told


def job(state: GoalState, wrap_up: int | None = None) -> Any:
    return iteration_job(state, "goal/chat/c", "Do it.", NOON, job_id="job_1", wrap_up=wrap_up)


def test_an_iteration_is_a_job_of_the_goal() -> None:
    state = created(session_key="oc_1", thread_id="t").model_copy(update={"user_id": "ann"})
    start = job(state)
    record = start.record
    assert (record.goal_id, record.run_id, record.title) == ("goal_1", None, "Ship it soon")
    assert (record.description, record.max_iterations) == ("Do it.", 25)
    assert (record.user_id, record.scope, record.session_key) == ("ann", "chat:oc_1", "job:job_1")
    assert (start.owner, start.record.thread_id, start.scope) == ("goal/chat/c", "t", WHOLE_CHAT)
    assert (start.timeout_seconds, start.allowed_tools) == (3600, None)
    assert job(GoalState(goal=state.goal)).scope == CHAT


def test_the_deadline_is_kept_by_the_goal_and_not_by_its_job() -> None:
    """It may be moved while the iteration runs."""
    state = created(deadline_at=NOON + timedelta(seconds=90))
    assert job(state).timeout_seconds == 3600
    report = job(state, wrap_up=300)
    assert (report.timeout_seconds, report.allowed_tools) == (300, [])
    assert report.record.max_iterations == 1


def test_an_iteration_may_spend_what_the_goal_has_left() -> None:
    limits = GoalLimits(max_tokens_total=1000, max_cost_micros=50)
    state = created().model_copy(
        update={
            "limits": limits,
            "spent": Spent(tokens_in=500, tokens_out=200, cost_micros=60),
            "spent_before": Spent(tokens_in=100, tokens_out=100),
        }
    )
    start = job(state)
    assert (start.max_tokens_total, start.max_cost_micros) == (500, 1)
    report = job(state, wrap_up=300)
    assert (report.max_tokens_total, report.max_cost_micros) == (None, None)


@pytest.mark.parametrize(
    ("ended", "cut", "end"),
    [
        ({"status": JobStatus.COMPLETED, "text": "x"}, IterationEnd.INTERRUPTED, IterationEnd.OK),
        ({"status": JobStatus.CANCELLED}, IterationEnd.INTERRUPTED, IterationEnd.INTERRUPTED),
        ({"status": JobStatus.CANCELLED}, None, IterationEnd.CANCELLED),
        ({"status": JobStatus.FAILED, "timed_out": True}, None, IterationEnd.TIMEOUT),
        ({"status": JobStatus.FAILED, "error": "max_tokens_total"}, None, IterationEnd.BUDGET),
        ({"status": JobStatus.FAILED, "error": "no model"}, None, IterationEnd.ERROR),
    ],
)
def test_how_a_job_ended_is_how_the_iteration_did(
    ended: dict[str, Any], cut: IterationEnd | None, end: IterationEnd
) -> None:
    job_ended = JobEnded(job_id="job_1", thread_id="t", tokens_in=5, tool_actions=2, **ended)
    found = iteration_ended(job_ended, cut)
    assert found.end == end
    assert found.error == ("no model" if end == IterationEnd.ERROR else None)
    assert (found.result_digest is None) == (not ended.get("text"))
    assert (found.spent, found.tool_actions, found.thread_id) == (Spent(tokens_in=5), 2, "t")


def test_a_job_that_was_ended_for_a_fault_says_which() -> None:
    ended = JobEnded(job_id="job_1", status=JobStatus.CANCELLED, error="cancelled")
    found = iteration_ended(ended, IterationEnd.ERROR, "the session refused")
    assert (found.end, found.error) == (IterationEnd.ERROR, "the session refused")


def test_every_answer_to_a_claim_says_what_to_do() -> None:
    texts = {claim_message(answer) for answer in ClaimAnswer}
    assert len(texts) == len(ClaimAnswer)


def test_a_goal_that_waits_inside_an_iteration_is_woken_without_losing_that() -> None:
    book = GoalBook(created())
    book.begin_iteration("job_1", NOON)
    book.delay(3600, "the build", NOON, "ci:done")
    book.waits_inside(GoalWaiting.APPROVAL, NOON)
    assert book.event_came(SystemEvent(source="ci", event_type="done"), NOON)
    assert (book.goal.waiting_for, book.goal.next_run_at) == (GoalWaiting.APPROVAL, None)
