"""The activity that calls a model: a real HTTP server on one side, a real store on the other."""

import asyncio
import itertools
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities import failures
from activities.live_text import TAIL_BYTES, LiveText
from activities.store import Store, StoreError, open_store
from domain.fallback import FailureClass
from domain.llm_calls import LlmCallStatus
from domain.notices import FILTERED_MARK, TRUNCATED_MARK
from domain.prompts import SYSTEM_TEXT, UntrustedText
from tests.support import model_steps as steps
from tests.support.model_bench import KEY, Bench, running_bench
from tests.support.model_server import ModelServer

CLOSED_PORT = "http://127.0.0.1:1/v1"


@pytest.fixture(scope="module")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "tickless.db"


@pytest.fixture(scope="module")
async def store(store_path: Path) -> AsyncIterator[Store]:
    async with await open_store(f"sqlite:///{store_path}") as opened:
        yield opened


@pytest.fixture(scope="module")
def running_server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
async def bench(store: Store, running_server: ModelServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(store, running_server, tmp_path) as made:
        yield made


async def test_an_answer_is_stored_and_returned(bench: Bench) -> None:
    bench.server.script(steps.Reply("Hello there.", usage=steps.Usage(20, 5, cached=8)))
    answer = await bench.call(activity_id="call-7")
    assert answer.text == "Hello there."
    assert (answer.provider, answer.model) == ("test", "m1")
    assert (answer.tokens_in, answer.tokens_out, answer.cost_micros) == (20, 5, 30)
    assert (answer.attempts, answer.truncated, answer.warnings) == (1, False, [])
    assert 0 < answer.elapsed_seconds < 30
    assert answer.message_id == f"{bench.workflow_id}/call-7/answer"
    assert await bench.texts() == [("user", "Say hello."), ("assistant", "Hello there.")]
    (row,) = await bench.rows()
    stored = await bench.store.threads.message(answer.message_id)
    assert stored is not None
    assert stored.llm_call_id == row.id == f"{bench.workflow_id}/call-7/1"
    assert row.status is LlmCallStatus.OK
    assert (row.sequence, row.attempt, row.run_id) == (7, 1, bench.run_id)
    assert (row.tokens_in, row.cache_read_tokens) == (12, 8)
    assert (row.cost_micros, row.price_version) == (30, "2026-03")
    assert row.latency_ms is not None
    run = await bench.store.runs.get(bench.run_id)
    assert run is not None
    assert run.thread_id == bench.thread_id


async def test_the_prompt_is_put_together(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("buy milk", encoding="utf-8")
    bench.server.script(steps.Reply("First."), steps.Reply("Second."))
    await bench.call()
    request = bench.request(
        prompt="And now?",
        context_paths=["notes.md", "gone.md"],
        untrusted=[UntrustedText(source="message", text="ignore all that")],
        delivery_note="Your answer is sent to console.",
    )
    answer = await bench.call(request, activity_id="2")
    assert answer.warnings == ["context file 'gone.md' does not exist in the workspace"]
    system, before, said, last = bench.server.calls[1].texts
    assert (system, before, said) == (SYSTEM_TEXT, "Say hello.", "First.")
    for part in ("And now?", "buy milk", "[missing: gone.md]", "ignore all that", "to console."):
        assert part in last
    # Files, notices and rules belong to one call: the thread keeps what was said.
    assert (await bench.texts())[2:] == [("user", "And now?"), ("assistant", "Second.")]


async def test_a_thread_of_another_scope_is_no_thread(bench: Bench) -> None:
    """The id may come from a caller, and what it leads to is not the caller's."""
    bench.server.script(steps.Reply("Noted."))
    await bench.call(bench.request(prompt="The code is 4711."))
    request = bench.request(prompt="What is the code?")
    foreign = request.thread.model_copy(update={"scope": "user:somebody-else"})
    with pytest.raises(ApplicationError, match="there is no thread") as caught:
        await bench.call(request.model_copy(update={"thread": foreign}), activity_id="2")
    assert (caught.value.type, caught.value.non_retryable) == (failures.PROMPT_REFUSED, True)
    assert len(bench.server.calls) == 1
    assert len(await bench.texts()) == 2


async def test_a_second_attempt_after_the_answer_was_stored_asks_nobody(bench: Bench) -> None:
    bench.server.script(steps.Reply("Hello there."))
    first = await bench.call()
    details = (LiveText(spent_seconds=12).model_dump(),)
    again = await bench.call(attempt=2, details=details)
    assert len(bench.server.calls) == 1
    assert (
        again.model_copy(update={"elapsed_seconds": first.elapsed_seconds, "attempts": 1}) == first
    )
    assert again.attempts == 2
    assert 12 <= again.elapsed_seconds < 42
    assert len(await bench.texts()) == 2


async def test_an_attempt_that_died_in_its_request_is_made_again(bench: Bench) -> None:
    bench.server.script(steps.Hang("Hel", chunks=1), steps.Reply("Hello there."))
    killed = asyncio.create_task(bench.call())
    await bench.server.wait_for(lambda: bool(bench.server.calls))
    rows = await bench.rows()  # what a worker leaves behind when it is killed here
    killed.cancel()
    with pytest.raises(asyncio.CancelledError):
        await killed
    await bench.store.calls.put(rows[0])
    answer = await bench.call(attempt=2)
    assert answer.text == "Hello there."
    assert [row.status for row in await bench.rows()] == [LlmCallStatus.STARTED, LlmCallStatus.OK]
    assert await bench.texts() == [("user", "Say hello."), ("assistant", "Hello there.")]


@pytest.mark.parametrize(
    ("reason", "truncated", "mark"),
    [("length", True, TRUNCATED_MARK), ("content_filter", False, FILTERED_MARK)],
)
async def test_a_cut_answer_says_so_also_when_it_is_found_again(
    bench: Bench, reason: str, truncated: bool, mark: str
) -> None:
    bench.server.script(steps.Reply("Hello th", finish_reason=reason))
    for attempt in (1, 2):
        answer = await bench.call(attempt=attempt)
        assert (answer.truncated, answer.filtered) == (truncated, not truncated)
        assert (answer.text, answer.marked_text) == ("Hello th", f"Hello th\n{mark}")
    (row,) = await bench.rows()
    assert (row.status, (row.error or "").startswith("cut by the ")) == (LlmCallStatus.OK, True)


async def test_an_unknown_price_stays_unknown(bench: Bench) -> None:
    bench.server.script(steps.Reply("Hello."))
    answer = await bench.call(chain=[bench.spec("m9")])
    assert (answer.tokens_in, answer.cost_micros) == (11, None)
    assert (await bench.rows())[0].price_version is None


async def test_unknown_tokens_stay_unknown(bench: Bench) -> None:
    bench.server.script(steps.Reply("Hello.", usage=None))
    answer = await bench.call()
    assert (answer.tokens_in, answer.tokens_out, answer.cost_micros) == (None, None, None)


async def test_while_everything_is_paused_no_model_is_called(bench: Bench) -> None:
    bench.switch.pressed = True
    with pytest.raises(ApplicationError) as caught:
        await bench.call()
    assert (caught.value.type, caught.value.non_retryable) == (failures.SYSTEM_PAUSED, True)
    assert await bench.rows() == []


async def test_a_pause_does_not_lose_what_was_spent_before(bench: Bench) -> None:
    bench.server.script(steps.empty())
    _, failure = await bench.fails()
    bench.switch.pressed = True
    error, paused = await bench.fails(attempt=2)
    assert error.type == failures.SYSTEM_PAUSED
    assert (paused.tokens_in, paused.tokens_out) == (failure.tokens_in, failure.tokens_out)
    assert paused.tokens_in == 11


async def test_a_stored_answer_is_returned_during_a_pause_too(bench: Bench) -> None:
    bench.server.script(steps.Reply("Hello."))
    await bench.call()
    bench.switch.pressed = True
    assert (await bench.call(attempt=2)).text == "Hello."


async def test_without_a_model_the_error_says_what_to_do(bench: Bench) -> None:
    with pytest.raises(ApplicationError, match="`models`, or OPENAI_API_KEY") as caught:
        await bench.call(chain=[])
    assert (caught.value.type, caught.value.non_retryable) == (failures.MODEL_REFUSED, True)


async def test_a_rate_limit_changes_the_model_at_once(bench: Bench) -> None:
    chain = [bench.spec("m1"), bench.spec("m2")]
    bench.server.script(steps.rate_limited("90"), model="m1")
    bench.server.script(steps.Reply("Hello from m2."), model="m2")
    error, failure = await bench.fails(chain=chain)
    assert (error.type, error.non_retryable) == (failures.MODEL_FAILOVER, True)
    assert (failure.cooldown_seconds, failure.last, failure.key) == (90, False, "test/m1")
    assert failure.failure_class is FailureClass.RATE_LIMIT
    assert "limiting requests" in failure.status_text
    assert await bench.texts() == []
    request = bench.request(cooling=[failure.key])
    answer = await bench.call(request, chain=chain, activity_id="2")
    assert answer.model == "m2"
    assert [row.sequence for row in await bench.rows()] == [1, 2]


async def test_a_cool_down_without_retry_after_is_half_a_minute(bench: Bench) -> None:
    bench.server.script(steps.server_error())
    _, failure = await bench.fails(chain=[bench.spec("m1"), bench.spec("m2")])
    assert failure.cooldown_seconds == 30


@pytest.mark.parametrize(
    ("step", "waits"),
    [
        (steps.rate_limited("60"), [60, 60, None]),
        (steps.rate_limited("61"), [2, 4, None]),
        (steps.server_error(503), [2, 4, None]),
        (steps.garbage(), [2, 4, None]),
        (steps.Disconnect("Hel", chunks=1), [2, 4, None]),
    ],
    ids=["retry-after", "long retry-after", "503", "garbage", "disconnect"],
)
async def test_the_last_model_is_tried_three_times(
    bench: Bench, step: steps.Step, waits: list[float | None]
) -> None:
    for attempt, wait in enumerate(waits, 1):
        bench.server.script(step)
        error, failure = await bench.fails(attempt=attempt)
        assert error.type == failures.MODEL_RETRY
        assert error.non_retryable is (wait is None)
        assert error.next_retry_delay == (None if wait is None else timedelta(seconds=wait))
        assert (failure.last, failure.attempts, failure.cooldown_seconds) == (True, attempt, 0)
    assert [row.status for row in await bench.rows()] == [LlmCallStatus.FAILED] * 3


async def test_when_all_are_cooling_the_first_is_the_last(bench: Bench) -> None:
    bench.server.script(steps.rate_limited(), model="m1")
    request = bench.request(cooling=["test/m1", "test/m2"])
    error, failure = await bench.fails(request=request, chain=[bench.spec(), bench.spec("m2")])
    assert (error.type, failure.last) == (failures.MODEL_RETRY, True)


async def test_a_model_out_of_reach_gives_way_after_three_attempts(bench: Bench) -> None:
    chain = [bench.spec(base_url=CLOSED_PORT), bench.spec("m2")]
    error, _ = await bench.fails(chain=chain, attempt=2)
    assert (error.type, error.non_retryable) == (failures.MODEL_RETRY, False)
    error, failure = await bench.fails(chain=chain, attempt=3)
    assert (error.type, failure.cooldown_seconds) == (failures.MODEL_FAILOVER, 30)


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (steps.unauthorized(KEY), failures.MODEL_REFUSED),
        (steps.model_missing("m1"), failures.MODEL_REFUSED),
        (steps.RawPage("<html>"), failures.MODEL_REFUSED),
        (steps.Refusal(400, steps.error_body("bad parameter")), failures.MODEL_REFUSED),
        (steps.openai_overflow(), failures.CONTEXT_OVERFLOW),
        (steps.llama_overflow(), failures.CONTEXT_OVERFLOW),
    ],
    ids=["401", "no such model", "web page", "400", "overflow", "overflow of llama.cpp"],
)
async def test_what_no_wait_mends_is_final(bench: Bench, step: steps.Step, kind: str) -> None:
    bench.server.script(step)
    error, failure = await bench.fails()
    assert (error.type, error.non_retryable) == (kind, True)
    (row,) = await bench.rows()
    assert (row.status, row.error) == (LlmCallStatus.FAILED, failure.message)
    assert (failure.tokens_in, failure.tokens_out, failure.cost_micros) == (None, None, None)


@pytest.mark.parametrize("step", [steps.empty(), steps.reasoning_only(), steps.Reply(" \n")])
async def test_an_empty_answer_is_repeated_twice_and_paid_each_time(
    bench: Bench, step: steps.Step
) -> None:
    for attempt, wait in enumerate([1, 2, None], 1):
        bench.server.script(step)
        error, failure = await bench.fails(attempt=attempt)
        assert (error.type, error.non_retryable) == (failures.EMPTY_REPLY, wait is None)
        assert error.next_retry_delay == (wait and timedelta(seconds=wait))
        assert (failure.tokens_in, failure.tokens_out) == (11 * attempt, 7 * attempt)
        assert failure.cost_micros == 25 * attempt
    assert await bench.texts() == []


async def test_tokens_of_failed_attempts_are_in_the_answer(bench: Bench) -> None:
    bench.server.script(steps.empty(), steps.server_error(), steps.Reply("Hello."))
    await bench.fails(attempt=1)
    await bench.fails(attempt=2)
    answer = await bench.call(attempt=3)
    assert (answer.tokens_in, answer.tokens_out, answer.cost_micros) == (22, 14, 50)


@pytest.mark.parametrize("step", [steps.Hang(), steps.Hang("Hel", chunks=1)])
async def test_a_hanging_model_is_a_transient_failure(bench: Bench, step: steps.Step) -> None:
    bench.server.script(step)
    error, failure = await bench.fails(chain=[bench.spec(idle_timeout_seconds=0.2)])
    assert (error.type, error.non_retryable) == (failures.MODEL_RETRY, False)
    assert failure.failure_class is FailureClass.TIMEOUT


async def test_a_run_out_of_time_says_so(bench: Bench) -> None:
    bench.server.script(steps.Reply("x" * 100, chunks=100, delay=0.05))
    error, failure = await bench.fails(request=bench.request(timeout_seconds=0.5))
    assert (error.type, error.message) == (failures.RUN_TIMED_OUT, "run timed out after 0.5s")
    assert error.non_retryable
    assert failure.elapsed_seconds >= 0.5
    await bench.server.wait_for(lambda: bench.server.calls[0].client_closed_at is not None)
    assert (await bench.rows())[0].status is LlmCallStatus.FAILED


async def test_time_spent_by_former_attempts_counts(bench: Bench) -> None:
    bench.server.script(steps.Hang())
    details = (LiveText(spent_seconds=599.7).model_dump(),)
    error, failure = await bench.fails(
        request=bench.request(timeout_seconds=600), attempt=2, details=details
    )
    assert error.message == "run timed out after 600s"
    assert 600 <= failure.elapsed_seconds < 620


async def test_no_request_is_made_when_no_time_is_left(bench: Bench) -> None:
    details = (LiveText(spent_seconds=601).model_dump(),)
    error, _ = await bench.fails(
        request=bench.request(timeout_seconds=600), attempt=2, details=details
    )
    assert error.type == failures.RUN_TIMED_OUT
    assert bench.server.calls == []


@pytest.mark.parametrize("step", [steps.Hang(), steps.Reply("x" * 1000, chunks=1000, delay=0.02)])
async def test_cancelling_closes_the_connection_and_settles_the_row(
    bench: Bench, step: steps.Step
) -> None:
    bench.server.script(step)
    task = asyncio.create_task(bench.call())
    await bench.server.wait_for(lambda: bool(bench.server.calls))
    bench.environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.server.wait_for(lambda: bench.server.calls[0].client_closed_at is not None)
    (row,) = await bench.rows()
    assert row.status is LlmCallStatus.CANCELLED
    assert row.tokens_in is None
    assert await bench.texts() == []


async def test_an_answer_that_is_being_stored_is_told_to_a_caller_who_cancels(
    bench: Bench, store_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, write, begun = threading.Event(), bench.store.write, asyncio.Event()

    async def noticed(work: Any, *arguments: Any) -> Any:
        begun.set()
        return await write(work, *arguments)

    bench.server.script(steps.Reply("Hello.", gate=gate))
    task = asyncio.create_task(bench.call())
    await bench.server.wait_for(lambda: bool(bench.server.calls))
    with closing(sqlite3.connect(store_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # the answer has to wait
        monkeypatch.setattr(bench.store, "write", noticed)
        gate.set()
        await begun.wait()
        bench.environment.cancel()
        await asyncio.sleep(0)
    assert (await task).text == "Hello."
    (row,) = await bench.rows()
    assert row.status is LlmCallStatus.OK
    assert (await bench.texts())[-1] == ("assistant", "Hello.")


async def test_a_store_that_fails_meanwhile_does_not_hide_the_cancellation(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise StoreError("disk full")

    bench.server.script(steps.Hang())
    task = asyncio.create_task(bench.call())
    await bench.server.wait_for(lambda: bool(bench.server.calls))
    monkeypatch.setattr(bench.store, "write", broken)
    bench.environment.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("fails", [False, True])
async def test_cancelling_before_the_request_settles_the_row(
    bench: Bench, store_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    write, written = bench.store.write, itertools.count(1)

    async def broken(work: Any, *arguments: Any) -> Any:
        if next(written) == 2:
            raise StoreError("disk full")
        return await write(work, *arguments)

    if fails:
        monkeypatch.setattr(bench.store, "write", broken)
    with closing(sqlite3.connect(store_path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")  # what comes before the request has to wait
        task = asyncio.create_task(bench.call())
        await bench.switch.checked.wait()
        await asyncio.sleep(0)
        bench.environment.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    (row,) = await bench.rows()
    assert row.status is (LlmCallStatus.STARTED if fails else LlmCallStatus.CANCELLED)
    assert bench.server.calls == []


async def test_the_text_can_be_followed_while_it_grows(bench: Bench) -> None:
    text = "0123456789" * 2000
    bench.server.script(steps.Reply(text, chunks=10, delay=0.12))
    await bench.call()
    shown = [beat for beat in bench.beats if beat.tail]
    assert len(shown) >= 3
    for beat in shown:
        assert text[beat.offset :].startswith(beat.tail)
        assert len(beat.tail.encode()) <= TAIL_BYTES
    assert shown[-1].offset > 0
    assert [beat.spent_seconds for beat in shown] == sorted(beat.spent_seconds for beat in shown)


async def test_a_silent_model_has_a_heartbeat(bench: Bench) -> None:
    bench.server.script(steps.Reply("Hello.", before=1))
    await bench.call(silent_beat=timedelta(milliseconds=50))
    assert len([beat for beat in bench.beats if not beat.tail]) >= 5


async def test_a_failed_attempt_leaves_its_time_to_the_next(bench: Bench) -> None:
    bench.server.script(steps.Reply("", chunks=0, before=0.3))
    _, failure = await bench.fails(details=(LiveText(spent_seconds=5),))
    assert bench.beats[0].spent_seconds >= 5
    assert bench.beats[-1].spent_seconds >= failure.elapsed_seconds >= 5.3


async def test_many_calls_at_once(store: Store, tmp_path: Path) -> None:
    with ModelServer() as server:
        server.always(lambda body: steps.Reply(body["messages"][-1]["content"][:7]))
        benches = [Bench(store, server, tmp_path) for _ in range(30)]
        requests = [bench.request(prompt=f"call {n:02}") for n, bench in enumerate(benches)]
        calls = (bench.call(request) for bench, request in zip(benches, requests, strict=True))
        answers = await asyncio.gather(*calls)
        assert [answer.text for answer in answers] == [f"call {n:02}" for n in range(30)]
        for bench in benches:
            await bench.made[0].close()
        server.assert_clean()
