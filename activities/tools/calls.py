"""One call of a tool, read from the thread and checked: steps 1 and 2 of the dispatch.

Owns finding the tool and its arguments, and what may be shown of them. Whether the call may run is
decided later (`activities.tools.permissions`). Source: triggers-and-actions.md §7.

Invariants:
    1. The digest is that of the real arguments; everything that leaves here for people is masked.
    2. An action's id is the same for every attempt and for every repetition of a call.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from activities.tools.arguments import ArgumentsRefused, read_arguments
from activities.tools.registry import RegisteredTool, ToolRegistry
from activities.tools.requests import ARGUMENTS_BYTES
from domain.approvals import digest
from domain.redaction import redact, redact_text
from domain.threads import ThreadMessage
from domain.tool_specs import AskedCall, ToolSpec

UNKNOWN_TOOL: Final = "unknown_tool"
INVALID_ARGUMENTS: Final = "invalid_arguments"
# Where something was left out because a payload may not carry it.
CUT: Final = "[cut]"


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a call does not run: a kind for the model and the audit, and words."""

    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class ReadCall:
    """A call as far as it could be read.

    Attributes:
        action_id: Its row of `job_actions`.
        written: The arguments as the model wrote them.
        tool: The tool; null if there is none of this name.
        arguments: The real ones; empty when they could not be read.
        shown: The same, masked.
        digest: Of tool, version and real arguments; empty when they could not be read.
        refusal: Why it cannot be run, after steps 1 and 2.
    """

    action_id: str
    written: str = ""
    tool: RegisteredTool | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    shown: dict[str, Any] = field(default_factory=dict[str, Any])
    digest: str = ""
    refusal: Refusal | None = None

    @property
    def version(self) -> str:
        """Of the tool; empty if there is none."""
        return self.tool.spec.version if self.tool else ""

    @property
    def repeatable(self) -> bool:
        """Whether a second run does no harm."""
        return self.tool is not None and (self.tool.spec.idempotent or self.tool.spec.read_only)

    @property
    def abridged(self) -> dict[str, Any]:
        """The masked arguments, cut to what a payload may carry."""
        for chars in (ARGUMENTS_BYTES, 1000, 300, 80, 20):
            shorter = cast("dict[str, Any]", _shortened(self.shown, chars))
            if len(json.dumps(shorter)) <= ARGUMENTS_BYTES:
                return shorter
        return {CUT: f"{len(json.dumps(self.shown))} bytes of JSON"}


def action_id(message_id: str, call_id: str) -> str:
    """The row of a call: the message's id begins with the workflow's, the call's is the model's."""
    return f"{message_id}/{call_id}"


def result_id(action: str) -> str:
    """The message that tells the model how a call ended, of the call's row."""
    return f"{action}/result"


def read_call(
    registry: ToolRegistry, call: AskedCall, message_id: str, message: ThreadMessage | None
) -> ReadCall:
    """Find a call's tool and check its arguments.

    Args:
        registry: The tools there are.
        call: The call.
        message_id: The assistant's message that made it.
        message: That message; null if the thread has none of this id.
    """
    key = action_id(message_id, call.id)
    written = _written(message, call.id)
    tool = registry.get(call.name)
    if tool is None:
        refusal = Refusal(UNKNOWN_TOOL, f"there is no tool {redact_text(call.name)!r}")
        return ReadCall(key, written or "", refusal=refusal)
    if written is None:
        refusal = Refusal(INVALID_ARGUMENTS, "the conversation has no such call")
        return ReadCall(key, tool=tool, refusal=refusal)
    try:
        arguments = read_arguments(written)
    except ArgumentsRefused as error:
        return ReadCall(key, written, tool, refusal=Refusal(INVALID_ARGUMENTS, str(error)))
    shown = masked(arguments, tool.spec)
    try:
        tool.schema.check(arguments)
    except ArgumentsRefused as error:
        refusal = Refusal(INVALID_ARGUMENTS, redact_text(str(error)))
        return ReadCall(key, written, tool, shown=shown, refusal=refusal)
    bound = digest(tool.spec.name, tool.spec.version, arguments)
    return ReadCall(key, written, tool, arguments, shown, bound)


def masked(arguments: Mapping[str, Any], spec: ToolSpec) -> dict[str, Any]:
    """Arguments as people, the ledger and later prompts may see them."""
    return cast("dict[str, Any]", redact(arguments, spec.sensitive_params))


def _shortened(value: object, chars: int) -> object:
    """A value with its texts cut."""
    if isinstance(value, str) and len(value) > chars:
        return f"{value[:chars]}{CUT}"
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value).items()
        return {key: _shortened(item, chars) for key, item in items}
    if isinstance(value, list):
        return [_shortened(item, chars) for item in cast("list[object]", value)]
    return value


def _written(message: ThreadMessage | None, call_id: str) -> str | None:
    """The arguments of a call as JSON text; null if the message does not make it."""
    for call in (message.tool_calls if message else None) or ():
        if call.get("id") == call_id:
            made: dict[str, Any] = call.get("function") or {}
            return str(made.get("arguments") or "")
    return None
