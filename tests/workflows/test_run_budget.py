"""Runs and their budgets: refused before a call, and before they begin."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from activities.candidates import MAX_AGE
from domain.errors import DomainError, ErrorKind
from tests.support.harness import Harness, running_harness, running_server
from tests.support.model_steps import Reply, Usage

# A micro for each token, in and out.
PRICE = {"input_per_mtok": 1_000_000, "output_per_mtok": 1_000_000}
PRICES = {"prices": {"openai/first": PRICE, "openai/second": PRICE}}


@pytest.fixture(scope="module")
async def limited(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Harness]:
    """A Tickless whose routines may each spend a cent a day, on a server of its own."""
    folder = tmp_path_factory.mktemp("limited")
    async with (
        running_server(folder) as server,
        running_harness(
            folder,
            server,
            TICKLESS_PRICES=json.dumps(PRICES),
            TICKLESS_ROUTINE_BUDGET_USD_PER_DAY="0.01",
        ) as running,
    ):
        yield running


async def test_a_call_without_a_price_is_refused_where_a_run_is_limited(harness: Harness) -> None:
    routine = await harness.routine(Reply("Never."), guardrails={"max_cost_usd": "0.5"})
    view = await harness.run_once(routine)
    assert view.record.status == "failed"
    assert view.record.error is not None
    assert view.record.error.startswith("budget: run (`prices` does not name openai/first")
    assert not [call for call in harness.models.calls if routine in call.texts[-1]]


async def test_a_routine_whose_day_is_spent_is_not_admitted(limited: Harness) -> None:
    """Its one call was dearer than reserved, which is booked in full."""
    routine = await limited.routine(Reply("Dear.", usage=Usage(prompt=20_000)))
    view = await limited.run_once(routine)
    assert (view.record.status, view.record.cost_micros) == ("attention", 20_007)
    assert any(warning.startswith("budget routine_day") for warning in view.record.warnings)
    with pytest.raises(DomainError, match="budget") as refused:
        await limited.tickless.runs.trigger(routine)
    assert refused.value.kind == ErrorKind.CONFLICT
    # Other routines have their own.
    other = await limited.routine(Reply("Cheap."))
    assert (await limited.run_once(other)).record.status == "attention"


async def test_a_call_that_would_be_too_dear_is_not_made(limited: Harness) -> None:
    routine = await limited.routine(
        Reply("Never."), prompt=None, action={"type": "lightweight", "prompt": "x" * 60_000}
    )
    trigger = {"type": "system_event", "source": "tickless", "event_type": "budget.exceeded"}
    listening = await limited.routine(
        trigger={**trigger, "filters": {"routine_id": routine}}, guardrails={"cooldown_seconds": 0}
    )
    # As long as a new listener may take to be heard of: no condition shows it.
    await asyncio.sleep(MAX_AGE.total_seconds())
    for _ in range(2):
        view = await limited.run_once(routine)
        assert view.record.status == "failed"
        assert view.record.error == "budget: routine_day (0 of 0.01 USD are spent or reserved)"
    # Told once for the day, whatever is refused after that.
    runs = await limited.tickless.routines.runs(listening)
    assert [run.trigger_detail for run in runs] == ["tickless:budget.exceeded"]
