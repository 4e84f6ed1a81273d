"""The session gate: one speaker at a time, and a user's turn always wins (automation.md §8)."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.runs import RunIds
from client import TicklessClient
from client.context import CallerContext
from domain.identifiers import routine_workflow_id, session_workflow_id
from domain.lease_queue_state import (
    LeaseAnswer,
    LeaseDecision,
    LeaseKind,
    RequestLease,
)
from domain.routine import RunState
from domain.run_view import RunStage
from domain.runs import RunStatus
from domain.session_requests import ReleaseSession, SessionState, SessionView
from tests.support.harness import Harness, until
from tests.support.model_steps import Behaviour, Hang, Reply
from tests.support.speakers import UserTurn
from workflows.session import Session


def _in_session(harness: Harness, key: str) -> TicklessClient:
    """A client that speaks in a session."""
    given = harness.settings.context.model_dump(exclude_none=True)
    context = CallerContext.model_validate({**given, "session_key": key})
    return TicklessClient(harness.client, context)


async def _routine(harness: Harness, key: str, *steps: Behaviour, **body: Any) -> str:
    name = harness.name()
    harness.scripts.on(name, *steps)
    given = {"prompt": f"Do {name}.", "trigger": {"type": "manual"}, **body}
    await _in_session(harness, key).routines.create(given, name=name)
    return name


async def _session(harness: Harness, key: str) -> SessionView:
    handle = harness.client.get_workflow_handle(session_workflow_id(key))
    return await handle.query(Session.view)


async def _user_turn(harness: Harness, key: str, turn: str) -> LeaseAnswer:
    """What a user's turn asks of the session; its workflow need not exist to be granted at once."""
    handle = harness.client.get_workflow_handle(session_workflow_id(key))
    request = RequestLease(
        owner=f"user-turn/{turn}",
        request_id=turn,
        kind=LeaseKind.USER,
        lease_seconds=60,
        checked=True,
    )
    return await handle.execute_update(Session.request, request)


def _asked(harness: Harness, routine: str) -> int:
    return sum(routine in " ".join(call.texts) for call in harness.models.calls)


async def test_runs_of_one_session_take_turns(harness: Harness) -> None:
    key = f"chat-{harness.name()}"
    first = await _routine(harness, key, Hang("begun", 1))
    second = await _routine(harness, f"{key}|message:9", Reply("Second."))
    holds = await harness.tickless.runs.trigger(first)
    await harness.models.wait_for(lambda: _asked(harness, first) == 1)

    waits = await harness.tickless.runs.trigger(second)

    async def waiting() -> bool:
        return (await _session(harness, key)).waiting == 1

    await until(waiting, "the second run waits for the session")
    found = (await harness.tickless.routines.get(second)).routine
    assert (found.run_state, found.run_count) == (RunState.WAITING_FOR_SESSION, 0)
    assert (await harness.tickless.runs.get(waits.run_id)).stage == RunStage.SESSION
    assert _asked(harness, second) == 0
    await harness.tickless.runs.cancel(holds.run_id)
    view = await harness.tickless.runs.wait(waits.run_id)
    assert view.text == "Second."
    found = (await harness.tickless.routines.get(second)).routine
    assert (found.run_state, found.run_count) == (RunState.IDLE, 1)

    async def idle() -> bool:
        return not (await _session(harness, key)).active

    await until(idle, "the session is let go")


async def test_threads_of_a_chat_do_not_wait_for_each_other(harness: Harness) -> None:
    key = f"chat-{harness.name()}"
    first = await _routine(harness, key, Hang("begun", 1))
    other = await _routine(harness, f"{key}|thread:7", Reply("Beside it."))
    holds = await harness.tickless.runs.trigger(first)
    await harness.models.wait_for(lambda: _asked(harness, first) == 1)

    assert (await harness.run_once(other)).text == "Beside it."

    await harness.tickless.runs.cancel(holds.run_id)


async def test_a_user_turn_interrupts_and_the_run_comes_back(harness: Harness) -> None:
    key = f"chat-{harness.name()}"
    routine = await _routine(harness, key, Hang("half", 1), Reply("After the user."))
    started = await harness.tickless.runs.trigger(routine)
    await harness.models.wait_for(lambda: _asked(harness, routine) == 1)
    assert (await harness.tickless.routines.get(routine)).routine.run_count == 1

    answer = await _user_turn(harness, key, "u1")

    assert answer.decision == LeaseDecision.QUEUED

    # Its workflow does not exist, so the session finds out when it signals the grant; what counts
    # is that the run let go.
    async def let_go() -> bool:
        view = await harness.tickless.runs.get(started.run_id)
        return view.record.status in {RunStatus.INTERRUPTED, RunStatus.RUNNING}

    await until(let_go, "the run lets go")
    view = await harness.tickless.runs.wait(started.run_id)
    assert view.text == "After the user."
    assert view.record.id == started.run_id
    found = (await harness.tickless.routines.get(routine)).routine
    assert (found.run_count, found.last_result and found.last_result[:3]) == (1, "ok:")
    runs = await harness.tickless.routines.runs(routine)
    assert [(run.id, run.status) for run in runs] == [(started.run_id, RunStatus.ATTENTION)]


async def test_the_run_is_uncounted_while_a_user_speaks(harness: Harness) -> None:
    key = f"chat-{harness.name()}"
    queue = harness.name()
    routine = await _routine(harness, key, Hang("half", 1), Reply("After the user."))
    runner = UnsandboxedWorkflowRunner()
    async with Worker(
        harness.client, task_queue=queue, workflows=[UserTurn], workflow_runner=runner
    ):
        turn = await harness.client.start_workflow(UserTurn.run, id=f"{key}-u", task_queue=queue)
        started = await harness.tickless.runs.trigger(routine)
        await harness.models.wait_for(lambda: _asked(harness, routine) == 1)
        session = harness.client.get_workflow_handle(session_workflow_id(key))
        request = RequestLease(
            owner=turn.id, request_id="u", kind=LeaseKind.USER, lease_seconds=60, checked=True
        )
        await session.execute_update(Session.request, request)

        async def has_it() -> bool:
            return await turn.query(UserTurn.token) is not None

        await until(has_it, "the user has the session", 10)

        async def waits_again() -> bool:
            view = await harness.tickless.runs.get(started.run_id)
            return view.stage == RunStage.SESSION and view.record.status == RunStatus.INTERRUPTED

        await until(waits_again, "the run waits again")
        found = (await harness.tickless.routines.get(routine)).routine
        assert (found.run_count, found.run_state) == (0, RunState.WAITING_FOR_SESSION)
        assert _asked(harness, routine) == 1, "nothing is asked while the user speaks"
        await session.signal(Session.release, ReleaseSession(key=turn.id))
        await turn.signal(UserTurn.finish)
        view = await harness.tickless.runs.wait(started.run_id)
        assert view.text == "After the user."
        assert (await harness.tickless.routines.get(routine)).routine.run_count == 1


async def test_a_paused_routine_is_not_let_in(harness: Harness) -> None:
    key = f"chat-{harness.name()}"
    holder = await _routine(harness, key, Hang("begun", 1))
    routine = await _routine(harness, key, Reply("Never."))
    holds = await harness.tickless.runs.trigger(holder)
    await harness.models.wait_for(lambda: _asked(harness, holder) == 1)
    started = await harness.tickless.runs.trigger(routine)

    async def waiting() -> bool:
        return (await _session(harness, key)).waiting == 1

    await until(waiting, "the run waits")
    await harness.tickless.routines.pause(routine)
    view = await harness.tickless.runs.wait(started.run_id)
    assert view.record.status in {RunStatus.CANCELLED, RunStatus.SKIPPED}
    assert view.deliveries == []
    await harness.tickless.runs.cancel(holds.run_id)
    assert _asked(harness, routine) == 0
    found = (await harness.tickless.routines.get(routine)).routine
    assert (found.run_count, found.run_state) == (0, RunState.IDLE)


async def test_a_holder_that_was_terminated_is_found_out(harness: Harness) -> None:
    key = f"chat-{harness.name()}"
    first = await _routine(harness, key, Hang("begun", 1))
    second = await _routine(harness, key, Reply("Next."))
    holds = await harness.tickless.runs.trigger(first)
    await harness.models.wait_for(lambda: _asked(harness, first) == 1)
    await harness.client.get_workflow_handle(holds.workflow_id).terminate("by hand")

    assert (await harness.run_once(second)).text == "Next."


class Stuck:
    """Looks at holders, and comes to no end until it is let go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.over = asyncio.Event()

    @activity.defn(name="find_closed_workflows")
    async def find_closed_workflows(self, _request: RunIds) -> RunIds:
        self.begun.set()
        await self.over.wait()
        return RunIds(ids=[])


async def test_an_interrupted_holder_that_stays_is_revoked(harness: Harness) -> None:
    """It loses the session after 10 s, not before, also while looking at holders hangs."""
    key, stuck = f"chat-{harness.name()}", Stuck()
    async with Worker(
        harness.client,
        task_queue=key,
        workflows=[Session],
        activities=[stuck.find_closed_workflows],
        workflow_runner=UnsandboxedWorkflowRunner(),
    ):
        session = await harness.client.start_workflow(
            Session.run, SessionState(key=key), id=session_workflow_id(key), task_queue=key
        )
        # Some workflows that exist, and one of them never lets go.
        stays, turn = [
            await harness.client.start_workflow("Nobody", id=f"{key}-{name}", task_queue="nobody")
            for name in ("stays", "turn")
        ]

        async def ask(owner: str, kind: LeaseKind, seconds: int) -> None:
            request = RequestLease(
                owner=owner, request_id=owner, kind=kind, lease_seconds=seconds, checked=True
            )
            await session.execute_update(Session.request, request)

        await ask(stays.id, LeaseKind.AUTOMATION, 1)
        await stuck.begun.wait()
        await ask(turn.id, LeaseKind.USER, 60)
        begun = asyncio.get_running_loop().time()
        holder = (await session.query(Session.view)).holder
        assert holder is not None
        assert holder.owner == stays.id

        async def user_holds() -> bool:
            now = (await session.query(Session.view)).holder
            return now is not None and now.owner == turn.id

        await until(user_holds, "the user has the session", 20)
        assert asyncio.get_running_loop().time() - begun > timedelta(seconds=8).total_seconds()
        stuck.over.set()
        for handle in (stays, turn, session):
            await handle.terminate("the test is over")


@pytest.mark.parametrize("key", ["", "|thread:7", "  "])
async def test_a_key_without_a_base_names_no_session(harness: Harness, key: str) -> None:
    routine = await _routine(harness, key, Reply("At once."))
    assert (await harness.run_once(routine)).text == "At once."
    events = await harness.events(routine_workflow_id(routine))
    assert "WORKFLOW_TASK_FAILED" not in events
