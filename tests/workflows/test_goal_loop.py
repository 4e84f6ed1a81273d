"""The loop of a goal: rounds, rests, pauses, brakes, the deadline, and its end."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from activities import search_attributes as attributes
from domain.goal import GoalStatus
from domain.goal_messages import (
    CancelIteration,
    ClaimAnswered,
    ClaimGoal,
    CompleteGoal,
    CreateGoal,
    DelayGoal,
    EventCame,
    ExtendGoal,
    GoalStart,
    PauseGoal,
    ProgressTold,
    ReportProgress,
    WaitGoal,
)
from domain.goal_record import GoalPausedReason, GoalWaiting
from domain.goal_state import ClaimAnswer, GoalLimits
from domain.jobs import JobStatus
from tests.support.goals import FREE, StartedGoal, goal_request, hand_in, start_goal
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Hang, Refusal, Reply, error_body


async def refusal(goal: StartedGoal, name: str, arg: Any = None) -> tuple[str, str, str]:
    """Kind, field and message of an update that the goal refuses."""
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await goal.update(name, arg)
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    (problem,) = cause.details
    return str(cause.type), problem["field"], cause.message


async def asked(goal: StartedGoal, times: int) -> None:
    """Wait until its model was asked so often."""
    await goal.harness.models.wait_for(lambda: len(goal.asked()) >= times)


def kinds(goal: StartedGoal) -> list[str]:
    """What was told, in order."""
    return [part.rpartition("-")[0] for part in goal.parts()]


async def test_short_rounds_in_a_row_pause_it_with_one_notice(harness: Harness) -> None:
    limits = GoalLimits(fast_loop_limit=3)
    goal = await start_goal(harness, said("One."), said("Two."), said("Three."), limits=limits)
    view = await goal.reaches("it pauses", status=GoalStatus.PAUSED)
    assert view.goal.paused_reason == GoalPausedReason.FAST_LOOP
    assert (view.goal.iteration, view.goal.thread_id) == (3, goal.id)
    assert view.spent.tokens == 3 * 18
    await goal.update("complete", CompleteGoal(summary="By hand."))
    ended = await goal.result()
    assert (ended.goal.status, ended.summary) == (GoalStatus.COMPLETE, "By hand.")
    assert kinds(goal) == [*["iteration", "progress"] * 3, "paused", "complete"]
    assert "tickless goal resume" in goal.told()[-2]
    rows = await goal.jobs()
    assert [(row.status, row.goal_id, row.thread_id) for row in rows] == [
        (JobStatus.COMPLETED, goal.id, goal.id)
    ] * 3
    # The second round sees what the first one said.
    texts = goal.asked()[1].texts
    assert "One." in texts[2]
    assert "Rules of a round" in texts[-1]


async def test_a_rest_ends_by_a_word_and_by_its_time(harness: Harness) -> None:
    gates = [threading.Event() for _ in range(3)]
    goal = await start_goal(harness, *(Reply(text=f"{n}.", gate=g) for n, g in enumerate(gates)))
    await asked(goal, 1)
    view = await goal.update("delay", DelayGoal(duration="90m", reason="the build"))
    assert view.goal.delay_reason == "the build"
    gates[0].set()
    view = await goal.reaches("it rests", running=False)
    assert view.stage == "resting"
    due = view.goal.next_run_at
    assert due is not None
    assert timedelta(minutes=89) < due - datetime.now(UTC) <= timedelta(minutes=90)
    description = await goal.handle.describe()
    found = description.typed_search_attributes
    assert found[attributes.DUE] == due.replace(microsecond=found[attributes.DUE].microsecond)
    assert found[attributes.STATUS] == "active"
    await goal.update("delay", DelayGoal(duration="0s", reason="look now"))
    await asked(goal, 2)
    await goal.update("wait", WaitGoal(event="ci:build.*", duration="2h", reason="the build"))
    gates[1].set()
    view = await goal.reaches("it waits", running=False, waiting_for=GoalWaiting.EVENT)
    assert (view.wait_event, view.stage) == ("ci:build.*", "waiting for an event")
    found = (await goal.handle.describe()).typed_search_attributes
    assert found[attributes.TRIGGER] == "ci:build.*"
    await goal.handle.signal("event_came", EventCame(source="ci", event_type="deployed"))
    assert (await goal.view()).goal.waiting_for == GoalWaiting.EVENT
    await goal.handle.signal("event_came", EventCame(source="ci", event_type="build.done"))
    await asked(goal, 3)
    found = (await goal.handle.describe()).typed_search_attributes
    assert found.get(attributes.TRIGGER) is None
    await goal.update("delete")
    ended = await goal.result()
    assert ended.deleted
    assert [row.status for row in await goal.jobs()][-1] == JobStatus.CANCELLED
    assert kinds(goal) == [
        *("iteration", "delayed", "progress", "continued"),
        *("iteration", "delayed", "progress", "iteration"),
    ]


async def test_pause_lets_the_iteration_end_and_pause_now_does_not(harness: Harness) -> None:
    gate = threading.Event()
    goal = await start_goal(harness, Reply(text="First.", gate=gate), Hang("begun", 1))
    await asked(goal, 1)
    view = await goal.update("pause")
    assert (view.goal.status, view.goal.running) == (GoalStatus.PAUSED, True)
    gate.set()
    await goal.reaches("the iteration ends", running=False)
    assert (await goal.jobs())[0].status == JobStatus.COMPLETED
    await goal.handle.signal("resume")
    await asked(goal, 2)
    await goal.update("pause", PauseGoal(now=True))
    view = await goal.reaches("the iteration is ended", running=False, status=GoalStatus.PAUSED)
    assert (view.goal.iteration, view.goal.paused_reason) == (2, GoalPausedReason.USER)
    assert (await goal.jobs())[1].status == JobStatus.CANCELLED
    await goal.update("complete")


async def test_an_iteration_can_be_cancelled_and_the_next_one_follows(harness: Harness) -> None:
    goal = await start_goal(harness, Hang("begun", 1), Hang("begun", 1))
    await asked(goal, 1)
    await goal.update("cancel_iteration", CancelIteration())
    await asked(goal, 2)
    view = await goal.view()
    assert (view.goal.iteration, view.goal.status) == (2, GoalStatus.ACTIVE)
    await goal.update("pause", PauseGoal(now=True))
    await goal.reaches("it pauses", running=False)
    kind, field, message = await refusal(goal, "cancel_iteration")
    assert (kind, field) == ("conflict", "status")
    assert "no iteration runs" in message
    await goal.update("complete")


async def test_failures_are_repeated_later_and_later(harness: Harness) -> None:
    refused = Refusal(400, error_body("no such thing", type="invalid_request_error"))
    goal = await start_goal(harness, refused)
    for wait in (30, 60):
        view = await goal.reaches("it fails", running=False)
        error, due = view.goal.last_error, view.goal.next_run_at
        assert error is not None
        assert due is not None
        assert due - (view.goal.updated_at or due) == timedelta(seconds=wait)
        count = len(goal.asked())
        await goal.update("delay", DelayGoal(duration="0s", reason="a test does not wait"))
        await asked(goal, count + 1)
    view = await goal.reaches("it pauses", status=GoalStatus.PAUSED)
    assert view.goal.paused_reason == GoalPausedReason.FAILURES
    assert kinds(goal).count("paused") == 1
    assert view.goal.iteration == 3
    await goal.update("resume")
    await goal.reaches("it goes on", iteration=4, running=False)
    await goal.update("complete")


async def test_at_its_deadline_it_reports_and_can_be_reopened(harness: Harness) -> None:
    seconds = timedelta(seconds=2)
    goal = await start_goal(
        harness, Hang("begun", 1), said("All is done but one."), deadline=seconds
    )
    ended = await goal.result()
    assert ended.goal.status == GoalStatus.TIMEOUT
    assert kinds(goal) == ["iteration", "progress", "timeout"]
    assert goal.told()[1] == "All is done but one."
    rows = await goal.jobs()
    assert [row.status for row in rows] == [JobStatus.CANCELLED, JobStatus.COMPLETED]
    assert ended.goal.iteration == 1
    assert "closing report" in goal.asked()[-1].texts[-1]
    assert "tools" not in goal.asked()[-1].body
    goal.harness.scripts.on(goal.mark, Hang("begun", 1))
    view = await hand_in(
        harness, "extend", ExtendGoal(deadline_in="24h"), GoalStart(view=ended), goal.handle.id
    )
    assert (view.goal.id, view.goal.status) == (goal.id, GoalStatus.ACTIVE)
    assert (view.goal.created_at, view.goal.thread_id) == (ended.goal.created_at, goal.id)
    again = StartedGoal(
        harness, goal.mark, harness.client.get_workflow_handle(goal.handle.id), view
    )
    await asked(again, 3)
    assert (await again.view()).goal.iteration == 2
    await again.update("delete")
    assert (await again.result()).deleted


async def test_a_second_goal_is_refused_and_a_closed_one_replaced(harness: Harness) -> None:
    goal = await start_goal(harness, Hang("begun", 1), create_key="k", create_digest="d")
    request = goal_request(goal.mark, create_key="k", create_digest="d")
    start = GoalStart(create=request)
    same = await hand_in(harness, "create", request, start, goal.handle.id)
    assert same.goal.id == goal.id
    for changes, field in (({"create_key": "x"}, "goal"), ({"create_digest": "e"}, "idem")):
        other = CreateGoal.model_validate(request.model_dump() | changes)
        kind, named, message = await refusal(goal, "create", other)
        assert (kind, named[:4]) == ("conflict", field[:4])
        assert goal.id in message
    await asked(goal, 1)
    # Complete while an iteration runs: that would end normally, but there is a new goal.
    await goal.update("complete")
    request = goal_request(goal.mark)
    start = GoalStart(create=request)
    view = await hand_in(harness, "create", request, start, goal.handle.id)
    assert (view.goal.id, view.goal.status) == (request.goal.id, GoalStatus.ACTIVE)
    await until(lambda: _runs(goal), "the new goal is at work")
    first, *_ = await goal.jobs()
    assert first.status == JobStatus.CANCELLED
    await goal.update("delete")
    assert (await goal.result()).goal.id == request.goal.id


async def _runs(goal: StartedGoal) -> bool:
    return (await goal.view()).goal.running


async def test_claims_of_former_rounds_are_refused(harness: Harness) -> None:
    goal = await start_goal(harness, Hang("begun", 1))
    await asked(goal, 1)
    job_id = (await goal.view()).job_id
    assert job_id is not None
    for name, late in (
        ("claim", ClaimGoal(job_id="job_old")),
        ("progress", ReportProgress(job_id="job_old", text="late")),
        ("delay", DelayGoal(duration="1h", reason="late", job_id="job_old")),
    ):
        kind, field, _ = await refusal(goal, name, late)
        assert (kind, field) == ("conflict", "job_id")
    for text, told in (("half way", True), ("\nhalf way\n\nM src/a.py", False)):
        report = ReportProgress(job_id=job_id, text=text)
        assert await goal.update("progress", report, ProgressTold) == ProgressTold(told=told)
    answer = await goal.update("claim", ClaimGoal(job_id=job_id, summary="Done"), ClaimAnswered)
    assert answer.answer == ClaimAnswer.CHECK
    proven = ClaimGoal(job_id=job_id, summary="Done", evidence=["call_1"], proven=True)
    answer = await goal.update("claim", proven, ClaimAnswered)
    assert answer.answer == ClaimAnswer.ACCEPTED
    await goal.job(job_id).signal("cancel")
    ended = await goal.result()
    assert (ended.goal.status, ended.summary) == (GoalStatus.COMPLETE, "Done")
    assert kinds(goal) == ["iteration", "progress", "complete"]


async def test_a_round_that_cannot_be_told_what_to_do_is_a_failure(harness: Harness) -> None:
    goal = await start_goal(harness, said("Never."), timezone="Mars/Base")
    view = await goal.reaches("it fails", iteration=1, running=False)
    assert "did not begin" in (view.goal.last_error or "")
    assert view.goal.next_run_at is not None
    assert (goal.asked(), await goal.jobs()) == ([], [])
    await goal.update("delete")
    await goal.result()


async def test_what_a_round_says_has_the_limits_of_its_tools(harness: Harness) -> None:
    goal = await start_goal(harness, Hang("begun", 1))
    await asked(goal, 1)
    job_id = (await goal.view()).job_id or ""
    before = await goal.view()
    for name, request, field, limit in (
        ("progress", ReportProgress(job_id=job_id, text="x" * 4097), "text", "4096"),
        ("claim", ClaimGoal(job_id=job_id, summary="x" * 4097), "summary", "4096"),
        ("claim", ClaimGoal(job_id=job_id, evidence=["c"] * 17), "evidence", "16"),
        ("claim", ClaimGoal(job_id=job_id, evidence=["c" * 513]), "evidence", "512"),
    ):
        kind, named, message = await refusal(goal, name, request)
        assert (kind, named) == ("invalid_field", field)
        assert limit in message
    assert await goal.view() == before
    await goal.update("delete")
    await goal.result()


@pytest.mark.parametrize(
    ("name", "arg", "kind", "field"),
    [
        ("delay", {"duration": "59s", "reason": "x"}, "invalid_field", "duration"),
        ("delay", {"duration": "1h", "reason": " "}, "missing_field", "reason"),
        ("wait", {"event": "no", "duration": "1h", "reason": "x"}, "invalid_field", "event"),
        ("extend", {"deadline_in": "2161h"}, "invalid_field", "deadline_in"),
        ("extend", {"deadline_in": ""}, "missing_field", "deadline_in"),
    ],
)
async def test_bad_input_changes_nothing(
    resting: StartedGoal, name: str, arg: dict[str, str], kind: str, field: str
) -> None:
    before = await resting.view()
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await resting.handle.execute_update(name, arg)
    cause = caught.value.cause
    assert isinstance(cause, ApplicationError)
    assert (cause.type, cause.details[0]["field"]) == (kind, field)
    assert await resting.view() == before


@pytest.fixture(scope="module")
async def resting(harness: Harness) -> Any:
    """A goal that does nothing."""
    goal = await start_goal(harness, calls(("time_now", "{}")), said("Now."), limits=FREE)
    await goal.update("pause")
    await goal.reaches("it pauses", running=False)
    yield goal
    await goal.update("delete")
    await goal.result()
