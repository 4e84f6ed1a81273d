"""One chat turn: the gate, the model with its tools, the answer on its way, what may disturb it.

Owns the order of these steps within the workflow `Session`, and what an interrupt, a message that
joins and a pause do at each. Which messages a turn answers is `domain.inbox_turns`', what it says
`domain.chat_prompts`' and `domain.chat_replies`', what it may call `workflows.turn_tools`'.
Lifecycle: docs/lifecycles/session.md. Source: chat-policies.md §3.6 and §5, automation.md §8,
triggers-and-actions.md §7, DESIGN §4.

Invariants:
    1. A turn ends, whatever happens: answered, silent, failed or cancelled, and its row says so.
       One whose answer takes its time is booked as what it will be, and as failed if it is refused.
    2. Nothing of an answer that was cut short is delivered.
    3. Between a message and the schedule of its model call stands nothing that leaves the workflow,
       except for a session's first turn, which asks for the settings, and now and then for the
       tools.
    4. What a user said is in the thread once, also where tools were called before it was all said.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from temporalio import workflow
from temporalio.exceptions import ActivityError

from workflows.cancellations import raise_if_cancelled
from workflows.delivering import deliver
from workflows.model_calls import ModelCalls
from workflows.outgoing import Outgoing
from workflows.parking import is_system_pause, park
from workflows.tool_rounds import ToolRounds
from workflows.turn_tools import TurnTools

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
    from domain.chat_replies import ChatReply, ReplyTo, chat_reply
    from domain.chat_settings import SessionRules
    from domain.identifiers import RUNS_QUEUE
    from domain.inbound_records import InboundRecord, inbound_id
    from domain.inbox import Inbox
    from domain.inbox_state import EndedTurn, RunningTurn
    from domain.inbox_texts import TextBlock, turn_blocks, turn_text
    from domain.inbox_turns import amend_turn, end_turn, turn_records, unsteer
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

    `said` if no answer shows that the user was heard: what was said and is not in the thread yet is
    kept there.
    """

    answer: ModelAnswer | None = None
    error: str | None = None
    attempts: int = 0
    said: bool = False


@dataclass(slots=True)
class _End:
    """The end of a turn: its status and rows but for what its delivery makes of it, and its text.

    `booked` is how it was booked, once it was.
    """

    status: TurnStatus
    rows: list[InboundRecord]
    text: str
    booked: list[EndedTurn] = field(default_factory=list[EndedTurn])


class ChatTurn:
    """A turn that runs; one instance for each.

    Attributes:
        resumed: Everything goes on after a pause.
    """

    def __init__(
        self,
        state: SessionState,
        turn: RunningTurn,
        let_in: Callable[[], Awaitable[None]],
        tools: TurnTools,
        outgoing: Outgoing,
    ) -> None:
        """Take the turn.

        Args:
            state: The session's, changed in place.
            turn: The one that runs in its inbox.
            let_in: Waits until the session holds its own gate.
            tools: Those of the session.
            outgoing: The answers that are on their way.
        """
        self._state = state
        self._turn = turn
        self._let_in = let_in
        self._tools = tools
        self._outgoing = outgoing
        self._rounds: ToolRounds | None = None
        # How many of those that joined were asked with the rest, and how many of those are in the
        # thread; null: nothing of the turn is.
        self._asked = 0
        self._in_thread: int | None = None
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
                if not work.cancelled() and work.exception() is None:
                    # Its answer is in the thread all the same, behind what it was asked.
                    self._in_thread = self._asked
                return _Outcome(said=True)
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
            prompt=turn_text(self._turn, self._texts, self._heard()),
            frame=chat_frame(self._turn.about.message),
            timeout_seconds=float(rules.run_timeout_seconds),
            purpose="chat",
        )
        if self._rounds is None:
            self._rounds = await self._tools.rounds(
                self._state, self._turn, self._calls, self._show
            )
        else:
            more = self._is_more_said()
            await self._tools.go_on(self._rounds, self._turn, request, more=more)
        # What was awaited may have ended together with a disturbance, which is heard of only here.
        raise_if_cancelled()
        self._asked = len(self._turn.steered)
        asking = self._rounds.answer if self._rounds else self._calls.ask
        while True:
            try:
                return await asking(request, f"answer {self._turn.about.id}"[:200])
            except ActivityError as error:
                if not is_system_pause(error):
                    raise
                raise_if_cancelled()
            await self._park()
            raise_if_cancelled()

    def _is_more_said(self) -> bool:
        heard = self._heard()
        return heard is not None and len(self._turn.steered) > heard

    def _heard(self) -> int | None:
        """How many of those that joined are in the thread, with all before them; null: nothing."""
        if self._rounds is not None and self._rounds.heard:
            self._in_thread = self._asked
        return self._in_thread

    def _show(self, calling: bool) -> None:
        self._stage(TurnStage.TOOLS if calling else TurnStage.MODEL)

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
        status, answer, turn = self._status(outcome), outcome.answer, self._turn
        reason = outcome.error if status == TurnStatus.FAILED else turn.cancel
        rows = turn_records(self._state.key, turn, status, workflow.now(), reason)
        along = _little(self._state.inbox.settled)
        request = FinishTurn(
            record=self._record(status, outcome),
            thread=self._thread(),
            to=self._reply_to(),
            answer_id=answer.message_id if answer else None,
            truncated=answer.truncated if answer else False,
            filtered=answer.filtered if answer else False,
            inbound=[*along, *rows],
            blocks=self._said(rows) if outcome.said else [],
        )
        reply = ChatReply(error=outcome.error)
        if answer is not None:
            reply = chat_reply(answer.text, self._reply_to(), mark=answer.mark)
        speaks = reply.part is not None or reply.error is not None
        end = _End(status, rows, reply.part.text if reply.part else "")
        ending = self._outgoing.begin(lambda: self._end(request, end, along), in_order=speaks)
        if not speaks:
            # What was said may have to be in the thread before the next turn.
            await ending
        elif not await self._outgoing.is_over(ending):
            self._book(end, _expected(status, reply), reply.error)

    async def _end(self, request: FinishTurn, end: "_End", along: list[InboundRecord]) -> None:
        """Send the answer, and book how the turn ended, unless that was foreseen."""
        finished = await self._conclude(request)
        inbox, written = self._state.inbox, {id(row) for row in along}
        inbox.settled = [row for row in inbox.settled if id(row) not in written]
        self._learn(finished.rules)
        if not end.booked:
            self._book(end, finished.status, finished.error)
        elif end.booked[-1].status != finished.status:
            rows, ended = self._ending(end, finished.status, finished.error)
            amend_turn(inbox, end.rows, rows, ended)

    def _book(self, end: "_End", status: TurnStatus, error: str | None) -> None:
        rows, ended = self._ending(end, status, error)
        end.booked.append(ended)
        end.rows = rows
        end_turn(self._state.inbox, rows, ended)

    def _ending(
        self, end: "_End", status: TurnStatus, error: str | None
    ) -> tuple[list[InboundRecord], EndedTurn]:
        """The rows of a turn that has ended so, and what is kept of it."""
        rows, now = end.rows, workflow.now()
        if status != end.status:
            rows = turn_records(self._state.key, self._turn, status, now, error)
        ended = EndedTurn(
            turn_id=self._turn.turn_id,
            message_ids=[row.message_id for row in rows],
            status=status,
            text=end.text if status == TurnStatus.ANSWERED else "",
            error=error,
            finished_at=now,
        )
        return rows, ended

    def _said(self, rows: list[InboundRecord]) -> list[TextBlock]:
        """What was said and is not in the thread, without the texts of the rows."""
        return turn_blocks(self._turn, {row.message_id for row in rows}, self._heard())

    async def _conclude(self, request: FinishTurn) -> TurnFinished:
        try:
            summary = f"{request.record.status}: deliver and record"
            return await deliver(TurnActivities.finish_turn, request, summary)
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
            warnings=[*self._tools.warnings, *answer.warnings] if answer else [],
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


def _expected(status: TurnStatus, reply: ChatReply) -> TurnStatus:
    """How a turn ends if its answer arrives."""
    if status != TurnStatus.ANSWERED or reply.part is not None:
        return status
    return TurnStatus.FAILED if reply.error is not None else TurnStatus.SILENT


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
