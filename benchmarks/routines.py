"""Many routines: how fast they are made, due in the same second, and what they cost at rest.

The floor of being due is as many raw Schedules that start a workflow with one activity: same
server, same process, Worker with the same slots and runner as the runs have. Both are one-shots,
and both counts are of starts only: when the last run was admitted, when the last activity began.
"""

import asyncio
import gc
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from temporalio import activity, workflow
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleIntervalSpec,
    SchedulePolicy,
    ScheduleSpec,
)
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from benchmarks.measuring import Throughput, measure, memory_mib, quantile
from domain.identifiers import routine_workflow_id
from tests.support.harness import Harness, until
from tests.support.model_steps import Reply

QUEUE = "floor-due"
# Made at a time; each routine is a workflow of its own.
AT_ONCE = 20
PROBE = 20
# Room between the last creation and the due instant: the rate of the probe is not that of all.
SLACK = 2.0
SETTLE_SECONDS = 10
PATIENCE_SECONDS = 600
# A short answer of a fast model.
ANSWER_SECONDS = 0.5
# A rule of five fields that is due once a year, half a year from now at the least.
FAR = timedelta(days=200)


@workflow.defn
class OneActivity:
    """What a Schedule's fire needs at the least: a workflow with one activity."""

    @workflow.run
    async def run(self, number: int) -> None:
        """Call once."""
        await workflow.execute_activity(
            "note_start", number, start_to_close_timeout=timedelta(seconds=30)
        )


@dataclass(frozen=True)
class Due:
    """Many things due at one instant: how late each began, and what that took.

    `fired` is when the server started the workflows, `begun` when a run was admitted, or an
    activity began; both in seconds after the due instant. `work` is all of it, to the last end.
    """

    creation: Throughput
    fired: list[float]
    begun: list[float]
    work: Throughput

    @property
    def last(self) -> float:
        """Seconds from the due instant until the last one began."""
        return max(self.begun)

    def __str__(self) -> str:
        """Two lines for people."""
        return (
            f"last {self.last:6.2f} s, p50 {quantile(self.begun, 0.5):6.2f} s"
            f"   fired: last {max(self.fired):6.2f} s, p50 {quantile(self.fired, 0.5):6.2f} s\n"
            f"      made {self.creation.per_second:6.1f}/s"
            f"         to the last end {self.work}"
        )


@dataclass(frozen=True)
class DueReport:
    """Routines beside raw Schedules."""

    floor: Due
    routines: Due

    @property
    def ratio(self) -> float:
        """How many times longer the last routine took than the last raw Schedule."""
        return self.routines.last / self.floor.last

    @property
    def cpu_ratio(self) -> float:
        """How many times more processor time a fire took, to its end; other work changes it less.

        The worker's share holds the scripted model server, which runs in the same process.
        """
        floor, routines = self.floor.work, self.routines.work
        return (routines.worker_cpu_seconds + routines.server_cpu_seconds) / (
            floor.worker_cpu_seconds + floor.server_cpu_seconds
        )


@dataclass(frozen=True)
class IdleReport:
    """What many routines cost that are not due."""

    count: int
    seconds: float
    creation: Throughput
    new_events: int
    worker_mib: float
    server_mib: float

    @property
    def workflow_tasks(self) -> float:
        """Workflow tasks while nothing was due; each is three events."""
        return self.new_events / 3

    @property
    def worker_kib_each(self) -> float:
        """What a routine adds to the worker's resident memory, with its workflow cached."""
        return self.worker_mib * 1024 / self.count

    @property
    def server_kib_each(self) -> float:
        """What a routine adds to the server's resident memory, with history and Schedule."""
        return self.server_mib * 1024 / self.count


async def compare_due(harness: Harness, server_pid: int, count: int) -> DueReport:
    """The floor, then the routines."""
    floor = await measure_due_floor(harness, server_pid, count)
    return DueReport(floor=floor, routines=await measure_due(harness, server_pid, count))


async def measure_due_floor(harness: Harness, server_pid: int, count: int) -> Due:
    """Raw Schedules that are due in the same second."""
    started: dict[int, float] = {}

    @activity.defn(name="note_start")
    async def note_start(number: int) -> None:
        started.setdefault(number, time.time())

    slots = harness.settings.queues.runs
    async with Worker(
        harness.client,
        task_queue=QUEUE,
        workflows=[OneActivity],
        activities=[note_start],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_concurrent_workflow_tasks=slots.workflow_tasks,
        max_concurrent_activities=slots.activities,
    ):

        async def make(number: int, at: datetime) -> None:
            await harness.client.create_schedule(f"floor-due-{number}", _raw_schedule(number, at))

        at, creation = await _make_due(make, count, server_pid)
        work = await _work(harness, "OneActivity", count, at, server_pid)
    return Due(
        creation=creation,
        fired=await _fired(harness, "OneActivity", at),
        begun=[begun - at.timestamp() for begun in started.values()],
        work=work,
    )


async def measure_due(harness: Harness, server_pid: int, count: int) -> Due:
    """Routines that are due in the same second; their model takes a while, as real ones do."""
    made: dict[int, str] = {}

    async def make(number: int, at: datetime) -> None:
        answer = Reply("ROUTINE_OK", before=ANSWER_SECONDS)
        made[number] = await harness.routine(answer, schedule={"run_at": at.isoformat()})

    at, creation = await _make_due(make, count, server_pid)
    work = await _work(harness, "RoutineRun", count, at, server_pid)
    gate = asyncio.Semaphore(AT_ONCE)

    async def delay(name: str) -> float:
        async with gate:
            [run] = await harness.tickless.routines.runs(name)
        assert run.started_at is not None, run
        return (run.started_at - at).total_seconds()

    return Due(
        creation=creation,
        fired=await _fired(harness, "RoutineRun", at),
        begun=await asyncio.gather(*(delay(made[number]) for number in range(count))),
        work=work,
    )


async def measure_idle(harness: Harness, server_pid: int, count: int, seconds: float) -> IdleReport:
    """Routines that are due in half a year: events and memory while nothing happens."""
    at = datetime.now(UTC) + FAR
    rule = {"cron_expr": f"{at.minute} {at.hour} {at.day} {at.month} *", "timezone": "UTC"}
    # What the first routine loads is not the price of the others.
    names = [await harness.routine(schedule=rule)]
    worker, server = _own_memory_mib(), memory_mib(server_pid)

    async def make(_: int) -> None:
        names.append(await harness.routine(schedule=rule))

    creation = await measure(make, count, AT_ONCE, server_pid)
    await asyncio.sleep(SETTLE_SECONDS)
    worker, server = _own_memory_mib() - worker, memory_mib(server_pid) - server
    before = await _events(harness, names)
    await asyncio.sleep(seconds)
    return IdleReport(
        count=count,
        seconds=seconds,
        creation=creation,
        new_events=await _events(harness, names) - before,
        worker_mib=worker,
        server_mib=server,
    )


# Inside


async def _make_due(
    make: Callable[[int, datetime], Awaitable[None]], count: int, server_pid: int
) -> tuple[datetime, Throughput]:
    """Make things that are due at one instant, which a probe puts far enough away."""
    far = datetime.now(UTC) + FAR
    probe = await measure(lambda number: make(count + number, far), PROBE, AT_ONCE, server_pid)
    needed = count / probe.per_second * SLACK + SETTLE_SECONDS
    at = (datetime.now(UTC) + timedelta(seconds=needed)).replace(microsecond=0)
    creation = await measure(lambda number: make(number, at), count, AT_ONCE, server_pid)
    if datetime.now(UTC) >= at:
        raise RuntimeError(f"{count} were not made before they were due: {creation}")
    return at, creation


def _raw_schedule(number: int, at: datetime) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            OneActivity.run, number, id=f"floor-due-run-{number}", task_queue=QUEUE
        ),
        # Fires exactly once, as a routine's one-shot does.
        spec=ScheduleSpec(
            intervals=[ScheduleIntervalSpec(every=timedelta(seconds=int(at.timestamp())))]
        ),
        policy=SchedulePolicy(catchup_window=timedelta(minutes=10)),
    )


async def _work(
    harness: Harness, workflow_type: str, count: int, at: datetime, server_pid: int
) -> Throughput:
    """Wait for the due instant and then for the end of what it starts."""
    ended = f"WorkflowType = '{workflow_type}' AND ExecutionStatus = 'Completed'"

    async def all_ended() -> bool:
        return (await harness.client.count_workflows(ended)).count >= count

    async def wait(_: int) -> None:
        # Nobody asks workers anything meanwhile: that would take their time.
        await until(all_ended, f"all of {workflow_type} ended", PATIENCE_SECONDS, 0.5)

    await asyncio.sleep(max(0.0, at.timestamp() - time.time()))
    return replace(await measure(wait, 1, 1, server_pid), count=count)


async def _fired(harness: Harness, workflow_type: str, at: datetime) -> list[float]:
    found = harness.client.list_workflows(f"WorkflowType = '{workflow_type}'")
    return [(execution.start_time - at).total_seconds() async for execution in found]


async def _events(harness: Harness, names: list[str]) -> int:
    """Events in the routines' histories; describing a workflow wakes no worker."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def length(name: str) -> int:
        async with gate:
            handle = harness.client.get_workflow_handle(routine_workflow_id(name))
            return (await handle.describe()).history_length

    return sum(await asyncio.gather(*(length(name) for name in names)))


def _own_memory_mib() -> float:
    gc.collect()
    return memory_mib(os.getpid())
