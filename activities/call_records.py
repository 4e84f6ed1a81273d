"""The row of one request to a model in the ledger, with its part of every budget.

Owns writing the row before the request and settling it after. Does not call models; which budgets a
call counts in is `activities.budgets`'. Source: triggers-and-actions.md §10 and §11.

Invariants:
    1. The row and its reservations are written in one transaction before the request, and settled
       in one after it; a row that stays `started` belongs to a worker that died, and what it
       reserved counts as spent.
    2. Tokens and cost are those of all requests of the activity; unknown is null.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from activities.budgets import CallBudget
from activities.model_callers import Caller
from domain.llm_calls import LlmCall, LlmCallStatus
from domain.model_chain import ModelSpec
from domain.prices import PriceTable, Usage, cost_micros, estimate_micros
from domain.threads import ThreadMessage
from domain.usage import Spent

if TYPE_CHECKING:
    from activities.store import Ledger, Store

_UNKNOWN: Final = Usage(
    input_tokens=None, output_tokens=None, cache_read_tokens=None, cache_write_tokens=None
)


@dataclass(frozen=True, slots=True)
class NewCall:
    """A request that is about to be made.

    Attributes:
        id: Key of its row.
        caller: Who calls.
        spec: The model.
        purpose: What it is for.
        sequence: Place among the calls of the workflow.
        attempt: Number of the attempt.
        prompt_tokens: Estimated size of the prompt.
        max_tokens: Longest answer.
        budget: What it may cost.
    """

    id: str
    caller: Caller
    spec: ModelSpec
    purpose: str
    sequence: int
    attempt: int
    prompt_tokens: int
    max_tokens: int
    budget: CallBudget


@dataclass(frozen=True, slots=True)
class Settled:
    """What all requests of the activity have spent, what the thread keeps, what is nearly used."""

    spent: Spent
    stored: list[ThreadMessage]
    warnings: Sequence[str]


class CallRecord:
    """The row of one request."""

    def __init__(
        self, store: "Store", prices: PriceTable, call: LlmCall, budget: CallBudget, earlier: Spent
    ) -> None:
        self._store = store
        self._prices = prices
        self._call = call
        self._budget = budget
        self._earlier = earlier
        self._started = time.monotonic()

    @classmethod
    def begin(
        cls,
        ledger: "Ledger",
        store: "Store",
        prices: PriceTable,
        new: NewCall,
        earlier: Iterable[LlmCall] = (),
    ) -> "CallRecord":
        """Write the row of a request and set aside what it may cost.

        Args:
            ledger: The transaction to write it in.
            store: Where it will be settled.
            prices: What tokens cost.
            new: The request.
            earlier: Rows of the activity's other requests.

        Raises:
            ApplicationError: `budget_exceeded`; the transaction is to be rolled back.
        """
        caller, spec, now = new.caller, new.spec, datetime.now(UTC)
        call = LlmCall(
            id=new.id,
            run_id=caller.run_id,
            turn_id=caller.turn_id,
            job_id=caller.job_id,
            goal_id=caller.goal_id,
            sequence=new.sequence,
            attempt=new.attempt,
            model=spec.name,
            provider=spec.provider,
            purpose=new.purpose,
            started_at=now,
        )
        ledger.calls.put(call)
        price = prices.price(spec.provider, spec.name)
        amount = estimate_micros(new.prompt_tokens, new.max_tokens, price)
        new.budget.reserve(ledger, call.id, amount, spec.key, now)
        spent = spent_in(row for row in earlier if row.id != call.id)
        return cls(store, prices, call, new.budget, spent)

    @property
    def id(self) -> str:
        """The row's key."""
        return self._call.id

    async def settle(
        self,
        status: LlmCallStatus,
        usage: Usage | None = None,
        error: str | None = None,
        said: Sequence[ThreadMessage] = (),
        *,
        unbilled: bool = False,
    ) -> Settled:
        """Write what became of the call, and with it what its thread is to keep.

        Args:
            status: How it ended.
            usage: What it used; null is unknown, and then what was reserved counts as spent.
            error: Why it failed, or a note.
            said: Messages for the thread.
            unbilled: It did not get as far as costing something.
        """
        call = self._settled(status, usage or _UNKNOWN, error)

        def write(ledger: "Ledger") -> tuple[list[ThreadMessage], Sequence[str]]:
            ledger.calls.put(call)
            stored = ledger.threads.append(said) if said else []
            cost = 0 if unbilled and call.cost_micros is None else call.cost_micros
            return stored, self._budget.settle(ledger, call.id, cost, datetime.now(UTC))

        stored, warnings = await self._store.write(write)
        return Settled(with_call(self._earlier, call), stored, warnings)

    def _settled(self, status: LlmCallStatus, usage: Usage, error: str | None) -> LlmCall:
        price = self._prices.price(self._call.provider, self._call.model)
        return self._call.model_copy(
            update={
                "status": status,
                "tokens_in": usage.input_tokens,
                "tokens_out": usage.output_tokens,
                "cache_read_tokens": usage.cache_read_tokens,
                "cache_write_tokens": usage.cache_write_tokens,
                "cost_micros": cost_micros(usage, price),
                "price_version": self._prices.price_version if price else None,
                "latency_ms": round((time.monotonic() - self._started) * 1000),
                "error": error,
            }
        )


def spent_in(calls: Iterable[LlmCall]) -> Spent:
    """Tokens and cost of some calls."""
    spent = Spent()
    for call in calls:
        spent = with_call(spent, call)
    return spent


def with_call(spent: Spent, call: LlmCall) -> Spent:
    """The sum with a call; its cached prompt tokens count, they are only cheaper."""
    cached = (call.cache_read_tokens or 0) + (call.cache_write_tokens or 0)
    tokens_in = None if call.tokens_in is None else call.tokens_in + cached
    return spent.plus(tokens_in, call.tokens_out, call.cost_micros)
