"""One chat turn: the gate, the model, the answer on its way, and what may disturb it.

Owns the order of these steps within the workflow `Session`, and what an interrupt, a message that
joins and a pause do at each. Which messages a turn answers is `domain.inbox_turns`', what it says
`domain.chat_prompts`' and `domain.chat_replies`'. Lifecycle: docs/lifecycles/session.md.
Source: chat-policies.md §3.6 and §5, automation.md §8, DESIGN §4.

Invariants:
    1. A turn ends, whatever happens: answered, silent, failed or cancelled, and its row says so.
    2. Nothing of an answer that was cut short is delivered.
    3. Between a message and the schedule of its model call stands nothing that leaves the workflow,
       except for a session's first turn, which asks for the settings.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows.cancellations import raise_if_cancelled
from workflows.model_calls import ModelCalls
from workflows.parking import is_system_pause, park

with workflow.unsafe.imports_passed_through():
    from activities import search_attributes as attributes
    from activities import timeouts
    from activities.failures import model_failure_of, run_failure
    from activities.models import CallModel, ModelAnswer
    from activities.turns import (
        FinishTurn,
        LoadTexts,
        SessionRulesActivities,
        TurnActivities,
        TurnFinished,
    )
    from domain.chat_prompts import chat_frame
    from domain.chat_replies import ReplyTo, chat_reply
    from domain.chat_settings import SessionRules
    from domain.identifiers import RUNS_QUEUE
    from domain.inbound_records import InboundRecord, inbound_id
    from domain.inbox import Inbox
    from domain.inbox_state import EndedTurn, RunningTurn
    from domain.inbox_texts import turn_blocks, turn_text
    from domain.inbox_turns import end_turn, turn_records, unsteer
    from domain.session_requests import SessionState
    from domain.threads import Thread, ThreadKind
    from domain.turns import TurnRecord, TurnStage, TurnStatus

BUSY: Final = "busy"
# What else ended meanwhile is written with the turn, as far as it is little: with the rows of the
# turn itself, 192 KiB of texts and 150 kB about them at most, it has to stay below 512 KiB.
WRITTEN_ALONG_BYTES: Final = 32_768

_ERROR_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class _Outcome:
    """How a turn's work ended: with an answer, an error, or neither because it was cancelled.

    `said` if no answer shows that the user was heard: what was said is kept in the thread.
    """

    answer: ModelAnswer | None = None
    error: str | None = None
    attempts: int = 0
    said: bool = False


class ChatTurn:
    """A turn that runs; one instance for each.

    Attributes:
        resumed: Everything goes on after a pause.
    """

    def __init__(
        self, state: SessionState, turn: RunningTurn, let_in: Callable[[], Awaitable[None]]
    ) -> None:
        """Take the turn.

        Args:
            state: The session's, changed in place.
            turn: The one that runs in its inbox.
            let_in: Waits until the session holds its own gate.
        """
        self._state = state
        self._turn = turn
        self._let_in = let_in
        self._calls = ModelCalls(budget=timedelta(), cooling=_still_cooling(state))
        self._texts: dict[str, str] | None = None
        self.resumed = False

    async def run(self) -> None:
        """Carry the turn to its end."""
        outcome = await self._work()
        self._turn.stage = TurnStage.DELIVERY
        await self._finish(outcome)

    # The work, which may be disturbed

    async def _work(self) -> _Outcome:
        turn = self._turn
        while True:
            heard = len(turn.steered)
            work = asyncio.create_task(self._answer())
            await workflow.wait_condition(
                lambda: work.done() or turn.cancel is not None or len(turn.steered) > heard  # noqa: B023 - waited for here
            )
            disturbed = not work.done()
            if disturbed:
                work.cancel()
                await workflow.wait([work])
                self._unpark()
            if turn.cancel is not None:
                heard_out = not work.cancelled() and work.exception() is None
                return _Outcome(said=not heard_out)
            error = None if work.cancelled() else work.exception()
            if disturbed and (work.cancelled() or error is not None):
                # A message has joined: the same again, with it.
                continue
            # What joined after the answer was there comes next.
            unsteer(self._state.inbox, heard)
            return self._outcome(work, error)

    def _outcome(self, work: "asyncio.Task[ModelAnswer]", error: BaseException | None) -> _Outcome:
        if work.cancelled():
            return _Outcome(error="it was ended from outside")
        if error is None:
            answer = work.result()
            return _Outcome(answer=answer, attempts=answer.attempts)
        if not isinstance(error, ActivityError):
            # A fault of ours: this turn fails, and the session answers the next one.
            workflow.logger.error("turn %s failed", self._turn.turn_id, exc_info=error)
            return _Outcome(error=f"internal: {type(error).__name__}: {error}"[:_ERROR_CHARS])
        failure = model_failure_of(error)
        _, message = run_failure(error, self._timeout_text())
        return _Outcome(error=message[:_ERROR_CHARS], attempts=failure.attempts if failure else 0)

    async def _answer(self) -> ModelAnswer:
        rules = await self._rules()
        self._stage(TurnStage.GATE)
        await self._let_in()
        self._stage(TurnStage.MODEL)
        if self._texts is None:
            self._texts = await self._kept_texts()
        self._calls.budget = timedelta(seconds=rules.run_timeout_seconds)
        request = CallModel(
            turn=self._record(TurnStatus.RUNNING),
            thread=self._thread(),
            prompt=turn_text(self._turn, self._texts),
            frame=chat_frame(self._turn.about.message),
            timeout_seconds=float(rules.run_timeout_seconds),
            purpose="chat",
        )
        while True:
            try:
                return await self._calls.ask(request, f"answer {self._turn.about.id}"[:200])
            except ActivityError as error:
                if not is_system_pause(error):
                    raise
                raise_if_cancelled()
            await self._park()

    async def _rules(self) -> SessionRules:
        if self._state.rules is None:
            rules = await workflow.execute_local_activity_method(
                SessionRulesActivities.session_rules,
                start_to_close_timeout=timeouts.LOCAL_START_TO_CLOSE,
                summary="the settings of conversations",
            )
            self._learn(rules)
            return rules
        return self._state.rules

    def _learn(self, rules: SessionRules) -> None:
        if self._state.rules is None:
            Inbox(self._state.inbox, self._state.key).learn(rules, workflow.now())
        self._state.rules = rules

    async def _kept_texts(self) -> dict[str, str]:
        """The texts that were put into the store while their messages waited."""
        items = [*self._turn.items, *(one.item for one in self._turn.steered)]
        kept = [part.id for item in items for part in item.parts if part.kept]
        if not kept:
            return {}
        found = await workflow.execute_activity_method(
            TurnActivities.load_texts,
            LoadTexts(ids=[inbound_id(self._state.key, one) for one in kept]),
            task_queue=RUNS_QUEUE,
            start_to_close_timeout=timeouts.LEDGER_START_TO_CLOSE,
            retry_policy=timeouts.ENTITY_RETRY,
            summary="the texts that waited",
        )
        return found.texts

    async def _park(self) -> None:
        """Wait until everything goes on."""
        self.resumed = False
        self._stage(TurnStage.SYSTEM_PAUSED)
        await park(lambda: self.resumed, BUSY)
        self._stage(TurnStage.MODEL)

    def _unpark(self) -> None:
        """Show what was parked when it was disturbed as at work again."""
        if self._turn.stage != TurnStage.SYSTEM_PAUSED:
            return
        self._stage(TurnStage.MODEL)
        if workflow.patched("2026-11-21-disturbed-while-paused"):
            workflow.upsert_search_attributes([attributes.STATUS.value_set(BUSY)])

    # The end, which nothing disturbs

    async def _finish(self, outcome: _Outcome) -> None:
        inbox, turn = self._state.inbox, self._turn
        status = self._status(outcome)
        reason = outcome.error if status == TurnStatus.FAILED else turn.cancel
        now = workflow.now()
        rows = turn_records(self._state.key, turn, status, now, reason)
        along = _little(inbox.settled)
        answer = outcome.answer
        finished = await self._conclude(
            FinishTurn(
                record=self._record(status, outcome),
                thread=self._thread(),
                to=self._reply_to(),
                answer_id=answer.message_id if answer else None,
                truncated=answer.truncated if answer else False,
                inbound=[*along, *rows],
                blocks=turn_blocks(turn, {row.message_id for row in rows}) if outcome.said else [],
            )
        )
        if finished.status != status:
            rows = turn_records(self._state.key, turn, finished.status, now, finished.error)
        written = {id(row) for row in along}
        inbox.settled = [row for row in inbox.settled if id(row) not in written]
        self._learn(finished.rules)
        text = ""
        if answer is not None and finished.status == TurnStatus.ANSWERED:
            part = chat_reply(answer.text, self._reply_to(), truncated=answer.truncated).part
            text = part.text if part else ""
        end_turn(
            inbox,
            rows,
            EndedTurn(
                turn_id=turn.turn_id,
                message_ids=[row.message_id for row in rows],
                status=finished.status,
                text=text,
                error=finished.error,
                finished_at=workflow.now(),
            ),
        )

    async def _conclude(self, request: FinishTurn) -> TurnFinished:
        try:
            return await workflow.execute_activity_method(
                TurnActivities.finish_turn,
                request,
                task_queue=RUNS_QUEUE,
                start_to_close_timeout=timeouts.DELIVERY_START_TO_CLOSE,
                heartbeat_timeout=timeouts.DELIVERY_HEARTBEAT,
                retry_policy=timeouts.DELIVERY_RETRY,
                summary=f"{request.record.status}: deliver and record",
            )
        except ActivityError as error:
            # Everything worth a retry is retried for ever; what is left must not end the session.
            workflow.logger.error("turn %s was not recorded: %s", request.record.id, error)
            self._state.inbox.settled += [
                row.model_copy(update={"turn_id": None}) for row in request.inbound
            ]
            rules = self._state.rules or SessionRules()
            return TurnFinished(status=TurnStatus.FAILED, error=str(error.cause), rules=rules)

    def _status(self, outcome: _Outcome) -> TurnStatus:
        if outcome.error is not None:
            return TurnStatus.FAILED
        return TurnStatus.CANCELLED if outcome.answer is None else TurnStatus.ANSWERED

    # What it is called

    def _record(self, status: TurnStatus, outcome: _Outcome | None = None) -> TurnRecord:
        spent, turn = self._calls.spent, self._turn
        answer = outcome.answer if outcome else None
        return TurnRecord(
            id=turn.turn_id,
            session_key=self._state.key,
            workflow_id=workflow.info().workflow_id,
            thread_id=self._state.thread_id,
            status=status,
            started_at=turn.since,
            finished_at=None if status == TurnStatus.RUNNING else workflow.now(),
            result=answer.message_id if answer else None,
            error=outcome.error if outcome and outcome.error else turn.cancel,
            attempts=outcome.attempts if outcome else 0,
            tokens_in=spent.tokens_in,
            tokens_out=spent.tokens_out,
            cost_micros=spent.cost_micros,
            warnings=answer.warnings if answer else [],
        )

    def _thread(self) -> Thread:
        inbox, about = self._state.inbox, self._turn.about
        return Thread(
            id=self._state.thread_id,
            scope=(inbox.scope or about.message.scope).text,
            session_key=self._state.key,
            kind=ThreadKind.SESSION,
            created_at=self._turn.since,
        )

    def _reply_to(self) -> ReplyTo:
        message = self._turn.about.message
        channel = message.route.receive_id_type
        chat = (self._state.rules or SessionRules()).chat
        return ReplyTo(
            route=message.route,
            message_id=message.message_id,
            reply_to_id=message.reply_to_id,
            thread_id=message.thread_id,
            reply_to_mode=chat.replies(channel),
            thread_reply_mode=chat.threads(channel),
        )

    def _timeout_text(self) -> str:
        return f"it took longer than {int(self._calls.budget.total_seconds())}s"

    def _stage(self, stage: TurnStage) -> None:
        self._turn.stage = stage


def _still_cooling(state: SessionState) -> dict[str, float]:
    """The models that failed a moment ago, the session's own table of them without what is over."""
    now = workflow.time()
    for key in [key for key, until in state.cooling.items() if until <= now]:
        del state.cooling[key]
    return state.cooling


def _little(settled: list[InboundRecord]) -> list[InboundRecord]:
    """The first rows, as far as they are little together."""
    weight = 0
    for index, row in enumerate(settled):
        weight += row.weight
        if weight > WRITTEN_ALONG_BYTES:
            return settled[:index]
    return list(settled)
