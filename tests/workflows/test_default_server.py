"""The entity tests that depend on server flags, on a server without any of them.

A default server takes ten updates per workflow at a time and pushes no cancellations; the update
helper and the heartbeats have to make up for both (DESIGN §3 rule 6, §4).
"""

import asyncio
from collections.abc import AsyncIterator

import pytest

from domain.admission import RunEnded
from domain.errors import DomainError, ErrorKind
from domain.identifiers import routine_workflow_id
from domain.routine_requests import ChangeRoutine, RoutineAnswer
from domain.runs import RunStatus
from tests.support.harness import Harness, running_harness, running_server
from tests.support.model_steps import Hang, Reply
from worker.cancellation import pushes_cancellations

# Far more than the ten that a default server takes at a time.
AT_ONCE = 200


@pytest.fixture(scope="module")
async def plain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    """A Tickless on a server without the dev stack's flags."""
    folder = tmp_path_factory.mktemp("plain")
    async with (
        running_server(folder, dynamic_config={}) as server,
        running_harness(folder, server) as running,
    ):
        yield running


async def test_it_pushes_no_cancellations(plain: Harness) -> None:
    assert not await pushes_cancellations(plain.client)


async def test_two_hundred_updates_at_once_all_get_their_answer(plain: Harness) -> None:
    routine = await plain.routine()

    answers = await asyncio.gather(
        *(plain.tickless.routines.pause(routine) for _ in range(AT_ONCE))
    )

    assert {answer.routine.status for answer in answers} == {"paused"}
    assert {answer.routine.revision for answer in answers} == {1}, "a repeated pause is no change"


async def test_forty_triggers_at_once_are_counted_exactly(plain: Harness) -> None:
    routine = await plain.routine(Reply("Done."), guardrails={"max_concurrent": 10})

    async def trigger() -> RunStatus | None:
        try:
            return (await plain.run_once(routine)).record.status
        except DomainError as error:
            if error.kind != ErrorKind.CONFLICT:
                raise
            return None

    statuses = await asyncio.gather(*(trigger() for _ in range(40)))

    ran = [status for status in statuses if status is not None]
    assert set(ran) == {RunStatus.ATTENTION}
    assert (await plain.tickless.routines.get(routine)).routine.run_count == len(ran)


async def test_a_cancellation_arrives_by_heartbeat(plain: Harness) -> None:
    routine = await plain.routine(Hang("begun", 1))
    started = await plain.tickless.runs.trigger(routine)
    await plain.models.wait_for(
        lambda: any(routine in " ".join(call.texts) for call in plain.models.calls)
    )

    view = await plain.tickless.runs.cancel(started.run_id)

    assert view.record.status == RunStatus.CANCELLED
    (call,) = [call for call in plain.models.calls if routine in " ".join(call.texts)]
    await plain.models.wait_for(lambda: call.client_closed_at is not None)


async def test_an_unforeseen_fault_in_a_handler_fails_only_its_message(plain: Harness) -> None:
    """A handler that raises anything but a FailureError would wedge the entity for ever."""
    routine = await plain.routine()
    handle = plain.client.get_workflow_handle(routine_workflow_id(routine))

    with pytest.raises(Exception, match="failed"):
        await handle.execute_update("mark_run", {"nonsense": True}, result_type=RunEnded)

    answer = await handle.execute_update("pause", ChangeRoutine(), result_type=RoutineAnswer)
    assert answer.routine.status == "paused"
