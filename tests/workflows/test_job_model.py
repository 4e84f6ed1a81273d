"""What the model of a job may do besides answering: overflow, decline, be cut off by a filter."""

import json
from typing import Any

import pytest

from activities.store import open_store
from domain.compaction_summary import SUMMARY_TITLE
from domain.jobs import JobStatus
from domain.notices import FILTERED_MARK, TRUNCATED_MARK
from tests.support.harness import Harness
from tests.support.jobs import StartedJob, calls, said, start_job
from tests.support.model_steps import RawEvents, Reply, openai_overflow


def bodies(harness: Harness, job: StartedJob) -> list[dict[str, Any]]:
    """The requests of a job's model, in order."""
    return [call.body for call in harness.models.calls if job.mark in str(call.body)]


def declined(text: str) -> RawEvents:
    """An answer in which a model declines: words in a field of their own."""
    deltas = [{"role": "assistant", "content": None}, *({"refusal": word} for word in text)]
    chunks: list[dict[str, Any]] = [{"index": 0, "delta": delta} for delta in deltas]
    chunks.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    envelope = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return RawEvents((*(json.dumps({**envelope, "choices": [one]}) for one in chunks), "[DONE]"))


async def test_a_conversation_that_grew_too_long_is_compacted_and_the_job_goes_on(
    harness: Harness,
) -> None:
    # Not `file_read`, which other tests call as often as one user may in a minute.
    long = json.dumps("word and word " * 900)
    (harness.folder / "workspace" / "grows.json").write_text(long, encoding="utf-8")
    read = ("json_query", '{"expression": "@", "path": "grows.json"}')
    job = await start_job(
        harness,
        *[calls(read)] * 4,
        openai_overflow(8_000),
        calls(("time_now", "{}")),
        said("Through."),
    )
    ended = await job.result()
    assert (ended.status, ended.text) == (JobStatus.COMPLETED, "Through.")
    # The call that failed is no step of the job.
    assert (ended.iteration, ended.tool_calls) == (6, 5)
    asked = bodies(harness, job)
    sizes = [len(str(body["messages"])) for body in asked]
    assert sizes[5] < sizes[4] / 2
    assert [SUMMARY_TITLE in str(body["messages"]) for body in asked] == [False] * 5 + [True] * 2
    # What came after the summary is told in full.
    assert asked[6]["messages"][-1]["role"] == "tool"
    assert "output of time_now" in asked[6]["messages"][-1]["content"]
    async with await open_store(harness.environ["TICKLESS_STORE__URL"]) as store:
        rows = await store.actions.of_job(job.id)
        told = await store.threads.messages(job.id)
    assert [row.tool for row in rows] == ["json_query"] * 4 + ["time_now"]
    assert sum(message.role == "tool" for message in told) == 5


async def test_a_model_that_declines_has_answered(harness: Harness) -> None:
    job = await start_job(harness, calls(("time_now", "{}")), declined("I will not do that."))
    ended = await job.result()
    assert (ended.status, ended.text) == (JobStatus.COMPLETED, "I will not do that.")
    assert (ended.iteration, len(bodies(harness, job))) == (2, 2)


@pytest.mark.parametrize(
    ("reason", "mark"), [("content_filter", FILTERED_MARK), ("length", TRUNCATED_MARK)]
)
async def test_an_answer_that_was_cut_is_a_result_that_says_so(
    harness: Harness, reason: str, mark: str
) -> None:
    job = await start_job(harness, Reply("Here is how", finish_reason=reason))
    ended = await job.result()
    assert (ended.status, ended.text) == (JobStatus.COMPLETED, f"Here is how\n{mark}")


async def test_an_answer_that_a_filter_took_away_is_an_empty_one(harness: Harness) -> None:
    job = await start_job(harness, Reply(text="", chunks=0, finish_reason="content_filter"))
    ended = await job.result()
    assert ended.status == JobStatus.FAILED
    assert "empty_reply" in (ended.error or "")
    assert len(bodies(harness, job)) == 3
    # It is paid for all the same.
    assert (ended.tokens_in, ended.tokens_out) == (33, 21)
