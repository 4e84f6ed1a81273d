"""The rows of a call: its action, and its result in the thread.

Owns step 10 of the dispatch, and step 4, which is decided together with the first row: so the two
transactions of a call. Before: what an earlier attempt left, limits, the use of the
approval, the row `started`. After: how it ended, the result for the model, masked arguments in the
thread. Source: triggers-and-actions.md §7 and §8.

Invariants:
    1. A tool runs only after its row `started` is committed. An attempt that finds one, of a tool
       that must not run twice, answers `unknown`.
    2. An approval is used up in the transaction that writes `started`.
    3. The result and the action's ending are one transaction: there is never one without the other.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from activities.tools.calls import ReadCall, Refusal, result_id
from activities.tools.permissions import NOT_PERMITTED
from activities.tools.requests import (
    DETAIL_CHARS,
    AnswerCall,
    CallStatus,
    DispatchTool,
    ToolOutcome,
)
from activities.tools.running import Ending
from domain.redaction import redact_text
from domain.threads import ThreadMessage
from domain.timestamps import format_timestamp
from domain.tool_actions import LOST, ActionRecord, ActionStatus
from domain.tool_rates import HOUR, next_call_at
from domain.tool_results import UNKNOWN_TEXT, data_block, refusal_text
from domain.tool_specs import AskedCall, ToolCaller

if TYPE_CHECKING:
    from activities.store import Ledger, Store

RATE_LIMITED: Final = "rate_limited"
CANCELLED: Final = "cancelled"
NAME_CHARS: Final = 128
_NONCE_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Begun:
    """A call that is to run now."""

    record: ActionRecord


class Audit:
    """The rows of calls in one store."""

    def __init__(self, store: "Store") -> None:
        self._store = store

    async def begin(
        self, request: DispatchTool, call: ReadCall, refusal: Refusal | None
    ) -> Begun | ToolOutcome:
        """Write the row with which a call begins.

        Args:
            request: The call as it was asked for.
            call: What was read of it.
            refusal: Why it must not run, after steps 1 to 3.

        Returns:
            What began; or the outcome, when it had ended before or is refused.

        Raises:
            StoreError: The database failed; nothing was written.
        """
        return await self._store.write(_begin, request, call, refusal, datetime.now(UTC))

    async def end(
        self, request: DispatchTool, call: ReadCall, begun: Begun, ending: Ending
    ) -> ToolOutcome:
        """Write how a call ended, and its result.

        Raises:
            StoreError: The database failed; nothing was written.
        """
        record = begun.record.model_copy(
            update={
                "status": ending.status,
                "output": ending.text,
                "error": ending.error,
                "truncated": ending.truncated,
                "original_bytes": ending.original_bytes,
                "duration_ms": ending.duration_ms,
                "finished_at": datetime.now(UTC),
            }
        )
        return await self._store.write(_end, request, call, record)

    async def answer(self, request: AnswerCall, call: ReadCall) -> ToolOutcome:
        """Write a result that did not come from running the tool.

        Raises:
            StoreError: The database failed; nothing was written.
        """
        return await self._store.write(_answer, request, call, datetime.now(UTC))


def _begin(
    ledger: "Ledger", request: DispatchTool, call: ReadCall, refusal: Refusal | None, now: datetime
) -> Begun | ToolOutcome:
    earlier = ledger.actions.get(call.action_id)
    if earlier is not None:
        return _again(ledger, request, call, earlier, now)
    refusal = refusal or _limit(ledger, request, call, now) or _unused(ledger, request, call)
    record = _record(request, call, now)
    if refusal is not None:
        record = _refused(record, refusal)
    # Of two attempts at once neither has seen the other's row; one of them writes it.
    if (beside := ledger.actions.begin(record)) is not None:
        return _again(ledger, request, call, beside, now)
    return Begun(record) if refusal is None else _end(ledger, request, call, record)


def _again(
    ledger: "Ledger", request: DispatchTool, call: ReadCall, earlier: ActionRecord, now: datetime
) -> Begun | ToolOutcome:
    """What an attempt does that finds the row of one before."""
    if earlier.status is not ActionStatus.STARTED:
        return _outcome(request.call, earlier, call)
    if call.repeatable and call.refusal is None:
        return Begun(earlier)
    return _end(ledger, request, call, _lost(earlier, now))


def _lost(begun: ActionRecord, now: datetime) -> ActionRecord:
    return begun.model_copy(
        update={"status": ActionStatus.UNKNOWN, "error": LOST, "output": UNKNOWN_TEXT}
        | {"finished_at": now}
    )


def _limit(
    ledger: "Ledger", request: DispatchTool, call: ReadCall, now: datetime
) -> Refusal | None:
    """Step 4; counted in the transaction that adds to what is counted."""
    if request.calls_left is not None and request.calls_left <= 0:
        return Refusal(RATE_LIMITED, "max_tool_calls of this run is used up; answer without tools")
    assert call.tool is not None  # a call without a tool is refused before
    rate, user = call.tool.spec.rate_limit, _user(request.caller)
    starts = ledger.actions.calls_since(user, request.call.name, now - HOUR, rate.per_hour)
    at = next_call_at(rate, starts, now)
    if at is None:
        return None
    return Refusal(RATE_LIMITED, f"called too often; retry_at {format_timestamp(at)}")


def _unused(ledger: "Ledger", request: DispatchTool, call: ReadCall) -> Refusal | None:
    """Use the approval up; a refusal when there is one but it does not hold."""
    if request.approval_id is None:
        return None
    if ledger.approvals.consume(request.approval_id, digest=call.digest, action_id=call.action_id):
        return None
    stored = ledger.approvals.get(request.approval_id)
    state = stored.status if stored else "not known"
    return Refusal(NOT_PERMITTED, f"the approval of this call is {state}")


def _refused(record: ActionRecord, refusal: Refusal) -> ActionRecord:
    return record.model_copy(
        update={"status": ActionStatus.REJECTED, "error": refusal.kind, "output": refusal.detail}
        | {"finished_at": record.started_at, "approval_id": None}
    )


def _end(
    ledger: "Ledger", request: DispatchTool | AnswerCall, call: ReadCall, record: ActionRecord
) -> ToolOutcome:
    stored = ledger.actions.end(record)
    ledger.threads.append([_result(request.thread.id, request.call, stored, record.started_at)])
    shown = _shown(call)
    if shown != call.written:
        ledger.threads.mask_call(request.message_id, request.call.id, shown)
    return _outcome(request.call, stored, call)


def _shown(call: ReadCall) -> str:
    """The arguments as the thread keeps them from now on."""
    if call.shown and call.arguments != call.shown:
        return json.dumps(call.shown, ensure_ascii=False)
    return redact_text(call.written)


def _answer(ledger: "Ledger", request: AnswerCall, call: ReadCall, now: datetime) -> ToolOutcome:
    earlier = ledger.actions.get(call.action_id)
    if earlier is not None and earlier.status is ActionStatus.STARTED:
        # It had begun, and nobody is left who knows how it ended.
        return _end(ledger, request, call, _lost(earlier, now))
    approval = request.approval_id and ledger.approvals.get(request.approval_id)
    record = _record(request, call, now).model_copy(
        update={
            "status": ActionStatus(request.status),
            "output": redact_text(request.text),
            "error": request.error,
            "approval_id": approval.id if approval else None,
            "finished_at": now,
        }
    )
    return _end(ledger, request, call, record)


def _record(request: DispatchTool | AnswerCall, call: ReadCall, now: datetime) -> ActionRecord:
    caller = request.caller
    return ActionRecord(
        id=call.action_id,
        sequence=request.sequence,
        run_id=caller.run_id,
        turn_id=caller.turn_id,
        job_id=caller.job_id,
        user_id=_user(caller),
        tool=redact_text(request.call.name[:NAME_CHARS]),
        version=call.version,
        arguments=call.shown,
        arguments_digest=call.digest,
        status=ActionStatus.STARTED,
        approval_id=request.approval_id,
        started_at=now,
        caller=caller.caller,
    )


def _user(caller: ToolCaller) -> str:
    """Whose rate limit a call counts for."""
    return caller.user_id or caller.scope.text


def _result(
    thread_id: str, call: AskedCall, record: ActionRecord, created_at: datetime
) -> ThreadMessage:
    """What the model is told."""
    output = record.output or ""
    match record.status:
        case ActionStatus.OK:
            text = data_block(record.tool, output, secrets.token_hex(_NONCE_BYTES))
        case ActionStatus.UNKNOWN:
            text = output
        case _ if record.error is None:
            text = output
        case ActionStatus.REJECTED:
            text = refusal_text(record.error, output)
        case _:
            block = data_block(record.tool, output, secrets.token_hex(_NONCE_BYTES))
            text = refusal_text(record.error, block)
    link: dict[str, Any] = {"id": call.id, "name": call.name}
    return ThreadMessage(
        id=result_id(record.id),
        thread_id=thread_id,
        role="tool",
        content=text,
        tool_calls=[link],
        created_at=created_at,
    )


def _outcome(call: AskedCall, record: ActionRecord, read: ReadCall) -> ToolOutcome:
    output = record.output or ""
    told = f"{record.status} {record.error} {output}"
    return ToolOutcome(
        call_id=call.id,
        tool=record.tool,
        status=CallStatus(record.status),
        error=record.error,
        # What a call brought is in the thread; history has the reasons only.
        detail="" if record.status == ActionStatus.OK else output[:DETAIL_CHARS],
        action_id=record.id,
        digest=record.arguments_digest or None,
        version=record.version,
        result_digest=hashlib.sha256(told.encode("utf-8", "replace")).hexdigest(),
        message_id=result_id(record.id),
        read_only=bool(read.tool and read.tool.spec.read_only),
        elapsed_seconds=(record.duration_ms or 0) / 1000,
    )
