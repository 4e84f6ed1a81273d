"""Which tool calls must ask a person first.

Owns the states of an approval, as published, and the decision whether a call needs one.
The life of an approval is that of triggers-and-actions.md §8; only `approved` lets a tool run.

Invariants:
    1. Spelling cannot bypass an approval: names are compared trimmed and case-folded.

Source: chat-policies.md §8, after the public package beeper/ai-bridge `pkg/runtime`.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class ToolApprovalState(StrEnum):
    """Where the approval of a tool call stands (chat-policies.md §8)."""

    REQUIRED = "required"
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    TIMED_OUT = "timed_out"
    STALE = "stale"


_MCP: Final = "mcp"


@dataclass(frozen=True, slots=True)
class ToolPolicyInput:
    """A tool call and the policy it is under.

    Attributes:
        tool_name: Name of the tool.
        tool_kind: `builtin`, `mcp` or `provider`.
        call_id: Id of the call.
        require_for_mcp: Every MCP tool must ask.
        required_tools: Names of the tools that must ask.
    """

    tool_name: str = ""
    tool_kind: str = ""
    call_id: str = ""
    require_for_mcp: bool = False
    required_tools: AbstractSet[str] | None = None


@dataclass(frozen=True, slots=True)
class ToolApprovalDecision:
    """Whether a tool call must ask.

    Attributes:
        state: `required` or `approved`.
        reason: A stable code that says why.
        tool: The trimmed name of the tool.
        call_id: Id of the call, as given.
        is_error: Never set by `decide_tool_approval`; for callers that report a failure.
    """

    state: ToolApprovalState
    reason: str = ""
    tool: str = ""
    call_id: str = ""
    is_error: bool = False


def decide_tool_approval(input: ToolPolicyInput) -> ToolApprovalDecision:
    """Decide whether a tool call must ask (chat-policies.md §8.1).

    Args:
        input: The call and the policy it is under.

    Returns:
        `required` or `approved`, with the reason.
    """
    tool = (input.tool_name or "").strip()
    call_id = input.call_id or ""
    if (input.tool_kind or "").strip().lower() == _MCP and input.require_for_mcp:
        return ToolApprovalDecision(
            ToolApprovalState.REQUIRED, "mcp_requires_approval", tool, call_id
        )
    required = {(name or "").strip().casefold() for name in input.required_tools or ()}
    if tool and tool.casefold() in required:
        return ToolApprovalDecision(
            ToolApprovalState.REQUIRED, "tool_in_required_set", tool, call_id
        )
    return ToolApprovalDecision(ToolApprovalState.APPROVED, "not_required", tool, call_id)
