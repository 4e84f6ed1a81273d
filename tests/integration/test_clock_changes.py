"""Routines driven across the next two changes of their zone's clock: they run at the true instants.

The routine's own Schedule, as its workflow put it, is asked when it would fire; every such time is
fired, and the routine admits or refuses it. What the server names beside the true instants has to
be refused (`test_schedule_on_server.py` asks it of more rules, without running them).
"""

from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest

from domain.identifiers import schedule_id
from domain.runs import RunStatus
from domain.schedule import (
    Schedule,
    count_between,
    is_occurrence,
    next_run_at,
    next_transitions,
    occurrences,
)
from tests.support.fires import fire
from tests.support.harness import Harness
from tests.support.model_steps import Reply

ZONES = ["America/New_York", "Australia/Lord_Howe", "Europe/Berlin"]
# In and around the gaps and repetitions of all three: fixed hours, a cadence, every hour.
EXPRESSIONS = ["30 2 * * *", "45 1 * * *", "*/30 1-2 * * *", "15 * * * *"]
REACH = timedelta(hours=3)
SECOND = timedelta(seconds=1)


async def _times_on_server(
    harness: Harness, routine: str, first: datetime, last: datetime
) -> list[datetime]:
    """When the routine's Schedule would fire in [first, last]."""
    start, end = Timestamp(), Timestamp()
    start.FromDatetime(first - SECOND)
    end.FromDatetime(last)
    answer = await harness.client.workflow_service.list_schedule_matching_times(
        ListScheduleMatchingTimesRequest(
            namespace=harness.client.namespace,
            schedule_id=schedule_id(routine),
            start_time=start,
            end_time=end,
        )
    )
    return [found.ToDatetime(tzinfo=UTC) for found in answer.start_time]


async def _driven(harness: Harness, routine: str, times: list[datetime]) -> list[datetime]:
    """Fire the routine at these times, in order; returns those at which it ran."""
    ran: list[datetime] = []
    for at in times:
        run = await fire(harness, routine, at)
        record = (await harness.tickless.runs.wait(run)).record
        assert record.scheduled_at == at
        if record.status == RunStatus.SKIPPED:
            assert record.reason == "superseded"
        else:
            assert record.status == RunStatus.OK
            ran.append(at)
    return ran


@pytest.mark.parametrize("zone", ZONES)
async def test_a_routine_runs_at_the_true_instants_around_both_changes(
    harness: Harness, zone: str
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    changes = next_transitions(zone, now)
    assert len(changes) == 2
    assert changes[-1] - now < timedelta(days=366)
    for expr in EXPRESSIONS:
        schedule = Schedule(cron_expr=expr, timezone=zone)
        routine = await harness.routine(
            Reply("ROUTINE_OK"), schedule={"cron_expr": expr, "timezone": zone}
        )
        count = 0
        for change in changes:
            first, last = change - REACH, change + REACH
            before = first - SECOND
            true = occurrences(before, schedule, count_between(before, last, schedule))
            assert true, "nothing would be tested"
            named = await _times_on_server(harness, routine, first, last)
            assert await _driven(harness, routine, named) == true, (expr, change)
            count += len(true)
        found = (await harness.tickless.routines.get(routine)).routine
        assert found.run_count == count
        await harness.tickless.routines.delete(routine)


@pytest.mark.parametrize("zone", ZONES)
async def test_the_next_times_of_the_schedule_hold_the_next_time_of_the_routine(
    harness: Harness, zone: str
) -> None:
    for expr in EXPRESSIONS:
        schedule = Schedule(cron_expr=expr, timezone=zone)
        routine = await harness.routine(schedule={"cron_expr": expr, "timezone": zone})
        found = (await harness.tickless.routines.get(routine)).routine
        handle = harness.client.get_schedule_handle(schedule_id(routine))
        named = (await handle.describe()).info.next_action_times
        assert [at for at in named if is_occurrence(at, schedule)] == occurrences(
            named[0] - SECOND, schedule, len(named)
        )
        assert named[0] == found.next_run_at == next_run_at(named[0] - SECOND, schedule)
        await harness.tickless.routines.delete(routine)
