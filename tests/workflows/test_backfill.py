"""Backfills: times that have passed are made up for, one run after the other."""

import itertools
from datetime import UTC, datetime

import pytest

from domain.errors import DomainError, ErrorKind
from domain.identifiers import routine_workflow_id
from domain.runs import RunStatus
from domain.timestamps import format_timestamp
from tests.support.harness import Harness, until
from tests.support.model_steps import Hang, Reply

DAYS = [datetime(2026, 3, day, 9, tzinfo=UTC) for day in (2, 3, 4)]
FIRST, LAST = (format_timestamp(day) for day in (DAYS[0], DAYS[-1]))
DAILY = {"cron_expr": "0 9 * * *"}


async def test_each_time_gets_a_run_in_order_and_never_two_at_once(harness: Harness) -> None:
    routine = await harness.routine(*[Reply(f"Day {day}.") for day in (1, 2, 3)], schedule=DAILY)

    answer = await harness.tickless.routines.backfill(routine, FIRST, LAST)

    assert [run.scheduled_at for run in answer.runs] == DAYS
    assert answer.runs[0].run_id == f"{routine}/b-2026-03-02T09:00:00Z"

    async def ended() -> bool:
        runs = await harness.tickless.routines.runs(routine)
        return len(runs) == 3 and all(run.finished_at for run in runs)

    await until(ended, "all times are made up for")
    runs = list(reversed(await harness.tickless.routines.runs(routine)))
    assert [run.status for run in runs] == [RunStatus.ATTENTION] * 3
    assert [run.scheduled_at for run in runs] == DAYS
    for before, after in itertools.pairwise(runs):
        assert before.finished_at
        assert after.started_at
        assert after.started_at >= before.finished_at
    view = await harness.tickless.runs.get(runs[0].id)
    assert view.late_seconds == 0, "a backfill is as late as it was asked to be"
    assert (await harness.tickless.routines.get(routine)).routine.run_count == 3


async def test_asking_again_runs_nothing_again(harness: Harness) -> None:
    routine = await harness.routine(Reply("Once."), schedule=DAILY)
    handle = harness.client.get_workflow_handle(routine_workflow_id(routine))
    day = format_timestamp(DAYS[0])
    for _ in range(2):
        await harness.tickless.routines.backfill(routine, day, day)

        async def done() -> bool:
            answer = await harness.tickless.routines.get(routine)
            runs = await harness.tickless.routines.runs(routine)
            return not answer.backlog and all(run.finished_at for run in runs) and bool(runs)

        await until(done, "the backfill is over")
    # The routine is not stuck on the run that it could not start a second time.
    await harness.tickless.routines.backfill(routine, FIRST, FIRST)
    another = format_timestamp(DAYS[1])
    await harness.tickless.routines.backfill(routine, another, another)

    async def two() -> bool:
        return len(await harness.tickless.routines.runs(routine)) == 2

    await until(two, "another time runs")
    assert "WORKFLOW_TASK_FAILED" not in await harness.events(handle.id)


async def test_a_dry_run_starts_nothing(harness: Harness) -> None:
    routine = await harness.routine(schedule=DAILY)
    answer = await harness.tickless.routines.backfill(routine, FIRST, LAST, dry_run=True)
    assert (len(answer.runs), answer.dry_run) == (3, True)
    found = await harness.tickless.routines.get(routine)
    assert (found.backlog, await harness.tickless.routines.runs(routine)) == (0, [])


async def test_a_pause_ends_what_has_not_started(harness: Harness) -> None:
    routine = await harness.routine(Hang("begun", 1), schedule=DAILY)
    await harness.tickless.routines.backfill(routine, FIRST, LAST)
    await harness.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in harness.models.calls)
    )
    assert (await harness.tickless.routines.get(routine)).backlog == 2

    await harness.tickless.routines.pause(routine)
    await harness.tickless.runs.cancel(f"{routine}/b-2026-03-02T09:00:00Z")
    await harness.tickless.routines.resume(routine)

    answer = await harness.tickless.routines.get(routine)
    assert answer.backlog == 0
    assert len(await harness.tickless.routines.runs(routine)) == 1


@pytest.mark.parametrize(
    ("start", "end", "field", "word"),
    [
        ("yesterday", LAST, "start", "RFC 3339"),
        (FIRST, "2026-03-04T09:00:00", "end", "RFC 3339"),
        (LAST, FIRST, "end", "before start"),
        (FIRST, "9000-01-01T00:00:00Z", "end", "future"),
        ("2025-01-01T00:00:00Z", LAST, "end", "100"),
    ],
)
async def test_bad_times_are_told(
    harness: Harness, start: str, end: str, field: str, word: str
) -> None:
    routine = await harness.routine(schedule=DAILY)
    with pytest.raises(DomainError) as caught:
        await harness.tickless.routines.backfill(routine, start, end)
    assert (caught.value.kind, caught.value.field) == (ErrorKind.INVALID_FIELD, field)
    assert word in caught.value.message


async def test_only_an_active_schedule_has_times(harness: Harness) -> None:
    by_hand = await harness.routine()
    paused = await harness.routine(schedule=DAILY)
    await harness.tickless.routines.pause(paused)
    for routine, field in ((by_hand, "schedule"), (paused, "status"), ("no-such", "id")):
        with pytest.raises(DomainError) as caught:
            await harness.tickless.routines.backfill(routine, FIRST, LAST)
        assert caught.value.field == field
