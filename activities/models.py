"""The activity that calls a model: a prompt goes out, an answer is stored and comes back.

Owns the order of its steps and what comes back. What precedes the request is
`activities.call_preparation`'s, the request `activities.model_calls`', the wire
`activities.providers`', the meaning of errors `domain.fallback`', what follows from them
`domain.retries`'. Source: DESIGN §4, triggers-and-actions.md §5, automation.md §7.

Invariants:
    1. An answer that is stored is returned by every further attempt; the model is not asked again.
    2. Nothing is added to the thread before there is an answer: a failed call leaves none in it.
    3. Each attempt makes at most one request for its answer; its row of `llm_calls` is settled
       whatever happens. One transaction comes before the request and one after it; only around a
       compaction there may be hidden calls before, each a row of its own.
    4. Every failure tells what all attempts of the activity have spent.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.announcements import Announcement, Announcer
from activities.budgets import DailyLimits
from activities.call_preparation import Begun, CallPreparation, CallSetting, Found
from activities.call_records import spent_in
from activities.contexts import Draft, PromptMaker
from activities.emitting import Emitter, tell_or_log
from activities.failures import PROMPT_REFUSED, Overflow, budget_refusal_of
from activities.heartbeats import Pulse, beating
from activities.hidden_calls import HiddenCalls
from activities.live_text import LiveTail
from activities.memory_notes import MemoryNotes
from activities.model_attempts import Attempt
from activities.model_callers import Caller
from activities.model_calls import FILTERED, TRUNCATED, ModelCall
from activities.model_requests import ANSWER_BYTES, CallModel, ModelAnswer
from activities.tool_offers import told_apart
from activities.workspace import Workspace
from domain.budget import day_key
from domain.budget_events import event_of_refusal
from domain.errors import DomainError, ErrorKind
from domain.message_text import function_calls
from domain.model_chain import ModelSpec
from domain.prices import PriceTable
from domain.pruning_config import PruningConfig, apply_pruning_defaults, default_pruning_config
from domain.runs import RunRecord
from domain.threads import ThreadMessage
from domain.tool_specs import AskedCall, ToolCall, ToolSpec
from domain.usage import Spent

if TYPE_CHECKING:
    # Heavy to import, and this module is imported for its payloads by every client.
    from activities.store import Store

SILENT_BEAT: Final = timedelta(seconds=2)

__all__ = ["AskedCall", "CallModel", "ModelActivities", "ModelAnswer", "Overflow", "PauseCheck"]

log = structlog.get_logger(__name__)

Catalog = Callable[[Sequence[str]], list[ToolSpec]]


class PauseCheck(Protocol):
    """Refuses to go on while everything is paused."""

    async def check(self) -> None:
        """Raise a non-retryable `system_paused` while it is."""


class ModelActivities:
    """Calls of the models of a chain."""

    def __init__(
        self,
        *,
        store: "Store",
        chain: Sequence[ModelSpec],
        prices: PriceTable,
        workspace: Workspace,
        pause: PauseCheck,
        announcer: Announcer | None = None,
        silent_beat: timedelta = SILENT_BEAT,
        catalog: Catalog | None = None,
        context: PruningConfig | None = None,
        limits: DailyLimits | None = None,
        emitter: Emitter | None = None,
    ) -> None:
        """Put the activity together.

        Args:
            store: Threads, runs, calls and budgets.
            chain: All models in order of preference, keys and addresses resolved.
            prices: What they cost.
            workspace: Where context files are, and notes before a compaction.
            pause: The big red button.
            announcer: Says what requests announce; null where nothing is to be said.
            silent_beat: Longest time between heartbeats. Where the server does not push
                cancellations, they arrive with a heartbeat: then this has to be short.
            catalog: The tools of some names; null where there are none.
            context: How prompts are pruned and compacted; null is the defaults.
            limits: What may be spent in a day; null is no limit.
            emitter: Tells of budgets that are used up; null where nobody listens.

        Raises:
            DomainError: The model that is to summarise is not in the chain.
        """
        # Loads the client of the provider, which only a worker needs.
        from activities.providers import Providers

        config = apply_pruning_defaults(context or default_pruning_config())
        self._limits = limits or DailyLimits()
        self._providers = Providers(chain)
        self._workspace = workspace
        self._pause = pause
        self._silent_beat = silent_beat
        self._catalog = catalog
        self._emitter = emitter
        notes = MemoryNotes(workspace, self._limits.timezone)
        self._setting = CallSetting(
            store=store,
            chain=list(chain),
            prices=prices,
            config=config,
            summarizer=named_model(chain, config.summarization_model, "summarization_model"),
            limits=self._limits,
            hidden=HiddenCalls(store, self._providers, prices, notes, config),
            announcer=announcer,
        )

    async def close(self) -> None:
        """Close the connections to all models."""
        await self._providers.close()

    @activity.defn
    async def call_model(self, request: CallModel) -> ModelAnswer:
        """Ask the first usable model, store its answer and return it.

        Raises:
            ApplicationError: Of a type of `activities.failures`, with a `ModelFailure` if a model
                was called, and a `BudgetRefusal` if a budget refused that.
        """
        # A session goes on as a new execution, in which activity ids begin anew; turns do not.
        owner = request.turn.id if request.turn else request.key
        attempt = Attempt(owner or None, request.recovery)
        files = await self._workspace.read(request.thread.scope, request.context_paths)
        refusal = await self._refusal()
        maker = PromptMaker(request, files, self._offered(request), self._setting.config)
        preparation = CallPreparation(self._setting, request, attempt, maker, refusal)
        tail = LiveTail()
        with beating(lambda: tail.live_text(attempt.spent_seconds()), self._silent_beat) as pulse:
            try:
                prepared = await preparation.run()
            except ApplicationError as error:
                await self._tell(request, error)
                raise
            if isinstance(prepared, Found):
                return _found(prepared, attempt, files.warnings)
            async with _beside(prepared.announcement):
                answer = await self._asked(request, attempt, prepared, _showing(tail, pulse))
        return answer.model_copy(update={"warnings": [*files.warnings, *answer.warnings]})

    async def _asked(
        self, request: CallModel, attempt: Attempt, begun: Begun, on_text: Callable[[str], None]
    ) -> ModelAnswer:
        """Make the request."""
        draft, spec = begun.draft, begun.draft.spec
        prompt = draft.prompt
        answered = await ModelCall(
            self._providers[spec],
            begun.record,
            attempt,
            last=begun.last,
            prompt_tokens=prompt.lasting_tokens,
            compactions=request.compaction,
        ).make(
            prompt.messages,
            max_tokens=draft.max_tokens,
            timeout_seconds=request.timeout_seconds,
            on_text=on_text,
            said=partial(_said, request, attempt, draft),
            offer=draft.offer,
        )
        settled = answered.settled
        log.info(
            "model_answered",
            call=begun.record.id,
            model=spec.key,
            calls=len(answered.message.tool_calls or ()),
            **settled.spent.model_dump(),
        )
        for warning in settled.warnings:
            log.warning("budget_nearly_used", warning=warning)
        return _answer(
            answered.message,
            attempt,
            settled.spent,
            model=spec.name,
            provider=spec.provider,
            truncated=answered.completion.truncated,
            filtered=answered.completion.filtered,
            warnings=settled.warnings,
        )

    def _offered(self, request: CallModel) -> list[ToolSpec]:
        """The tools of a call.

        Raises:
            ApplicationError: `prompt_refused`: this worker has none.
        """
        if request.text_only or not request.tools:
            return []
        if self._catalog is None:
            message = f"this worker has no tools, and {request.tools[0]!r} is to be offered"
            raise ApplicationError(message, type=PROMPT_REFUSED, non_retryable=True)
        return self._catalog(request.tools)

    async def _refusal(self) -> ApplicationError | None:
        """Why no model may be called now; null when one may."""
        try:
            await self._pause.check()
        except ApplicationError as refusal:
            return refusal
        return None

    async def _tell(self, request: CallModel, error: ApplicationError) -> None:
        """Tell that a budget is used up, if that is what is wrong."""
        refusal = budget_refusal_of(error)
        if self._emitter is None or refusal is None or refusal.reason == "tokens":
            return
        caller = Caller.of(request)
        event = event_of_refusal(
            refusal.scope,
            refusal.key,
            refusal.day or day_key(datetime.now(UTC), self._limits.timezone),
            error.message,
            routine_id=caller.routine_id,
            hop=caller.record.hop if isinstance(caller.record, RunRecord) else 0,
        )
        if event is not None:
            await tell_or_log(self._emitter, [event], request.thread.scope)


def named_model(chain: Sequence[ModelSpec], name: str, field: str) -> ModelSpec | None:
    """The model of a name, or of `provider/name`; null without one.

    Raises:
        DomainError: `invalid_field` on the setting that names it.
    """
    if not name:
        return None
    for spec in chain:
        if name in {spec.name, spec.key}:
            return spec
    accepted = [spec.name for spec in chain]
    raise DomainError(
        ErrorKind.INVALID_FIELD,
        field,
        f"{field} must be one of `models`, not {name!r}",
        accepted,
    )


def _said(
    request: CallModel, attempt: Attempt, draft: Draft, text: str, calls: Sequence[ToolCall]
) -> list[ThreadMessage]:
    """What the thread keeps of the prompt and an answer to it."""
    context = draft.context
    own = told_apart(
        calls, context.call_ids, attempt.answer_id, forgotten=context.compaction is not None
    )
    return attempt.said(request.thread.id, request.prompt, text, own)


def _found(found: Found, attempt: Attempt, warnings: Sequence[str]) -> ModelAnswer:
    """The answer of a former attempt."""
    call = next(call for call in found.calls if call.id == found.message.llm_call_id)
    return _answer(
        found.message,
        attempt,
        spent_in(found.calls),
        model=call.model,
        provider=call.provider,
        truncated=call.error == TRUNCATED,
        filtered=call.error == FILTERED,
        warnings=warnings,
    )


def _answer(
    message: ThreadMessage,
    attempt: Attempt,
    spent: Spent,
    *,
    model: str,
    provider: str,
    truncated: bool,
    filtered: bool,
    warnings: Sequence[str],
) -> ModelAnswer:
    text = message.content
    data = text.encode("utf-8", "replace")
    if len(data) > ANSWER_BYTES:
        text, truncated = data[:ANSWER_BYTES].decode("utf-8", "ignore"), True
    calls = function_calls({"tool_calls": message.tool_calls})
    return ModelAnswer(
        text=text,
        message_id=message.id,
        model=model,
        provider=provider,
        truncated=truncated,
        filtered=filtered,
        warnings=list(warnings),
        elapsed_seconds=attempt.spent_seconds(),
        attempts=attempt.number,
        tool_calls=[AskedCall(id=call.call_id, name=call.name) for call in calls],
        **spent.model_dump(),
    )


@asynccontextmanager
async def _beside(announcement: Announcement | None) -> AsyncGenerator[None]:
    """Send an announcement while the body runs; it is out, or given up, before this ends."""
    if announcement is None:
        yield
        return
    sending = asyncio.create_task(announcement.send())
    try:
        yield
    finally:
        await sending


def _showing(tail: LiveTail, pulse: Pulse) -> Callable[[str], None]:
    """What makes each new piece of text visible."""

    def show(piece: str) -> None:
        tail.add(piece)
        pulse.grew()

    return show
