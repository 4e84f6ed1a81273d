"""Goals: what one round costs, against a raw workflow that has the same jobs done as children.

The floor decides nothing: no gate, no brakes, no notices, no messages. A round of ours tells the
ledger and the channel how the goal stands; that is part of its price.
"""

import itertools

from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.jobs import RawJob, raw_record
from benchmarks.rounds import RoundsReport, compare_rounds, events_of
from domain.goal import GoalStatus
from domain.jobs import JobRecord
from tests.support.goals import FREE, start_goal
from tests.support.harness import Harness
from tests.support.jobs import said
from tests.support.model_steps import Body, Reply

QUEUE = "floor-of-goals"
ROUNDS = 20


@workflow.defn(name="RawGoal")
class RawGoal:
    """Has one job done after the other."""

    @workflow.run
    async def run(self, records: list[JobRecord]) -> None:
        """Do them all."""
        for record in records:
            await workflow.execute_child_workflow(RawJob.run, record, id=f"raw-{record.id}")


async def compare_goals(harness: Harness, server_pid: int) -> RoundsReport:
    """Floor and goals in turn."""
    async with Worker(
        harness.client,
        task_queue=QUEUE,
        workflows=[RawGoal, RawJob],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        return await compare_rounds(
            lambda: _raw(harness), lambda: _goal(harness), ROUNDS, 6, server_pid
        )


def _model(harness: Harness) -> str:
    """Script a model that says something new each time; the mark of its prompts."""
    mark, numbers = harness.name(), itertools.count(1)

    def step(_body: Body) -> Reply:
        return said(f"Step {next(numbers)}.")

    harness.scripts.on(mark, step)
    return mark


async def _raw(harness: Harness) -> int:
    """One raw workflow, from its start to its end; the number of its events."""
    mark = _model(harness)
    records = [raw_record(mark) for _ in range(ROUNDS)]
    workflow_id = f"raw-goal-{mark}"
    await harness.client.execute_workflow(RawGoal.run, records, id=workflow_id, task_queue=QUEUE)
    return await events_of(harness.client, workflow_id)


async def _goal(harness: Harness) -> int:
    """One goal, from its creation until it has used up its rounds; the number of its events."""
    limits = FREE.model_copy(update={"max_iterations": ROUNDS})
    goal = await start_goal(harness, mark=_model(harness), limits=limits)
    view = await goal.reaches("the end of its rounds", 120, status=GoalStatus.PAUSED)
    assert view.goal.iteration == ROUNDS, view
    events = await events_of(harness.client, goal.handle.id)
    await goal.update("delete")
    return events
