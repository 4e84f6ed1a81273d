"""What the tables of jobs, calls of tools, approvals and grants keep, on SQLite and PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from alembic import command
from sqlalchemy import create_engine, text

from activities.store import Ledger, Store, StoreError, migrator, open_store
from activities.store.engine import Transaction, engine_options, prepare
from activities.store.urls import read_url, sqlite_file
from domain.approvals import ApprovalStatus
from domain.jobs import JobStatus, JobWaiting
from domain.standing_grants import StandingGrant, grant_id
from domain.tool_actions import ActionStatus
from tests.support.ledger_rows import (
    NOON,
    RUN_ID,
    action,
    approval,
    job_record,
    run_record,
    thread,
)

pytest_plugins = ["tests.support.databases"]


async def test_job_comes_back_as_it_was_put(store: Store) -> None:
    await store.runs.put(run_record())
    await store.threads.ensure(thread())
    record = job_record(
        run_id=RUN_ID,
        routine_id="morning-brief",
        goal_id="goal_1",
        status=JobStatus.COMPLETED,
        iteration=3,
        max_iterations=7,
        recoveries=1,
        attempts=5,
        thread_id="thread-1",
        user_id="me",
        started_at=NOON,
        finished_at=NOON,
        waiting_for=JobWaiting.SLOT,
        result="done \U0001f600",
        error="none",
        tokens_in=2**40,
        tokens_out=0,
        cost_micros=2**50,
        limit_reached=True,
        revision=9,
    )
    for _ in range(2):
        await store.jobs.put(record)
    assert await store.jobs.get("job_1") == record
    assert await store.jobs.of_run(RUN_ID) == record


async def test_job_that_ended_is_not_reopened(store: Store) -> None:
    await store.jobs.put(job_record(status=JobStatus.RUNNING))
    ended = job_record(status=JobStatus.CANCELLED, finished_at=NOON)
    await store.jobs.put(ended)
    await store.jobs.put(job_record(status=JobStatus.STUCK))
    assert await store.jobs.get("job_1") == ended


async def test_a_late_write_of_an_earlier_revision_changes_nothing(store: Store) -> None:
    for revision in (1, 3, 2):
        await store.jobs.put(job_record(iteration=revision, revision=revision))
    await store.jobs.put(job_record(status=JobStatus.FAILED, revision=2))
    found = await store.jobs.get("job_1")
    assert found is not None
    assert (found.iteration, found.status, found.revision) == (3, JobStatus.PENDING, 3)


async def test_the_job_that_nothing_carries_is_closed_with_its_approvals(store: Store) -> None:
    before = job_record(status=JobStatus.RUNNING, iteration=4, revision=7)
    await store.jobs.put(before)
    await store.approvals.put(approval("approval_1", job_id="job_1"))
    denied = {"status": ApprovalStatus.DENIED, "job_id": "job_1"}
    await store.approvals.put(approval("approval_2", **denied))
    lost = {"status": JobStatus.FAILED, "error": "lost", "finished_at": NOON}

    def close(ledger: Ledger, job_id: str) -> None:
        ledger.jobs.close(job_record(job_id, **lost))
        ledger.approvals.withdraw(job_id)

    for job_id in ("job_1", "job_1", "job_2"):
        await store.write(close, job_id)
    assert await store.jobs.get("job_1") == before.model_copy(update={**lost, "revision": 8})
    assert await store.jobs.get("job_2") == job_record("job_2", **lost)
    await store.write(lambda ledger: ledger.jobs.close(job_record(status=JobStatus.CANCELLED)))
    found = await store.jobs.get("job_1")
    assert found is not None
    assert found.status is JobStatus.FAILED
    rows = await store.approvals.listing(9)
    assert [row.status for row in rows] == ["stale", "denied"]


async def test_a_run_has_one_job(store: Store) -> None:
    await store.runs.put(run_record())
    await store.jobs.put(job_record(run_id=RUN_ID))
    with pytest.raises(StoreError, match="another job works"):
        await store.jobs.put(job_record("job_2", run_id=RUN_ID))


@pytest.mark.parametrize("run_first", [True, False])
async def test_run_and_job_name_each_other(store: Store, run_first: bool) -> None:
    def work(ledger: Ledger) -> None:
        if run_first:
            ledger.runs.put(run_record(job_id="job_1"))
            ledger.jobs.put(job_record(run_id=RUN_ID))
            return
        ledger.runs.put(run_record())
        ledger.jobs.put(job_record(run_id=RUN_ID))
        ledger.runs.put(run_record(job_id="job_1"))

    for _ in range(2):
        await store.write(work)
    found = await store.runs.get(RUN_ID)
    assert found is not None
    assert found.job_id == "job_1"


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda s: s.runs.put(run_record(job_id="job_x")), id="job of run"),
        pytest.param(lambda s: s.jobs.put(job_record(run_id="a/m-1")), id="run of job"),
        pytest.param(lambda s: s.jobs.put(job_record(thread_id="x")), id="thread of job"),
        pytest.param(lambda s: s.actions.begin(action(run_id="a/m-1")), id="run of call"),
        pytest.param(lambda s: s.actions.begin(action(turn_id="t-1")), id="turn of call"),
        pytest.param(lambda s: s.actions.begin(action(job_id="x")), id="job of call"),
        pytest.param(lambda s: s.actions.begin(action(approval_id="x")), id="approval of call"),
        pytest.param(lambda s: s.approvals.put(approval(run_id="a/m-1")), id="run of approval"),
        pytest.param(lambda s: s.approvals.put(approval(job_id="x")), id="job of approval"),
        pytest.param(lambda s: s.approvals.put(approval(action_id="x")), id="call of approval"),
    ],
)
async def test_references_are_enforced(
    store: Store, write: Callable[[Store], Awaitable[object]]
) -> None:
    with pytest.raises(StoreError) as caught:
        await write(store)
    assert not caught.value.retryable
    assert await store.jobs.listing(9) == []


async def test_jobs_are_listed_newest_first(store: Store) -> None:
    for number in range(4):
        status = JobStatus.PAUSED if number % 2 else JobStatus.RUNNING
        created = NOON + timedelta(seconds=number)
        await store.jobs.put(job_record(f"job_{number}", created_at=created, status=status))
    assert [job.id for job in await store.jobs.listing(3)] == ["job_3", "job_2", "job_1"]
    paused = await store.jobs.listing(9, status="paused")
    assert [job.id for job in paused] == ["job_3", "job_1"]
    earlier = await store.jobs.listing(9, before=NOON + timedelta(seconds=2))
    assert [job.id for job in earlier] == ["job_1", "job_0"]


async def test_one_attempt_begins_a_call(store: Store) -> None:
    begun = await asyncio.gather(*(store.actions.begin(action()) for _ in range(5)))
    assert begun.count(None) == 1
    assert [row for row in begun if row] == [action()] * 4


async def test_a_call_ends_once(store: Store) -> None:
    await store.actions.begin(action(arguments={"at": ["x", 1, None]}, arguments_digest="d"))
    ended = action(status=ActionStatus.OK, output="12:00", original_bytes=5, finished_at=NOON)
    assert await store.actions.end(ended) == ended
    assert await store.actions.end(action(status=ActionStatus.FAILED)) == ended
    assert await store.actions.get("action-1") == ended


async def test_a_refusal_has_no_beginning(store: Store) -> None:
    refused = action(status=ActionStatus.REJECTED, error="unknown_tool", finished_at=NOON)
    for _ in range(2):
        assert await store.actions.end(refused) == refused
    assert await store.actions.get("action-1") == refused


async def test_calls_are_read_in_their_sequence(store: Store) -> None:
    await store.runs.put(run_record())
    await store.jobs.put(job_record())
    for number in (3, 1, 2):
        owner = {"run_id": RUN_ID} if number != 2 else {"job_id": "job_1"}
        await store.actions.begin(action(f"a-{number}", sequence=number, **owner))
    assert [row.id for row in await store.actions.of_run(RUN_ID)] == ["a-1", "a-3"]
    assert [row.id for row in await store.actions.of_job("job_1")] == ["a-2"]


async def test_calls_that_count_for_a_limit(store: Store) -> None:
    rows: list[dict[str, Any]] = [{}, {}, {"status": ActionStatus.REJECTED}]
    rows += [{"tool": "other"}, {"user_id": "you"}]
    for number, fields in enumerate(rows):
        at = NOON + timedelta(seconds=number)
        await store.actions.begin(action(f"a-{number}", started_at=at, **fields))

    def count(ledger: Ledger, since_seconds: int, at_most: int) -> list[float]:
        since = NOON + timedelta(seconds=since_seconds)
        found = ledger.actions.calls_since("me", "time_now", since, at_most)
        return [(at - NOON).total_seconds() for at in found]

    assert await store.write(count, -1, 9) == [1, 0]
    assert await store.write(count, 0, 9) == [1]
    assert await store.write(count, -1, 1) == [1]


async def test_approval_is_used_once_and_only_for_its_arguments(store: Store) -> None:
    await store.approvals.put(approval(status=ApprovalStatus.APPROVED))
    for name in ("first", "second"):
        await store.actions.begin(action(name))

    assert not await store.approvals.consume("approval_1", digest="d2", action_id="first")
    assert await store.approvals.consume("approval_1", digest="d1", action_id="first")
    assert await store.approvals.consume("approval_1", digest="d1", action_id="first")
    assert not await store.approvals.consume("approval_1", digest="d1", action_id="second")
    found = await store.approvals.get("approval_1")
    assert found is not None
    assert (found.status, found.action_id) == (ApprovalStatus.CONSUMED, "first")
    assert not await store.approvals.consume("missing", digest="d1", action_id="first")


async def test_approval_that_its_job_called_consumed_is_used_by_one_call(store: Store) -> None:
    await store.approvals.put(approval(status=ApprovalStatus.CONSUMED))
    for name in ("first", "second"):
        await store.actions.begin(action(name))
    assert await store.approvals.consume("approval_1", digest="d1", action_id="first")
    assert not await store.approvals.consume("approval_1", digest="d1", action_id="second")


async def test_use_and_start_of_the_call_are_one_transaction(store: Store) -> None:
    await store.approvals.put(approval(status=ApprovalStatus.APPROVED))

    def use(ledger: Ledger, failing: bool) -> None:
        assert ledger.approvals.consume("approval_1", digest="d1", action_id="action-1")
        ledger.actions.begin(action(approval_id="approval_1"))
        if failing:
            raise LookupError

    with pytest.raises(LookupError):
        await store.write(use, True)
    found = await store.approvals.get("approval_1")
    assert found is not None
    assert found.status is ApprovalStatus.APPROVED
    await store.write(use, False)
    assert await store.actions.get("action-1") == action(approval_id="approval_1")


@pytest.mark.parametrize(
    ("before", "late"),
    [
        (ApprovalStatus.APPROVED, ApprovalStatus.PENDING),
        (ApprovalStatus.DENIED, ApprovalStatus.APPROVED),
        (ApprovalStatus.CONSUMED, ApprovalStatus.STALE),
        (ApprovalStatus.STALE, ApprovalStatus.APPROVED),
    ],
)
async def test_decided_approval_does_not_go_back(
    store: Store, before: ApprovalStatus, late: ApprovalStatus
) -> None:
    await store.approvals.put(approval(status=before))
    await store.approvals.put(approval(status=late))
    found = await store.approvals.get("approval_1")
    assert found is not None
    assert found.status is before


async def test_approval_goes_on_and_keeps_its_call(store: Store) -> None:
    await store.actions.begin(action())
    later = NOON + timedelta(days=8)
    await store.approvals.put(approval(arguments={"path": "a.txt"}))
    await store.approvals.put(approval(expires_at=later))
    decided = approval(status=ApprovalStatus.APPROVED, decided_by="me", decided_at=NOON)
    await store.approvals.put(decided)
    await store.approvals.consume("approval_1", digest="d1", action_id="action-1")
    used = decided.model_copy(update={"status": ApprovalStatus.CONSUMED})
    await store.approvals.put(used)
    stored = await store.approvals.get("approval_1")
    # Later writes carry no arguments.
    kept = {"action_id": "action-1", "arguments": {"path": "a.txt"}}
    assert stored == used.model_copy(update=kept)


async def test_approvals_are_listed(store: Store) -> None:
    await store.jobs.put(job_record())
    await store.approvals.put(approval("approval_1", job_id="job_1"))
    await store.approvals.put(approval("approval_2", scope="user:you"))
    newer = {"status": ApprovalStatus.DENIED, "requested_at": NOON + timedelta(seconds=1)}
    await store.approvals.put(approval("approval_3", **newer))

    async def listed(limit: int = 9, **only: str) -> list[str]:
        return [row.id[-1] for row in await store.approvals.listing(limit, **only)]

    # Those that wait for a person are in front.
    assert await listed() == ["1", "2", "3"]
    assert await listed(1) == ["1"]
    assert await listed(status="pending") == ["1", "2"]
    assert await listed(scope="user:me") == ["1", "3"]
    assert await listed(job_id="job_1") == ["1"]


async def test_grant_is_for_one_version(store: Store) -> None:
    given = StandingGrant(
        id=grant_id("brief", "shell", "1"),
        routine_id="brief",
        tool="shell",
        version="1",
        granted_by="me",
        created_at=NOON,
    )
    for _ in range(2):
        await store.grants.put(given)
    assert await store.grants.get("brief", "shell", "1") == given
    assert await store.grants.get("brief", "shell", "2") is None
    assert await store.grants.of_routine("brief") == [given]
    assert await store.grants.revoke("brief", "shell", "1")
    assert not await store.grants.revoke("brief", "shell", "1")
    assert await store.grants.of_routine("brief") == []


async def test_filled_store_of_the_version_before_is_upgraded(store_url: str) -> None:
    url = read_url(store_url)
    if (file := sqlite_file(url)) is not None:
        file.parent.mkdir(parents=True)
    engine = create_engine(url, **engine_options(url))
    prepare(engine)
    at = "2026-03-01 12:00:00"
    rows: dict[str, dict[str, Any]] = {
        "threads": {"id": "t", "scope": "user:me", "session_key": "", "kind": "routine"}
        | {"created_at": at},
        "runs": {"id": "a/m-1", "routine_id": "a", "workflow_id": "routine-run/a/m-1"}
        | {"trigger_type": "manual", "trigger_detail": "", "occurred_at": at, "status": "ok"}
        | {"stands_for": 1, "attempts": 1, "hop": 0, "warnings": "[]"},
        "llm_calls": {"id": "c", "run_id": "a/m-1", "sequence": 1, "attempt": 1, "model": "m"}
        | {"provider": "p", "purpose": "r", "status": "ok", "started_at": at},
        "messages": {"id": "m", "thread_id": "t", "sequence": 1, "role": "user", "content": "hi"}
        | {"llm_call_id": "c", "created_at": at},
    }
    config = migrator._alembic_config()
    writing = engine.execution_options(**Transaction.WRITE.options)
    with writing.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0003")
        for table, row in rows.items():
            values = ", ".join(f":{name}" for name in row)
            connection.execute(
                text(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({values})"), row
            )
    engine.dispose()

    async with await open_store(store_url) as store:
        found = await store.runs.get("a/m-1")
        assert found is not None
        assert found.job_id is None
        assert [call.id for call in await store.calls.of_run("a/m-1")] == ["c"]
        assert [said.llm_call_id for said in await store.threads.messages("t")] == ["c"]
