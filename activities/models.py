"""The activity that calls a model: a prompt goes out, an answer is stored and comes back.

Owns the order of its steps and what it tells the workflow when one fails. The wire is
`activities.providers`', the wording of prompts `domain.prompts`', the meaning of errors
`domain.fallback`', what follows from them `domain.retries`'.
Source: DESIGN §4, triggers-and-actions.md §5, automation.md §7.

Invariants:
    1. An answer that is stored is returned by every further attempt; the model is not asked again.
    2. Nothing is added to the thread before there is an answer: a failed call leaves none in it.
    3. Each attempt makes at most one request; its row of `llm_calls` is settled whatever happens.
       One transaction comes before the request and one after it.
    4. Every failure tells what all attempts of the activity have spent.
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog
from pydantic import BaseModel
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.announcements import Announcement, Announcer
from activities.failures import MODEL_REFUSED, ModelFailure
from activities.heartbeats import Pulse, beating
from activities.live_text import LiveTail
from activities.model_attempts import TRUNCATED, Attempt, CallRecord, spent_in
from activities.model_calls import ModelCall
from activities.workspace import Workspace, WorkspaceFiles
from domain.deliveries import Part
from domain.history import with_history
from domain.llm_calls import LlmCall
from domain.messages import Message
from domain.model_chain import ModelSpec, usable_models
from domain.prices import PriceTable
from domain.prompts import UntrustedText, history_messages, lightweight_messages
from domain.runs import RunRecord
from domain.threads import Thread, ThreadMessage

if TYPE_CHECKING:
    # Heavy to import, and this module is imported for its payloads by every client.
    from activities.store import Ledger, Store

SILENT_BEAT: Final = timedelta(seconds=2)
NONCE_BYTES: Final = 8

log = structlog.get_logger(__name__)


class CallModel(BaseModel):
    """A call of a model for a run.

    Attributes:
        run: The run's record, for the ledger.
        thread: The conversation it continues; made if there is none.
        prompt: What the routine's author wrote, variables filled in.
        context_paths: Files of the scope's workspace to quote.
        max_tokens: Longest answer.
        delivery_note: Where the answer goes, as a sentence.
        timeout_seconds: Time for this activity, all attempts together.
        cooling: Models that failed a moment ago, `provider/name`.
        purpose: What the call is for, in the ledger.
        untrusted: Texts from outside that the prompt quotes.
        announcement: Said when the call begins, once for the run.
    """

    run: RunRecord
    thread: Thread
    prompt: str
    context_paths: list[str] = []
    max_tokens: int = 4096
    delivery_note: str = ""
    timeout_seconds: float
    cooling: list[str] = []
    purpose: str = "routine"
    untrusted: list[UntrustedText] = []
    announcement: Part | None = None


class ModelAnswer(BaseModel):
    """A stored answer; tokens and cost are those of all attempts, null where unknown.

    Attributes:
        text: The answer.
        message_id: Its id in the thread.
        truncated: The token limit cut it.
        warnings: What the prompt had to do without.
        elapsed_seconds: Time spent in all attempts, without the waits between them.
        attempts: Number of the attempt that brought it.
    """

    text: str
    message_id: str
    model: str
    provider: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_micros: int | None = None
    truncated: bool = False
    warnings: list[str] = []
    elapsed_seconds: float
    attempts: int


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
    ) -> None:
        """Put the activity together.

        Args:
            store: Threads, runs and calls.
            chain: All models in order of preference, keys and addresses resolved.
            prices: What they cost.
            workspace: Where context files are.
            pause: The big red button.
            announcer: Says what requests announce; null where nothing is to be said.
            silent_beat: Longest time between heartbeats. Where the server does not push
                cancellations, they arrive with a heartbeat: then this has to be short.
        """
        # Loads the client of the provider, which only a worker needs.
        from activities.providers import Providers

        self._store = store
        self._chain = list(chain)
        self._providers = Providers(chain)
        self._prices = prices
        self._workspace = workspace
        self._pause = pause
        self._announcer = announcer
        self._silent_beat = silent_beat

    async def close(self) -> None:
        """Close the connections to all models."""
        await self._providers.close()

    @activity.defn
    async def call_model(self, request: CallModel) -> ModelAnswer:
        """Ask the first usable model, store its answer and return it.

        Raises:
            ApplicationError: Of a type of `activities.failures`, with a `ModelFailure` if a model
                was called.
        """
        attempt = Attempt()
        files = await self._workspace.read(request.thread.scope, request.context_paths)
        refusal = await self._refusal()
        tail = LiveTail()
        with beating(lambda: tail.live_text(attempt.spent_seconds()), self._silent_beat) as pulse:
            begun = await self._begun(request, attempt, refusal)
            if isinstance(begun, _Found):
                return begun.answer(attempt, files.warnings)
            spec, record = begun.spec, begun.record
            async with _beside(begun.announcement):
                answered = await ModelCall(
                    self._providers[spec], record, attempt, last=begun.last
                ).make(
                    _prompt(request, spec, begun.history, files),
                    max_tokens=request.max_tokens,
                    timeout_seconds=request.timeout_seconds,
                    on_text=_showing(tail, pulse),
                    said=partial(attempt.said, request.thread.id, request.prompt),
                )
        log.info("model_answered", call=record.id, model=spec.key, **answered.spent.model_dump())
        return ModelAnswer(
            text=answered.message.content,
            message_id=answered.message.id,
            model=spec.name,
            provider=spec.provider,
            truncated=answered.completion.truncated,
            warnings=files.warnings,
            elapsed_seconds=attempt.spent_seconds(),
            attempts=attempt.number,
            **answered.spent.model_dump(),
        )

    async def _refusal(self) -> ApplicationError | None:
        """Why no model may be called now; null when one may."""
        try:
            await self._pause.check()
        except ApplicationError as refusal:
            return refusal
        return None

    async def _begun(
        self, request: CallModel, attempt: Attempt, refusal: ApplicationError | None
    ) -> "_Found | _Begun":
        try:
            return await self._store.write(self._begin, request, attempt, refusal)
        except asyncio.CancelledError:
            # The row may be there, and nobody else would settle it.
            try:
                await self._store.calls.cancel(attempt.call_id)
            except Exception as error:  # reported as cancelled all the same, not as failed
                log.warning("model_call_not_settled", call=attempt.call_id, error=str(error))
            raise

    def _begin(
        self,
        ledger: "Ledger",
        request: CallModel,
        attempt: Attempt,
        refusal: ApplicationError | None,
    ) -> "_Found | _Begun":
        """Look for a stored answer; if there is none write what comes before a request."""
        stored = ledger.threads.message(attempt.answer_id)
        # Former attempts are only looked for where there are any.
        known = stored or attempt.number > 1
        earlier = ledger.calls.with_prefix(attempt.prefix) if known else []
        if stored:
            # Also during a pause: after it, another activity would ask for another answer.
            return _Found(stored, earlier)
        spec, last = self._choose(request)
        if refusal:
            raise _with_spent(refusal, attempt, spec, earlier)
        ledger.threads.ensure(request.thread)
        ledger.runs.put(request.run.model_copy(update={"thread_id": request.thread.id}))
        history = ledger.threads.messages(request.thread.id)
        announcement = self._announced(request)
        if announcement is not None:
            announcement.begin(ledger)
        record = CallRecord.begin(
            ledger,
            self._store,
            self._prices,
            attempt,
            spec,
            run_id=request.run.id,
            purpose=request.purpose,
            earlier=earlier,
        )
        return _Begun(record, spec, last, history, announcement)

    def _announced(self, request: CallModel) -> Announcement | None:
        if self._announcer is None or request.announcement is None:
            return None
        return self._announcer.prepare(request.announcement, request.run.id)

    def _choose(self, request: CallModel) -> tuple[ModelSpec, bool]:
        """The model to call, and whether it is the last that can be."""
        if not self._chain:
            message = "no model is configured: set `models`, or OPENAI_API_KEY"
            raise ApplicationError(message, type=MODEL_REFUSED, non_retryable=True)
        spec = usable_models(self._chain, request.cooling)[0]
        # When all are cooling the first is called again, but nothing is left to change to.
        others = [other for other in self._chain if other.key not in {spec.key, *request.cooling}]
        return spec, not others


@dataclass(frozen=True, slots=True)
class _Begun:
    """A request that may be made now: its row, its model, what was said before, what to say."""

    record: CallRecord
    spec: ModelSpec
    last: bool
    history: list[ThreadMessage]
    announcement: Announcement | None


@dataclass(frozen=True, slots=True)
class _Found:
    """The answer of a former attempt that could not report it any more, and all attempts' rows."""

    message: ThreadMessage
    calls: list[LlmCall]

    def answer(self, attempt: Attempt, warnings: list[str]) -> ModelAnswer:
        call = next(call for call in self.calls if call.id == self.message.llm_call_id)
        return ModelAnswer(
            text=self.message.content,
            message_id=self.message.id,
            model=call.model,
            provider=call.provider,
            truncated=call.error == TRUNCATED,
            warnings=warnings,
            elapsed_seconds=attempt.spent_seconds(),
            attempts=attempt.number,
            **spent_in(self.calls).model_dump(),
        )


def _with_spent(
    refusal: ApplicationError, attempt: Attempt, spec: ModelSpec, earlier: Sequence[LlmCall]
) -> ApplicationError:
    """A refusal with what former attempts have spent."""
    if attempt.number == 1:
        return refusal
    failure = ModelFailure(
        model=spec.name,
        provider=spec.provider,
        message=refusal.message,
        elapsed_seconds=attempt.spent_seconds(),
        attempts=attempt.number,
        **spent_in(earlier).model_dump(),
    )
    return ApplicationError(
        refusal.message, failure, type=refusal.type, non_retryable=refusal.non_retryable
    )


def _prompt(
    request: CallModel,
    spec: ModelSpec,
    history: Sequence[ThreadMessage],
    files: WorkspaceFiles,
) -> list[Message]:
    """The messages to send: the system's text, what fits of the conversation, the prompt."""
    prompt = lightweight_messages(
        request.prompt,
        nonce=secrets.token_hex(NONCE_BYTES),
        files=files.files,
        untrusted=request.untrusted,
        note=request.delivery_note,
    )
    return with_history(
        prompt,
        history_messages(history),
        window_tokens=spec.context_tokens,
        max_tokens=min(request.max_tokens, spec.max_tokens or request.max_tokens),
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
