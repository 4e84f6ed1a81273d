"""The activity that does a maintenance job, and the Schedules that have it done.

Owns finding the job and keeping its faults to itself. Source: automation.md §11, DESIGN §3.

Invariants:
    1. What a job raises is logged and reported; the next tick comes.
    2. A tick is skipped while the former runs (overlap SKIP), and nothing is made up for.
"""

from datetime import timedelta

import structlog
from pydantic import BaseModel
from temporalio import activity
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from activities import search_attributes as attributes
from activities.clock import Clock, utc_now
from domain.errors import DomainError, ErrorKind
from domain.identifiers import WATCH_QUEUE, maintenance_id
from domain.maintenance import MaintenanceJob, MaintenanceJobs, MaintenanceReport

# What was missed is not made up for: the next tick does the same.
CATCHUP = timedelta(seconds=10)

log = structlog.get_logger(__name__)


class RunMaintenance(BaseModel):
    """Which job to do; input of the workflow `Maintenance` and of its activity."""

    name: str


class MaintenanceActivities:
    """Does the jobs that are registered."""

    def __init__(self, jobs: MaintenanceJobs, clock: Clock = utc_now) -> None:
        self._jobs = jobs
        self._clock = clock

    @activity.defn
    async def do_maintenance(self, request: RunMaintenance) -> MaintenanceReport:
        """Do one job; its faults are in the report."""
        now = self._clock()
        job = self._jobs.get(request.name)
        if job is None:
            error = f"this worker has no maintenance job {request.name!r}"
            log.error("maintenance_unknown", job=request.name)
            return MaintenanceReport(name=request.name, at=now, error=error)
        try:
            return MaintenanceReport(name=job.name, at=now, result=await job.work(now))
        except Exception as error:  # one job's fault must not end the others
            log.exception("maintenance_failed", job=job.name)
            return MaintenanceReport(
                name=job.name, at=now, error=f"{type(error).__name__}: {error}"
            )


async def put_maintenance_schedules(client: Client, jobs: MaintenanceJobs) -> None:
    """Make the Schedules of the jobs what they say; putting twice is the same as once.

    Raises:
        DomainError: `unavailable` when Temporal refuses.
    """
    for job in jobs:
        schedule = _schedule(job)
        try:
            await client.create_schedule(maintenance_id(job.name), schedule)
        except ScheduleAlreadyRunningError:
            await _replace(client, job, schedule)


async def _replace(client: Client, job: MaintenanceJob, schedule: Schedule) -> None:
    """Update a Schedule that exists, and keep whether somebody paused it."""
    handle = client.get_schedule_handle(maintenance_id(job.name))

    async def replaced(current: ScheduleUpdateInput) -> ScheduleUpdate | None:
        former = current.description.schedule
        if former.spec.intervals == schedule.spec.intervals:
            # Putting it again would begin its interval anew.
            return None
        schedule.state = former.state
        return ScheduleUpdate(schedule=schedule)

    try:
        await handle.update(replaced)
    except RuntimeError as error:
        raise DomainError(ErrorKind.UNAVAILABLE, "temporal", str(error)) from error


def _schedule(job: MaintenanceJob) -> Schedule:
    return Schedule(
        action=ScheduleActionStartWorkflow(
            "Maintenance",
            RunMaintenance(name=job.name),
            id=maintenance_id(job.name),
            task_queue=WATCH_QUEUE,
            static_summary=f"maintenance: {job.name}",
            typed_search_attributes=TypedSearchAttributes(
                [SearchAttributePair(attributes.KIND, "maintenance")]
            ),
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=job.interval)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCHUP),
        state=ScheduleState(note=f"maintenance job {job.name}"),
    )
