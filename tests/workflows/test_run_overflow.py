"""A run whose conversation has become too long for the model (chat-policies.md §6.5)."""

from typing import Any

import pytest

from activities.model_calls import STILL_TOO_LONG
from domain.compaction_summary import SUMMARY_TITLE
from tests.chaos.stage import ledger
from tests.support.harness import Harness
from tests.support.model_steps import Reply, openai_overflow

LONG = Reply("word " * 1_600)


async def _conversation(harness: Harness, *steps: Any) -> str:
    """A routine that goes on in its thread and has had three long answers."""
    routine = await harness.routine(LONG, LONG, LONG, *steps, notify={})
    for _ in range(3):
        await harness.run_once(routine)
    return routine


async def test_the_conversation_is_compacted_twice_and_the_run_succeeds(harness: Harness) -> None:
    routine = await _conversation(
        harness, openai_overflow(8_000), openai_overflow(4_000), Reply("Short again.")
    )
    view = await harness.run_once(routine)
    assert (view.record.status, view.text) == ("attention", "Short again.")
    asked = [call for call in harness.models.calls if routine in call.texts[-1]]
    sizes = [sum(map(len, call.texts)) for call in asked[3:]]
    assert sizes[0] > sizes[1] > sizes[2]
    assert SUMMARY_TITLE in asked[-1].texts[1]
    async with ledger(harness) as store:
        rows = await store.calls.of_run(view.record.id)
        assert view.record.thread_id is not None
        told = await store.threads.messages(view.record.thread_id)
    assert [row.status for row in rows] == ["failed", "failed", "ok"]
    assert len(told) == 8


@pytest.mark.parametrize(
    "windows", [(8_000, 4_000, 2_000), (2_000, 2_000)], ids=["after two", "nothing left"]
)
async def test_a_run_that_stays_too_long_says_so(
    harness: Harness, windows: tuple[int, ...]
) -> None:
    routine = await _conversation(harness, *map(openai_overflow, windows))
    view = await harness.run_once(routine)
    asked = [call for call in harness.models.calls if routine in call.texts[-1]]
    assert len(asked) == 3 + len(windows)
    assert view.record.status == "failed"
    assert view.record.error is not None
    assert view.record.error.startswith(STILL_TOO_LONG)
