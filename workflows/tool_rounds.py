"""A model that may call tools, until it answers with text.

A round is one call of the model and all calls of tools that it asks for.

Owns the rounds of a lightweight run or a chat turn and which calls run beside each other. How a
tool is run is the dispatch's (`activities.tools.dispatch`), what is offered too.
Source: triggers-and-actions.md §5 and §7.

Invariants:
    1. After the last round, or once `max_tool_calls` is used up, one call of the model without
       tools ends it.
    2. What was done is kept in the rounds: after an interruption or a pause they go on where they
       were, and a call that has a result is not made again.
    3. Calls run at once only if each of them changes nothing; otherwise in the model's order.
    4. Once the run is told to end no further call is made, however the one at hand ends.
    5. What the thread holds is asked once: an answer that came when nobody waited for it any more
       is stored all the same, and so is what it answers.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, is_cancelled_exception
from temporalio.workflow import ActivityCancellationType

from workflows.cancellations import raise_if_cancelled
from workflows.model_calls import ModelCalls

with workflow.unsafe.imports_passed_through():
    from activities import timeouts
    from activities.models import CallModel, ModelAnswer
    from activities.tools.dispatch import ToolActivities
    from activities.tools.requests import (
        AnswerCall,
        CallMode,
        CallStatus,
        DispatchTool,
        OfferedTools,
        OfferTools,
        ToolOutcome,
    )
    from domain.actions import LightweightAction
    from domain.admission import RunDefinition
    from domain.identifiers import TOOLS_QUEUE
    from domain.runs import RunRecord
    from domain.tool_results import PASSED_OVER, PASSED_OVER_TEXT
    from domain.tool_specs import AskedCall, ToolCaller

_LATE = "2026-11-21-calls-of-a-late-answer"


@dataclass
class ToolRounds:
    """The rounds of one run or turn.

    Attributes:
        calls: The calls of models, which keep what everything has spent.
        caller: On whose behalf tools are called.
        max_rounds: How many rounds there may be.
        mode: What calls.
        show: Told when calls begin and when they are over.
        allowed_tools: Of the guardrails.
        max_tool_calls: Of the guardrails, over all rounds.
        offered: What the model is offered; null before the first round.
        rounds: How many were begun.
        asked: How many calls the model has asked for in rounds that ended.
        made: How many of those were not refused.
        open: The answer whose calls are being made.
        ended: Those of its calls that have ended.
        heard: What was asked last is in the thread, with what was called for it.
        warnings: Those of all calls of the model, each once.
    """

    calls: ModelCalls
    caller: ToolCaller
    max_rounds: int
    mode: CallMode = CallMode.LIGHTWEIGHT
    show: Callable[[bool], None] = lambda _: None
    allowed_tools: list[str] | None = None
    max_tool_calls: int | None = None
    offered: OfferedTools | None = None
    rounds: int = 0
    asked: int = 0
    made: int = 0
    open: ModelAnswer | None = None
    ended: set[str] = field(default_factory=set[str])
    heard: bool = False
    warnings: list[str] = field(default_factory=list[str])

    async def answer(self, request: CallModel, summary: str) -> ModelAnswer:
        """Go on until the model answers with text.

        Args:
            request: The first call of the model, without tools.
            summary: Of the model's calls.

        Raises:
            ActivityError: No model answered, a tool could not be dispatched, or everything is
                paused.
        """
        offered = self.offered = self.offered or await self._offer()
        raise_if_cancelled()
        while True:
            if self.open is not None:
                await self._make(request, self.open, offered)
            last = self.rounds >= self.max_rounds or self._left() == 0
            changes: dict[str, object] = {"tools": offered.names, "text_only": last}
            if self.heard:
                # The prompt is in the thread, with what was called since.
                changes |= {"prompt": None, "announcement": None}
            answer = await self._ask(request.model_copy(update=changes), summary)
            if last or not answer.tool_calls:
                return answer.model_copy(update={"warnings": self.warnings})
            self._take(answer)

    async def pass_over(self, request: CallModel) -> None:
        """Leave the calls at hand, because a user has said something else meanwhile.

        What was not begun is told to the model as such; what was is told as it ended.

        Args:
            request: What names the thread.
        """
        if self.open is None:
            return
        answer, ended = self.open, self.ended
        await asyncio.gather(
            *(
                self._leave(request, answer, place, call)
                for place, call in enumerate(answer.tool_calls)
                if call.id not in ended
            )
        )
        self._close(len(answer.tool_calls))

    async def _ask(self, request: CallModel, summary: str) -> ModelAnswer:
        self.calls.latest = None
        try:
            answer = await self.calls.ask(request, summary)
        except asyncio.CancelledError:
            late = self.calls.latest
            if late is not None and late.tool_calls and workflow.patched(_LATE):
                self._take(late)
            raise
        self.warnings = list(dict.fromkeys([*self.warnings, *answer.warnings]))
        return answer

    def _take(self, answer: ModelAnswer) -> None:
        """Go on with the calls of an answer, which is in the thread with what it answers."""
        self.rounds += 1
        self.open, self.heard = answer, True

    def _close(self, asked: int) -> None:
        self.asked += asked
        self.open = None
        self.ended.clear()

    async def _offer(self) -> OfferedTools:
        return await workflow.execute_activity_method(
            ToolActivities.offer_tools,
            OfferTools(mode=self.mode, caller=self.caller, allowed_tools=self.allowed_tools),
            task_queue=TOOLS_QUEUE,
            start_to_close_timeout=timeouts.OFFER_START_TO_CLOSE,
            retry_policy=timeouts.ENTITY_RETRY,
            summary="which tools are there?",
        )

    async def _make(self, request: CallModel, answer: ModelAnswer, offered: OfferedTools) -> None:
        """Make the calls of an answer."""
        harmless = all(call.name in offered.read_only for call in answer.tool_calls)
        self.show(True)
        if harmless:
            outcomes = await self._at_once(request, answer)
            took = max(outcome.elapsed_seconds for outcome in outcomes)
        else:
            outcomes = await self._in_turn(request, answer)
            took = sum(outcome.elapsed_seconds for outcome in outcomes)
        self.show(False)
        self.calls.elapsed += timedelta(seconds=took)
        self.made += sum(outcome.status is not CallStatus.REJECTED for outcome in outcomes)
        self._close(len(outcomes))

    async def _at_once(self, request: CallModel, answer: ModelAnswer) -> Sequence[ToolOutcome]:
        dispatched = [
            self._dispatch(request, answer, place, call)
            for place, call in enumerate(answer.tool_calls)
        ]
        # All are waited for, so that none runs on beside what comes next.
        ended = await asyncio.gather(*dispatched, return_exceptions=True)
        for item in ended:
            if isinstance(item, BaseException):
                raise item
        return [item for item in ended if isinstance(item, ToolOutcome)]

    async def _in_turn(self, request: CallModel, answer: ModelAnswer) -> Sequence[ToolOutcome]:
        return [
            await self._dispatch(request, answer, place, call)
            for place, call in enumerate(answer.tool_calls)
        ]

    async def _dispatch(
        self, request: CallModel, answer: ModelAnswer, place: int, call: AskedCall
    ) -> ToolOutcome:
        left = self._left()
        wanted = DispatchTool(
            thread=request.thread,
            message_id=answer.message_id,
            call=call,
            caller=self.caller,
            sequence=self.asked + place + 1,
            mode=self.mode,
            allowed_tools=self.allowed_tools,
            calls_left=None if left is None else max(left - place, 0),
            timeout_seconds=max((self.calls.budget - self.calls.elapsed).total_seconds(), 0.001),
        )
        try:
            outcome = await self._run(wanted)
        except ActivityError as error:
            if not is_cancelled_exception(error):
                raise_if_cancelled()
            raise
        self.ended.add(call.id)
        # What ended well all the same is not followed by the next call.
        raise_if_cancelled()
        return outcome

    async def _leave(
        self, request: CallModel, answer: ModelAnswer, place: int, call: AskedCall
    ) -> None:
        """Write down that a call is not made; one that has ended all the same stays as it is."""
        await workflow.execute_activity_method(
            ToolActivities.answer_call,
            AnswerCall(
                thread=request.thread,
                message_id=answer.message_id,
                call=call,
                text=PASSED_OVER_TEXT,
                error=PASSED_OVER,
                caller=self.caller,
                sequence=self.asked + place + 1,
            ),
            task_queue=TOOLS_QUEUE,
            start_to_close_timeout=timeouts.ENTITY_START_TO_CLOSE,
            retry_policy=timeouts.ENTITY_RETRY,
            summary=f"{call.name} is not called"[:200],
        )

    async def _run(self, wanted: DispatchTool) -> ToolOutcome:
        limit = timedelta(seconds=wanted.timeout_seconds) + timeouts.TOOL_GRACE
        return await workflow.execute_activity_method(
            ToolActivities.dispatch_tool,
            wanted,
            task_queue=TOOLS_QUEUE,
            start_to_close_timeout=limit,
            heartbeat_timeout=timeouts.TOOL_HEARTBEAT,
            retry_policy=timeouts.TOOL_RETRY,
            # What the call has done is written down before the run goes on or ends.
            cancellation_type=ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            summary=f"call {wanted.call.name}"[:200],
        )

    def _left(self) -> int | None:
        """How many calls may still be made; null is any number."""
        if self.max_tool_calls is None:
            return None
        return max(self.max_tool_calls - self.made, 0)


def tool_rounds(
    calls: ModelCalls, definition: RunDefinition, record: RunRecord
) -> ToolRounds | None:
    """The rounds of a run whose action uses tools; null for every other."""
    action = definition.action
    if not isinstance(action, LightweightAction) or not action.use_tools:
        return None
    caller = ToolCaller(
        caller=f"routine:{record.routine_id}",
        user_id=definition.user_id,
        scope=definition.scope,
        route=definition.route,
        run_id=record.id,
        routine_id=record.routine_id,
        session_key=definition.session_key,
        hop=record.hop,
    )
    return ToolRounds(
        calls,
        caller,
        action.max_tool_rounds,
        allowed_tools=definition.allowed_tools,
        max_tool_calls=definition.max_tool_calls,
    )
