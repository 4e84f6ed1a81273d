"""Workers are killed again and again under a goal: each round happens once and is told once."""

import asyncio
import random
from collections import Counter
from pathlib import Path

import pytest

from domain.deliveries import DeliveryStatus
from domain.goal import GoalStatus
from domain.goal_record import GoalPausedReason
from domain.goal_state import GoalLimits
from domain.jobs import JobStatus
from tests.chaos.stage import ledger, staged
from tests.support.goals import StartedGoal, start_goal
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Body, Reply
from tests.support.worker_process import worker_process

# It fills the processor; two at a time would measure each other.
pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("heavy"), pytest.mark.timeout(400)]

ROUNDS = 6
KILLS = 3


class Numbered:
    """A model that looks at something in each round and then names the round."""

    def __call__(self, body: Body) -> Reply:
        """Answer a request."""
        messages = body["messages"]
        if messages[-1]["role"] == "user":
            return calls(("time_now", "{}"))
        rounds = [m for m in messages if m["role"] == "user" and "Rules of a round" in m["content"]]
        return said(f"Step {len(rounds)}.")


async def _asked_again(goal: StartedGoal) -> None:
    """Wait until its model is asked once more."""
    count = len(goal.asked())
    await goal.harness.models.wait_for(lambda: len(goal.asked()) > count, 90)


async def _outbox(harness: Harness, goal: StartedGoal) -> dict[str, DeliveryStatus]:
    """The notices of a goal, by part."""
    parts = [
        *(f"{kind}-{n}" for kind in ("iteration", "progress") for n in range(1, 2 * ROUNDS + 2)),
        f"paused-{2 * ROUNDS + 1}",
    ]
    async with ledger(harness) as store:
        rows = [(part, await store.outbox.get(f"{goal.id}/{part}")) for part in parts]
    return {part: row.status for part, row in rows if row is not None}


async def test_each_round_happens_once_whatever_is_killed(tmp_path: Path) -> None:
    chance = random.Random(20261121)
    limits = GoalLimits(max_iterations=ROUNDS, fast_loop_limit=100, no_progress_limit=100)
    async with staged(tmp_path) as (_server, harness):
        async with worker_process(harness) as first:
            goal = await start_goal(harness, Numbered(), limits=limits)
            await asyncio.sleep(chance.uniform(0.2, 1.0))
            await first.kill()
        for _ in range(KILLS - 1):
            async with worker_process(harness) as worker:
                await _asked_again(goal)
                # Anywhere in what follows: this is what is tested.
                await asyncio.sleep(chance.uniform(0.0, 0.8))
                await worker.kill()
        async with worker_process(harness):
            view = await goal.reaches("it has worked", 180, status=GoalStatus.PAUSED, running=False)

            async def told() -> bool:
                return any(part.startswith("paused-") for part in await _outbox(harness, goal))

            await until(told, "its end is told", 60)
            jobs = await goal.jobs()
            rows = await _outbox(harness, goal)
            await goal.update("delete")
            await goal.result()

    assert (view.goal.iteration, view.goal.paused_reason) == (
        ROUNDS,
        GoalPausedReason.MAX_ITERATIONS,
    )
    assert [job.status for job in jobs] == [JobStatus.COMPLETED] * ROUNDS
    assert [job.result for job in jobs] == [f"Step {n}." for n in range(1, ROUNDS + 1)]
    # A text whose worker was killed while it was sent may have arrived: it is not sent again.
    assert Counter(part.partition("-")[0] for part in rows) == {
        "iteration": ROUNDS,
        "progress": ROUNDS,
        "paused": 1,
    }
    assert set(rows.values()) <= {DeliveryStatus.SENT, DeliveryStatus.UNKNOWN}
    arrived = Counter(goal.parts())
    assert set(arrived.values()) == {1}
    assert {part for part, status in rows.items() if status == DeliveryStatus.SENT} <= set(arrived)
