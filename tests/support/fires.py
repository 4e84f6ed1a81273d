"""Fires of a Schedule, made as the server makes them: for times nobody can wait for in a test."""

from datetime import datetime

from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.common import WorkflowIDReusePolicy as ReusePolicy

from activities.runs import run_attributes
from domain.identifiers import RUNS_QUEUE
from domain.run_start import StartRun
from domain.runs import FireKind, run_id, run_workflow_id, scheduled_occurrence
from tests.support.harness import Harness

# What the server adds to the workflows that its Schedules start.
NOMINAL_TIME = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


async def fire(harness: Harness, routine: str, at: datetime) -> str:
    """Start the run of a nominal time, which need not be now; returns its id."""
    run = run_id(routine, scheduled_occurrence(at))
    start = StartRun(routine_id=routine, kind=FireKind.SCHEDULE)
    attributes = run_attributes(start, "user:me", "me")
    await harness.client.start_workflow(
        "RoutineRun",
        start,
        id=run_workflow_id(run),
        task_queue=RUNS_QUEUE,
        id_reuse_policy=ReusePolicy.REJECT_DUPLICATE,
        search_attributes=TypedSearchAttributes(
            [*attributes, SearchAttributePair(NOMINAL_TIME, at)]
        ),
    )
    return run
