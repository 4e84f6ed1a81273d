"""Money and tokens of model calls: reserved, settled, refused, on SQLite and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from activities import failures
from activities.budgets import CallBudget, DailyLimits, DayBudgets
from activities.failures import BudgetRefusal, budget_refusal_of, model_failure_of
from activities.model_callers import Caller
from activities.models import CallModel
from activities.store import Ledger, Store, open_store
from domain.budget_entries import BudgetSums
from domain.costs import CallCost
from domain.prices import PriceTable
from domain.threads import Compaction
from tests.support import model_steps as steps
from tests.support.ledger_rows import NOON, job_record, llm_call, run_record, thread
from tests.support.model_bench import Bench, running_bench
from tests.support.model_server import ModelServer

pytest_plugins = ["tests.support.databases"]

DAY = "2026-03-01"


def caller(run_id: str = "brief/m-1") -> Caller:
    return Caller.of(CallModel(run=run_record(run_id), thread=thread()))


def put_call(ledger: Ledger, number: int, run_id: str = "brief/m-1") -> str:
    ledger.runs.put(run_record(run_id))
    call_id = f"{run_id}/{number}"
    ledger.calls.put(llm_call(call_id, run_id=run_id))
    return call_id


class Calls:
    """Calls that reserve 100 micros each."""

    def __init__(self, store: Store, limits: DailyLimits, **fields: Any) -> None:
        self.store = store
        self.limits = limits
        self.fields = fields
        self.budgets: dict[int, CallBudget] = {}

    async def reserve(self, number: int, now: datetime = NOON, amount: int | None = 100) -> None:
        budget = self.budgets[number] = CallBudget(self.limits, caller(), **self.fields)

        def work(ledger: Ledger) -> None:
            budget.reserve(ledger, put_call(ledger, number), amount, "test/m1", now)

        await self.store.write(work)

    async def settle(self, number: int, actual: int | None) -> list[str]:
        def work(ledger: Ledger) -> list[str]:
            return list(self.budgets[number].settle(ledger, f"brief/m-1/{number}", actual, NOON))

        return await self.store.write(work)

    async def sums(self, key: str = "deployment_day", day: str | None = DAY) -> BudgetSums:
        return await self.store.read(lambda ledger: ledger.budgets.sums(key, day))


async def refusal(attempt: Any) -> BudgetRefusal:
    with pytest.raises(ApplicationError) as caught:
        await attempt
    error = caught.value
    assert (error.type, error.non_retryable) == (failures.BUDGET_EXCEEDED, True)
    found = budget_refusal_of(error)
    assert found is not None
    assert found.scope in error.message
    return found


async def test_of_twenty_at_once_none_passes_the_limit(store: Store) -> None:
    calls = Calls(store, DailyLimits(deployment_micros=750))
    ended = await asyncio.gather(*map(calls.reserve, range(20)), return_exceptions=True)
    assert sum(item is None for item in ended) == 7
    assert all(isinstance(item, ApplicationError) for item in ended if item is not None)
    assert await calls.sums() == (0, 700)
    # A refused call has left nothing behind.
    assert len(await store.calls.with_prefix("brief/m-1/")) == 7


async def test_every_budget_or_none(store: Store) -> None:
    calls = Calls(store, DailyLimits(routine_micros=150, deployment_micros=900))
    await calls.reserve(1)
    found = await refusal(calls.reserve(2))
    assert (found.scope, found.key, found.day) == ("routine_day", "routine_day:brief", DAY)
    assert (found.reason, found.limit, found.used) == ("budget", 150, 100)
    assert await calls.sums() == (0, 100)


async def test_the_run_is_asked_first_and_over_all_its_days(store: Store) -> None:
    calls = Calls(store, DailyLimits(routine_micros=100), max_cost_micros=150)
    await calls.reserve(1)
    found = await refusal(calls.reserve(2, NOON + timedelta(days=1)))
    assert (found.scope, found.key, found.day) == ("run", "run:brief/m-1", None)


async def test_a_new_day_begins_in_the_zone_of_the_deployment(store: Store) -> None:
    calls = Calls(store, DailyLimits(deployment_micros=100, timezone="Europe/Berlin"))
    before = datetime(2026, 3, 1, 22, 59, tzinfo=UTC)
    await calls.reserve(1, before)
    await refusal(calls.reserve(2, before))
    await calls.reserve(3, before + timedelta(minutes=1))
    assert await calls.sums(day="2026-03-02") == (0, 100)


@pytest.mark.parametrize(("actual", "spent"), [(30, 30), (None, 100), (0, 0), (500, 500)])
async def test_settling(store: Store, actual: int | None, spent: int) -> None:
    calls = Calls(store, DailyLimits(deployment_micros=1000))
    await calls.reserve(1)
    await calls.settle(1, actual)
    assert await calls.sums() == (spent, 0)
    # The second time changes nothing.
    await calls.settle(1, 77)
    assert await calls.sums() == (spent, 0)


async def test_without_limits_all_is_booked_and_nothing_refused(store: Store) -> None:
    calls = Calls(store, DailyLimits())
    await calls.reserve(1)
    await calls.reserve(2, amount=None)
    await calls.settle(1, 60)
    await calls.settle(2, 60)
    assert await calls.sums() == (60, 0)
    assert await calls.sums("routine_day:brief") == (60, 0)


async def test_an_unknown_price_is_refused_where_there_is_a_limit(store: Store) -> None:
    calls = Calls(store, DailyLimits(), max_cost_micros=10_000)
    found = await refusal(calls.reserve(1, amount=None))
    assert (found.scope, found.reason) == ("run", "unknown_price")


async def test_a_budget_warns_once_at_eighty_percent(store: Store) -> None:
    calls = Calls(store, DailyLimits(deployment_micros=1_000_000))
    for number in range(1, 5):
        await calls.reserve(number)
    assert await calls.settle(1, 799_999) == []
    assert await calls.settle(2, 1) == ["budget deployment_day: 0.8 of 1 USD are spent"]
    assert await calls.settle(3, 100) == []
    assert await calls.settle(2, 1) == []


async def test_tokens_of_a_run_are_limited(store: Store) -> None:
    used = llm_call(
        "brief/m-1/0",
        run_id="brief/m-1",
        tokens_in=50,
        tokens_out=20,
        cache_read_tokens=20,
        cache_write_tokens=9,
    )

    def first(ledger: Ledger) -> None:
        ledger.runs.put(run_record("brief/m-1"))
        ledger.calls.put(used)

    await store.write(first)
    await Calls(store, DailyLimits(), max_tokens_total=100).reserve(1)
    found = await refusal(Calls(store, DailyLimits(), max_tokens_total=99).reserve(2))
    assert (found.scope, found.reason, found.used, found.limit) == (
        "max_tokens_total",
        "tokens",
        99,
        99,
    )


async def test_the_budgets_of_today(store: Store) -> None:
    now = datetime.now(UTC)
    calls = Calls(store, DailyLimits())
    assert not await DayBudgets(store, DailyLimits()).exhausted("brief")
    await calls.reserve(1, now)
    assert not await DayBudgets(store, DailyLimits(deployment_micros=101)).exhausted("brief")
    assert await DayBudgets(store, DailyLimits(deployment_micros=100)).exhausted("other")
    routine = DayBudgets(store, DailyLimits(routine_micros=100))
    assert await routine.exhausted("brief")
    assert not await routine.exhausted("other")


async def test_where_the_store_fails_there_is_room(store: Store) -> None:
    await store.close()
    assert not await DayBudgets(store, DailyLimits(deployment_micros=1)).exhausted("brief")


async def test_the_newest_compaction_reaches_furthest(store: Store) -> None:
    await store.threads.ensure(thread("t"))

    def compaction(sequence: int, summary: str) -> Compaction:
        return Compaction(
            id=f"t/{sequence}",
            thread_id="t",
            sequence=sequence,
            summary=summary,
            dropped=sequence,
            created_at=NOON,
        )

    def work(ledger: Ledger) -> list[Compaction | None]:
        before = ledger.compactions.newest("t")
        for item in (compaction(9, "nine"), compaction(30, "thirty"), compaction(9, "again")):
            ledger.compactions.put(item)
        return [before, ledger.compactions.newest("t")]

    assert await store.write(work) == [None, compaction(30, "thirty")]


async def test_costs_are_those_of_a_scope(store: Store) -> None:
    def work(ledger: Ledger) -> list[list[CallCost]]:
        for name in ("mine", "other"):
            ledger.threads.ensure(thread(name, scope=f"user:{name}"))
            ledger.runs.put(run_record(f"{name}/m-1", thread_id=name))
            ledger.jobs.put(job_record(f"job of {name}", scope=f"user:{name}"))
            ledger.calls.put(
                llm_call(
                    f"{name}/1",
                    run_id=f"{name}/m-1",
                    tokens_in=5,
                    cache_read_tokens=2,
                    cost_micros=9,
                )
            )
            ledger.calls.put(llm_call(f"{name}/2", run_id=None, job_id=f"job of {name}"))
        later = NOON + timedelta(seconds=1)
        return [list(ledger.calls.costs("user:mine", since)) for since in (NOON, later)]

    found, none = await store.write(work)
    assert sorted(found, key=lambda call: call.routine_id or "") == [
        CallCost(NOON, None, "local/small", None, None, None),
        CallCost(NOON, "mine", "local/small", 7, None, 9),
    ]
    assert none == []


# Calls of a model


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with ModelServer() as running:
        yield running


@pytest.fixture
async def bench(sqlite_url: str, server: ModelServer, tmp_path: Path) -> AsyncIterator[Bench]:
    limits = DailyLimits(deployment_micros=1_000_000)
    async with (
        await open_store(sqlite_url) as opened,
        running_bench(opened, server, tmp_path, limits=limits) as made,
    ):
        yield made


async def spent_today(bench: Bench) -> BudgetSums:
    day = datetime.now(UTC).date().isoformat()
    return await bench.store.read(lambda ledger: ledger.budgets.sums("deployment_day", day))


async def test_a_call_costs_what_it_used(bench: Bench) -> None:
    bench.server.script(steps.Reply("Hello.", usage=steps.Usage(20, 5)))
    answer = await bench.call()
    assert await spent_today(bench) == (answer.cost_micros, 0)


async def test_a_refused_call_is_not_made_and_says_nothing(bench: Bench) -> None:
    found = await refusal(bench.call(bench.request(max_cost_micros=50)))
    assert found.scope == "run"
    assert bench.server.calls == []
    assert await bench.rows() == []
    assert await bench.texts() == []


async def test_without_a_price_nothing_is_called(bench: Bench) -> None:
    bench.options["prices"] = PriceTable()
    found = await refusal(bench.call())
    assert (found.scope, found.reason) == ("deployment_day", "unknown_price")


@pytest.mark.parametrize("step", [steps.rate_limited(), steps.server_error(), steps.unauthorized()])
async def test_a_call_that_was_refused_costs_nothing(bench: Bench, step: steps.Step) -> None:
    bench.server.script(step)
    await bench.fails()
    assert await spent_today(bench) == (0, 0)


async def test_a_provider_that_is_not_there_costs_nothing(bench: Bench) -> None:
    await bench.fails(chain=[bench.spec(base_url="http://127.0.0.1:1/v1")])
    assert await spent_today(bench) == (0, 0)


@pytest.mark.parametrize(
    "step", [steps.Disconnect("Hel", chunks=1), steps.garbage()], ids=["disconnect", "garbage"]
)
async def test_an_answer_that_broke_off_costs_what_was_reserved(
    bench: Bench, step: steps.Step
) -> None:
    bench.server.script(step)
    await bench.fails()
    sums = await spent_today(bench)
    assert sums.spent > 4096
    assert sums.reserved == 0


async def test_a_warning_comes_with_the_answer(bench: Bench) -> None:
    bench.options["limits"] = DailyLimits(deployment_micros=10_000)
    bench.server.script(steps.Reply("Hello.", usage=steps.Usage(9_000, 5)))
    answer = await bench.call()
    assert answer.warnings == ["budget deployment_day: 0.00901 of 0.01 USD are spent"]


async def test_a_further_attempt_that_is_refused_tells_what_was_spent(bench: Bench) -> None:
    bench.server.script(steps.empty())
    await bench.fails()
    with pytest.raises(ApplicationError) as caught:
        await bench.call(bench.request(max_tokens_total=5), attempt=2)
    found, spent = budget_refusal_of(caught.value), model_failure_of(caught.value)
    assert found is not None
    assert spent is not None
    assert (found.scope, spent.tokens_in) == ("max_tokens_total", 11)


async def test_a_lost_call_that_is_made_again_keeps_what_was_set_aside(bench: Bench) -> None:
    """A call of a job has the same number when it is made again, and its attempts begin anew."""
    lost = f"{bench.workflow_id}/model-3/1"

    def died(ledger: Ledger) -> None:
        ledger.runs.put(run_record(bench.run_id))
        ledger.calls.put(llm_call(lost, run_id=bench.run_id))
        budget = CallBudget(bench.options["limits"], caller(bench.run_id))
        budget.reserve(ledger, lost, 400, "test/m1", datetime.now(UTC))

    await bench.store.write(died)
    bench.server.script(steps.Reply("Again.", usage=steps.Usage(20, 5)))
    request = bench.request(recovery=1)
    answer = await bench.call(request, activity_id="model-3")
    assert (answer.cost_micros, answer.attempts) == (30, 1)
    assert answer.message_id == f"{bench.workflow_id}/model-3/answer"
    assert {row.id: row.status for row in await bench.rows()} == {
        lost: "started",
        f"{bench.workflow_id}/model-3/r1.1": "ok",
    }
    assert await spent_today(bench) == (30, 400)
    # Lost once more, when the answer was there: nobody is asked a third time.
    again = await bench.call(request.model_copy(update={"recovery": 2}), activity_id="model-3")
    assert (again.text, again.cost_micros, len(bench.server.calls)) == ("Again.", 30, 1)
