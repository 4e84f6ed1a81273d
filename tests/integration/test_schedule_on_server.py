"""The real server, asked when it would fire around changes of the clock.

Whatever `domain.schedule` says is an occurrence must be among the server's times. The server may
name more; each of those must be one that admission refuses.
"""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.workflowservice.v1 import ListScheduleMatchingTimesRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter

from activities.schedules import ScheduleActivities
from domain.identifiers import schedule_id
from domain.schedule import (
    Schedule,
    count_between,
    is_occurrence,
    next_transitions,
    occurrences,
    single_instants,
    to_temporal_spec,
)
from domain.wanted_schedule import WantedSchedule
from tests.unit.cron_texts import cron_case
from worker.temporal_server import DevServer

REACH = timedelta(hours=8)
RANDOM_CASES_PER_ZONE = 10
EXPRESSIONS = [
    "30 2 * * *",
    "30 1 * * *",
    "* 1 * * *",
    "0 * * * *",
    "*/20 * * * *",
    "15 0-3 * * *",
    "0 0 13 * 0,6",
    "*/7 1-2 * * 7",
]
ZONES = [
    "America/New_York",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Europe/Berlin",
]


def stamp(at: datetime) -> Timestamp:
    found = Timestamp()
    found.FromDatetime(at)
    return found


async def server_times(
    client: Client, schedule: Schedule, start: datetime, first: datetime, last: datetime
) -> set[datetime]:
    """When the server would fire in [first, last], with what it is told at `start`."""
    routine = uuid.uuid4().hex
    spec = to_temporal_spec(schedule, start)
    instants = single_instants(schedule, start) if spec.timezone_name != "UTC" else []
    wanted = WantedSchedule(
        routine_id=routine,
        title="",
        scope="user:test",
        owner="test",
        paused=True,
        spec=spec,
        single_instants=instants,
    )
    await ScheduleActivities(client).put_schedule(wanted)
    answer = await client.workflow_service.list_schedule_matching_times(
        ListScheduleMatchingTimesRequest(
            namespace=client.namespace,
            schedule_id=schedule_id(routine),
            start_time=stamp(first - timedelta(seconds=1)),
            end_time=stamp(last),
        )
    )
    await ScheduleActivities(client).put_schedule(wanted.model_copy(update={"spec": None}))
    return {found.ToDatetime(tzinfo=UTC) for found in answer.start_time}


@pytest.mark.parametrize("zone", ZONES)
async def test_the_server_fires_at_every_occurrence_around_changes(
    server: DevServer, zone: str
) -> None:
    client = await Client.connect(
        server.address, namespace=server.namespace, data_converter=pydantic_data_converter
    )
    start = datetime.now(UTC).replace(microsecond=0)
    changes = next_transitions(zone, start) or [start + timedelta(days=30)]
    random_cases = [cron_case(seed, by_night=True) for seed in range(RANDOM_CASES_PER_ZONE)]
    for expr in [*EXPRESSIONS, *(case.expr for case in random_cases)]:
        schedule = Schedule(cron_expr=expr, timezone=zone)
        for change in changes:
            first, last = change - REACH, change + REACH
            before = first - timedelta(seconds=1)
            true = set(occurrences(before, schedule, count_between(before, last, schedule)))
            fired = await server_times(client, schedule, start, first, last)
            assert true - fired == set(), (expr, change)
            assert not any(is_occurrence(at, schedule) for at in fired - true), (expr, change)
