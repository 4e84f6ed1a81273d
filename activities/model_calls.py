"""One request to a model, from the row in the ledger to the answer or the error for the workflow.

Owns the time limit of a request, settling its row whatever happens, and the translation of failures
into `ApplicationError`s. What follows from a failure is `domain.retries`'.
Source: chat-policies.md §7.3, triggers-and-actions.md §5.

Invariants:
    1. However a request ends, its row is settled once and its connection is closed. An answer is
       stored in the same transaction, and told also to a caller who cancels meanwhile.
    2. Every error is an `ApplicationError` with a `ModelFailure`; only cancellation passes.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import structlog
from temporalio.exceptions import ApplicationError

from activities.call_records import CallRecord, Settled
from activities.completions import Completion, ProviderError
from activities.failures import (
    CONTEXT_OVERFLOW,
    EMPTY_REPLY,
    MODEL_FAILOVER,
    MODEL_REFUSED,
    MODEL_RETRY,
    RUN_TIMED_OUT,
    ModelFailure,
    Overflow,
)
from activities.model_attempts import Attempt
from activities.tool_offers import ToolOffer
from domain.fallback import FailureClass, FallbackDecision
from domain.llm_calls import LlmCallStatus
from domain.messages import Message
from domain.retries import AfterFailure, NextStep, after_empty_reply, after_failure
from domain.threads import ThreadMessage
from domain.tool_specs import ToolCall
from domain.usage import Spent

if TYPE_CHECKING:
    from activities.providers import Provider

EMPTY_TEXT: Final = "The model gave an empty answer."
STILL_TOO_LONG: Final = "The conversation is too long for the model, also after it was compacted."
# Noted on a call that went well, so that an answer found again still says it was cut.
TRUNCATED: Final = "cut by the token limit"
FILTERED: Final = "cut by the provider's content filter"
# Each compaction costs a refused request; what two do not mend a third does not.
MAX_COMPACTIONS: Final = 2
# How long a caller who cancels waits for an answer that is being stored, as the store itself does.
_STORED_WITHIN: Final = timedelta(seconds=2)

_TYPES: Final[Mapping[NextStep, str]] = MappingProxyType(
    {
        NextStep.AGAIN: MODEL_RETRY,
        NextStep.EXHAUSTED: MODEL_RETRY,
        NextStep.NEXT_MODEL: MODEL_FAILOVER,
        NextStep.COMPACT: CONTEXT_OVERFLOW,
        NextStep.REFUSED: MODEL_REFUSED,
    }
)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer, the message it was stored as, and what all attempts have spent."""

    completion: Completion
    message: ThreadMessage
    settled: Settled


class ModelCall:
    """A request that is about to be made, once."""

    def __init__(
        self,
        provider: "Provider",
        record: CallRecord,
        attempt: Attempt,
        *,
        last: bool,
        prompt_tokens: int,
        compactions: int = 0,
    ) -> None:
        """Put a request together.

        Args:
            provider: The model.
            record: Its row in the ledger, begun.
            attempt: The attempt of the activity.
            last: No other model of the chain can be called.
            prompt_tokens: Estimated size of the prompt.
            compactions: How often the conversation was made shorter for it.
        """
        self._provider = provider
        self._record = record
        self._attempt = attempt
        self._last = last
        self._prompt_tokens = prompt_tokens
        self._compactions = compactions

    async def make(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        timeout_seconds: float,
        on_text: Callable[[str], None],
        said: Callable[[str, Sequence[ToolCall]], list[ThreadMessage]],
        offer: ToolOffer,
    ) -> Answered:
        """Make the request and store the answer.

        Args:
            messages: The prompt.
            max_tokens: Longest answer.
            timeout_seconds: Time for all attempts together.
            on_text: Is given each new piece of text.
            said: Makes of an answer's text and calls what its thread keeps, the answer last.
            offer: The tools it may call.

        Raises:
            ApplicationError: It failed, ran out of time or brought neither text nor calls.
        """
        try:
            async with asyncio.timeout(timeout_seconds - self._attempt.spent_seconds()):
                completion = await self._provider.complete(
                    messages, max_tokens=max_tokens, on_text=on_text, offer=offer
                )
        except asyncio.CancelledError:
            await self._settle_cancelled()
            raise
        except TimeoutError:
            message = f"run timed out after {timeout_seconds:g}s"
            spent = await self._settle_failed(message)
            raise self._timed_out(message, spent) from None
        except ProviderError as error:
            spent = await self._settle_failed(error.message, unbilled=error.unbilled)
            raise self._failed(error, spent) from None
        booking = asyncio.create_task(self._booked(completion, said))
        try:
            return await asyncio.shield(booking)
        except asyncio.CancelledError:
            # What is being stored is an answer, and told as such if that does not take long.
            await asyncio.wait([booking], timeout=_STORED_WITHIN.total_seconds())
            if not booking.done():
                booking.cancel()
                raise
            return booking.result()

    async def _booked(
        self,
        completion: Completion,
        said: Callable[[str, Sequence[ToolCall]], list[ThreadMessage]],
    ) -> Answered:
        if completion.is_empty:
            spent = await self._settle_failed(EMPTY_REPLY, completion)
            raise self._empty(spent)
        note = FILTERED if completion.filtered else TRUNCATED if completion.truncated else None
        kept = said(completion.text, completion.tool_calls)
        settled = await self._record.settle(LlmCallStatus.OK, completion.usage, note, kept)
        return Answered(completion, settled.stored[-1], settled)

    async def _settle_cancelled(self) -> None:
        try:
            await self._record.settle(LlmCallStatus.CANCELLED)
        except Exception as error:  # reported as cancelled all the same, not as failed
            log.warning("model_call_not_settled", call=self._record.id, error=str(error))

    async def _settle_failed(
        self, error: str, completion: Completion | None = None, *, unbilled: bool = False
    ) -> Spent:
        usage = completion.usage if completion else None
        settled = await self._record.settle(LlmCallStatus.FAILED, usage, error, unbilled=unbilled)
        return settled.spent

    def _failed(self, error: ProviderError, spent: Spent) -> ApplicationError:
        after = after_failure(
            error.decision.action,
            attempt=self._attempt.number,
            last=self._last,
            transient=error.transient,
            retry_after=error.retry_after,
        )
        failure = self._failure(error.message, spent, error.decision)
        if after.step is NextStep.NEXT_MODEL:
            cool_down = after.wait.total_seconds()
            failure = failure.model_copy(update={"cooldown_seconds": cool_down})
        if after.step is NextStep.COMPACT:
            failure = failure.model_copy(update=self._overflow(error))
        return self._error(_TYPES[after.step], after, failure)

    def _overflow(self, error: ProviderError) -> dict[str, object]:
        """What the next call needs to know; nothing once there is to be no next one."""
        if self._compactions >= MAX_COMPACTIONS:
            return {"status_text": STILL_TOO_LONG}
        return {
            "overflow": Overflow(
                prompt_tokens=self._prompt_tokens,
                window_tokens=error.sizes.window_tokens,
                requested_tokens=error.sizes.requested_tokens,
            )
        }

    def _empty(self, spent: Spent) -> ApplicationError:
        failure = self._failure(EMPTY_TEXT, spent)
        return self._error(EMPTY_REPLY, after_empty_reply(self._attempt.number), failure)

    def _timed_out(self, message: str, spent: Spent) -> ApplicationError:
        failure = self._failure(message, spent)
        log.warning("model_call_timed_out", call=self._record.id, model=failure.key)
        return ApplicationError(message, failure, type=RUN_TIMED_OUT, non_retryable=True)

    def _error(self, kind: str, after: AfterFailure, failure: ModelFailure) -> ApplicationError:
        again = after.step is NextStep.AGAIN
        log.warning(
            "model_call_failed",
            call=self._record.id,
            model=failure.key,
            failure_class=failure.failure_class,
            next_step=after.step,
            error=failure.message,
        )
        return ApplicationError(
            f"{failure.key}: {failure.message}",
            failure,
            type=kind,
            non_retryable=not again,
            next_retry_delay=after.wait if again else None,
        )

    def _failure(
        self, message: str, spent: Spent, decision: FallbackDecision | None = None
    ) -> ModelFailure:
        spec = self._provider.spec
        return ModelFailure(
            model=spec.name,
            provider=spec.provider,
            failure_class=decision.failure_class if decision else FailureClass.UNKNOWN,
            message=message,
            status_text=decision.status_text if decision else message,
            last=self._last,
            elapsed_seconds=self._attempt.spent_seconds(),
            attempts=self._attempt.number,
            **spent.model_dump(),
        )
