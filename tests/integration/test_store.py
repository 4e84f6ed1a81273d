"""What each table keeps, on SQLite and on PostgreSQL."""

from collections.abc import Awaitable, Callable
from datetime import timedelta, timezone

import pytest

from activities.store import Store, StoreError
from activities.store.outbox import DeliveryFilter
from domain.deliveries import DeliveryStatus
from domain.llm_calls import LlmCall, LlmCallStatus
from domain.runs import FireKind, RunRecord, RunStatus
from domain.scopes import Route
from tests.support.ledger_rows import (
    NOON,
    RUN_ID,
    delivery,
    job_record,
    llm_call,
    message,
    run_record,
    thread,
)

pytest_plugins = ["tests.support.databases"]


async def test_check_succeeds(store: Store) -> None:
    await store.check()


async def test_run_comes_back_as_it_was_put(store: Store) -> None:
    await store.threads.ensure(thread())
    await store.jobs.put(job_record())
    record = RunRecord(
        id=RUN_ID,
        routine_id="morning-brief",
        workflow_id="routine-run/" + RUN_ID,
        trigger_type=FireKind.WEBHOOK,
        trigger_detail="0 9 * * *",
        occurred_at=NOON.astimezone(timezone(timedelta(hours=5, minutes=30))),
        scheduled_at=NOON + timedelta(microseconds=1),
        started_at=NOON,
        finished_at=NOON,
        status=RunStatus.ATTENTION,
        reason="because",
        duplicate_of="morning-brief/m-1",
        stands_for=3,
        attempts=2,
        hop=1,
        result="message-1",
        summary="It is noon. Ünïcode \U0001f600",
        error="none",
        tokens_in=2**40,
        tokens_out=0,
        cost_micros=2**50,
        warnings=["late by 31m", 'a "quoted" one'],
        job_id="job_1",
        thread_id="thread-1",
    )

    await store.runs.put(record)

    assert await store.runs.get(RUN_ID) == record


async def test_last_write_of_a_run_wins_and_repeating_it_changes_nothing(store: Store) -> None:
    await store.runs.put(run_record(status=RunStatus.QUEUED, summary="first"))
    await store.runs.put(run_record(status=RunStatus.RUNNING))
    await store.runs.put(run_record(status=RunStatus.OK, finished_at=NOON))
    corrected = run_record(status=RunStatus.FAILED, finished_at=NOON, error="undeliverable")
    for _ in range(3):
        await store.runs.put(corrected)

    assert await store.runs.get(RUN_ID) == corrected


@pytest.mark.parametrize("late", [RunStatus.RUNNING, RunStatus.QUEUED, RunStatus.INTERRUPTED])
async def test_finished_run_is_not_reopened(store: Store, late: RunStatus) -> None:
    finished = run_record(status=RunStatus.CANCELLED, finished_at=NOON)
    await store.runs.put(finished)

    await store.runs.put(run_record(status=late))

    assert await store.runs.get(RUN_ID) == finished


async def test_what_is_not_there_is_null_or_empty(store: Store) -> None:
    assert await store.runs.get("nobody/m-1") is None
    assert await store.threads.get("nothing") is None
    assert await store.threads.message("nothing") is None
    assert await store.threads.messages("nothing") == []
    assert await store.calls.of_run("nobody/m-1") == []
    assert await store.outbox.get("nobody/m-1/final") is None
    assert await store.outbox.of_run("nobody/m-1") == []
    assert await store.outbox.listing(DeliveryFilter(), 10) == []
    assert await store.threads.append([]) == []


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda s: s.runs.put(run_record(thread_id="missing")), id="thread of run"),
        pytest.param(lambda s: s.calls.put(llm_call("c")), id="run of call"),
        pytest.param(lambda s: s.threads.append([message("m", "x")]), id="thread of message"),
        pytest.param(
            lambda s: s.threads.append([message("m", llm_call_id="x")]), id="call of message"
        ),
        pytest.param(lambda s: s.outbox.enqueue(delivery()), id="run of delivery"),
    ],
)
async def test_references_are_enforced(
    store: Store, write: Callable[[Store], Awaitable[object]]
) -> None:
    await store.threads.ensure(thread())
    with pytest.raises(StoreError) as caught:
        await write(store)
    assert not caught.value.retryable


async def test_two_runs_cannot_share_a_workflow(store: Store) -> None:
    await store.runs.put(run_record("one/m-1", workflow_id="routine-run/same"))
    with pytest.raises(StoreError, match="routine-run/same"):
        await store.runs.put(run_record("two/m-1", workflow_id="routine-run/same", error="private"))


async def test_errors_tell_no_contents(store: Store) -> None:
    with pytest.raises(StoreError) as caught:
        await store.calls.put(llm_call("c", error="the private text"))
    assert "private" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_thread_is_inserted_once(store: Store) -> None:
    first = thread(session_key="chat-1")
    await store.threads.ensure(first)
    await store.threads.ensure(thread(session_key="another"))
    assert await store.threads.get("thread-1") == first


async def test_messages_are_numbered_in_the_order_of_appending(store: Store) -> None:
    await store.threads.ensure(thread())
    await store.threads.ensure(thread("thread-2"))
    call = [{"id": "c1", "function": {"name": "time_now", "arguments": "{}"}}]

    mixed = await store.threads.append(
        [message("b"), message("x", "thread-2"), message("a", role="assistant", tool_calls=call)]
    )
    later = await store.threads.append([message("c")])

    assert [(m.id, m.sequence) for m in mixed + later] == [("b", 1), ("x", 1), ("a", 2), ("c", 3)]
    assert await store.threads.messages("thread-1") == [mixed[0], mixed[2], later[0]]
    assert await store.threads.message("a") == mixed[2]
    assert mixed[2].tool_calls == call


async def test_message_is_written_once(store: Store) -> None:
    await store.threads.ensure(thread())
    (first,) = await store.threads.append([message("a", content="as it was")])

    again = await store.threads.append(
        [message("b"), message("a", content="changed"), message("b", content="twice")]
    )

    assert again == [message("b", sequence=2), first, message("b", sequence=2)]
    assert [m.content for m in await store.threads.messages("thread-1")] == ["as it was", "b"]


async def test_append_is_all_or_nothing(store: Store) -> None:
    await store.threads.ensure(thread())
    with pytest.raises(StoreError):
        await store.threads.append([message("a"), message("b", llm_call_id="missing")])
    assert await store.threads.messages("thread-1") == []
    with pytest.raises(StoreError, match="no thread 'thread-9'"):
        await store.threads.append([message("a"), message("b", "thread-9")])
    assert await store.threads.messages("thread-1") == []


@pytest.mark.parametrize("unstorable", ["\x00", "\ud83d"])
async def test_what_no_database_holds_is_replaced(store: Store, unstorable: str) -> None:
    await store.threads.ensure(thread())
    call = [{"arguments": f"a{unstorable}b"}]
    text = f"a{unstorable}b\U0001f600"
    (stored,) = await store.threads.append([message("m", content=text, tool_calls=call)])
    assert await store.threads.messages("thread-1") == [stored]
    assert stored.content == "a\ufffdb\U0001f600"
    assert stored.tool_calls == call


async def test_call_is_replaced_by_its_later_state(store: Store) -> None:
    await store.jobs.put(job_record())
    await store.runs.put(run_record())
    await store.calls.put(llm_call("w/1/1"))
    finished = LlmCall(
        id="w/1/1",
        run_id=RUN_ID,
        job_id="job_1",
        sequence=2,
        attempt=3,
        model="big",
        provider="cloud",
        purpose="summary",
        tokens_in=10,
        tokens_out=20,
        cache_read_tokens=30,
        cache_write_tokens=40,
        cost_micros=50,
        price_version="v1",
        latency_ms=60,
        status=LlmCallStatus.OK,
        error="none",
        started_at=NOON,
    )
    for _ in range(2):
        await store.calls.put(finished)
    assert await store.calls.of_run(RUN_ID) == [finished]


async def test_calls_come_by_start_then_id(store: Store) -> None:
    await store.runs.put(run_record())
    for call_id, seconds in (("w/1/2", 5), ("w/1/1", 5), ("w/2/1", 1)):
        await store.calls.put(llm_call(call_id, started_at=NOON + timedelta(seconds=seconds)))
    assert [call.id for call in await store.calls.of_run(RUN_ID)] == ["w/2/1", "w/1/1", "w/1/2"]


async def test_prefix_is_taken_literally(store: Store) -> None:
    await store.runs.put(run_record())
    ids = [
        "w_1%/a/1",
        "w_1%/a/2",
        "w_1%/ab/1",
        "wx1%/a/1",
        "w_1x/a/1",
        "W_1%/a/1",
        "w_1%/a",
        "é/é/1",
    ]
    for call_id in ids:
        await store.calls.put(llm_call(call_id))

    assert [call.id for call in await store.calls.with_prefix("w_1%/a/")] == ids[:2]
    assert [call.id for call in await store.calls.with_prefix("é/")] == ["é/é/1"]
    assert len(await store.calls.with_prefix("")) == len(ids)
    assert await store.calls.with_prefix("none") == []


async def test_delivery_is_enqueued_once(store: Store) -> None:
    await store.runs.put(run_record())
    first = delivery(route=Route(receive_id_type="webhook", receive_id="alerts"))
    assert await store.outbox.enqueue(first) == first

    again = await store.outbox.enqueue(delivery(text="changed"))

    assert again == first
    assert await store.outbox.get(first.occurrence_id) == first


async def test_delivery_goes_through_its_states(store: Store) -> None:
    await store.runs.put(run_record())
    queued = await store.outbox.enqueue(delivery())
    key = queued.occurrence_id

    begun = await store.outbox.begin_attempt(key, seen_attempts=0)
    assert begun == queued.model_copy(update={"status": DeliveryStatus.UNKNOWN, "attempts": 1})
    refused = await store.outbox.settle(key, DeliveryStatus.PENDING, error="HTTP 500")
    assert (refused.status, refused.error) == (DeliveryStatus.PENDING, "HTTP 500")
    begun = await store.outbox.begin_attempt(key, seen_attempts=1)
    assert begun == queued.model_copy(update={"status": DeliveryStatus.UNKNOWN, "attempts": 2})
    sent = await store.outbox.settle(key, DeliveryStatus.SENT, message_id="m-1", sent_at=NOON)
    assert (sent.status, sent.message_id, sent.sent_at) == (DeliveryStatus.SENT, "m-1", NOON)


@pytest.mark.parametrize(
    "final", [DeliveryStatus.SENT, DeliveryStatus.FAILED, DeliveryStatus.SUPPRESSED]
)
async def test_settled_delivery_stays_as_it_is(store: Store, final: DeliveryStatus) -> None:
    await store.runs.put(run_record())
    await store.outbox.enqueue(delivery())
    settled = await store.outbox.settle(delivery().occurrence_id, final, error="why")

    for seen in (0, 7):
        begun = await store.outbox.begin_attempt(settled.occurrence_id, seen_attempts=seen)
        assert begun == settled
    assert await store.outbox.settle(settled.occurrence_id, DeliveryStatus.UNKNOWN) == settled


async def test_attempt_is_begun_by_one_sender(store: Store) -> None:
    await store.runs.put(run_record())
    key = (await store.outbox.enqueue(delivery())).occurrence_id
    begun = await store.outbox.begin_attempt(key, seen_attempts=0)
    assert await store.outbox.begin_attempt(key, seen_attempts=0) is None
    assert await store.outbox.get(key) == begun


async def test_missing_delivery_is_named(store: Store) -> None:
    with pytest.raises(StoreError, match="no delivery 'a/m-1/final'"):
        await store.outbox.begin_attempt("a/m-1/final", seen_attempts=0)
    with pytest.raises(StoreError, match="no delivery 'a/m-1/final'"):
        await store.outbox.settle("a/m-1/final", DeliveryStatus.SENT)


async def test_deliveries_are_listed(store: Store) -> None:
    await store.runs.put(run_record())
    await store.runs.put(run_record("other/m-1"))
    rows = [
        delivery("start", created_at=NOON),
        delivery("progress-1", created_at=NOON + timedelta(seconds=1)),
        delivery("final", created_at=NOON + timedelta(seconds=1)),
        delivery("final", "other/m-1", created_at=NOON + timedelta(seconds=2), scope="user:me"),
    ]
    for row in rows:
        await store.outbox.enqueue(row)
    await store.outbox.begin_attempt(rows[0].occurrence_id, seen_attempts=0)

    assert [row.part for row in await store.outbox.of_run(RUN_ID)] == [
        "start",
        "final",
        "progress-1",
    ]
    newest = await store.outbox.listing(DeliveryFilter(), 3)
    assert [row.occurrence_id for row in newest] == [rows[i].occurrence_id for i in (3, 1, 2)]
    unknown = await store.outbox.listing(DeliveryFilter(status=DeliveryStatus.UNKNOWN), 10)
    assert [row.occurrence_id for row in unknown] == [rows[0].occurrence_id]
    of_scope = await store.outbox.listing(DeliveryFilter(scope="user:me"), 10)
    assert [row.occurrence_id for row in of_scope] == [rows[3].occurrence_id]
    older = DeliveryFilter(before=(newest[0].created_at, newest[0].occurrence_id))
    assert (await store.outbox.listing(older, 1))[0] == newest[1]
    after = DeliveryFilter(before=(newest[1].created_at, newest[1].occurrence_id))
    assert [row.part for row in await store.outbox.listing(after, 10)] == ["final", "start"]


async def test_a_text_is_found_by_what_its_channel_calls_it(store: Store) -> None:
    await store.runs.put(run_record())
    row = await store.outbox.enqueue(delivery())
    await store.outbox.settle(row.occurrence_id, DeliveryStatus.SENT, message_id="msg_1")

    assert await store.read(lambda ledger: ledger.outbox.was_sent_as("msg_1"))
    assert not await store.read(lambda ledger: ledger.outbox.was_sent_as("msg_"))
    assert await store.read(lambda ledger: ledger.outbox.keys(f"{RUN_ID}/fi")) == [
        row.occurrence_id
    ]
