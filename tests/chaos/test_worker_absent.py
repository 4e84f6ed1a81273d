"""Times pass while no worker runs: what was missed is made up for as `catchup` says.

The fires are those of a server whose Schedule has them: the oldest was started, the next one waits
until that run has ended.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.identifiers import schedule_id
from domain.run_view import RunView
from domain.runs import RunStatus, run_id, scheduled_occurrence
from domain.schedule_policy import Overlap
from tests.chaos.stage import (
    asked,
    assert_closed_normally,
    assert_counted,
    assert_happened_once,
    ended,
    ledger,
    lines,
    staged,
)
from tests.support.fires import fire
from tests.support.harness import Harness
from tests.support.model_steps import Reply
from tests.support.worker_process import worker_process

pytestmark = pytest.mark.chaos

CATCHUPS = ("once", "skip", "all")

MINUTE = timedelta(minutes=1)


def _missed() -> list[datetime]:
    """Three full minutes that have passed, the oldest first."""
    last = datetime.now(UTC).replace(second=0, microsecond=0) - MINUTE
    return [last - 2 * MINUTE, last - MINUTE, last]


@dataclass
class Missed:
    """A routine whose times have passed, and the run of the oldest one, or those of all."""

    harness: Harness
    times: list[datetime]
    routine: str
    runs: list[str]


@pytest.fixture(scope="module")
async def missed(tmp_path_factory: pytest.TempPathFactory) -> AsyncGenerator[dict[str, Missed]]:
    """A routine of each kind; a worker makes them, is absent, and is back."""
    times = _missed()
    async with staged(tmp_path_factory.mktemp("absent")) as (_, harness):
        async with worker_process(harness, "before"):
            found = {
                **{kind: await _due_at(harness, times, catchup=kind) for kind in CATCHUPS},
                "together": await _due_at(harness, times, guardrails={"max_concurrent": 3}),
            }
        for kind, item in found.items():
            for at in times if kind == "together" else times[:1]:
                item.runs.append(await fire(harness, item.routine, at))
            for run in item.runs:
                assert await harness.run_events(run) == [
                    "WORKFLOW_EXECUTION_STARTED",
                    "WORKFLOW_TASK_SCHEDULED",
                ]
        async with worker_process(harness, "after"):
            yield found


async def _due_at(
    harness: Harness, times: list[datetime], catchup: str | None = None, **body: Any
) -> Missed:
    """A routine that was due at these times, and is not again for most of an hour."""
    minutes = ",".join(str(at.minute) for at in times)
    when = {"cron_expr": f"{minutes} * * * *", "timezone": "UTC"}
    if catchup:
        when["catchup"] = catchup
    return Missed(
        harness, times, await harness.routine(Reply("At last."), schedule=when, **body), []
    )


async def _policy(harness: Harness, routine: str) -> str:
    handle = harness.client.get_schedule_handle(schedule_id(routine))
    return (await handle.describe()).schedule.policy.overlap.name.lower()


async def _refused(harness: Harness, run: str, reason: str = "superseded") -> RunView:
    """Wait for the end of a run that did nothing, and check that it says why."""
    view = await ended(harness, run)
    assert (view.record.status, view.record.reason) == (RunStatus.SKIPPED, reason)
    await assert_closed_normally(harness, run)
    assert lines(harness, run) == []
    async with ledger(harness) as store:
        assert await store.calls.of_run(run) == []
    return view


async def test_once_makes_one_late_run_of_three_times(missed: dict[str, Missed]) -> None:
    found = missed["once"]
    harness, times, routine, (run,) = found.harness, found.times, found.routine, found.runs
    assert await _policy(harness, routine) == Overlap.BUFFER_ONE
    view = await ended(harness, run)
    await assert_happened_once(harness, view)
    record = view.record
    assert record.started_at is not None
    assert (record.scheduled_at, record.stands_for) == (times[0], 3)
    late = int((record.started_at - times[0]).total_seconds())
    assert late > 2 * MINUTE.total_seconds()
    assert view.late_seconds == late
    (final,) = [line for line in lines(harness, run) if line["part"] == "final"]
    facts = final["text"].splitlines()[-1]
    assert facts.startswith(f"(late by {late // 60}m"), facts
    assert ", stands for 3 missed times, " in facts

    await _refused(harness, await fire(harness, routine, times[1]))
    await assert_counted(harness, routine, 1)
    assert len(asked(harness, routine)) == 1


async def test_skip_makes_up_for_none_of_them(missed: dict[str, Missed]) -> None:
    found = missed["skip"]
    harness, times, routine, (run,) = found.harness, found.times, found.routine, found.runs
    await _refused(harness, run)
    for at in times[1:]:
        await _refused(harness, await fire(harness, routine, at))
    assert asked(harness, routine) == []
    await assert_counted(harness, routine, 0)
    # It is not the routine that is refused.
    await assert_happened_once(harness, await harness.run_once(routine))
    await assert_counted(harness, routine, 1)


async def test_all_makes_a_run_of_each_in_order(missed: dict[str, Missed]) -> None:
    found = missed["all"]
    harness, times, routine, (run,) = found.harness, found.times, found.routine, found.runs
    assert await _policy(harness, routine) == Overlap.BUFFER_ALL
    for at in times:
        if at > times[0]:
            run = await fire(harness, routine, at)
        view = await ended(harness, run)
        await assert_happened_once(harness, view)
        assert (view.record.scheduled_at, view.record.stands_for) == (at, 1)
        assert view.late_seconds >= MINUTE.total_seconds()
    assert len(asked(harness, routine)) == 3
    await assert_counted(harness, routine, 3)
    runs = await harness.tickless.routines.runs(routine)
    assert [item.id for item in runs] == [
        run_id(routine, scheduled_occurrence(at)) for at in reversed(times)
    ]


async def test_side_by_side_all_fires_wait_and_one_is_counted(missed: dict[str, Missed]) -> None:
    """With `max_concurrent` above 1 the server starts every fire at once, in no order."""
    found = missed["together"]
    harness, routine = found.harness, found.routine
    assert await _policy(harness, routine) == Overlap.ALLOW_ALL
    views = [await ended(harness, run) for run in found.runs]
    (view,) = [item for item in views if item.record.status != RunStatus.SKIPPED]
    await assert_happened_once(harness, view)
    for item in views:
        if item is not view:
            await _refused(harness, item.record.id)
    assert len(asked(harness, routine)) == 1
    await assert_counted(harness, routine, 1)
