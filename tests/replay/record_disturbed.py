"""Scenarios for the recorded histories in which something comes too early, too late or not at all.

Each is there for a mark of `workflow.patched` that no ordinary day leaves. Owns playing them, on a
server of its own whose queues are served apart, so that one can be silent for a while; `record`
owns the files.
"""

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.exceptions import ApplicationError

from activities.failures import ENTITY_SILENT
from activities.sessions import SessionActivities
from client import CallerContext, TicklessClient
from domain.identifiers import (
    ENTITIES_QUEUE,
    LLM_QUEUE,
    RUNS_QUEUE,
    SERVED_QUEUES,
    session_workflow_id,
)
from domain.jobs import JobStatus, JobWaiting
from domain.lease_queue_state import LeaseAnswer, LeaseKind, RequestLease
from domain.run_start import StartRun
from domain.runs import FireKind, run_workflow_id
from domain.session_requests import (
    ReleaseSession,
    RequestSession,
    SessionState,
    SessionView,
)
from tests.support.conversations import conversation
from tests.support.harness import Harness, running_harness, running_server, until
from tests.support.jobs import StartedJob, calls, said, start_job
from tests.support.model_steps import Behaviour, Hang, Reply
from tests.support.taken_chats import taken_chat
from tests.support.tool_runs import asks, run_with
from tests.support.worker_process import worker_process
from worker.process import running_workers

Save = Callable[[Harness, str, str], Awaitable[None]]
Session = WorkflowHandle[Any, Any]


async def record_disturbed(folder: Path, prefix: str, save: Save) -> None:
    """Play every scenario and save its histories."""
    apart = (RUNS_QUEUE, LLM_QUEUE)
    others = tuple(name for name in SERVED_QUEUES if name not in apart)
    async with (
        running_server(folder) as server,
        running_harness(folder / "disturbed", server, queues=others) as harness,
    ):
        async with _serving(harness, LLM_QUEUE):
            async with _serving(harness, RUNS_QUEUE):
                await _tools(harness, prefix, save)
                await _stopped_while_parked(harness, prefix, save)
                await _holder_is_gone(harness, prefix, save)
                await _cancelled_while_asked(harness, prefix, save)
                await _waits_for_a_slot(harness, prefix, save)
                await _cancelled_twice(harness, prefix, save)
                await _result_given_up(harness, prefix, save)
            await _cancelled_early(harness, prefix, save)
            await _interrupted_early(harness, prefix, save)
            await _granted_for_nothing(harness, prefix, save)
            await _interrupted_with_an_answer(harness, prefix, save)
        async with _serving(harness, RUNS_QUEUE):
            await _lost(harness, prefix, save)


@asynccontextmanager
async def _serving(harness: Harness, queue: str) -> AsyncGenerator[None]:
    async with running_workers(harness.client, harness.settings, os.environ, (queue,)):
        yield


async def _tools(harness: Harness, prefix: str, save: Save) -> None:
    """A lightweight run with tools: two rounds, calls side by side and one that is refused."""
    view = await run_with(
        harness,
        asks(("time_now", {}), ("file_list", {})),
        asks(("no_such_tool", {})),
        Reply("It is late."),
    )
    await save(harness, view.record.workflow_id, f"{prefix}-run-tools")


async def _stopped_while_parked(harness: Harness, prefix: str, save: Save) -> None:
    """Everything is paused, a turn is parked, and its user stops it."""
    chat = conversation(harness, Reply("Not paused."))
    await harness.tickless.system.pause_all("for the record")
    try:
        parked = await chat.parked()
        await chat.handle.execute_update("stop")
        await chat.settled(parked)
        await chat.idle()
    finally:
        await harness.tickless.system.resume_all()
    await save(harness, chat.handle.id, f"{prefix}-session-disturbed-while-paused")


async def _holder_is_gone(harness: Harness, prefix: str, save: Save) -> None:
    """Who held a session does not exist any more when its lease is over."""
    key = f"chat-{harness.name()}"
    session = await harness.client.start_workflow(
        "Session",
        SessionState(key=key),
        id=session_workflow_id(key),
        task_queue=ENTITIES_QUEUE,
    )
    lease = RequestLease(owner="routine-run/gone", request_id="gone", lease_seconds=1)
    await session.execute_update("request", lease)

    async def free() -> bool:
        return (await _view(session)).holder is None

    await until(free, "the session is free")
    await save(harness, session.id, f"{prefix}-session-looks-beside")


async def _cancelled_while_asked(harness: Harness, prefix: str, save: Save) -> None:
    """A job is cancelled while a person is asked."""
    write = ("file_write", '{"path": "a.txt", "content": "x"}')
    job = await start_job(harness, calls(write), said("Never."))
    await job.reaches(JobStatus.WAITING_APPROVAL)
    await job.handle.execute_update("cancel")
    await job.result()
    await save(harness, job.handle.id, f"{prefix}-job-cancelled-while-asked")


async def _waits_for_a_slot(harness: Harness, prefix: str, save: Save) -> None:
    """One job more than there are slots."""
    gate = threading.Event()
    jobs: list[StartedJob] = []
    for _ in range(harness.settings.max_parallel_jobs):
        jobs.append(await start_job(harness, Reply("Done.", gate=gate)))
        await jobs[-1].reaches(JobStatus.RUNNING)
    last = await start_job(harness, Reply("Done.", gate=gate))

    async def waits() -> bool:
        return (await last.view()).record.waiting_for == JobWaiting.SLOT

    await until(waits, "it waits for a slot")
    gate.set()
    for job in jobs:
        await job.result()
    await _save_ended(harness, last, f"{prefix}-job-waits-for-a-slot", save)


async def _cancelled_twice(harness: Harness, prefix: str, save: Save) -> None:
    """A run is cancelled again before it has ended."""
    run = await _run_in(harness, f"chat-{harness.name()}", Hang("begun", 1))

    async def is_asked() -> bool:
        found = (await run.describe()).raw_description.pending_activities
        return any(item.activity_type.name == "call_model" for item in found)

    await until(is_asked, "the model is asked")
    await asyncio.gather(*(run.signal("cancel") for _ in range(3)))
    await run.result()
    await save(harness, run.id, f"{prefix}-run-cancelled-twice")


async def _result_given_up(harness: Harness, prefix: str, save: Save) -> None:
    """A run is cancelled that waits to say the result of its job in a chat its user has taken."""
    async with taken_chat(harness) as (run, _chat):
        await harness.tickless.runs.cancel(run.run_id)
    await save(harness, run.workflow_id, f"{prefix}-run-result-given-up")


async def _cancelled_early(harness: Harness, prefix: str, save: Save) -> None:
    """A run is told to end before anybody has begun it."""
    routine = await harness.routine(Reply("Never."))
    run = await harness.client.start_workflow(
        "RoutineRun",
        StartRun(routine_id=routine, kind=FireKind.MANUAL, occurred_at=datetime.now(UTC)),
        id=run_workflow_id(f"{routine}/early"),
        task_queue=RUNS_QUEUE,
    )
    await run.signal("cancel")
    async with _serving(harness, RUNS_QUEUE):
        await run.result()
    await save(harness, run.id, f"{prefix}-run-cancelled-early")


async def _interrupted_early(harness: Harness, prefix: str, save: Save) -> None:
    """While nobody serves a run that waits, its turn comes and is over."""
    key = f"chat-{harness.name()}"
    session = harness.client.get_workflow_handle(session_workflow_id(key))
    async with _serving(harness, RUNS_QUEUE):
        first = await _run_in(harness, key, Hang("begun", 1))

        async def held() -> bool:
            return (await _view(session)).holder is not None

        await until(held, "the first holds the session")
        second = await _run_in(harness, key, Reply("Second."))

        async def waits() -> bool:
            return (await _view(session)).waiting == 1

        await until(waits, "the second waits")
    await session.signal("release", ReleaseSession(key=first.id))
    await _signalled(second, ["granted"])
    await _user_speaks(session)
    await _signalled(second, ["granted", "interrupt"])
    async with _serving(harness, RUNS_QUEUE):
        await second.result()
        await first.signal("cancel")
        await first.result()
    await save(harness, second.id, f"{prefix}-run-early-interrupt")


async def _interrupted_with_an_answer(harness: Harness, prefix: str, save: Save) -> None:
    """While nobody serves a run, its model asks for a call, and a user wants the session."""
    key, gate = f"chat-{harness.name()}", threading.Event()
    session = harness.client.get_workflow_handle(session_workflow_id(key))
    async with _serving(harness, RUNS_QUEUE):
        asking = replace(asks(("time_now", {})), gate=gate)
        run = await _run_in(harness, key, asking, Reply("It is late."), use_tools=True)

        async def is_asked() -> bool:
            found = (await run.describe()).raw_description.pending_activities
            return any(item.activity_type.name == "call_model" for item in found)

        await until(is_asked, "the model is asked")
    gate.set()

    async def answered() -> bool:
        return not (await run.describe()).raw_description.pending_activities

    await until(answered, "the model has answered")
    await _user_speaks(session)
    await _signalled(run, ["interrupt"])
    async with _serving(harness, RUNS_QUEUE):
        await run.result()
    await save(harness, run.id, f"{prefix}-run-interrupted-with-an-answer")


async def _user_speaks(session: Session) -> None:
    """A user wants a session, and is gone when it is given to him."""
    turn = RequestLease(
        owner="user-turn", request_id="u", kind=LeaseKind.USER, lease_seconds=60, checked=True
    )
    await session.execute_update("request", turn)


async def _granted_for_nothing(harness: Harness, prefix: str, save: Save) -> None:
    """A grant is taken back before the answer that says so arrives."""
    key = f"chat-{harness.name()}"
    session = harness.client.get_workflow_handle(session_workflow_id(key))

    async def taken_back(owner: str) -> None:
        await session.signal("release", ReleaseSession(key=owner))
        before = (await session.describe()).run_id
        # Of the execution that comes next Temporal does not know what was answered.
        await session.signal("upgrade")

        async def renewed() -> bool:
            return (await session.describe()).run_id != before

        await until(renewed, "the session has continued as new")

    class Late(SessionActivities):
        """Answers the first question only after its answer is void."""

        happened = False

        @activity.defn(name="request_session")
        async def request_session(self, request: RequestSession) -> LeaseAnswer:
            answer = await super().request_session(request)
            if not activity.info().is_local or not request.lease.request_id.endswith(":1"):
                return answer
            if not Late.happened:
                Late.happened = True
                await taken_back(request.lease.owner)
            raise ApplicationError("nobody hears the answer", type=ENTITY_SILENT)

    with patch("worker.process.SessionActivities", Late):
        async with _serving(harness, RUNS_QUEUE):
            run = await _run_in(harness, key, Reply("At last."))
            await run.result()
    await save(harness, run.id, f"{prefix}-run-grant-taken-back")


async def _lost(harness: Harness, prefix: str, save: Save) -> None:
    """The worker of the models dies in the middle of three answers; two of them are cancelled."""
    async with worker_process(harness, queues=[LLM_QUEUE]) as worker:
        routine = await harness.routine(Hang("begun", 1))
        run = harness.client.get_workflow_handle(
            (await harness.tickless.runs.trigger(routine)).workflow_id
        )
        ended = await start_job(harness, Hang("begun", 1), step_timeout_seconds=1)
        going_on = await start_job(
            harness, Hang("begun", 1), said("Went on."), step_timeout_seconds=1
        )
        marks = [routine, ended.mark, going_on.mark]
        await harness.models.wait_for(
            lambda: all(any(mark in str(c.body) for c in harness.models.calls) for mark in marks)
        )
        await worker.kill()
    await run.signal("cancel")
    await ended.handle.signal("cancel")
    async with _serving(harness, LLM_QUEUE):
        await run.result()
        await _save_ended(harness, ended, f"{prefix}-job-cancelled-with-a-fault", save)
        await _save_ended(harness, going_on, f"{prefix}-job-step-lost", save)
    await save(harness, run.id, f"{prefix}-run-cancelled-with-a-fault")


async def _save_ended(harness: Harness, job: StartedJob, name: str, save: Save) -> None:
    await job.result()
    await save(harness, job.handle.id, name)


async def _run_in(
    harness: Harness, key: str, *steps: Behaviour, use_tools: bool = False
) -> WorkflowHandle[Any, Any]:
    """A run that speaks in a session."""
    given = harness.settings.context.model_dump(exclude_none=True)
    context = CallerContext.model_validate({**given, "session_key": key})
    tickless = TicklessClient(harness.client, context)
    name = harness.name()
    harness.scripts.on(name, *steps)
    action = {"type": "lightweight", "prompt": f"Do {name}.", "use_tools": use_tools}
    await tickless.routines.create({"action": action, "trigger": {"type": "manual"}}, name=name)
    run = await tickless.runs.trigger(name)
    return harness.client.get_workflow_handle(run.workflow_id)


async def _view(session: Session) -> SessionView:
    view: SessionView = await session.query("view", result_type=SessionView)
    return view


async def _signalled(run: WorkflowHandle[Any, Any], names: list[str]) -> None:
    """Wait until these signals stand in a history."""

    async def there() -> bool:
        found = [
            event.workflow_execution_signaled_event_attributes.signal_name
            async for event in run.fetch_history_events()
            if event.HasField("workflow_execution_signaled_event_attributes")
        ]
        return found == names

    await until(there, f"{run.id} has the signals {names}")
