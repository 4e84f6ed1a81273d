"""Goals: what one round costs, against a raw workflow that has the same jobs done as children.

The floor decides nothing: no gate, no brakes, no notices, no messages. A round of ours tells the
ledger and the channel how the goal stands; that is part of its price.
"""

import itertools
from dataclasses import dataclass

from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.jobs import RawJob, events_of, raw_record, round_cpu_ms
from benchmarks.measuring import Throughput, measure, quantile
from domain.goal import GoalStatus
from domain.jobs import JobRecord
from tests.support.goals import FREE, start_goal
from tests.support.harness import Harness
from tests.support.jobs import said
from tests.support.model_steps import Body, Reply

QUEUE = "floor-of-goals"
ROUNDS = 20


@dataclass(frozen=True)
class GoalsReport:
    """Milliseconds of a round, ours and the floor's, one value a goal; events of a round."""

    floor: list[float]
    goals: list[float]
    floor_cpu_ms: float
    goals_cpu_ms: float
    events: float

    @property
    def ratio(self) -> float:
        """Ours over the floor, at the median."""
        return quantile(self.goals, 0.5) / quantile(self.floor, 0.5)

    @property
    def cpu_ratio(self) -> float:
        """Processor time of a round over the floor's, worker and server together."""
        return self.goals_cpu_ms / self.floor_cpu_ms


@workflow.defn(name="RawGoal")
class RawGoal:
    """Has one job done after the other."""

    @workflow.run
    async def run(self, records: list[JobRecord]) -> None:
        """Do them all."""
        for record in records:
            await workflow.execute_child_workflow(RawJob.run, record, id=f"raw-{record.id}")


async def compare_goals(harness: Harness, server_pid: int, count: int = 6) -> GoalsReport:
    """Floor and goals in turn, one after the other: what else the machine does hits both."""
    floors: list[Throughput] = []
    goals: list[Throughput] = []
    events: list[int] = []

    async def raw(_number: int) -> None:
        await _raw(harness)

    async def goal(_number: int) -> None:
        events.append(await _goal(harness))

    async with Worker(
        harness.client,
        task_queue=QUEUE,
        workflows=[RawGoal, RawJob],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        for once in (raw, goal):
            await once(0)
        for _ in range(count):
            floors.append(await measure(raw, 1, 1, server_pid))
            goals.append(await measure(goal, 1, 1, server_pid))
    return GoalsReport(
        floor=[item.seconds / ROUNDS * 1e3 for item in floors],
        goals=[item.seconds / ROUNDS * 1e3 for item in goals],
        floor_cpu_ms=round_cpu_ms(floors, ROUNDS),
        goals_cpu_ms=round_cpu_ms(goals, ROUNDS),
        events=events[-1] / ROUNDS,
    )


def _model(harness: Harness) -> str:
    """Script a model that says something new each time; the mark of its prompts."""
    mark, numbers = harness.name(), itertools.count(1)

    def step(_body: Body) -> Reply:
        return said(f"Step {next(numbers)}.")

    harness.scripts.on(mark, step)
    return mark


async def _raw(harness: Harness) -> None:
    """One raw workflow, from its start to its end."""
    mark = _model(harness)
    records = [raw_record(mark) for _ in range(ROUNDS)]
    await harness.client.execute_workflow(
        RawGoal.run, records, id=f"raw-goal-{mark}", task_queue=QUEUE
    )


async def _goal(harness: Harness) -> int:
    """One goal, from its creation until it has used up its rounds; the number of its events."""
    limits = FREE.model_copy(update={"max_iterations": ROUNDS})
    goal = await start_goal(harness, mark=_model(harness), limits=limits)
    view = await goal.reaches("the end of its rounds", 120, status=GoalStatus.PAUSED)
    assert view.goal.iteration == ROUNDS, view
    events = await events_of(harness.client, goal.handle.id)
    await goal.update("delete")
    return events
