"""Routines whose action is a full job: the run, its job, and what the ledger keeps of both."""

import sqlite3
import threading
from typing import Any

import pytest

from activities.store import open_store
from activities.store.urls import read_url, sqlite_file
from client.context import CallerContext
from client.tickless import TicklessClient
from domain.identifiers import session_workflow_id
from domain.jobs import JobStatus, job_workflow_id
from domain.run_messages import CancelRun
from domain.run_view import RunStage
from domain.runs import RunStatus
from domain.session_requests import SessionView
from tests.support.harness import Harness, until
from tests.support.jobs import calls, said
from tests.support.model_steps import Behaviour, Hang, Refusal, Reply, error_body
from tests.support.taken_chats import taken_chat
from workflows.job import Job
from workflows.routine_run import RoutineRun
from workflows.session import Session


async def routine(
    harness: Harness, *steps: Behaviour, key: str = "", about: str = "", **body: Any
) -> str:
    """A routine fired by hand whose job's model does these steps, in the session of a key."""
    given_context = harness.settings.context.model_dump(exclude_none=True)
    context = CallerContext.model_validate({**given_context, "session_key": key})
    name = harness.name()
    harness.scripts.on(name, *steps)
    given: dict[str, Any] = {
        "action": {"type": "full_job", "title": "Research", "description": f"Do {name}.{about}"},
        "trigger": {"type": "manual"},
        **({} if key else {"notify": {"route": {"receive_id_type": "file", "receive_id": ""}}}),
        **body,
    }
    await TicklessClient(harness.client, context).routines.create(given, name=name)
    return name


async def test_the_answer_of_the_job_is_the_run_s(harness: Harness) -> None:
    name = await routine(harness, calls(("time_now", "{}")), said("Here is the report."))
    view = await harness.run_once(name)
    record = view.record
    assert (record.status, view.text) == (RunStatus.ATTENTION, "Here is the report.")
    assert (record.tokens_in, record.attempts) == (22, 2)
    assert [item.status for item in view.deliveries] == ["sent"]
    assert record.job_id is not None
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        run = await store.runs.get(record.id)
        job = await store.jobs.get(record.job_id)
        actions = await store.actions.of_job(record.job_id)
    assert run is not None
    assert job is not None
    assert (run.job_id, job.run_id) == (job.id, run.id)
    assert (job.status, job.result, job.iteration) == (
        JobStatus.COMPLETED,
        "Here is the report.",
        2,
    )
    assert [action.tool for action in actions] == ["time_now"]


async def test_a_job_that_says_there_is_nothing_ends_silently(harness: Harness) -> None:
    name = await routine(harness, said("NO_REPLY"))
    view = await harness.run_once(name)
    assert (view.record.status, view.deliveries) == (RunStatus.OK, [])


async def test_a_result_is_said_when_it_is_the_job_s_turn_in_the_chat(harness: Harness) -> None:
    key, gate = f"chat-{harness.name()}", threading.Event()
    speaks = harness.name()
    harness.scripts.on(speaks, Reply("First.", gate=gate))
    action = {"type": "lightweight", "prompt": f"Do {speaks}."}
    holder = await routine(harness, key=key, action=action)
    silent = await routine(harness, said("NO_REPLY"), key=key)
    told = await routine(harness, said("The report."), key=key)
    stopped = await routine(harness, said("Never said."), key=key)
    holds = await harness.tickless.runs.trigger(holder)
    await harness.models.wait_for(lambda: any(speaks in str(c.body) for c in harness.models.calls))

    # The jobs work while somebody speaks; who has nothing to say waits for nobody.
    assert (await harness.run_once(silent)).record.status == RunStatus.OK
    runs = [await harness.tickless.runs.trigger(name) for name in (told, stopped)]
    for run in runs:

        async def waits(run: str = run.run_id) -> bool:
            return (await harness.tickless.runs.get(run)).stage == RunStage.SESSION

        await until(waits, "the job is done, its run waits for the chat")
    await harness.tickless.runs.cancel(runs[1].run_id)
    ended = await harness.tickless.runs.wait(runs[1].run_id)
    assert (ended.record.status, ended.deliveries) == (RunStatus.CANCELLED, [])
    waiting = await harness.tickless.runs.get(runs[0].run_id)
    assert (waiting.record.status, waiting.deliveries) == (RunStatus.RUNNING, [])

    gate.set()
    first = await harness.tickless.runs.wait(holds.run_id)
    second = await harness.tickless.runs.wait(runs[0].run_id)
    assert (first.text, second.text) == ("First.", "The report.")
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        rows = [await store.outbox.get(f"{run.record.id}/final") for run in (first, second)]
    sent = [row.sent_at for row in rows if row is not None and row.sent_at is not None]
    assert len(sent) == 2
    assert sent == sorted(sent)
    session = harness.client.get_workflow_handle(session_workflow_id(key))

    async def is_free() -> bool:
        view: SessionView = await session.query(Session.view)
        return view.holder is None and view.waiting == 0

    await until(is_free, "the session is free")


async def test_a_result_that_is_sent_elsewhere_waits_for_no_chat(harness: Harness) -> None:
    key = f"chat-{harness.name()}"
    elsewhere = {"route": {"receive_id_type": "file", "receive_id": ""}}
    name = await routine(harness, said("The report."), key=key, notify=elsewhere)
    view = await harness.run_once(name)
    assert [item.status for item in view.deliveries] == ["sent"]
    events = await harness.client.get_workflow_handle(view.record.workflow_id).fetch_history()
    assert "request_session" not in str(events.events)


async def test_a_failed_job_is_a_failed_run(harness: Harness) -> None:
    name = await routine(harness, Refusal(400, error_body("no such thing")))
    view = await harness.run_once(name)
    assert view.record.status == RunStatus.FAILED
    assert "no such thing" in (view.record.error or "")


async def test_long_texts_are_in_few_payloads(harness: Harness) -> None:
    source = harness.name()
    trigger = {"type": "system_event", "source": source, "event_type": "filed"}
    name = await routine(
        harness,
        *[calls(("time_now", "{}"))] * 3,
        said("Through."),
        trigger=trigger,
        about="x" * 60_000,
    )

    runs: list[str] = []

    async def hears() -> bool:
        payload = {"text": "outside " * 8_000}
        emitted = await harness.tickless.events.emit(source, "filed", payload, id="one")
        runs[:] = [run.run_id for run in emitted.runs]
        return bool(runs)

    await until(hears, "the routine listens")
    view = await harness.tickless.runs.wait(runs[0])
    assert view.text == "Through."
    bodies = [str(c.body["messages"]) for c in harness.models.calls if name in str(c.body)]
    assert [text.count("end of untrusted") for text in bodies] == [1] * 4
    assert [text.count("x" * 60_000) for text in bodies] == [1] * 4
    job = job_workflow_id(view.record.job_id or "")
    for workflow, most in ((view.record.workflow_id, 350_000), (job, 100_000)):
        history = await harness.client.get_workflow_handle(workflow).fetch_history()
        sizes = [event.ByteSize() for event in history.events]
        assert sum(sizes) <= most
        assert max(sizes) <= 256 * 1024


async def test_a_job_that_takes_too_long_times_out(harness: Harness) -> None:
    name = await routine(harness, Hang(), guardrails={"run_timeout_seconds": 1})
    view = await harness.run_once(name)
    assert (view.record.status, view.record.error) == (
        RunStatus.TIMED_OUT,
        "job timed out after 1s",
    )


async def test_a_cancelled_run_cancels_its_job(harness: Harness) -> None:
    gate = threading.Event()
    name = await routine(harness, Reply(text="Never.", gate=gate))
    started = await harness.tickless.runs.trigger(name)
    await harness.models.wait_for(lambda: any(name in str(c.body) for c in harness.models.calls))
    await harness.tickless.runs.cancel(started.run_id)
    view = await harness.tickless.runs.wait(started.run_id)
    assert view.record.status == RunStatus.CANCELLED
    job = harness.client.get_workflow_handle(job_workflow_id(view.record.job_id or ""))
    assert (await job.query(Job.view)).record.status == JobStatus.CANCELLED
    gate.set()


async def test_who_cancels_the_job_of_a_run_says_why(harness: Harness) -> None:
    gate = threading.Event()
    name = await routine(harness, Reply(text="Never.", gate=gate))
    started = await harness.tickless.runs.trigger(name)
    await harness.models.wait_for(lambda: any(name in str(c.body) for c in harness.models.calls))
    job = (await harness.tickless.runs.get(started.run_id)).record.job_id or ""
    await harness.tickless.jobs.cancel(job, reason="wrong data")
    record = (await harness.tickless.runs.wait(started.run_id)).record
    assert (record.status, record.reason) == (RunStatus.CANCELLED, "wrong data")
    gate.set()


async def test_a_run_that_is_cancelled_before_its_job_is_written_ends_both(
    harness: Harness,
) -> None:
    name = await routine(harness, said("Now."))
    url = harness.environ["TICKLESS_STORE__URL"]
    file = sqlite_file(read_url(url))
    assert file is not None
    store_is_busy = sqlite3.connect(file, isolation_level=None)
    store_is_busy.execute("BEGIN IMMEDIATE")
    try:
        started = await harness.tickless.runs.trigger(name)
        run = harness.client.get_workflow_handle(started.workflow_id)

        async def writes_its_job() -> bool:
            return (await run.query(RoutineRun.view)).stage == RunStage.JOB

        await until(writes_its_job, "the run writes its job")
        await run.signal("cancel")
    finally:
        store_is_busy.execute("ROLLBACK")
        store_is_busy.close()
    view = await harness.tickless.runs.wait(started.run_id)
    assert view.record.status == RunStatus.CANCELLED
    async with await open_store(url) as store:
        row = await store.runs.get(started.run_id)
        job = await store.jobs.get(view.record.job_id or "")
    assert row is not None
    assert job is not None
    assert (row.status, job.status, job.finished_at is not None) == (
        RunStatus.CANCELLED,
        JobStatus.CANCELLED,
        True,
    )
    assert not [call for call in harness.models.calls if name in str(call.body)]
    # Its place is free.
    assert (await harness.run_once(name)).record.status == RunStatus.ATTENTION


async def test_a_job_that_somebody_terminates_is_ended_in_the_ledger(harness: Harness) -> None:
    write = ("file_write", '{"path": "a.txt", "content": "x"}')
    name = await routine(harness, calls(write), said("Never."))
    started = await harness.tickless.runs.trigger(name)
    run = harness.client.get_workflow_handle(started.workflow_id)
    job_id = ""

    async def waits_for_a_person() -> bool:
        nonlocal job_id
        job_id = (await run.query(RoutineRun.view)).record.job_id or ""
        async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
            return len(await store.approvals.listing(9, job_id=job_id or "none")) == 1

    await until(waits_for_a_person, "an approval is written")
    await harness.client.get_workflow_handle(job_workflow_id(job_id)).terminate()
    view = await harness.tickless.runs.wait(started.run_id)
    assert view.record.status == RunStatus.FAILED
    assert "the job was lost" in (view.record.error or "")
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        job = await store.jobs.get(job_id)
        approvals = await store.approvals.listing(9, job_id=job_id)
    assert job is not None
    assert job.status == JobStatus.FAILED
    assert (job.iteration, job.revision > 1) == (1, True)
    assert [one.status for one in approvals] == ["stale"]


@pytest.mark.parametrize("by_server", [False, True], ids=["by a message", "by the server"])
async def test_a_result_whose_chat_a_user_has_taken_can_be_given_up(
    harness: Harness, by_server: bool
) -> None:
    reason = CancelRun().reason if by_server else "too late now"
    async with taken_chat(harness) as (run, chat):
        if by_server:
            await harness.client.get_workflow_handle(run.workflow_id).cancel()
        else:
            await harness.tickless.runs.cancel(run.run_id, reason=reason)
        view = await harness.tickless.runs.wait(run.run_id)
        assert (view.record.status, view.record.reason) == (RunStatus.CANCELLED, reason)
        assert (view.text, view.deliveries) == ("The report.", [])
        assert (await chat.view()).waiting == 0
    assert (await chat.settled("m1")).text == "I am here."
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        row = await store.runs.get(run.run_id)
    assert row is not None
    assert (row.status, row.reason) == (RunStatus.CANCELLED, reason)


async def test_a_result_whose_chat_a_user_has_taken_is_said_afterwards(harness: Harness) -> None:
    async with taken_chat(harness) as (run, chat):
        pass
    view = await harness.tickless.runs.wait(run.run_id)
    assert (view.record.status, view.text) == (RunStatus.ATTENTION, "The report.")
    assert [item.status for item in view.deliveries] == ["sent"]
    assert (await chat.settled("m1")).text == "I am here."
