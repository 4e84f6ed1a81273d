"""A conversation that is too long: compacted, remembered, and told from there on."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities import failures
from activities.failures import ModelFailure, Overflow
from activities.model_calls import STILL_TOO_LONG
from activities.store import Store, open_store
from domain.compaction_summary import SUMMARY_TITLE
from domain.errors import DomainError
from domain.history import UNASKED
from domain.llm_calls import LlmCallStatus
from domain.pruning_config import OverflowFlushConfig, PruningConfig, default_pruning_config
from domain.threads import Compaction, ThreadKind, ThreadMessage
from tests.support import model_steps as steps
from tests.support.ledger_rows import NOON, run_record, thread
from tests.support.model_bench import Bench, running_bench
from tests.support.model_server import ModelServer

REFRESH = default_pruning_config().post_compaction_refresh_prompt
NO_FLUSH = replace(default_pruning_config(), overflow_flush=OverflowFlushConfig(enabled=False))


@pytest.fixture(scope="module")
async def store(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Store]:
    path = tmp_path_factory.mktemp("store") / "tickless.db"
    async with await open_store(f"sqlite:///{path}") as opened:
        yield opened


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
async def bench(store: Store, server: ModelServer, tmp_path: Path) -> AsyncIterator[Bench]:
    async with running_bench(store, server, tmp_path, context=NO_FLUSH) as made:
        yield made


async def talked(bench: Bench, turns: int, chars: int = 4000) -> None:
    """A conversation that has been going on: messages 1 to 2 × turns."""
    await bench.store.threads.ensure(session(bench))
    said = [
        ThreadMessage(
            id=f"{bench.run_id}/{number}",
            thread_id=bench.thread_id,
            role="assistant" if number % 2 else "user",
            content=f"word {number + 1} ".ljust(chars, "."),
            created_at=NOON,
        )
        for number in range(2 * turns)
    ]
    await bench.store.threads.append(said)


def session(bench: Bench) -> Any:
    return thread(bench.thread_id, kind=ThreadKind.SESSION)


async def kept(bench: Bench) -> Compaction | None:
    return await bench.store.read(lambda ledger: ledger.compactions.newest(bench.thread_id))


async def overflowed(bench: Bench, **fields: Any) -> Overflow:
    options = {"activity_id": fields.pop("activity_id")} if "activity_id" in fields else {}
    request = bench.request(thread=session(bench), **fields)
    error, failure = await bench.fails(request=request, **options)
    assert (error.type, error.non_retryable) == (failures.CONTEXT_OVERFLOW, True)
    assert failure.overflow is not None
    return failure.overflow


async def test_the_conversation_is_compacted_and_told_from_there_on(bench: Bench) -> None:
    await talked(bench, 20)
    bench.server.script(steps.openai_overflow(16_000), steps.Reply("Shorter."), steps.Reply("On."))
    overflow = await overflowed(bench)
    assert (overflow.window_tokens, overflow.requested_tokens) == (16_000, None)
    assert overflow.prompt_tokens > 40_000
    request = bench.request(thread=session(bench), compaction=1, overflow=overflow)
    answer = await bench.call(request, activity_id="2")
    assert answer.text == "Shorter."
    row = await kept(bench)
    assert row is not None
    assert row.id == f"{bench.thread_id}/{row.sequence}"
    assert row.dropped == row.sequence > 0
    assert row.summary.startswith(SUMMARY_TITLE)
    assert "- user: word 1 " in row.summary
    texts = bench.server.calls[1].texts
    assert texts[1:3] == [row.summary, REFRESH]
    assert texts[3].startswith(f"word {row.sequence + 1} ")
    # Nothing of the thread itself is lost, and the next call begins after the summary.
    assert len(await bench.texts()) == 42
    await bench.call(bench.request(thread=session(bench), prompt="Next."), activity_id="3")
    texts = bench.server.calls[2].texts
    assert texts[1] == row.summary
    # No model call of this thread is known to have said it.
    assert texts[2] == UNASKED
    assert texts[3].startswith(f"word {row.sequence + 1} ")
    assert REFRESH not in texts


async def test_twice_then_it_fits(bench: Bench) -> None:
    await talked(bench, 20)
    bench.server.script(
        steps.openai_overflow(16_000), steps.openai_overflow(4_000), steps.Reply("At last.")
    )
    first = await overflowed(bench)
    second = await overflowed(bench, compaction=1, overflow=first, activity_id="2")
    assert second.prompt_tokens < first.prompt_tokens
    once = await kept(bench)
    request = bench.request(thread=session(bench), compaction=2, overflow=second)
    answer = await bench.call(request, activity_id="3")
    assert answer.text == "At last."
    twice = await kept(bench)
    assert once is not None
    assert twice is not None
    assert twice.sequence > once.sequence
    # The newer summary goes on where the older one ended, as far as its size allows.
    assert once.summary.splitlines()[-1] in twice.summary
    assert f"word {once.sequence + 1} " in twice.summary
    sizes = [sum(map(len, call.texts)) for call in bench.server.calls]
    assert sizes[0] > sizes[1] > sizes[2]


async def test_after_two_compactions_it_says_so(bench: Bench) -> None:
    await talked(bench, 20)
    bench.server.script(steps.openai_overflow(16_000), steps.openai_overflow(4_000))
    overflow = await overflowed(bench)
    request = bench.request(thread=session(bench), compaction=2, overflow=overflow)
    error, failure = await bench.fails(request=request, activity_id="2")
    assert error.type == failures.CONTEXT_OVERFLOW
    assert (failure.overflow, failure.status_text) == (None, STILL_TOO_LONG)


async def test_what_does_not_shrink_is_not_asked_again(bench: Bench) -> None:
    """There is no conversation that could be shortened, only the question."""
    bench.server.script(steps.openai_overflow())
    overflow = await overflowed(bench, prompt="x" * 60_000)
    request = bench.request(prompt="x" * 60_000, compaction=1, overflow=overflow)
    error, failure = await bench.fails(request=request, activity_id="2")
    assert (error.type, error.non_retryable) == (failures.CONTEXT_OVERFLOW, True)
    assert (failure.overflow, failure.status_text) == (None, STILL_TOO_LONG)
    assert len(bench.server.calls) == 1


async def test_a_further_attempt_finds_the_compaction_made(bench: Bench) -> None:
    await talked(bench, 20)
    bench.server.script(
        steps.openai_overflow(16_000), steps.server_error(), steps.Reply("Shorter.")
    )
    overflow = await overflowed(bench)
    request = bench.request(thread=session(bench), compaction=1, overflow=overflow)
    await bench.fails(request=request, activity_id="2")
    once = await kept(bench)
    await bench.call(request, activity_id="2", attempt=2)
    assert await kept(bench) == once
    told = [[text for text in call.texts if text.startswith("word")] for call in bench.server.calls]
    assert told[1] == told[2]


async def test_what_llama_cpp_counts_is_used(bench: Bench) -> None:
    bench.server.script(steps.llama_overflow())
    overflow = await overflowed(bench)
    assert (overflow.window_tokens, overflow.requested_tokens) == (8192, 9000)


async def test_a_model_writes_the_summary(bench: Bench) -> None:
    await talked(bench, 20)
    bench.options["context"] = replace(
        NO_FLUSH, summarization_model="m2", custom_instructions="Keep the numbers."
    )
    chain = [bench.spec("m1"), bench.spec("m2")]
    bench.server.script(steps.openai_overflow(16_000), steps.Reply("Shorter."), model="m1")
    bench.server.script(steps.Reply("They counted words."), model="m2")
    _, failure = await bench.fails(request=bench.request(thread=session(bench)), chain=chain)
    request = bench.request(thread=session(bench), compaction=1, overflow=failure.overflow)
    answer = await bench.call(request, chain=chain, activity_id="2")
    row = await kept(bench)
    assert row is not None
    assert row.summary == f"{SUMMARY_TITLE}\nThey counted words."
    assert bench.server.calls[-1].texts[1] == row.summary
    rule, told = bench.server.calls[1].texts
    assert "Keep the numbers." in rule
    assert "user: word 1 " in told
    summary = (await bench.rows())[1]
    assert (summary.purpose, summary.model, summary.status) == ("summary", "m2", LlmCallStatus.OK)
    # What the summary used is in the sum of the call it was made for.
    assert answer.tokens_in == 22


async def test_without_the_summary_of_a_model_beginnings_are_quoted(bench: Bench) -> None:
    await talked(bench, 20)
    bench.options["context"] = replace(NO_FLUSH, summarization_model="test/m1")
    bench.server.script(
        steps.openai_overflow(16_000), steps.server_error(), steps.Reply("Shorter.")
    )
    overflow = await overflowed(bench)
    request = bench.request(thread=session(bench), compaction=1, overflow=overflow)
    await bench.call(request, activity_id="2")
    row = await kept(bench)
    assert row is not None
    assert "- user: word 1 " in row.summary


async def test_without_summaries_there_is_none(bench: Bench) -> None:
    await talked(bench, 20)
    bench.options["context"] = replace(NO_FLUSH, summarization_enabled=False)
    bench.server.script(steps.openai_overflow(16_000), steps.Reply("Shorter."))
    overflow = await overflowed(bench)
    request = bench.request(thread=session(bench), compaction=1, overflow=overflow)
    await bench.call(request, activity_id="2")
    row = await kept(bench)
    assert row is not None
    assert row.summary == ""
    assert bench.server.calls[1].texts[1] == REFRESH


async def test_a_model_that_is_not_there_cannot_summarise(bench: Bench) -> None:
    bench.options["context"] = PruningConfig(summarization_model="m9")
    with pytest.raises(DomainError, match="'m9'") as caught:
        await bench.call()
    assert caught.value.field == "summarization_model"


# Memory


def notes_of(root: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(root.glob("memory/*.md")))


@pytest.fixture
def flushing(bench: Bench) -> Callable[[], Any]:
    """A window that 20 turns nearly fill; with each call a request for it."""
    bench.options["context"] = PruningConfig(enabled=True, reserve_tokens=4_000)
    return lambda **fields: bench.request(thread=session(bench), **fields)


async def test_before_a_compaction_the_model_may_save_what_matters(
    bench: Bench, flushing: Callable[..., Any], tmp_path: Path
) -> None:
    await talked(bench, 20)
    chain = [bench.spec(context_tokens=48_000)]
    bench.server.script(
        steps.Reply("The user counts words.\n## not a head"),
        steps.Reply("Yes."),
        steps.Reply("No."),
    )
    answer = await bench.call(flushing(), chain=chain)
    assert answer.text == "Yes."
    flush = default_pruning_config().overflow_flush
    assert flush is not None
    hidden = bench.server.calls[0].texts
    assert (hidden[1], hidden[-1]) == (flush.system_prompt, flush.prompt)
    notes = notes_of(tmp_path)
    assert "The user counts words.\n ## not a head\n" in notes
    # Nobody hears of it: the thread has the question and its answer.
    assert (await bench.texts())[-2:] == [("user", "Say hello."), ("assistant", "Yes.")]
    assert answer.tokens_in == 22
    row = await bench.store.read(
        lambda ledger: ledger.calls.get(f"memory_flush/{bench.thread_id}/0")
    )
    assert row is not None
    assert (row.purpose, row.status, row.run_id) == ("memory_flush", LlmCallStatus.OK, bench.run_id)
    # Once in each cycle: the next call goes without.
    again = await bench.call(flushing(prompt="Next."), chain=chain, activity_id="2")
    assert (again.text, again.tokens_in) == ("No.", 11)
    assert notes_of(tmp_path) == notes


async def test_nothing_to_save_writes_nothing(
    bench: Bench, flushing: Callable[..., Any], tmp_path: Path
) -> None:
    await talked(bench, 20)
    bench.server.script(steps.Reply(" NO_REPLY\n"), steps.Reply("Yes."))
    await bench.call(flushing(), chain=[bench.spec(context_tokens=48_000)])
    assert not (tmp_path / "memory").exists()


async def test_a_flush_that_fails_costs_nothing_but_itself(
    bench: Bench, flushing: Callable[..., Any], tmp_path: Path
) -> None:
    await talked(bench, 20)
    bench.server.script(steps.server_error(), steps.Reply("Yes."), steps.Reply("No."))
    chain = [bench.spec(context_tokens=48_000)]
    assert (await bench.call(flushing(), chain=chain)).text == "Yes."
    assert (await bench.call(flushing(), chain=chain, activity_id="2")).text == "No."
    assert not (tmp_path / "memory").exists()


async def test_a_memory_that_leads_out_of_the_workspace_is_not_written(
    bench: Bench, flushing: Callable[..., Any], tmp_path: Path, tmp_path_factory: Any
) -> None:
    await talked(bench, 20)
    outside = tmp_path_factory.mktemp("outside")
    (tmp_path / "memory").symlink_to(outside)
    bench.server.script(steps.Reply("Remember me."), steps.Reply("Yes."))
    answer = await bench.call(flushing(), chain=[bench.spec(context_tokens=48_000)])
    assert answer.text == "Yes."
    assert list(outside.iterdir()) == []


async def test_after_an_overflow_the_flush_comes_before_the_compaction(
    bench: Bench, flushing: Callable[..., Any], tmp_path: Path
) -> None:
    await talked(bench, 20)
    bench.server.script(
        steps.openai_overflow(16_000), steps.Reply("It was long."), steps.Reply("Shorter.")
    )
    overflow = await overflowed(bench)
    request = flushing(compaction=1, overflow=overflow)
    assert (await bench.call(request, activity_id="2")).text == "Shorter."
    assert "It was long." in notes_of(tmp_path)
    assert await kept(bench) is not None


async def test_a_cancelled_flush_is_settled(bench: Bench, flushing: Callable[..., Any]) -> None:
    await talked(bench, 20)
    bench.server.script(steps.Hang())
    task = asyncio.create_task(bench.call(flushing(), chain=[bench.spec(context_tokens=48_000)]))
    await bench.server.wait_for(lambda: bool(bench.server.calls))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    row = await bench.store.read(
        lambda ledger: ledger.calls.get(f"memory_flush/{bench.thread_id}/0")
    )
    assert row is not None
    assert row.status is LlmCallStatus.CANCELLED


async def test_a_job_keeps_its_task_through_compactions(bench: Bench) -> None:
    """The task is the oldest message, and what is answered after each round of tools."""
    await bench.store.threads.ensure(thread(bench.thread_id, kind=ThreadKind.JOB))
    said = [message(bench, 0, role="user", content="The task.")]
    for number in range(1, 15):
        call = {"id": f"c{number}", "type": "function", "function": {"name": "look"}}
        said.append(message(bench, 2 * number, role="assistant", content="", tool_calls=[call]))
        result = [{"id": f"c{number}", "name": "look"}]
        said.append(
            message(bench, 2 * number + 1, role="tool", content="z" * 4000, tool_calls=result)
        )
    await bench.store.threads.append(said)
    job_thread = thread(bench.thread_id, kind=ThreadKind.JOB)
    bench.server.script(steps.openai_overflow(8_000), steps.Reply("Shorter."), steps.Reply("On."))
    _, failure = await bench.fails(request=bench.request(thread=job_thread, prompt=None))
    request = bench.request(thread=job_thread, prompt=None, compaction=1, overflow=failure.overflow)
    await bench.call(request, activity_id="2")
    await bench.call(bench.request(thread=job_thread, prompt=None), activity_id="3")
    for sent in bench.server.calls:
        assert sum("The task." in text for text in sent.texts if SUMMARY_TITLE not in text) == 1
    roles = [message["role"] for message in bench.server.calls[2].body["messages"]]
    assert roles[:4] == ["system", "system", "user", "assistant"]


def message(bench: Bench, number: int, **fields: Any) -> ThreadMessage:
    return ThreadMessage(
        id=f"{bench.run_id}/{number}", thread_id=bench.thread_id, created_at=NOON, **fields
    )


async def test_a_refusal_keeps_what_hidden_calls_have_spent(
    bench: Bench, flushing: Callable[..., Any]
) -> None:
    await talked(bench, 20)
    bench.server.script(steps.Reply("Remember me."))
    with pytest.raises(ApplicationError) as caught:
        await bench.call(
            flushing(max_tokens_total=5, run=run_record(bench.run_id)),
            chain=[bench.spec(context_tokens=48_000)],
        )
    assert caught.value.type == failures.BUDGET_EXCEEDED
    spent = [item for item in caught.value.details if isinstance(item, ModelFailure)]
    assert [item.tokens_in for item in spent] == [11]
