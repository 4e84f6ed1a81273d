"""The brakes of a goal against a model that does not stop: how much it spends until each of them.

The counts are exact: requests that reached the model server, tokens in the goal's view and in the
ledger. A goal that has braked has nothing left to do: no activity, no job, and one notice.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from activities.store import open_store
from domain.goal import GoalStatus
from domain.goal_messages import DelayGoal
from domain.goal_record import GoalPausedReason
from domain.goal_state import GoalJob, GoalLimits
from domain.jobs import JobStatus
from domain.llm_calls import LlmCall
from tests.support.goals import StartedGoal, start_goal
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Behaviour, Body, Hang, Refusal, Reply, Usage, error_body

TOKENS = 18  # of each scripted answer
GO_ON = calls(("goal_delay", json.dumps({"duration": "0s", "reason": "continuing"})))
LOOK = calls(("time_now", "{}"))
# Nothing is short: what brakes is something else.
SLOW = {"fast_loop_seconds": 0}


class Runaway:
    """A model that ends every round with `goal_delay 0s` and the word "continuing"."""

    def __init__(self) -> None:
        self.requests = 0

    def __call__(self, body: Body) -> Reply:
        """Answer a request."""
        self.requests += 1
        return GO_ON if body["messages"][-1]["role"] == "user" else said("continuing")


class Counting:
    """A model that says another number each time, and calls nothing."""

    def __init__(self, usage: Usage | None = None) -> None:
        self.requests = 0
        self._usage = usage or Usage()

    def __call__(self, _body: Body) -> Reply:
        """Answer a request."""
        self.requests += 1
        return Reply(text=f"Step {self.requests}.", chunks=1, usage=self._usage)


async def _ledger(goal: StartedGoal) -> Sequence[LlmCall]:
    """The calls of all iterations."""
    url = goal.harness.settings.store.url.get_secret_value()
    async with await open_store(url) as store:
        found = [await store.calls.with_prefix(f"job/{job.id}/") for job in await goal.jobs()]
    return [call for calls_of_job in found for call in calls_of_job]


async def _braked(goal: StartedGoal, reason: GoalPausedReason, requests: int) -> None:
    """Wait until it pauses for this reason; nothing of it goes on, and it cost exactly that."""
    view = await goal.reaches("it brakes", status=GoalStatus.PAUSED, running=False)
    assert view.goal.paused_reason == reason
    assert len(goal.asked()) == requests

    async def told() -> bool:
        return any(part.startswith("paused-") for part in goal.parts())

    await until(told, "people are told")

    await goal.harness.rests(goal.handle.id)
    assert len(goal.asked()) == requests
    view = await goal.view()
    assert view.spent.tokens == requests * TOKENS
    rows = await _ledger(goal)
    assert Counter(row.goal_id for row in rows) == {goal.id: requests}
    assert sum((row.tokens_in or 0) + (row.tokens_out or 0) for row in rows) == requests * TOKENS


async def _removed(goal: StartedGoal) -> None:
    await goal.update("delete")
    await goal.result()


async def test_a_runaway_goal_stops_after_five_short_rounds(harness: Harness) -> None:
    model = Runaway()
    goal = await start_goal(harness, model, limits=GoalLimits(no_progress_limit=100))
    await _braked(goal, GoalPausedReason.FAST_LOOP, requests=10)
    assert Counter(part.rpartition("-")[0] for part in goal.parts()) == {
        "iteration": 5,
        "continued": 5,
        # The same words are told once.
        "progress": 1,
        "paused": 1,
    }
    assert "5 rounds in a row took less than 180 s" in goal.told()[-1]

    # Whoever resumes it gets as much again, not more.
    await goal.update("resume")
    await goal.reaches("it goes on", iteration=10)
    await _braked(goal, GoalPausedReason.FAST_LOOP, requests=20)
    assert model.requests == 20
    await _removed(goal)


async def test_the_same_answer_without_a_tool_is_no_progress(harness: Harness) -> None:
    limits = GoalLimits(**SLOW, no_progress_limit=3)
    goal = await start_goal(harness, Runaway(), limits=limits)
    await _braked(goal, GoalPausedReason.NO_PROGRESS, requests=6)
    await _removed(goal)


async def test_delays_do_not_hide_a_lack_of_progress(harness: Harness) -> None:
    rest = calls(("goal_delay", json.dumps({"duration": "12h", "reason": "continuing"})))
    steps: list[Behaviour] = [rest, said("continuing")] * 3
    goal = await start_goal(harness, *steps, limits=GoalLimits())
    for number in (1, 2):
        await goal.reaches("it rests", iteration=number, running=False)
        await goal.update("delay", DelayGoal(duration="0s", reason="a test does not wait"))
    await _braked(goal, GoalPausedReason.NO_PROGRESS, requests=6)
    await _removed(goal)


async def test_a_tool_that_is_called_counts_as_progress(harness: Harness) -> None:
    limits = GoalLimits(**SLOW, no_progress_limit=2, max_iterations=6)
    goal = await start_goal(harness, *[LOOK, said("continuing")] * 6, limits=limits)
    await _braked(goal, GoalPausedReason.MAX_ITERATIONS, requests=12)
    await _removed(goal)


async def test_the_number_of_rounds_is_limited(harness: Harness) -> None:
    goal = await start_goal(harness, Counting(), limits=GoalLimits(**SLOW, max_iterations=4))
    await _braked(goal, GoalPausedReason.MAX_ITERATIONS, requests=4)
    assert (await goal.view()).goal.iteration == 4
    await goal.update("resume")
    await goal.reaches("it goes on", iteration=8)
    await _braked(goal, GoalPausedReason.MAX_ITERATIONS, requests=8)
    await _removed(goal)


async def test_tokens_are_limited_over_all_rounds(harness: Harness) -> None:
    limits = GoalLimits(**SLOW, max_tokens_total=5 * TOKENS)
    goal = await start_goal(harness, Counting(), limits=limits)
    await _braked(goal, GoalPausedReason.BUDGET, requests=5)
    await _removed(goal)


async def test_a_round_that_never_ends_spends_no_more_tokens_than_are_left(
    harness: Harness,
) -> None:
    limits = GoalLimits(**SLOW, max_tokens_total=4 * TOKENS)
    goal = await start_goal(harness, said("Begun."), LOOK, limits=limits)
    await _braked(goal, GoalPausedReason.BUDGET, requests=4)
    view = await goal.view()
    assert (view.goal.iteration, view.goal.last_error) == (2, None)
    await _removed(goal)


async def test_a_round_that_never_ends_has_its_steps(harness: Harness) -> None:
    """Each step asks once, and a last one for the result so far."""
    limits = GoalLimits(max_iterations=1)

    def looks_on(body: Body) -> Reply:
        return LOOK if body.get("tools") else said("So far.")

    goal = await start_goal(harness, looks_on, limits=limits, job=GoalJob(max_steps=7))
    await _braked(goal, GoalPausedReason.MAX_ITERATIONS, requests=8)
    await _removed(goal)


async def test_failures_stop_after_the_third(harness: Harness) -> None:
    refused = Refusal(400, error_body("no such thing", type="invalid_request_error"))
    goal = await start_goal(harness, refused)
    for number in (1, 2):
        await goal.reaches("it fails", iteration=number, running=False)
        await goal.update("delay", DelayGoal(duration="0s", reason="a test does not wait"))
    view = await goal.reaches("it brakes", status=GoalStatus.PAUSED)
    assert (view.goal.paused_reason, view.goal.iteration) == (GoalPausedReason.FAILURES, 3)
    assert len(goal.asked()) == 3
    assert view.goal.last_error is not None
    await _removed(goal)


# Money


@pytest.fixture(scope="module")
async def limited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    """A Tickless that may spend three cents a day; a micro for each token."""
    price = {"input_per_mtok": 1_000_000, "output_per_mtok": 1_000_000}
    prices = {"prices": {"openai/first": price, "openai/second": price}}
    given: dict[str, Any] = {
        "TICKLESS_PRICES": json.dumps(prices),
        "TICKLESS_BUDGET_USD_PER_DAY": "0.03",
    }
    folder = tmp_path_factory.mktemp("limited")
    async with running_server(folder) as server, running_harness(folder, server, **given) as made:
        yield made


async def test_a_goal_has_its_own_limit_of_money(limited: Harness) -> None:
    """A call that may be dearer than what is left is not made: the limit is never passed."""
    model = Counting(Usage(prompt=6_000, completion=0))
    limits = GoalLimits(**SLOW, max_cost_micros=20_000)
    goal = await start_goal(limited, model, limits=limits)
    view = await goal.reaches("it brakes", status=GoalStatus.PAUSED, running=False)
    assert view.goal.paused_reason == GoalPausedReason.BUDGET
    assert (model.requests, view.spent.cost_micros) == (3, 18_000)
    await _removed(goal)


async def test_the_budget_of_a_day_pauses_a_goal(limited: Harness) -> None:
    """The second call would be too dear: it is not made, and nothing fails for it."""
    dear = Reply(text="Dear.", usage=Usage(prompt=40_000))
    goal = await start_goal(limited, dear, said("Never."), limits=GoalLimits(**SLOW))
    view = await goal.reaches("it brakes", status=GoalStatus.PAUSED, running=False)
    assert view.goal.paused_reason == GoalPausedReason.BUDGET
    assert (len(goal.asked()), view.spent.cost_micros) == (1, 40_007)
    assert view.goal.last_error is None
    await _removed(goal)


async def test_what_a_lost_round_has_spent_counts(harness: Harness) -> None:
    """Somebody ends the round's job from outside: the ledger knows what it has cost."""
    limits = GoalLimits(max_tokens_total=2 * TOKENS)
    goal = await start_goal(harness, LOOK, Hang("begun", 1), LOOK, Hang("begun", 1), limits=limits)
    await harness.models.wait_for(lambda: len(goal.asked()) == 2)
    await goal.job((await goal.view()).job_id or "").terminate("by hand")
    view = await goal.reaches("it has failed", running=False)
    (job,) = await goal.jobs()
    assert job.status == JobStatus.FAILED
    assert view.spent.tokens == TOKENS == (job.tokens_in or 0) + (job.tokens_out or 0)

    await goal.update("delay", DelayGoal(duration="0s", reason="again"))
    view = await goal.reaches("it brakes", status=GoalStatus.PAUSED, running=False)
    assert (view.goal.paused_reason, view.spent.tokens) == (GoalPausedReason.BUDGET, 2 * TOKENS)
    assert len(goal.asked()) == 3
    await goal.update("delete")
    await goal.result()
