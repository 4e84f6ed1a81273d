"""How large a goal's history grows: for each round, and with the longest texts there can be."""

import json

import pytest

from domain.goal import GoalStatus
from domain.goal_bodies import MAX_REASON_CHARS, MAX_SUMMARY_BYTES
from domain.goal_judge import MAX_EVIDENCE
from domain.goal_messages import (
    CompleteGoal,
    DelayGoal,
    ExtendGoal,
    GoalStart,
    ProgressTold,
    ReportProgress,
    goal_workflow_id,
)
from domain.goal_record import MAX_OBJECTIVE_BYTES
from domain.goal_state import GoalLimits
from tests.support.goals import StartedGoal, goal_request, hand_in, start_goal
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Hang, Reply
from tests.workflows.test_job_approvals import busy_store

ROUNDS = 8
LIMITS = GoalLimits(fast_loop_limit=1000, no_progress_limit=1000, max_iterations=ROUNDS)
# A round that looks, reports, claims without proof and rests.
EVENTS_PER_ROUND = 64
BYTES_PER_ROUND = 20 * 1024
# With the longest texts: the objective is in the goal, and in the prompt of each round.
MAX_PAYLOAD_BYTES = 96 * 1024
MAX_STATE_BYTES = 64 * 1024
MAX_BYTES_PER_ROUND = 400 * 1024


def _round(reason: str, text: str, names: list[str]) -> list[Reply]:
    """The model's answers in one round."""
    asked = calls(
        ("time_now", "{}"),
        ("goal_progress", json.dumps({"text": text})),
        ("goal_complete", json.dumps({"summary": text, "evidence": names})),
        ("goal_delay", json.dumps({"duration": "0s", "reason": reason})),
    )
    return [asked, said(text)]


async def _sizes(goal: StartedGoal) -> tuple[int, int, int]:
    """Events, bytes and the largest event of a goal's history."""
    history = await goal.handle.fetch_history()
    sizes = [len(event.SerializeToString()) for event in history.events]
    return len(sizes), sum(sizes), max(sizes)


async def test_a_round_costs_a_few_dozen_events(harness: Harness) -> None:
    steps = [step for n in range(ROUNDS) for step in _round("next", f"Step {n}.", ["call_99"])]
    goal = await start_goal(harness, *steps, limits=LIMITS)
    await goal.reaches("it has worked", status=GoalStatus.PAUSED, running=False, seconds=60)
    events, size, largest = await _sizes(goal)
    await goal.update("delete")
    await goal.result()
    assert events <= ROUNDS * EVENTS_PER_ROUND
    assert size <= ROUNDS * BYTES_PER_ROUND
    assert largest <= 8 * 1024


@pytest.mark.parametrize("letter", ["x", "€"])
async def test_the_longest_texts_fit(harness: Harness, letter: str) -> None:
    """What the limits of its field allow is not too large for the whole, and nothing piles up."""
    mark, wide = harness.name(), len(letter.encode())
    reason, text = letter * MAX_REASON_CHARS, letter * 4_000
    names = [f"call_{n}".ljust(500, "c") for n in range(MAX_EVIDENCE)]
    steps = [step for n in range(ROUNDS) for step in _round(reason, f"{n}{text}", names)]
    harness.scripts.on(mark, *steps)
    request = goal_request(mark, limits=LIMITS)
    begin = request.goal.objective
    room = MAX_OBJECTIVE_BYTES - len(begin.encode())
    long = request.goal.model_copy(update={"objective": begin + letter * (room // wide)})
    request = request.model_copy(update={"goal": long})
    workflow_id = goal_workflow_id(long.scope)
    created = await hand_in(harness, "create", request, GoalStart(create=request), workflow_id)
    goal = StartedGoal(harness, mark, harness.client.get_workflow_handle(workflow_id), created)

    await goal.reaches("it has worked", status=GoalStatus.PAUSED, running=False, seconds=60)
    await goal.update("extend", ExtendGoal(deadline_in="2160h"))
    await goal.update("resume")
    await goal.update("delay", DelayGoal(duration="12h", reason=reason))
    await goal.update("pause")
    await goal.reaches("it pauses", running=False)
    await goal.update("complete", CompleteGoal(summary=letter * (MAX_SUMMARY_BYTES // wide)))
    ended = await goal.result()

    _, size, largest = await _sizes(goal)
    assert largest <= MAX_PAYLOAD_BYTES
    assert size <= (ROUNDS + 1) * MAX_BYTES_PER_ROUND
    assert ended.state is not None
    assert len(ended.state.model_dump_json().encode()) <= MAX_STATE_BYTES


async def test_what_cannot_be_told_does_not_pile_up(harness: Harness) -> None:
    """While the ledger is away the newest notices wait; how many had to go is told afterwards."""
    goal = await start_goal(harness, Hang("begun", 1))
    await harness.models.wait_for(lambda: len(goal.asked()) == 1)
    await until(lambda: _has_told(goal, "iteration-1"), "the round is told")
    job_id = (await goal.view()).job_id or ""
    with busy_store(harness):
        for number in range(10):
            report = ReportProgress(job_id=job_id, text=f"{number}" + "€" * 3_900)
            await goal.update("progress", report, ProgressTold)
    await until(lambda: _has_told(goal, "progress-11"), "the newest is told")
    # The first one was on its way already.
    assert goal.parts() == ["iteration-1", "progress-2", "left_out-12", "progress-11"]
    assert "8 older notices" in goal.told()[-2]
    await goal.update("delete")
    await goal.result()


async def _has_told(goal: StartedGoal, part: str) -> bool:
    return part in goal.parts()
