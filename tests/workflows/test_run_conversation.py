"""What a run says when it begins, and what the next run goes on from (automation.md §7.3-8)."""

import json
from typing import Any

from domain.deliveries import DeliveryStatus
from domain.routine import Routine
from tests.chaos.stage import ledger
from tests.support.harness import Harness
from tests.support.model_steps import Reply, server_error, unauthorized


def _sent(harness: Harness, run: str) -> list[dict[str, Any]]:
    written = harness.deliveries.read_text(encoding="utf-8").splitlines()
    return [item for line in written if (item := json.loads(line))["run_id"] == run]


def _asked(harness: Harness, mark: str) -> list[list[str]]:
    """The texts of each request that says `mark` in its last message."""
    return [call.texts for call in harness.models.calls if mark in call.texts[-1]]


async def _routine(harness: Harness, *steps: Any, **body: Any) -> str:
    """A routine that speaks where its creator asked from, so that its messages form a thread."""
    return await harness.routine(*steps, **{"notify": {}, **body})


async def _record(harness: Harness, routine: str) -> Routine:
    return (await harness.tickless.routines.get(routine)).routine


async def test_a_run_says_that_it_begins_once(harness: Harness) -> None:
    """The model fails over: the second call of the same run does not announce it again."""
    routine = await _routine(harness, server_error(), Reply("Done."), title="Ferns")

    view = await harness.run_once(routine)

    start, final = _sent(harness, view.record.id)
    assert (start["part"], start["key"]) == ("start", f"{view.record.id}/start")
    assert start["text"].startswith("Ferns: started")
    assert final["part"] == "final"
    async with ledger(harness) as store:
        row = await store.outbox.get(start["key"])
    assert row is not None
    assert (row.status, row.attempts) == (DeliveryStatus.SENT, 1)


async def test_a_start_notice_that_cannot_be_sent_fails_nothing(harness: Harness) -> None:
    """A target that is no file name is refused for good; the final reply goes the same way."""
    route = {"receive_id_type": "file", "receive_id": "../outside"}
    routine = await _routine(harness, Reply("ROUTINE_OK"), notify={"route": route})

    view = await harness.run_once(routine)

    assert view.record.status == "ok"
    async with ledger(harness) as store:
        row = await store.outbox.get(f"{view.record.id}/start")
    assert row is not None
    assert (row.status, row.attempts) == (DeliveryStatus.FAILED, 1)


async def test_the_next_run_goes_on_in_the_thread(harness: Harness) -> None:
    routine = await _routine(harness, Reply("First answer."), Reply("Second answer."))

    first = await harness.run_once(routine)
    second = await harness.run_once(routine)

    assert first.record.thread_id == first.record.id
    assert second.record.thread_id == first.record.thread_id
    assert (await _record(harness, routine)).resume_thread_id == first.record.id
    texts = _asked(harness, routine)[1]
    assert texts[1:3] == [f"Do {routine}.", "First answer."]
    async with ledger(harness) as store:
        said = await store.threads.messages(first.record.id)
    assert [message.content for message in said if message.role == "assistant"] == [
        "First answer.",
        "Second answer.",
    ]


async def test_a_fresh_routine_begins_anew_each_time(harness: Harness) -> None:
    routine = await _routine(harness, Reply("First."), Reply("Second."), fresh=True)

    first = await harness.run_once(routine)
    second = await harness.run_once(routine)

    assert (first.record.thread_id, second.record.thread_id) == (
        first.record.id,
        second.record.id,
    )
    assert (await _record(harness, routine)).resume_thread_id is None
    assert len(_asked(harness, routine)[1]) == 2, "system text and prompt only"


async def test_a_failed_run_leaves_no_thread_to_go_on_in(harness: Harness) -> None:
    routine = await _routine(harness, unauthorized(), Reply("Well."))

    await harness.run_once(routine)
    assert (await _record(harness, routine)).resume_thread_id is None
    good = await harness.run_once(routine)
    assert (await _record(harness, routine)).resume_thread_id == good.record.id


async def test_later_texts_go_under_the_first_answer(harness: Harness) -> None:
    """The start notice is no message to reply to; the first answer is, and stays it."""
    routine = await _routine(harness, Reply("First."), Reply("Second."), Reply("Third."))

    runs = [(await harness.run_once(routine)).record.id for _ in range(3)]

    replies = [[item["reply_to"] for item in _sent(harness, run)] for run in runs]
    source = f"{runs[0]}/final"
    assert replies == [[None, None], [source, source], [source, source]]
    record = await _record(harness, routine)
    assert record.source_message_id == source
    kept = (await harness.tickless.routines.runs(routine))[-1]
    assert kept.message_ids == [source]


async def test_a_route_of_its_own_keeps_no_source_message(harness: Harness) -> None:
    route = {"receive_id_type": "file", "receive_id": "apart.jsonl"}
    routine = await _routine(harness, Reply("First."), notify={"route": route})

    await harness.run_once(routine)

    assert (await _record(harness, routine)).source_message_id is None
