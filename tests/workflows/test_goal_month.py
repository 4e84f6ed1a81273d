"""Thirty days of one goal on a server that skips time: some two hundred rounds, counted exactly.

The goal works in four rounds, then rests for eleven and a half hours; twice it is paused for three
days. At its deadline it writes its closing report. Every execution that it went through is replayed
with the code as it is.
"""

import itertools
from collections import Counter
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Final

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import TimeSkippingConfig, WorkflowEnvironment
from temporalio.worker import Replayer

from activities.store import open_store
from domain.goal import GoalStatus
from domain.goal_messages import GoalView
from domain.goal_state import GoalLimits
from domain.jobs import JobRecord, JobStatus
from tests.support.goals import StartedGoal, rests, start_goal
from tests.support.harness import Harness
from tests.support.jobs import said
from tests.support.model_steps import Body, Reply
from tests.support.skipped_time import skipping_environment, skipping_harness
from worker.sandbox import workflow_runner
from workflows.goal import GoalWorkflow

TOKENS: Final = 18  # of each answer
BURST: Final = 4
REST: Final = timedelta(hours=11, minutes=30)
LENGTH: Final = timedelta(days=30)
PAUSE: Final = timedelta(days=3)
PERIODS: Final = (timedelta(days=10), timedelta(days=8), timedelta(days=6))
# It works at the beginning of each period, and after each rest that ends in it.
BURSTS: Final = sum(period // REST + 1 for period in PERIODS)
ROUNDS: Final = BURST * BURSTS
# What the work of a burst may take of the time that is skipped.
WORK: Final = timedelta(minutes=2)
MAX_EVENTS: Final = 1_000
MAX_PAYLOAD_BYTES: Final = 16_384


@pytest.fixture(scope="module")
async def environment() -> AsyncIterator[WorkflowEnvironment]:
    # Time passes only where the test says so.
    async with skipping_environment(TimeSkippingConfig(enabled=False)) as started:
        yield started


@pytest.fixture(scope="module")
async def skipping(
    environment: WorkflowEnvironment, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Harness]:
    folder = tmp_path_factory.mktemp("month")
    async with skipping_harness(environment, folder, TICKLESS_TEMPORAL__SANDBOX="false") as harness:
        yield harness


class Diligent:
    """A model that works in bursts of rounds and rests after each; it never repeats itself."""

    def __init__(self) -> None:
        self.rounds = 0
        self.requests = 0

    def __call__(self, body: Body) -> Reply:
        """Answer a request."""
        self.requests += 1
        last = body["messages"][-1]
        if last["role"] == "tool":
            return said(f"Step {self.rounds}.")
        if "closing report" in str(last["content"]):
            return said("All but one are done.")
        self.rounds += 1
        if self.rounds % BURST:
            return said(f"Step {self.rounds}.")
        return rests("11h30m", f"burst {self.rounds // BURST}")


@pytest.mark.timeout(600)
async def test_a_month(environment: WorkflowEnvironment, skipping: Harness) -> None:
    model = Diligent()
    goal = await start_goal(skipping, model, deadline=LENGTH, limits=GoalLimits())
    first = (await goal.handle.describe()).run_id

    expected = 0
    for number, period in enumerate(PERIODS):
        if number:
            assert (await goal.update("pause")).goal.status == GoalStatus.PAUSED
            assert await environment.fast_forward(goal.handle, PAUSE)
            view = await goal.view()
            assert (view.goal.status, view.goal.iteration) == (GoalStatus.PAUSED, expected)
            await goal.update("resume")
        expected += BURST * (period // REST + 1)
        # The last period ends with the deadline, which the goal does not outlive.
        last = period is PERIODS[-1]
        passed = period - timedelta(minutes=30) if last else period
        assert await environment.fast_forward(goal.handle, passed)
        assert (await goal.view()).goal.iteration == expected
    assert not await environment.fast_forward(goal.handle, timedelta(hours=1))
    ended = await goal.result()

    assert expected == ROUNDS >= 200
    _check_end(goal, ended, model)
    _check_rows(await _rows(skipping, goal))
    await _check_histories(skipping, goal, first or "")


def _check_end(goal: StartedGoal, ended: GoalView, model: Diligent) -> None:
    """What it says of itself, what it asked and what people were told."""
    assert (ended.goal.status, ended.goal.iteration) == (GoalStatus.TIMEOUT, ROUNDS)
    assert ended.goal.created_at is not None
    assert ended.goal.updated_at is not None
    lived = ended.goal.updated_at - ended.goal.created_at
    assert LENGTH <= lived < LENGTH + WORK
    assert (model.rounds, model.requests) == (ROUNDS, ROUNDS + BURSTS + 1)
    assert len(goal.asked()) == model.requests
    assert ended.spent.tokens == model.requests * TOKENS

    parts, texts = goal.parts(), goal.told()
    assert Counter(part.rpartition("-")[0] for part in parts) == {
        "iteration": ROUNDS,
        "progress": ROUNDS + 1,
        "delayed": BURSTS,
        "timeout": 1,
    }
    assert len(set(parts)) == len(parts)
    rounds = [text.partition(":")[0] for text in texts if text.startswith("Goal, round")]
    assert rounds == [f"Goal, round {number}" for number in range(1, ROUNDS + 1)]
    steps = [text for text in texts if text.startswith("Step ")]
    assert steps == [f"Step {number}." for number in range(1, ROUNDS + 1)]
    assert texts[-2] == "All but one are done."
    assert texts[-1].startswith("Goal timed out after 720h0m")


async def _rows(harness: Harness, goal: StartedGoal) -> list[JobRecord]:
    url = harness.settings.store.url.get_secret_value()
    async with await open_store(url) as store:
        rows = await store.read(lambda ledger: ledger.jobs.of_goal(goal.id, at_most=10 * ROUNDS))
    return rows[::-1]


def _check_rows(rows: list[JobRecord]) -> None:
    """Each round was a job of its own, at its time."""
    assert [row.status for row in rows] == [JobStatus.COMPLETED] * (ROUNDS + 1)
    times: list[datetime] = [row.created_at for row in rows[:ROUNDS]]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    rests_at = set(range(BURST - 1, ROUNDS - 1, BURST))
    assert all(gap < WORK for number, gap in enumerate(gaps) if number not in rests_at)
    rested = [gaps[number] for number in sorted(rests_at)]
    paused = [gap for gap in rested if gap > REST + WORK]
    assert all(gap >= REST for gap in rested)
    assert len(paused) == len(PERIODS) - 1
    assert all(PAUSE < gap < PAUSE + REST for gap in paused)


async def _check_histories(harness: Harness, goal: StartedGoal, run_id: str) -> None:
    """Each execution was small, and is replayed by the code as it is."""
    replayer = Replayer(
        workflows=[GoalWorkflow],
        data_converter=pydantic_data_converter,
        workflow_runner=workflow_runner(sandboxed=False),
    )
    runs = 0
    while run_id:
        handle = harness.client.get_workflow_handle(goal.handle.id, run_id=run_id)
        history = await handle.fetch_history()
        await replayer.replay_workflow(history)
        assert len(history.events) <= MAX_EVENTS
        assert _largest_payload(history) <= MAX_PAYLOAD_BYTES
        run_id, runs = _successor(history), runs + 1
    # It is renewed every day that it works.
    assert runs >= sum(PERIODS, timedelta()) // timedelta(hours=36)


def _successor(history: WorkflowHistory) -> str:
    last = history.events[-1]
    if last.event_type != EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
        return ""
    return last.workflow_execution_continued_as_new_event_attributes.new_execution_run_id


def _largest_payload(history: WorkflowHistory) -> int:
    return max(len(event.SerializeToString()) for event in history.events)
