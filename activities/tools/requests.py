"""What a workflow asks of the dispatch of tools, and what comes back.

Owns the payloads. What is done with them is `activities.tools.dispatch`'. Changes are additive,
with defaults: recorded histories hold older ones. Source: triggers-and-actions.md §7.

Invariant: no payload grows with a conversation: arguments are read from the thread, outputs are
written to it.
"""

from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from domain.threads import Thread
from domain.tool_specs import AskedCall, ToolCaller
from domain.tools import SandboxMode

DETAIL_CHARS: Final = 500
ARGUMENTS_BYTES: Final = 2048


class CallMode(StrEnum):
    """How a tool is called, which decides what exists and who may be asked."""

    LIGHTWEIGHT = "lightweight"
    FULL_JOB = "full_job"
    CHAT = "chat"


class CallStatus(StrEnum):
    """How a call ended; `needs_approval`: it did not begin, a person has to agree first."""

    OK = "ok"
    FAILED = "failed"
    REJECTED = "rejected"
    TIMED_OUT = "timed_out"
    UNKNOWN = "unknown"
    NEEDS_APPROVAL = "needs_approval"


class OfferTools(BaseModel):
    """Ask which tools a run, a job or a chat is offered.

    Attributes:
        mode: What asks.
        caller: On whose behalf.
        allowed_tools: Exactly these; null: all that need nobody.
    """

    model_config = ConfigDict(frozen=True)

    mode: CallMode
    caller: ToolCaller
    allowed_tools: list[str] | None = None


class OfferedTools(BaseModel):
    """What is offered.

    Attributes:
        names: To hand to `call_model`, sorted.
        read_only: Those of them that change nothing: calls of these alone may run at once.
        removed: Why the others are not, by name.
        sandbox_mode: Where those run that need a sandbox.
        refusal: Why a full job must not begin at all: a tool that it names has no sandbox.
    """

    model_config = ConfigDict(frozen=True)

    names: list[str] = []
    read_only: list[str] = []
    removed: dict[str, str] = {}
    sandbox_mode: SandboxMode | None = None
    refusal: str | None = None


class DispatchTool(BaseModel):
    """One call that a model asked for.

    Attributes:
        thread: The conversation, which gets the result.
        message_id: The assistant's message that holds the arguments.
        call: Which of its calls.
        caller: On whose behalf.
        sequence: Of the call in its run, job or turn, from 1.
        mode: What calls.
        allowed_tools: Of the routine's guardrails.
        calls_left: How many calls `max_tool_calls` leaves, this one included; null: any number.
        approval_id: The approval under which it is to run.
        approved_digest: What that approval is bound to.
        timeout_seconds: What the caller has left; 0: the tool's own limit alone.
    """

    model_config = ConfigDict(frozen=True)

    thread: Thread
    message_id: str
    call: AskedCall
    caller: ToolCaller
    sequence: int
    mode: CallMode = CallMode.FULL_JOB
    allowed_tools: list[str] | None = None
    calls_left: int | None = None
    approval_id: str | None = None
    approved_digest: str | None = None
    timeout_seconds: float = 0


class ToolOutcome(BaseModel):
    """How a call ended; the result itself is in the thread.

    Attributes:
        call_id: The call.
        tool: Its tool.
        status: How it ended.
        error: The kind of a refusal or failure, such as `invalid_arguments`.
        detail: Why it did not succeed, for people, masked.
        action_id: Its row of `job_actions`; null when it waits for an approval.
        digest: Of tool, version and real arguments: what an approval is bound to.
        version: Of the tool.
        arguments: Of a call that waits for an approval: masked and cut, for a person to decide on.
        arguments_chars: How long they are when nothing is cut.
        result_digest: Of what the model is told: equal for equal results.
        message_id: The tool's message in the thread; null when it waits for an approval.
        read_only: The tool changes nothing.
        elapsed_seconds: How long this took, without the wait for a worker.
    """

    model_config = ConfigDict(frozen=True)

    call_id: str
    tool: str
    status: CallStatus
    error: str | None = None
    detail: str = ""
    action_id: str | None = None
    digest: str | None = None
    version: str = ""
    arguments: dict[str, Any] = {}
    arguments_chars: int = 0
    result_digest: str | None = None
    message_id: str | None = None
    read_only: bool = False
    elapsed_seconds: float = 0


class AnswerCall(BaseModel):
    """Answer a call with a result that did not come from running its tool.

    Attributes:
        thread, message_id, call, caller, sequence: As in `DispatchTool`.
        text: What the model is told: `denied: reason`.
        status: `rejected` for what did not run, `unknown` for what may have.
        error: The kind, such as `denied`.
        approval_id: The approval that was refused or ran out.
    """

    model_config = ConfigDict(frozen=True)

    thread: Thread
    message_id: str
    call: AskedCall
    text: str
    status: CallStatus = CallStatus.REJECTED
    error: str | None = None
    caller: ToolCaller
    sequence: int
    approval_id: str | None = None
