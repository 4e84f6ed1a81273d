"""What a routine has told when no run is there to do so, and to whom its hook is called."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from activities.hooks import RoutineCompleted
from domain.deliveries import DeliveryStatus
from domain.identifiers import ENTITIES_QUEUE, routine_workflow_id
from domain.routine_requests import StartRoutine
from domain.routine_state import RoutineState
from domain.runs import RunStatus
from domain.watchdog import Alert, AlertKind
from tests.chaos.stage import ledger
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.model_steps import Hang, Reply, unauthorized
from tests.support.routines import routine as a_routine

CALLED: list[RoutineCompleted] = []


def note(completed: RoutineCompleted) -> None:
    """A completion hook that remembers, and fails for one routine."""
    CALLED.append(completed)
    if completed.title == "faulty":
        raise RuntimeError("a fault of the hook's")


@pytest.fixture(scope="module")
async def hooked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    """A server of its own: workers without the hook would take its runs."""
    folder = tmp_path_factory.mktemp("hooked")
    hook = f"{__name__}:note"
    async with (
        running_server(folder) as server,
        running_harness(folder, server, TICKLESS_COMPLETION_HOOK=hook) as running,
    ):
        yield running


def _calls(routine: str) -> list[tuple[str, str | None]]:
    return [(item.record.id, item.error) for item in CALLED if item.routine_id == routine]


async def test_a_lost_run_is_recorded_and_told(hooked: Harness) -> None:
    routine = await hooked.routine(Hang("begun", 1), Reply("Next."))
    first = await hooked.tickless.runs.trigger(routine)
    await hooked.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in hooked.models.calls)
    )
    await hooked.client.get_workflow_handle(first.workflow_id).terminate("by hand")

    await hooked.run_once(routine)

    async with ledger(hooked) as store:

        async def told() -> bool:
            row = await store.outbox.get(f"{first.run_id}/first_failure")
            return row is not None and row.status == DeliveryStatus.SENT

        await until(told, "the failure of the lost run is told")
        record = await store.runs.get(first.run_id)
    assert record is not None
    assert (record.status, record.error) == (RunStatus.FAILED, "lost")

    async def called() -> bool:
        return (first.run_id, "lost") in _calls(routine)

    await until(called, "the hook hears of it")


async def test_the_hook_is_called_for_outcomes_that_count(hooked: Harness) -> None:
    routine = await hooked.routine(Reply("Well."), unauthorized(), Hang("x", 1))

    good = await hooked.run_once(routine)
    bad = await hooked.run_once(routine)
    stopped = await hooked.tickless.runs.trigger(routine)
    await hooked.tickless.runs.cancel(stopped.run_id)
    await hooked.tickless.routines.pause(routine)
    assert bad.record.error

    assert _calls(routine) == [(good.record.id, None), (bad.record.id, bad.record.error)]


async def test_a_fault_of_the_hook_changes_nothing(hooked: Harness) -> None:
    routine = await hooked.routine(Reply("Well."), title="faulty")

    view = await hooked.run_once(routine)

    assert view.record.status == RunStatus.ATTENTION
    assert len(_calls(routine)) == 1
    found = (await hooked.tickless.routines.get(routine)).routine
    assert (found.run_count, found.consecutive_failures) == (1, 0)


async def test_three_fires_in_a_row_without_a_place_are_told_once(harness: Harness) -> None:
    routine = await harness.routine(Hang("begun", 1))
    first = await harness.tickless.runs.trigger(routine)
    waiting = await harness.tickless.runs.trigger(routine)
    refused: list[str] = []
    for _ in range(4):
        with pytest.raises(Exception, match="max_concurrent"):
            await harness.tickless.runs.trigger(routine)
    records = await harness.tickless.routines.runs(routine)
    refused = [item.id for item in reversed(records) if item.reason == "max_concurrent"]
    assert len(refused) == 4
    for run in refused:
        await harness.tickless.runs.wait(run)
    async with ledger(harness) as store:
        rows = [await store.outbox.get(f"{run}/max_concurrent") for run in refused]
    assert [row is not None for row in rows] == [False, False, True, False]
    answer = await harness.tickless.routines.get(routine)
    assert answer.skipped["max_concurrent"] == 4
    await harness.tickless.runs.cancel(waiting.run_id)
    await harness.tickless.runs.cancel(first.run_id)


async def test_what_waits_to_be_told_survives_a_new_execution(harness: Harness) -> None:
    """The state of a former execution names an alert: the new one has it sent, once."""
    name = harness.name()
    started = datetime.now(UTC) - timedelta(hours=1)
    routine = a_routine(
        id=name,
        schedule=...,
        trigger={"type": "manual"},
        route={"receive_id_type": "file", "receive_id": f"{name}.jsonl"},
        running=True,
        last_run_at=started,
        next_run_at=None,
    )
    alert = Alert(kind=AlertKind.STUCK, running_for=3600)
    state = RoutineState(routine=routine, anchor=started, alerts=[alert, alert], put_revision=0)
    handle = await harness.client.start_workflow(
        "Routine",
        StartRoutine(state=state),
        id=routine_workflow_id(name),
        task_queue=ENTITIES_QUEUE,
    )
    path = harness.deliveries.with_name(f"{name}.jsonl")

    async def told() -> bool:
        events = await harness.events(handle.id)
        return events.count("ACTIVITY_TASK_COMPLETED") == 2

    await until(told, "both alerts were looked at")
    (line,) = path.read_text(encoding="utf-8").splitlines()
    assert "stuck, running for 1h00m" in line
    assert f"watchdog/{name}/stuck/" in line
    await handle.terminate("the test is over")
