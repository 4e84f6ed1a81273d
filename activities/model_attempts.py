"""One attempt of a model activity: its ids, its clock, its row of the ledger.

Owns the table row of an attempt (`llm_calls`) and the sum over the attempts of an activity. Does
not call models. Source: triggers-and-actions.md §5 and §10.

Invariants:
    1. The row is written before the request and settled after it; a row that stays `started`
       belongs to a worker that died.
    2. Tokens and cost are those of all attempts of the activity; unknown is null.
"""

import re
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from temporalio import activity

from activities.live_text import spent_before
from domain.llm_calls import LlmCall, LlmCallStatus
from domain.model_chain import ModelSpec
from domain.prices import PriceTable, Usage, cost_micros
from domain.threads import ThreadMessage
from domain.usage import Spent

if TYPE_CHECKING:
    from activities.store import Ledger, Store

# Noted on a call that went well, so that an answer found again still says it was cut.
TRUNCATED: Final = "cut by the token limit"

_TRAILING_NUMBER = re.compile(r"\d+$")
_UNKNOWN: Final = Usage(
    input_tokens=None, output_tokens=None, cache_read_tokens=None, cache_write_tokens=None
)


class Attempt:
    """The attempt that runs now, inside of an activity.

    Attributes:
        prefix: Beginning of the ids of everything this activity writes.
        number: Number of the attempt, from 1.
    """

    def __init__(self) -> None:
        info = activity.info()
        self.prefix = f"{info.workflow_id}/{info.activity_id}/"
        self.number = info.attempt
        self._activity_id = info.activity_id
        self._spent_before = spent_before(info.heartbeat_details)
        self._started = time.monotonic()

    @property
    def call_id(self) -> str:
        """Key of the attempt's row in `llm_calls`."""
        return f"{self.prefix}{self.number}"

    @property
    def prompt_id(self) -> str:
        """Key of the user's message, the same for all attempts."""
        return f"{self.prefix}prompt"

    @property
    def answer_id(self) -> str:
        """Key of the answer, the same for all attempts."""
        return f"{self.prefix}answer"

    @property
    def sequence(self) -> int:
        """Place among the calls of the workflow: Temporal numbers its activities."""
        number = _TRAILING_NUMBER.search(self._activity_id)
        return int(number.group()) if number else 1

    def said(self, thread_id: str, prompt: str, answer: str) -> list[ThreadMessage]:
        """What the attempt adds to its thread: prompt and answer.

        Of the prompt only what the author wrote is kept: files and fixed texts belong to one call,
        and would be repeated in every later one of the conversation.
        """
        now = datetime.now(UTC)
        return [
            ThreadMessage(
                id=self.prompt_id,
                thread_id=thread_id,
                role="user",
                content=prompt,
                created_at=now,
            ),
            ThreadMessage(
                id=self.answer_id,
                thread_id=thread_id,
                role="assistant",
                content=answer,
                llm_call_id=self.call_id,
                created_at=now,
            ),
        ]

    def spent_seconds(self) -> float:
        """Time spent in this and all former attempts."""
        return self._spent_before + time.monotonic() - self._started


class CallRecord:
    """The row of an attempt in `llm_calls`."""

    def __init__(self, store: "Store", prices: PriceTable, call: LlmCall, earlier: Spent) -> None:
        self._store = store
        self._prices = prices
        self._call = call
        self._earlier = earlier
        self._started = time.monotonic()

    @classmethod
    def begin(
        cls,
        ledger: "Ledger",
        store: "Store",
        prices: PriceTable,
        attempt: Attempt,
        spec: ModelSpec,
        *,
        run_id: str,
        purpose: str,
        earlier: Iterable[LlmCall],
    ) -> "CallRecord":
        """Write the row of an attempt whose request is about to be sent.

        Args:
            ledger: The transaction to write it in.
            store: Where it will be settled.
            prices: What tokens cost.
            attempt: The attempt.
            spec: The model.
            run_id: The run that calls.
            purpose: What the call is for.
            earlier: Rows of the activity's attempts.
        """
        call = LlmCall(
            id=attempt.call_id,
            run_id=run_id,
            sequence=attempt.sequence,
            attempt=attempt.number,
            model=spec.name,
            provider=spec.provider,
            purpose=purpose,
            started_at=datetime.now(UTC),
        )
        ledger.calls.put(call)
        return cls(store, prices, call, spent_in(row for row in earlier if row.id != call.id))

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
    ) -> tuple[Spent, list[ThreadMessage]]:
        """Write what became of the call, and with it what its thread is to keep.

        Returns:
            What all attempts of the activity have spent, and the messages as stored.
        """
        call = self._settled(status, usage or _UNKNOWN, error)

        def write(ledger: "Ledger") -> list[ThreadMessage]:
            ledger.calls.put(call)
            return ledger.threads.append(said) if said else []

        stored = await self._store.write(write)
        return _plus(self._earlier, call), stored

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
        spent = _plus(spent, call)
    return spent


def _plus(spent: Spent, call: LlmCall) -> Spent:
    """The sum with a call; its cached prompt tokens count, they are only cheaper."""
    cached = (call.cache_read_tokens or 0) + (call.cache_write_tokens or 0)
    tokens_in = None if call.tokens_in is None else call.tokens_in + cached
    return spent.plus(tokens_in, call.tokens_out, call.cost_micros)
