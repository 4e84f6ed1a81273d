"""Calls of tools that more than one attempt is at, or none any more."""

import asyncio
import io
import json
import threading
from datetime import datetime
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.channels.console import ConsoleSender
from activities.deliveries import DeliveryActivities, FinishRun
from activities.emitting import Emitter
from activities.jobs import JobActivities, PutJob
from activities.messenger import Messenger
from activities.store import Store, open_store
from activities.store.job_actions import JobActionTable
from activities.tools.running import MAX_CHARS
from activities.tools.tool import ToolUnknown, ToolUse
from domain.jobs import JobStatus, job_workflow_id
from domain.runs import RunStatus
from domain.tool_actions import ActionStatus
from domain.tool_specs import ToolRate
from tests.support.ledger_rows import RUN_ID, action, job_record, message, run_record, thread
from tests.support.tool_calls import MESSAGE_ID, Bench, tool

pytest_plugins = ["tests.support.databases"]

SECRET = "hunter2-hunter2"
MESSENGER = Messenger({"console": ConsoleSender(io.StringIO())}, "console")


@pytest.mark.parametrize("fields", [{}, {"rate_limit": ToolRate(per_minute=1)}])
async def test_of_two_attempts_at_once_one_runs_the_tool(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]
) -> None:
    ran: list[str] = []
    other_is_told = asyncio.Event()
    both_saw_no_row = threading.Barrier(2, timeout=20)
    counted = JobActionTable.calls_since

    def counts_beside(
        self: JobActionTable, user_id: str, tool: str, since: datetime, at_most: int
    ) -> list[datetime]:
        both_saw_no_row.wait()
        return counted(self, user_id, tool, since, at_most)

    async def effect(use: ToolUse) -> str:
        ran.append(use.key)
        await other_is_told.wait()
        return "done"

    monkeypatch.setattr(JobActionTable, "calls_since", counts_beside)
    async with await open_store(postgres_url) as store:
        bench = Bench(store, [tool(function=effect, **fields)])
        await bench.asks(("echo", {}))
        attempts = [asyncio.create_task(bench.run(bench.request("echo"))) for _ in range(2)]
        done, _ = await asyncio.wait(attempts, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        other_is_told.set()
        outcomes = await asyncio.gather(*attempts)
        row = await bench.action()

    assert len(done) == 1
    assert ran == [f"{MESSAGE_ID}/c1"]
    assert [outcome.status for outcome in outcomes] == ["unknown", "unknown"]
    assert row is not None
    assert row.status is ActionStatus.UNKNOWN


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({}, "unknown", "lost"),
        ({"idempotent": True}, "failed", "tool_failed"),
        ({"read_only": True}, "failed", "tool_failed"),
    ],
)
async def test_what_may_have_been_done_is_unknown(
    sqlite_url: str, fields: dict[str, Any], status: str, error: str
) -> None:
    async def unanswered(use: ToolUse) -> str:
        raise ToolUnknown(f"no answer to password={SECRET}")

    async with await open_store(sqlite_url) as store:
        bench = Bench(store, [tool(function=unanswered, **fields)])
        outcome = await bench.call("echo")
        told, row = await bench.result(), await bench.action()
    assert (outcome.status, outcome.error) == (status, error)
    assert row is not None
    assert row.status == status
    assert "no answer to password=[REDACTED]" in told
    assert told.startswith("unknown: ") == (status == "unknown")
    assert ("check whether it had its effect" in told) == (status == "unknown")


async def test_of_an_endless_output_the_beginning_is_kept(sqlite_url: str) -> None:
    secret = "sk-" + "a" * 20

    async def talks(use: ToolUse) -> str:
        return "x" * (MAX_CHARS - 8) + f" {secret} " + "y" * 20 * MAX_CHARS

    async with await open_store(sqlite_url) as store:
        bench = Bench(store, [tool(function=talks)])
        outcome = await bench.call("echo")
        row = await bench.action()
    assert outcome.status == "ok"
    assert row is not None
    assert row.output is not None
    assert row.truncated
    assert row.original_bytes == 21 * MAX_CHARS - 8 + len(secret) + 2
    assert "sk-a" not in row.output
    assert "y" not in row.output.splitlines()[-1]


def left_open(prefix: str) -> tuple[str, list[dict[str, Any]]]:
    """An answer with two calls: one had begun, of the other nobody has heard."""
    calls = [
        {"id": name, "type": "function", "function": {"name": "pay", "arguments": arguments}}
        for name, arguments in (
            ("begun", json.dumps({"pin": SECRET})),
            ("asked", json.dumps({"password": SECRET})),
            ("plain", json.dumps({"n": 1})),
            ("broken", '{"n": '),
        )
    ]
    return f"{prefix}/3/answer", calls


async def arguments_of(store: Store, message_id: str) -> dict[str, str]:
    """What the thread keeps of the calls of an answer."""
    stored = await store.threads.message(message_id)
    assert stored is not None
    return {call["id"]: call["function"]["arguments"] for call in stored.tool_calls or ()}


@pytest.mark.parametrize("status", [RunStatus.CANCELLED, RunStatus.INTERRUPTED])
async def test_run_that_ends_settles_its_calls(store: Store, status: RunStatus) -> None:
    run = run_record(thread_id="thread-1")
    answer, calls = left_open(run.workflow_id)
    foreign, _ = left_open("routine-run/other/m-1")
    await store.threads.ensure(thread())
    await store.runs.put(run)
    await store.jobs.put(job_record())
    await store.threads.append(
        [message(key, role="assistant", tool_calls=calls) for key in (answer, foreign)]
    )
    key = f"{answer}/begun"
    await store.actions.begin(action(key, run_id=RUN_ID, arguments={"pin": "[REDACTED]"}))
    await store.actions.begin(action("of its job", run_id=RUN_ID, job_id="job_1"))
    finish = DeliveryActivities(store, MESSENGER).finish_run
    ended = run.model_copy(update={"status": status})

    await ActivityEnvironment().run(finish, FinishRun(record=ended, thread=thread()))

    row, of_job = await store.actions.get(key), await store.actions.get("of its job")
    kept = await arguments_of(store, answer)
    assert row is not None
    assert of_job is not None
    assert of_job.status is ActionStatus.STARTED
    assert SECRET in str(await arguments_of(store, foreign))
    if status is RunStatus.INTERRUPTED:
        assert row.status is ActionStatus.STARTED
        assert SECRET in str(kept)
        return
    assert (row.status, row.error) == (ActionStatus.UNKNOWN, "lost")
    assert row.finished_at is not None
    assert kept == {
        "begun": '{"pin": "[REDACTED]"}',
        "asked": '{"password": "[REDACTED]"}',
        "plain": '{"n": 1}',
        "broken": '{"n": ',
    }


async def test_job_that_ends_settles_its_calls(store: Store) -> None:
    job = job_record(thread_id="thread-1")
    answer, calls = left_open(job_workflow_id(job.id))
    await store.threads.ensure(thread())
    await store.jobs.put(job)
    await store.threads.append([message(answer, role="assistant", tool_calls=calls)])
    key = f"{answer}/begun"
    await store.actions.begin(action(key, job_id=job.id, arguments={"pin": "[REDACTED]"}))
    ended = action(f"{answer}/asked", job_id=job.id)
    await store.actions.begin(ended)
    await store.actions.end(ended.model_copy(update={"status": ActionStatus.OK}))
    told = message(f"{answer}/asked/result", role="tool", tool_calls=[{"id": "asked"}])
    await store.threads.append([told])
    # Nothing is told, so nobody is asked for listeners.
    client = await Client.connect("127.0.0.1:1", lazy=True)
    jobs = JobActivities(store, MESSENGER, Emitter(client))
    failed = job.model_copy(update={"status": JobStatus.FAILED})

    await ActivityEnvironment().run(jobs.put_job, PutJob(record=failed, thread=thread()))

    rows = await store.actions.of_job(job.id)
    assert {row.id: row.status for row in rows} == {key: "unknown", ended.id: "ok"}
    kept = await arguments_of(store, answer)
    assert kept["begun"] == '{"pin": "[REDACTED]"}'
    # It has ended, and its end has masked what had to be masked.
    assert SECRET in kept["asked"]
