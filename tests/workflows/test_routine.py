"""The life of a routine on a real server: creation, changes, Schedule, renewal, its end."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import (
    ScheduleOverlapPolicy,
    WithStartWorkflowOperation,
    WorkflowExecutionStatus,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode

from activities import search_attributes as attributes
from client.context import CallerContext
from client.tickless import TicklessClient
from domain.errors import DomainError, ErrorKind
from domain.identifiers import ENTITIES_QUEUE, routine_workflow_id, schedule_id
from domain.routine_requests import ListRuns, RoutineAnswer, RunList
from domain.runs import RunStatus
from domain.timestamps import format_timestamp
from tests.support.harness import Harness, until
from tests.support.model_steps import Hang, Reply


def _client(harness: Harness, user: str) -> TicklessClient:
    context = CallerContext(actor_user_id=user, receive_id_type="file")
    return TicklessClient(harness.client, context)


async def _refused(call: Any) -> DomainError:
    with pytest.raises(DomainError) as refused:
        await call
    return refused.value


async def test_a_new_routine_is_listed_at_once_and_has_its_schedule(harness: Harness) -> None:
    tickless = _client(harness, harness.name())
    name = harness.name()

    created = await tickless.routines.create(
        {"prompt": "x", "title": "Brief", "schedule": {"cron_expr": "0 9 * * 1-5"}}, name=name
    )

    assert created.id == name
    assert not created.accepted
    assert created.routine is not None
    assert created.routine["next_run_at"] is not None
    page = await tickless.routines.list()
    assert [item["id"] for item in page.routines] == [name]
    schedule = (await harness.client.get_schedule_handle(schedule_id(name)).describe()).schedule
    assert not schedule.state.paused
    assert schedule.policy.overlap == ScheduleOverlapPolicy.BUFFER_ONE
    assert schedule.policy.catchup_window == timedelta(days=7)
    (calendar,) = schedule.spec.calendars
    assert (calendar.hour[0].start, calendar.comment) == (9, "0 9 * * 1-5 UTC")
    handle = harness.client.get_workflow_handle(routine_workflow_id(name))
    found = (await handle.describe()).typed_search_attributes
    assert found[attributes.STATUS] == "active"
    assert found[attributes.DUE] == datetime.fromisoformat(created.routine["next_run_at"])


@pytest.mark.parametrize(
    ("schedule", "guardrails", "overlap", "window"),
    [
        ({"every_seconds": 60}, {}, "BUFFER_ONE", timedelta(days=7)),
        ({"every_seconds": 60, "catchup": "skip"}, {}, "BUFFER_ONE", timedelta(seconds=60)),
        (
            {"every_seconds": 60, "catchup": "all", "catchup_window_seconds": 3600},
            {},
            "BUFFER_ALL",
            timedelta(hours=1),
        ),
        ({"every_seconds": 60}, {"overlap": "skip"}, "ALLOW_ALL", timedelta(seconds=60)),
        ({"every_seconds": 60}, {"max_concurrent": 2}, "ALLOW_ALL", timedelta(seconds=60)),
    ],
)
async def test_the_policy_is_compiled(
    harness: Harness,
    schedule: dict[str, Any],
    guardrails: dict[str, Any],
    overlap: str,
    window: timedelta,
) -> None:
    routine = await harness.routine(schedule=schedule, guardrails=guardrails)

    described = await harness.client.get_schedule_handle(schedule_id(routine)).describe()

    policy = described.schedule.policy
    assert (policy.overlap.name, policy.catchup_window) == (overlap, window)


async def test_a_zone_with_transitions_gets_single_instants(harness: Harness) -> None:
    routine = await harness.routine(
        schedule={"cron_expr": "30 2 * * *", "timezone": "Europe/Berlin"}
    )

    described = await harness.client.get_schedule_handle(schedule_id(routine)).describe()

    spec = described.schedule.spec
    assert spec.time_zone_name == "Europe/Berlin"
    assert spec.cron_expressions == []
    assert len(spec.intervals) >= 2, "the true instants around the next two transitions"
    assert all(interval.offset in (None, timedelta()) for interval in spec.intervals)


async def test_a_name_is_taken_until_it_is_purged(harness: Harness) -> None:
    name = await harness.routine()
    body = {"prompt": "x", "trigger": {"type": "manual"}}

    taken = await _refused(harness.tickless.routines.create(body, name=name))
    assert (taken.kind, taken.field) == (ErrorKind.CONFLICT, "id")
    await harness.tickless.routines.delete(name)
    taken = await _refused(harness.tickless.routines.create(body, name=name))
    assert taken.kind == ErrorKind.CONFLICT
    assert "purge" in taken.message

    await harness.tickless.routines.delete(name, purge=True)
    await until(_is_gone(harness, name), "purged")
    again = await harness.tickless.routines.create(body, name=name)
    assert again.id == name


def _is_gone(harness: Harness, name: str) -> Any:
    async def gone() -> bool:
        try:
            await harness.tickless.routines.get(name)
        except DomainError as error:
            return error.kind == ErrorKind.NOT_FOUND
        return False

    return gone


async def test_a_repeated_creation_is_the_same_routine(harness: Harness) -> None:
    body = {"prompt": "x", "trigger": {"type": "manual"}}
    key = harness.name()

    first, second = await asyncio.gather(
        harness.tickless.routines.create(body, idempotency_key=key),
        harness.tickless.routines.create(body, idempotency_key=key),
    )
    assert first.id == second.id
    other = {**body, "prompt": "y"}
    refused = await _refused(harness.tickless.routines.create(other, idempotency_key=key))
    assert (refused.kind, refused.field) == (ErrorKind.CONFLICT, "idempotency_key")


async def test_ten_creations_of_one_name_make_one_routine(harness: Harness) -> None:
    name = harness.name()
    body = {"prompt": "x", "trigger": {"type": "manual"}}

    results = await asyncio.gather(
        *(harness.tickless.routines.create(body, name=name) for _ in range(10)),
        return_exceptions=True,
    )

    refused = [item for item in results if isinstance(item, DomainError)]
    assert len(refused) == 9
    assert {error.kind for error in refused} == {ErrorKind.CONFLICT}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"prompt": "x", "schedule": {"every_seconds": 59}}, "schedule.every_seconds"),
        ({"prompt": "x", "promt": "y", "schedule": {"every_seconds": 60}}, "promt"),
        ({"prompt": "x", "trigger": {"type": "event", "pattern": "("}}, "trigger.pattern"),
        (
            {
                "action": {"type": "full_job", "title": "t"},
                "trigger": {"type": "manual"},
            },
            "action.description",
        ),
    ],
)
async def test_a_refused_creation_leaves_nothing(
    harness: Harness, body: dict[str, Any], field: str
) -> None:
    name = harness.name()

    refused = await _refused(harness.tickless.routines.create(body, name=name))

    assert refused.field == field
    with pytest.raises(RPCError) as absent:
        await harness.client.get_workflow_handle(routine_workflow_id(name)).describe()
    assert absent.value.status == RPCStatusCode.NOT_FOUND


async def test_a_workflow_without_a_routine_ends_by_itself(harness: Harness) -> None:
    handle = await harness.client.start_workflow(
        "Routine", {}, id=routine_workflow_id(harness.name()), task_queue=ENTITIES_QUEUE
    )

    async def failed() -> bool:
        return (await handle.describe()).status == WorkflowExecutionStatus.FAILED

    await until(failed, "it fails and says what to use")


async def test_plain_updates_work_without_our_client(harness: Harness) -> None:
    routine = await harness.routine(schedule={"every_seconds": 3600})
    handle = harness.client.get_workflow_handle(routine_workflow_id(routine))

    paused = await handle.execute_update("pause", result_type=RoutineAnswer)
    assert paused.routine.status == "paused"
    schedule = await harness.client.get_schedule_handle(schedule_id(routine)).describe()
    assert schedule.schedule.state.paused
    patched = await handle.execute_update(
        "patch", {"changes": {"title": "New", "status": "active"}}, result_type=RoutineAnswer
    )
    assert (patched.routine.title, patched.routine.status) == ("New", "active")
    runs: RunList = await handle.query("runs", result_type=RunList)
    assert runs.runs == []


async def test_a_changed_schedule_is_put(harness: Harness) -> None:
    routine = await harness.routine(schedule={"every_seconds": 3600})

    answer = await harness.tickless.routines.patch(
        routine, {"schedule": {"cron_expr": "15 6 * * *", "timezone": "Asia/Kolkata"}}
    )

    assert answer.routine.schedule is not None
    described = await harness.client.get_schedule_handle(schedule_id(routine)).describe()
    assert described.schedule.spec.time_zone_name == "Asia/Kolkata"
    assert described.info.next_action_times[0] == answer.routine.next_run_at
    stale = await _refused(harness.tickless.routines.patch(routine, {"title": "x"}, if_revision=0))
    assert (stale.kind, stale.field) == (ErrorKind.CONFLICT, "revision")


async def test_others_cannot_see_or_change_it(harness: Harness) -> None:
    routine = await harness.routine()
    stranger = _client(harness, "stranger")

    calls = [
        stranger.routines.get(routine),
        stranger.routines.pause(routine),
        stranger.routines.delete(routine),
        stranger.routines.runs(routine),
        stranger.runs.trigger(routine),
    ]
    for call in calls:
        refused = await _refused(call)
        assert (refused.kind, refused.field) == (ErrorKind.NOT_FOUND, "id")
    assert (await harness.tickless.routines.get(routine)).routine.status == "active"


async def test_lists_are_sorted_and_paged(harness: Harness) -> None:
    tickless = _client(harness, harness.name())
    names = [harness.name() for _ in range(5)]
    for name in names:
        await tickless.routines.create({"prompt": "x", "trigger": {"type": "manual"}}, name=name)
    await tickless.routines.pause(names[0])

    first = await tickless.routines.list(limit=2)
    second = await tickless.routines.list(limit=2, cursor=first.next_cursor)
    third = await tickless.routines.list(limit=2, cursor=second.next_cursor)

    found = [item["id"] for page in (first, second, third) for item in page.routines]
    assert found == names[::-1]
    assert third.next_cursor is None

    async def paused() -> bool:
        page = await tickless.routines.list(status="paused")
        return [item["id"] for item in page.routines] == [names[0]]

    await until(paused, "the status filter follows")
    for bad in ({"limit": 0}, {"limit": 201}, {"status": "done"}, {"cursor": "x"}):
        refused = await _refused(tickless.routines.list(**bad))
        assert (refused.kind, refused.field) == (ErrorKind.INVALID_FIELD, next(iter(bad)))


async def test_continue_as_new_loses_nothing(harness: Harness) -> None:
    routine = await harness.routine(Hang("begun", 1), Reply("Second."))
    handle = harness.client.get_workflow_handle(routine_workflow_id(routine))
    before = (await handle.describe()).run_id
    first = await harness.tickless.runs.trigger(routine)
    await harness.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in harness.models.calls)
    )
    second = await harness.tickless.runs.trigger(routine)
    assert second.verdict is not None
    assert second.verdict.decision == "queue"

    await handle.signal("upgrade")

    async def renewed() -> bool:
        return (await handle.describe()).run_id != before

    await until(renewed, "continued as new")
    answer = await harness.tickless.routines.get(routine)
    assert answer.routine.running
    await harness.tickless.runs.cancel(first.run_id)
    view = await harness.tickless.runs.wait(second.run_id)
    assert view.text == "Second."
    runs: RunList = await handle.query("runs", ListRuns(limit=10), result_type=RunList)
    assert {record.id: record.status for record in runs.runs} == {
        first.run_id: RunStatus.CANCELLED,
        second.run_id: RunStatus.ATTENTION,
    }
    assert (await harness.tickless.routines.get(routine)).routine.run_count == 1


async def test_upgrading_under_load_books_every_run_once(harness: Harness) -> None:
    routine = await harness.routine(Reply("Done."), guardrails={"max_concurrent": 10})
    handle = harness.client.get_workflow_handle(routine_workflow_id(routine))

    for _ in range(5):
        await asyncio.gather(
            *(harness.run_once(routine) for _ in range(8)), handle.signal("upgrade")
        )

    assert (await harness.tickless.routines.get(routine)).routine.run_count == 40


async def test_deleting_cancels_what_runs_and_sends_nothing_more(harness: Harness) -> None:
    routine = await harness.routine(Hang("begun", 1), schedule={"every_seconds": 3600})
    started = await harness.tickless.runs.trigger(routine)
    await harness.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in harness.models.calls)
    )

    answer = await harness.tickless.routines.delete(routine)

    assert answer.routine.status == "deleted"
    view = await harness.tickless.runs.wait(started.run_id)
    assert view.record.status == RunStatus.CANCELLED
    assert view.deliveries == []
    with pytest.raises(RPCError):
        await harness.client.get_schedule_handle(schedule_id(routine)).describe()
    refused = await _refused(harness.tickless.runs.trigger(routine))
    assert refused.kind == ErrorKind.CONFLICT
    restored = await harness.tickless.routines.patch(routine, {"status": "active"})
    assert restored.routine.status == "active"
    await harness.client.get_schedule_handle(schedule_id(routine)).describe()


async def test_a_time_that_passed_before_the_schedule_existed_still_fires(
    harness: Harness,
) -> None:
    """A creation that waited for a worker past its own time is made up for, once."""
    at = (datetime.now(UTC) + timedelta(seconds=3)).replace(microsecond=0)
    routine = await harness.routine(Reply("Late."), schedule={"run_at": format_timestamp(at)})

    async def ran() -> bool:
        runs = await harness.tickless.routines.runs(routine)
        return any(record.status == RunStatus.ATTENTION for record in runs)

    await until(ran, "it fired")
    assert (await harness.tickless.routines.get(routine)).routine.run_count == 1


async def test_fifty_pauses_and_resumes_at_once_leave_one_truth(harness: Harness) -> None:
    routine = await harness.routine(schedule={"every_seconds": 3600})

    await asyncio.gather(
        *(harness.tickless.routines.pause(routine) for _ in range(25)),
        *(harness.tickless.routines.resume(routine) for _ in range(25)),
    )

    answer = await harness.tickless.routines.get(routine)
    described = await harness.client.get_schedule_handle(schedule_id(routine)).describe()
    assert described.schedule.state.paused == (answer.routine.status == "paused")


async def test_pausing_everything_refuses_fires_and_parks_runs(harness: Harness) -> None:
    """Alone on its server's `control`: every other test of this process would be refused."""
    routine = await harness.routine(Reply("After."))
    before = await harness.tickless.system.status()
    assert not before.paused
    paused = await harness.tickless.system.pause_all("maintenance")
    try:
        assert (paused.paused, paused.reason) == (True, "maintenance")
        assert (await harness.tickless.system.status()).paused
        await until(_triggers(harness, routine, "system_paused"), "fires are refused")
    finally:
        await harness.tickless.system.resume_all()
    await until(_triggers(harness, routine, ""), "fires are admitted again")


def _triggers(harness: Harness, routine: str, refusal: str) -> Any:
    """The flag may be a second old in the workers, so both answers come within that time.

    Not waiting for the end: a run that was admitted within that second parks before its model.
    """

    async def answers() -> bool:
        try:
            await harness.tickless.runs.trigger(routine)
        except DomainError as error:
            return bool(refusal) and refusal in error.message
        return not refusal

    return answers


async def test_starting_the_same_entity_twice_is_one(harness: Harness) -> None:
    """The update helper is given a factory: an operation of the SDK works once only."""
    operation: Any = WithStartWorkflowOperation(
        "Control",
        {},
        id=f"control-{harness.name()}",
        task_queue=ENTITIES_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
    )
    await harness.client.execute_update_with_start_workflow(
        "resume_all", start_workflow_operation=operation
    )
    with pytest.raises(RuntimeError):
        await harness.client.execute_update_with_start_workflow(
            "resume_all", start_workflow_operation=operation
        )
