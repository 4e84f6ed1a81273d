"""Jobs and approvals in the library: who decides, what is allowed for good, what is long gone."""

from datetime import timedelta
from typing import Any

import pytest

from activities.store import open_store
from client.approvals import Approvals
from client.context import CallerContext
from client.tickless import TicklessClient
from domain.approvals import Approval, ApprovalStatus
from domain.errors import DomainError, ErrorKind
from domain.jobs import JobStatus
from domain.runs import RunStatus
from domain.scopes import Scope, ScopeKind
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said
from tests.support.ledger_rows import NOON, approval, job_record, thread

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
    name = harness.name()
    write = calls(("file_write", WRITE % name))
    harness.scripts.on(name, write, said("First."), write, said("Second."))
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
    await ours.approvals.decide(key, "approve", always=True)
    assert (await ours.runs.wait(run)).text == "First."
    again = await ours.runs.wait((await ours.runs.trigger(name)).run_id)
    assert (again.record.status, again.text) == (RunStatus.ATTENTION, "Second.")
    listed = await ours.approvals.list()
    assert [(item.id, item.status) for item in listed.approvals] == [(key, "consumed")]


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
