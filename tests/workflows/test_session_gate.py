"""The session gate: one speaker at a time, and a user's turn always wins (automation.md §8)."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio import workflow
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from client import TicklessClient
from client.context import CallerContext
from domain.identifiers import ENTITIES_QUEUE, routine_workflow_id, session_workflow_id
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


@workflow.defn(name="UserTurn")
class UserTurn:
    """A user's turn that holds the session until it is told to let go."""

    def __init__(self) -> None:
        self._token: str | None = None
        self._over = False

    @workflow.run
    async def run(self) -> str:
        await workflow.wait_condition(lambda: self._token is not None and self._over)
        return self._token or ""

    @workflow.signal
    def granted(self, grant: dict[str, str]) -> None:
        self._token = grant["token"]

    @workflow.signal
    def finish(self) -> None:
        self._over = True

    @workflow.query
    def token(self) -> str | None:
        return self._token


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


async def test_an_interrupted_holder_that_stays_is_revoked(harness: Harness) -> None:
    """A holder that nobody answers for loses the session after 10 s, not before."""
    key = f"chat-{harness.name()}"
    session = await harness.client.start_workflow(
        Session.run,
        SessionState(key=key),
        id=session_workflow_id(key),
        task_queue=ENTITIES_QUEUE,
    )
    # Some workflow that exists and never lets go.
    stays = await harness.client.start_workflow(
        "Nobody", id=f"{key}-stays", task_queue=f"nobody-{key}"
    )
    turn = await harness.client.start_workflow(
        "Nobody", id=f"{key}-turn", task_queue=f"nobody-{key}"
    )
    for owner, kind in ((stays.id, LeaseKind.AUTOMATION), (turn.id, LeaseKind.USER)):
        request = RequestLease(
            owner=owner, request_id=owner, kind=kind, lease_seconds=60, checked=True
        )
        await session.execute_update(Session.request, request)
    begun = asyncio.get_running_loop().time()
    holder = (await session.query(Session.view)).holder
    assert holder is not None
    assert holder.owner == stays.id

    async def user_holds() -> bool:
        now = (await session.query(Session.view)).holder
        return now is not None and now.owner == turn.id

    await until(user_holds, "the user has the session", 20)
    assert asyncio.get_running_loop().time() - begun > timedelta(seconds=8).total_seconds()
    for handle in (stays, turn, session):
        await handle.terminate("the test is over")


@pytest.mark.parametrize("key", ["", "|thread:7", "  "])
async def test_a_key_without_a_base_names_no_session(harness: Harness, key: str) -> None:
    routine = await _routine(harness, key, Reply("At once."))
    assert (await harness.run_once(routine)).text == "At once."
    events = await harness.events(routine_workflow_id(routine))
    assert "WORKFLOW_TASK_FAILED" not in events
