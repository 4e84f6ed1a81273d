"""What comes before a request to a model: the stored answer, the model, the prompt, the row.

Owns the one transaction in which all of that is looked up and written, and the detours that have
to be made before it: hidden calls around a compaction. Making the request is
`activities.model_calls`'.
Source: DESIGN §4, chat-policies.md §4.9, §6.5 and §7.3.

Invariants:
    1. Without a detour there is one transaction. A detour begins it anew; nothing was written.
    2. A compaction is kept in the transaction that begins the call it was made for, and is made
       only while the prompt is as long as the one that was refused: a further attempt finds it
       made.
    3. What is refused here has reserved nothing and said nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from temporalio.exceptions import ApplicationError

from activities.announcements import Announcement, Announcer
from activities.budgets import CallBudget, DailyLimits
from activities.call_records import CallRecord, NewCall, spent_in
from activities.contexts import Draft, PromptMaker, ThreadContext
from activities.failures import CONTEXT_OVERFLOW, MODEL_REFUSED, PROMPT_REFUSED, ModelFailure
from activities.hidden_calls import FLUSH, SUMMARY, HiddenCall, HiddenCalls, flush_call_id
from activities.model_attempts import Attempt
from activities.model_callers import Caller
from activities.model_calls import STILL_TOO_LONG
from activities.model_requests import CallModel
from domain.budget import BudgetScopeName
from domain.budget_entries import entry_id
from domain.call_prompts import Shortened, needs_flush, shortened
from domain.compaction_summary import merge_summaries, summarize_dropped
from domain.fallback import FailureClass
from domain.llm_calls import LlmCall
from domain.model_chain import ModelSpec, usable_models
from domain.prices import PriceTable
from domain.pruning_config import PruningConfig
from domain.runs import RunRecord
from domain.threads import Compaction, ThreadMessage

if TYPE_CHECKING:
    from activities.store import Ledger, Store

log = structlog.get_logger(__name__)

Detour = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class CallSetting:
    """What all calls of a worker share.

    Attributes:
        store: Threads, calls and budgets.
        chain: All models in order of preference.
        prices: What they cost.
        config: How prompts are pruned and compacted, defaults filled in.
        summarizer: The model that summarises; null is none, then beginnings are quoted.
        limits: What may be spent in a day.
        hidden: Makes hidden calls.
        announcer: Says what requests announce; null where nothing is to be said.
    """

    store: "Store"
    chain: Sequence[ModelSpec]
    prices: PriceTable
    config: PruningConfig
    summarizer: ModelSpec | None
    limits: DailyLimits
    hidden: HiddenCalls
    announcer: Announcer | None


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that may be made now: its row, its prompt, what to say beside it.

    `last` says that no other model of the chain can be called.
    """

    record: CallRecord
    draft: Draft
    last: bool
    announcement: Announcement | None


@dataclass(frozen=True, slots=True)
class Found:
    """The answer of a former attempt that could not report it any more, and all attempts' rows."""

    message: ThreadMessage
    calls: Sequence[LlmCall]


class CallPreparation:
    """Prepares one attempt."""

    def __init__(
        self,
        setting: CallSetting,
        request: CallModel,
        attempt: Attempt,
        maker: PromptMaker,
        refusal: ApplicationError | None,
    ) -> None:
        """Take what the attempt is about.

        Args:
            setting: What all calls share.
            request: What is asked.
            attempt: The attempt.
            maker: Makes the prompt.
            refusal: Why no model may be called now; a stored answer is returned all the same.
        """
        self._setting = setting
        self._request = request
        self._attempt = attempt
        self._maker = maker
        self._refusal = refusal
        self._caller = Caller.of(request)
        self._flushed = False
        self._summary: str | None = None

    async def run(self) -> Begun | Found:
        """Prepare, with as many detours as it takes.

        Raises:
            ApplicationError: Nothing may be called, or nothing can be.
        """
        while True:
            step = await self._step()
            if isinstance(step, Begun | Found):
                return step
            await step()

    async def _step(self) -> "Begun | Found | Detour":
        store, call_id = self._setting.store, self._attempt.call_id
        try:
            return await store.write(self._begin)
        except asyncio.CancelledError:
            # The row may be there, and nobody else would settle it.
            try:
                await store.write(_call_off, call_id)
            except Exception as error:  # reported as cancelled all the same, not as failed
                log.warning("model_call_not_settled", call=call_id, error=str(error))
            raise

    def _begin(self, ledger: "Ledger") -> "Begun | Found | Detour":
        """Look for a stored answer; if there is none write what comes before a request."""
        stored = ledger.threads.message(self._attempt.answer_id)
        earlier = self._earlier(ledger, found=stored is not None)
        if stored:
            # Also during a pause: after it, another activity would ask for another answer.
            return Found(stored, earlier)
        chain = models_named(self._setting.chain, self._request.model)
        spec, last = choose_model(chain, self._request.cooling)
        try:
            if self._refusal:
                raise self._refusal
            return self._prepared(ledger, spec, earlier, last=last)
        except ApplicationError as refusal:
            raise self._with_spent(refusal, spec, earlier) from None

    def _prepared(
        self, ledger: "Ledger", spec: ModelSpec, earlier: Sequence[LlmCall], *, last: bool
    ) -> "Begun | Detour":
        request = self._request
        if not ledger.threads.ensure(request.thread):
            # The id came from outside, such as `resume_thread_id`: it tells nobody what is there.
            message = f"there is no thread {request.thread.id!r} in {request.thread.scope}"
            raise ApplicationError(message, type=PROMPT_REFUSED, non_retryable=True)
        context = self._context(ledger)
        draft = self._maker.make(context, spec)
        if self._is_flush_due(ledger, draft):
            return lambda: self._flush(draft)
        kept: Compaction | None = None
        if smaller := self._shortened(draft):
            if self._setting.summarizer and smaller.dropped and self._summary is None:
                return lambda: self._summarise(draft, smaller)
            draft, kept = self._compacted(draft, smaller)
        self._caller.put(ledger, request.thread.id)
        if kept is not None:
            ledger.compactions.put(kept)
        announcement = self._announced()
        if announcement is not None:
            announcement.begin(ledger)
        record = CallRecord.begin(
            ledger,
            self._setting.store,
            self._setting.prices,
            self._new_call(self._attempt.call_id, request.purpose, draft),
            earlier,
        )
        return Begun(record, draft, last, announcement)

    def _context(self, ledger: "Ledger") -> ThreadContext:
        asked = self._request.prompt is not None
        return ThreadContext.load(ledger, self._request.thread.id, asked=asked)

    def _earlier(self, ledger: "Ledger", *, found: bool) -> list[LlmCall]:
        """The rows of this activity; they are only looked for where there can be any."""
        detoured = self._flushed or self._summary is not None
        if not found and not detoured and self._attempt.is_first:
            return []
        rows = ledger.calls.with_prefix(self._attempt.prefix)
        flush = ledger.calls.get(flush_call_id(self._request.thread.id, self._context(ledger)))
        if flush is not None and self._is_ours(flush):
            rows.append(flush)
        return rows

    def _is_ours(self, row: LlmCall) -> bool:
        caller, mine = self._caller, self._attempt.sequence
        return (row.run_id, row.turn_id, row.job_id, row.sequence) == (
            caller.run_id,
            caller.turn_id,
            caller.job_id,
            mine,
        )

    # Compaction

    def _is_flush_due(self, ledger: "Ledger", draft: Draft) -> bool:
        if self._flushed or not needs_flush(
            draft.prompt, self._setting.config, self._window(draft.spec)
        ):
            return False
        call_id = flush_call_id(self._request.thread.id, draft.context)
        return ledger.calls.get(call_id) is None

    async def _flush(self, draft: Draft) -> None:
        self._flushed = True
        call_id = flush_call_id(self._request.thread.id, draft.context)
        await self._setting.hidden.flush(self._hidden(call_id, FLUSH, draft), draft)

    async def _summarise(self, draft: Draft, smaller: Shortened) -> None:
        call_id = f"{self._attempt.call_id}/{SUMMARY}"
        spec = self._setting.summarizer or draft.spec
        hidden = self._hidden(call_id, SUMMARY, replace(draft, spec=spec))
        self._summary = await self._setting.hidden.summarise(
            hidden, draft, draft.context.summary, smaller.dropped
        )

    def _shortened(self, draft: Draft) -> Shortened | None:
        """A smaller prompt where the one before was refused as too long.

        Raises:
            ApplicationError: `context_overflow`: there is none.
        """
        overflow = self._request.overflow
        if overflow is None or draft.prompt.lasting_tokens < overflow.prompt_tokens:
            return None
        window, requested = self._window(draft.spec), overflow.requested_tokens or 0
        smaller = shortened(draft.prompt, self._setting.config, window, requested)
        if smaller is None:
            raise self._too_long(draft.spec)
        return smaller

    def _compacted(self, draft: Draft, smaller: Shortened) -> tuple[Draft, Compaction | None]:
        """The smaller prompt with its summary, and what is kept of it.

        Raises:
            ApplicationError: `context_overflow`: with its summary it is no smaller.
        """
        overflow, context = self._request.overflow, draft.context
        prompt = replace(smaller.prompt, summary=self._summary_of(context, smaller))
        if overflow is not None and prompt.lasting_tokens >= overflow.prompt_tokens:
            raise self._too_long(draft.spec)
        log.info("context_compacted", thread=self._request.thread.id, dropped=len(smaller.dropped))
        before = context.compaction.sequence if context.compaction else 0
        kept = None
        if smaller.sequence is not None and smaller.sequence > before:
            thread_id = self._request.thread.id
            kept = Compaction(
                id=f"{thread_id}/{smaller.sequence}",
                thread_id=thread_id,
                sequence=smaller.sequence,
                summary=prompt.summary,
                dropped=len(smaller.dropped),
                created_at=datetime.now(UTC),
            )
        return draft.with_prompt(prompt), kept

    def _summary_of(self, context: ThreadContext, smaller: Shortened) -> str:
        config = self._setting.config
        if not smaller.dropped or not config.summarization_enabled:
            return context.summary
        if self._summary:
            return self._summary
        size = config.max_summary_tokens or 0
        return merge_summaries(context.summary, summarize_dropped(smaller.dropped, size), size)

    def _window(self, spec: ModelSpec) -> int:
        reported = self._request.overflow.window_tokens if self._request.overflow else None
        return min(spec.context_tokens, reported or spec.context_tokens)

    def _too_long(self, spec: ModelSpec) -> ApplicationError:
        failure = ModelFailure(
            model=spec.name,
            provider=spec.provider,
            failure_class=FailureClass.CONTEXT_OVERFLOW,
            message="it cannot be made shorter",
            status_text=STILL_TOO_LONG,
            elapsed_seconds=self._attempt.spent_seconds(),
            attempts=self._attempt.number,
        )
        message = f"{failure.key}: {failure.message}"
        return ApplicationError(message, failure, type=CONTEXT_OVERFLOW, non_retryable=True)

    # Rows

    def _new_call(self, call_id: str, purpose: str, draft: Draft) -> NewCall:
        request = self._request
        return NewCall(
            id=call_id,
            caller=self._caller,
            spec=draft.spec,
            purpose=purpose,
            sequence=self._attempt.sequence,
            attempt=self._attempt.number,
            prompt_tokens=draft.prompt.tokens,
            max_tokens=draft.max_tokens,
            budget=CallBudget(
                self._setting.limits,
                self._caller,
                max_cost_micros=request.max_cost_micros,
                max_tokens_total=request.max_tokens_total,
            ),
        )

    def _hidden(self, call_id: str, purpose: str, draft: Draft) -> HiddenCall:
        left = self._request.timeout_seconds - self._attempt.spent_seconds()
        call = self._new_call(call_id, purpose, draft)
        return HiddenCall(call=call, thread=self._request.thread, timeout_seconds=max(0.0, left))

    def _announced(self) -> Announcement | None:
        part, record = self._request.announcement, self._caller.record
        if self._setting.announcer is None or part is None or not isinstance(record, RunRecord):
            return None
        scope = self._request.thread.scope
        return self._setting.announcer.prepare(part, record.id, scope=scope, hop=record.hop)

    def _with_spent(
        self, refusal: ApplicationError, spec: ModelSpec, earlier: Sequence[LlmCall]
    ) -> ApplicationError:
        """A refusal with what former attempts have spent."""
        if not earlier:
            return refusal
        failure = ModelFailure(
            model=spec.name,
            provider=spec.provider,
            message=refusal.message,
            elapsed_seconds=self._attempt.spent_seconds(),
            attempts=self._attempt.number,
        )
        others: list[object] = []
        for detail in refusal.details:
            if isinstance(detail, ModelFailure):
                failure = detail
            else:
                others.append(detail)
        spent = spent_in(earlier).model_dump()
        return ApplicationError(
            refusal.message,
            failure.model_copy(update=spent),
            *others,
            type=refusal.type,
            non_retryable=refusal.non_retryable,
        )


def models_named(chain: Sequence[ModelSpec], name: str) -> Sequence[ModelSpec]:
    """The models of a name, or of `provider/name`; all without one.

    Raises:
        ApplicationError: `model_refused`: there is none.
    """
    found = [spec for spec in chain if not name or name in {spec.name, spec.key}]
    if name and not found:
        message = f"no model of `models` is called {name!r}"
        raise ApplicationError(message, type=MODEL_REFUSED, non_retryable=True)
    return found


def choose_model(chain: Sequence[ModelSpec], cooling: Collection[str]) -> tuple[ModelSpec, bool]:
    """The model to call, and whether it is the last that can be.

    Args:
        chain: All models in order of preference.
        cooling: Keys of those that failed a moment ago.

    Raises:
        ApplicationError: `model_refused`: there is none.
    """
    if not chain:
        message = "no model is configured: set `models`, or OPENAI_API_KEY"
        raise ApplicationError(message, type=MODEL_REFUSED, non_retryable=True)
    spec = usable_models(chain, cooling)[0]
    # When all are cooling the first is called again, but nothing is left to change to.
    others = [other for other in chain if other.key not in {spec.key, *cooling}]
    return spec, not others


def _call_off(ledger: "Ledger", call_id: str) -> None:
    """Settle a call that was begun and will not be made."""
    ledger.calls.cancel(call_id)
    ids = [entry_id(call_id, scope) for scope in BudgetScopeName]
    ledger.budgets.settle(ids, 0, datetime.now(UTC))
