"""The one way to run a tool, for chats, lightweight runs, jobs and goals.

Owns the order of the ten steps: resolve, validate, permission, limits, timeout, execute, sanitise,
truncate, redact, audit. Each step is a module's. Source: triggers-and-actions.md §7.

Invariants:
    1. No step is left out and none is done in another order, whoever calls.
    2. Every call leaves a row and a result for the model, refusals included; except one that waits
       for an approval, which has not begun.
    3. A tool that must not run twice is not run twice: not by a retry, not by another worker.
"""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import structlog
from pydantic import BaseModel
from temporalio import activity

from activities.heartbeats import beating
from activities.tools.audit import CANCELLED, Audit, Begun
from activities.tools.calls import ReadCall, Refusal, action_id, read_call
from activities.tools.permissions import Permissions
from activities.tools.registry import ToolRegistry
from activities.tools.requests import (
    AnswerCall,
    CallStatus,
    DispatchTool,
    OfferedTools,
    OfferTools,
    ToolOutcome,
)
from activities.tools.running import Ending, run_tool
from activities.tools.sandbox import Sandbox
from domain.approvals import arguments_text
from domain.threads import ThreadMessage
from domain.tool_actions import ActionRecord, ActionStatus
from domain.tool_results import UNKNOWN_TEXT
from domain.tool_specs import Permission

if TYPE_CHECKING:
    from activities.models import PauseCheck
    from activities.store import Ledger, Store

SILENT_BEAT: Final = timedelta(seconds=2)

log = structlog.get_logger(__name__)


class ToolBeat(BaseModel):
    """What a heartbeat tells: which tool runs."""

    tool: str


class ToolActivities:
    """Calls of the tools of a registry."""

    def __init__(
        self,
        *,
        store: "Store",
        registry: ToolRegistry,
        sandbox: Sandbox,
        pause: "PauseCheck",
        silent_beat: timedelta = SILENT_BEAT,
    ) -> None:
        """Put the dispatch together.

        Args:
            store: Threads, actions, approvals.
            registry: The tools.
            sandbox: Where those run that need one.
            pause: The big red button.
            silent_beat: Longest time between heartbeats; short where the server does not push
                cancellations.
        """
        self._store = store
        self._registry = registry
        self._pause = pause
        self._permissions = Permissions(registry, sandbox, store)
        self._audit = Audit(store)
        self._silent_beat = silent_beat

    @property
    def activities(self) -> list[Callable[..., Any]]:
        """What a worker of the queue of tools serves."""
        return [self.offer_tools, self.dispatch_tool, self.answer_call]

    @activity.defn
    async def offer_tools(self, request: OfferTools) -> OfferedTools:
        """Which tools a run, a job or a chat is offered now."""
        return await self._permissions.offered(request)

    @activity.defn
    async def dispatch_tool(self, request: DispatchTool) -> ToolOutcome:
        """Run a tool, or say why not; the result is in the thread.

        Raises:
            ApplicationError: `system_paused`; nothing was done.
            StoreError: The call could not be written down. It counts as failed: a retry answers
                `unknown` if it had begun and must not run twice.
        """
        await self._pause.check()
        with beating(lambda: ToolBeat(tool=request.call.name), self._silent_beat):
            # 1 resolve, 2 validate
            call, began_before = await self._read(request)
            # 3 permission; what began before had it then
            refusal = call.refusal
            if refusal is None and not began_before:
                refusal = await self._permission(request, call)
            if refusal is _ASKS:
                return _needs_approval(request, call)
            # 4 limits; and the first half of 10: nothing runs that is not written down
            begun = await self._audit.begin(request, call, refusal)
            if isinstance(begun, ToolOutcome):
                outcome = begun
            else:
                # 5 timeout, 6 execute, 7 sanitise, 8 truncate, 9 redact
                ending = await self._run(request, call, begun)
                # 10 audit
                outcome = await self._audit.end(request, call, begun, ending)
        log.info(
            "tool_called",
            action=outcome.action_id,
            tool=outcome.tool,
            status=outcome.status,
            error=outcome.error,
        )
        return outcome

    @activity.defn
    async def answer_call(self, request: AnswerCall) -> ToolOutcome:
        """Store a result that did not come from running the tool."""
        call, _ = await self._read(request)
        return await self._audit.answer(request, call)

    async def _read(self, request: DispatchTool | AnswerCall) -> tuple[ReadCall, bool]:
        """The call, and whether an attempt before has left a row of it."""
        message, earlier = await self._store.read(_stored, request)
        call = read_call(self._registry, request.call, request.message_id, message)
        return call, earlier is not None

    async def _permission(self, request: DispatchTool, call: ReadCall) -> Refusal | None:
        """Why a call may not run; `_ASKS` when a person has to agree first."""
        decided = await self._permissions.check(request, call)
        if isinstance(decided, Refusal):
            return decided
        if decided is Permission.ALLOW:
            return None
        # Bound to the exact arguments: compared with what will run now, not with what was shown.
        approved = request.approval_id is not None and request.approved_digest == call.digest
        return None if approved else _ASKS

    async def _run(self, request: DispatchTool, call: ReadCall, begun: Begun) -> Ending:
        try:
            return await run_tool(call, request.caller, request.timeout_seconds)
        except asyncio.CancelledError:
            details = activity.cancellation_details()
            # A worker that stops leaves the row as it is: the next attempt knows what to do with
            # it. A caller that gave up makes no next attempt.
            if details is None or details.cancel_requested:
                await self._end_cancelled(request, call, begun)
            raise

    async def _end_cancelled(self, request: DispatchTool, call: ReadCall, begun: Begun) -> None:
        ending = Ending(ActionStatus.FAILED, "it was cancelled", CANCELLED)
        if not call.repeatable:
            ending = Ending(ActionStatus.UNKNOWN, f"cancelled; {UNKNOWN_TEXT}", CANCELLED)
        try:
            await self._audit.end(request, call, begun, ending)
        except Exception as error:  # reported as cancelled all the same, not as failed
            log.warning("tool_call_not_settled", action=call.action_id, error=str(error))


def _stored(
    ledger: "Ledger", request: DispatchTool | AnswerCall
) -> tuple[ThreadMessage | None, ActionRecord | None]:
    key = action_id(request.message_id, request.call.id)
    return ledger.threads.message(request.message_id), ledger.actions.get(key)


_ASKS: Final = Refusal(CallStatus.NEEDS_APPROVAL, "")


def _needs_approval(request: DispatchTool, call: ReadCall) -> ToolOutcome:
    return ToolOutcome(
        call_id=request.call.id,
        tool=request.call.name,
        status=CallStatus.NEEDS_APPROVAL,
        digest=call.digest,
        version=call.version,
        arguments=call.abridged,
        arguments_chars=len(arguments_text(call.shown)),
        read_only=bool(call.tool and call.tool.spec.read_only),
    )
