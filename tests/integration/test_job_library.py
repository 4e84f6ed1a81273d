"""Jobs and approvals in the library: who decides, what is allowed for good, what is long gone."""

import asyncio
import dataclasses
import sys
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.channels import build_channels
from activities.emitting import Emitter
from activities.failures import SESSION_LOST
from activities.jobs import JobActivities, PutJob
from activities.messenger import Messenger
from activities.sessions import SessionHolds
from activities.store import open_store
from client.approvals import Approvals
from client.context import CallerContext
from client.tickless import TicklessClient
from domain.approvals import Approval, ApprovalStatus
from domain.channels import FileChannel
from domain.deliveries import Part
from domain.errors import DomainError, ErrorKind
from domain.identifiers import ENTITIES_QUEUE, session_workflow_id
from domain.job_messages import JobStage
from domain.jobs import JobStatus, job_workflow_id
from domain.runs import RunStatus
from domain.scopes import Route, Scope, ScopeKind
from domain.session_requests import SessionHold, SessionState, session_thread_id
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said
from tests.support.ledger_rows import NOON, approval, job_record, thread
from tests.support.model_steps import Reply
from workflows.session import Session

WRITE = '{"path": "%s.txt", "content": "x"}'


def library(harness: Harness, actor: str, approvers: tuple[str, ...] = ()) -> TicklessClient:
    context = CallerContext(actor_user_id=actor, receive_id_type="file")
    return TicklessClient(harness.client, context, approvers=approvers)


async def pending(approvals: Approvals, job_id: str) -> Approval:
    """The approval that a job waits for."""
    found: list[Approval] = []

    async def asked() -> bool:
        listed = await approvals.list(status="pending", limit=200)
        found[:] = [item for item in listed.approvals if item.job_id == job_id]
        return bool(found)

    await until(asked, "an approval is asked for")
    return found[0]


async def test_the_setting_approvers_narrows_who_decides(harness: Harness) -> None:
    mark = harness.name()
    harness.scripts.on(mark, calls(("file_write", WRITE % mark)), said("Not written."))
    ours = library(harness, mark, approvers=("boss",))
    job = (await ours.jobs.create({"title": "W", "description": f"Do {mark}."})).job_id
    key = (await pending(ours.approvals, job)).id
    with pytest.raises(DomainError) as refused:
        await ours.approvals.decide(key, "approve")
    assert (refused.value.kind, refused.value.field) == (ErrorKind.PERMISSION_DENIED, "approvers")
    assert (await ours.approvals.get(key)).status == ApprovalStatus.PENDING
    narrowed = library(harness, mark, approvers=("boss", mark))
    assert (await narrowed.approvals.decide(key, "deny")).decided_by == mark
    assert (await ours.jobs.wait(job)).result == "Not written."


async def test_what_is_always_allowed_does_not_ask_again(harness: Harness) -> None:
    name, gate = harness.name(), threading.Event()
    write = calls(("file_write", WRITE % name))
    harness.scripts.on(name, write, Reply("First.", gate=gate), write, said("Second."))
    action = {"type": "full_job", "title": "Research", "description": f"Do {name}."}
    body: dict[str, Any] = {"action": action, "trigger": {"type": "manual"}, "fresh": True}
    ours = library(harness, name)
    await ours.routines.create(body, name=name)
    run = (await ours.runs.trigger(name)).run_id

    async def works() -> bool:
        return (await ours.runs.get(run)).record.job_id is not None

    await until(works, "its job is known")
    job = (await ours.runs.get(run)).record.job_id or ""
    key = (await pending(ours.approvals, job)).id
    await ours.approvals.decide(key, "approve")

    async def has_run() -> bool:
        return (await ours.approvals.get(key)).status == ApprovalStatus.CONSUMED

    await until(has_run, "the call has run")
    # Not too late: the job is there.
    await ours.approvals.decide(key, "approve", always=True)
    gate.set()
    assert (await ours.runs.wait(run)).text == "First."
    with pytest.raises(DomainError) as refused:
        await ours.approvals.decide(key, "approve", always=True)
    assert (refused.value.kind, refused.value.field) == (ErrorKind.CONFLICT, "always")
    assert (await ours.approvals.decide(key, "approve")).status == ApprovalStatus.CONSUMED
    again = await ours.runs.wait((await ours.runs.trigger(name)).run_id)
    assert (again.record.status, again.text) == (RunStatus.ATTENTION, "Second.")
    listed = await ours.approvals.list()
    assert [(item.id, item.status) for item in listed.approvals] == [(key, "consumed")]


async def test_a_result_is_said_when_nobody_else_speaks_in_the_chat(harness: Harness) -> None:
    key, gate, mark = f"chat-{harness.name()}", threading.Event(), harness.name()
    given = harness.settings.context.model_dump(exclude_none=True)
    context = CallerContext.model_validate({**given, "session_key": key})
    ours, scope = TicklessClient(harness.client, context), context.scope()
    speaks = harness.name()
    harness.scripts.on(speaks, Reply(text="First.", gate=gate))
    harness.scripts.on(mark, said("The report."))
    body = {"prompt": f"Do {speaks}.", "trigger": {"type": "manual"}}
    await ours.routines.create(body, name=speaks)
    run = (await ours.runs.trigger(speaks)).run_id
    await harness.models.wait_for(lambda: any(speaks in str(c.body) for c in harness.models.calls))
    job = (await ours.jobs.create({"title": "W", "description": f"Do {mark}."})).job_id

    async def is_done() -> bool:
        return (await ours.jobs.get(job)).status == JobStatus.COMPLETED

    await until(is_done, "the job is done")
    session = harness.client.get_workflow_handle(session_workflow_id(key))

    async def waits() -> bool:
        return (await session.query(Session.view)).waiting == 1

    await until(waits, "it waits for the chat")
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        row = await store.jobs.get(job)
        assert row is not None
        assert row.status == JobStatus.COMPLETED
        assert await store.outbox.get(f"{job}/final") is None
        ended = await asyncio.wait_for(ours.jobs.wait(job), 20)
        assert (ended.result, ended.stage) == ("The report.", JobStage.SESSION)
        gate.set()
        assert (await ours.runs.wait(run)).text == "First."
        await harness.client.get_workflow_handle(job_workflow_id(job)).result()
        assert (await ours.jobs.wait(job)).stage == JobStage.ENDED
        first, second = [await store.outbox.get(f"{name}/final") for name in (run, job)]
    assert first is not None
    assert second is not None
    assert first.sent_at is not None
    assert second.sent_at is not None
    assert first.sent_at <= second.sent_at
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        heard = await store.threads.messages(session_thread_id(scope, key))
    assert [message.content for message in heard][-1] == second.text

    async def is_free() -> bool:
        return (await session.query(Session.view)).holder is None

    await until(is_free, "the chat is free")


@pytest.mark.parametrize(("seconds", "is_late"), [(1, False), (6, True)])
async def test_a_result_that_lost_the_chat_is_not_said_yet(
    harness: Harness, tmp_path: Path, seconds: int, is_late: bool
) -> None:
    """As if the first attempts had failed until a user was given the session."""
    key = f"chat-{harness.name()}"
    await harness.client.start_workflow(
        Session.run,
        SessionState(key=key),
        id=session_workflow_id(key),
        task_queue=ENTITIES_QUEUE,
    )
    channels = build_channels({"file": FileChannel()}, folder=tmp_path, console=sys.stdout)
    record = job_record(f"job_{harness.name()}", run_id=None, status=JobStatus.COMPLETED)
    route = Route(receive_id_type="file")
    late = ActivityEnvironment()
    late.info = dataclasses.replace(
        late.info, started_time=NOON, scheduled_time=NOON - timedelta(seconds=seconds)
    )
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        activities = JobActivities(
            store,
            Messenger(channels, "file"),
            Emitter(harness.client),
            holds=SessionHolds(harness.client),
        )
        request = PutJob(
            record=record,
            thread=thread(),
            result=Part(part="final", route=route, text="The report."),
            hold=SessionHold(key=key, token="a user has it"),
        )
        if is_late:
            with pytest.raises(ApplicationError) as lost:
                await late.run(activities.put_job, request)
            assert (lost.value.type, lost.value.non_retryable) == (SESSION_LOST, True)
        else:
            await late.run(activities.put_job, request)
        row = await store.outbox.get(f"{record.id}/final")
        heard = await store.threads.messages(session_thread_id(Scope.of_text(record.scope), key))
    assert (row.status if row else None) == (None if is_late else "sent")
    assert [message.content for message in heard] == ([] if is_late else ["The report."])


async def test_what_only_the_ledger_remembers(harness: Harness) -> None:
    """Temporal forgets closed workflows long before the ledger does."""
    actor = harness.name().replace("-", "")
    scope = Scope(kind=ScopeKind.USER, id=actor).text
    ended, lost = (f"job_{actor}{number}" for number in (1, 2))
    waits = f"approval_{actor}"
    rows = [
        job_record(ended, status=JobStatus.COMPLETED, result="Done.", scope=scope),
        job_record(
            lost,
            status=JobStatus.WAITING_APPROVAL,
            scope=scope,
            created_at=NOON + timedelta(seconds=1),
        ),
    ]
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        await store.threads.ensure(thread())
        for row in rows:
            await store.jobs.put(row)
        await store.approvals.put(approval(waits, job_id=lost, scope=scope))
    ours = library(harness, actor)
    assert (await ours.jobs.get(ended)).result == "Done."
    assert (await ours.jobs.wait(lost)).status == JobStatus.FAILED
    listed = await ours.jobs.list(limit=1)
    assert [(job.id, job.status) for job in listed.jobs] == [(lost, "failed")]
    rest = await ours.jobs.list(limit=1, cursor=listed.next_cursor)
    assert ([job.id for job in rest.jobs], rest.next_cursor) == ([ended], None)
    assert (await ours.approvals.get(waits)).status == ApprovalStatus.STALE
    for change in (
        ours.approvals.decide(waits, "approve"),
        ours.approvals.extend(waits, 60),
        ours.jobs.send(ended, "Hello?"),
        ours.jobs.cancel(lost),
    ):
        with pytest.raises(DomainError) as refused:
            await change
        assert (refused.value.kind, refused.value.field) == (ErrorKind.CONFLICT, "status")
    for nobody_s in (harness.tickless.jobs.get(ended), harness.tickless.approvals.get(waits)):
        with pytest.raises(DomainError) as refused:
            await nobody_s
        assert refused.value.kind == ErrorKind.NOT_FOUND


async def test_ids_that_cannot_be(harness: Harness) -> None:
    for asked in (harness.tickless.jobs.get("\ud800"), harness.tickless.approvals.get("\ud800")):
        with pytest.raises(DomainError) as refused:
            await asked
        assert refused.value.kind == ErrorKind.NOT_FOUND
