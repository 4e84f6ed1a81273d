"""Calls of a model that nobody sees: what to remember before a compaction, and a summary after it.

Owns making them and what follows: a note in the scope's workspace, a text for the prompt. When
they are due is `domain.call_prompts`'. Source: chat-policies.md §4.9 and §6,
triggers-and-actions.md §11.

Invariants:
    1. A hidden call is a row of `llm_calls` of its own, and counts in every budget.
    2. It never fails the call it is made for: the conversation is compacted without it as well.
    3. There is at most one flush between two compactions of a thread, whatever becomes of it.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog
from temporalio.exceptions import ApplicationError

from activities.call_records import CallRecord, NewCall
from activities.completions import ProviderError
from activities.contexts import Draft, ThreadContext
from activities.memory_notes import MemoryNotes
from domain.call_prompts import flush_messages
from domain.compaction_summary import titled_summary
from domain.context import CHARS_PER_TOKEN_ESTIMATE, extract_message_content
from domain.history import NO_OUTPUT
from domain.llm_calls import LlmCallStatus
from domain.message_text import estimate_message_tokens, estimate_prompt_tokens
from domain.messages import Message
from domain.prices import PriceTable
from domain.pruning_config import PruningConfig, apply_pruning_defaults
from domain.silent_replies import is_silent_reply_text
from domain.threads import Thread

if TYPE_CHECKING:
    from activities.providers import Providers
    from activities.store import Ledger, Store

FLUSH: Final = "memory_flush"
SUMMARY: Final = "summary"
FLUSH_TOKENS: Final = 1024
# A hidden call may take this share of the time that is left.
TIME_SHARE: Final = 0.5

_SUMMARY_RULE: Final = (
    "Summarise the conversation below for the one who continues it: what was asked, what was found "
    "or decided, what is open, and every identifier that is still needed. Write the summary only."
)

log = structlog.get_logger(__name__)


def flush_call_id(thread_id: str, context: ThreadContext) -> str:
    """The row of a thread's flush since its last compaction."""
    cycle = context.compaction.sequence if context.compaction else 0
    return f"{FLUSH}/{thread_id}/{cycle}"


@dataclass(frozen=True, slots=True)
class HiddenCall:
    """What a hidden call is made for.

    Attributes:
        call: Its row, without its size.
        thread: The conversation; its scope's workspace takes the note.
        timeout_seconds: What is left of the time of the call it is made for.
    """

    call: NewCall
    thread: Thread
    timeout_seconds: float


class HiddenCalls:
    """Makes hidden calls."""

    def __init__(
        self,
        store: "Store",
        providers: "Providers",
        prices: PriceTable,
        notes: MemoryNotes,
        config: PruningConfig,
    ) -> None:
        """Put the calls together.

        Args:
            store: Where their rows are.
            providers: All models.
            prices: What they cost.
            notes: Takes what is to be remembered.
            config: With the texts of the flush and how to summarise.
        """
        self._store = store
        self._providers = providers
        self._prices = prices
        self._notes = notes
        self._config = apply_pruning_defaults(config)

    async def flush(self, hidden: HiddenCall, draft: Draft) -> None:
        """Let the model save what is worth remembering."""
        messages = flush_messages(draft.prompt, self._config, draft.spec.context_tokens)
        answer = await self._ask(hidden, draft, messages, FLUSH_TOKENS)
        if answer and not is_silent_reply_text(answer):
            scope, key = hidden.thread.scope, hidden.call.id
            await self._notes.append(scope, answer, key, datetime.now(UTC))

    async def summarise(
        self, hidden: HiddenCall, draft: Draft, earlier: str, dropped: Sequence[Message]
    ) -> str:
        """A summary of what is dropped and of the summary before it; empty when there is none."""
        size = self._config.max_summary_tokens or 0
        messages = self._summary_messages(hidden, earlier, dropped)
        answer = await self._ask(hidden, draft, messages, size)
        return titled_summary(answer, size)

    def _summary_messages(
        self, hidden: HiddenCall, earlier: str, dropped: Sequence[Message]
    ) -> list[Message]:
        config = self._config
        rules = [
            _SUMMARY_RULE,
            config.custom_instructions,
            config.identifier_policy,
            config.identifier_instructions,
        ]
        told = [f"{role}: {text}" for text, role in map(extract_message_content, dropped) if text]
        # The newest part is what the conversation goes on from.
        window = hidden.call.spec.context_tokens * CHARS_PER_TOKEN_ESTIMATE
        text = "\n\n".join([earlier, *told] if earlier else told)[-window // 2 :]
        return [
            {"role": "system", "content": "\n".join(rule for rule in rules if rule.strip())},
            {"role": "user", "content": text or NO_OUTPUT},
        ]

    async def _ask(
        self, hidden: HiddenCall, draft: Draft, messages: Sequence[Message], max_tokens: int
    ) -> str:
        """The answer; empty when there is none, for whatever reason."""
        call = _sized(hidden.call, messages, max_tokens)
        try:
            record = await self._store.write(self._begin, call, hidden.thread)
        except ApplicationError as refusal:
            log.warning("hidden_call_refused", purpose=call.purpose, reason=refusal.message)
            return ""
        try:
            async with asyncio.timeout(hidden.timeout_seconds * TIME_SHARE):
                completion = await self._providers[call.spec].complete(
                    draft.offer.spoken(messages), max_tokens=call.max_tokens, on_text=_unseen
                )
        except asyncio.CancelledError:
            await record.settle(LlmCallStatus.CANCELLED)
            raise
        except (ProviderError, TimeoutError) as error:
            unbilled = isinstance(error, ProviderError) and error.unbilled
            reason = str(error) or "it took too long"
            await record.settle(LlmCallStatus.FAILED, error=reason, unbilled=unbilled)
            log.warning("hidden_call_failed", purpose=call.purpose, reason=reason)
            return ""
        await record.settle(LlmCallStatus.OK, completion.usage)
        return completion.text.strip()

    def _begin(self, ledger: "Ledger", call: NewCall, thread: Thread) -> CallRecord:
        ledger.threads.ensure(thread)
        call.caller.put(ledger, thread.id)
        return CallRecord.begin(ledger, self._store, self._prices, call)


def _sized(call: NewCall, messages: Sequence[Message], max_tokens: int) -> NewCall:
    sizes = [estimate_message_tokens(message) for message in messages]
    longest = min(max_tokens, call.spec.max_tokens or max_tokens)
    return replace(call, prompt_tokens=estimate_prompt_tokens(sizes), max_tokens=longest)


def _unseen(_piece: str) -> None:
    """What a person sees of a hidden call."""
