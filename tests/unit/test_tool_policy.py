"""Which tool calls must ask a person first."""

import pytest

from domain.tool_policy import (
    ToolApprovalDecision,
    ToolApprovalState,
    ToolPolicyInput,
    decide_tool_approval,
)


def test_the_wire_values_are_fixed() -> None:
    assert list(map(str, ToolApprovalState)) == [
        "required",
        "pending",
        "approved",
        "denied",
        "timed_out",
        "stale",
    ]


@pytest.mark.parametrize(
    ("call", "state", "reason"),
    [
        (ToolPolicyInput(), "approved", "not_required"),
        (ToolPolicyInput("read", "mcp"), "approved", "not_required"),
        (
            ToolPolicyInput("read", " MCP ", require_for_mcp=True),
            "required",
            "mcp_requires_approval",
        ),
        (
            ToolPolicyInput("read", "mcp", require_for_mcp=True, required_tools={"read"}),
            "required",
            "mcp_requires_approval",
        ),
        (ToolPolicyInput("", "mcp", require_for_mcp=True), "required", "mcp_requires_approval"),
        (ToolPolicyInput("read", "builtin", require_for_mcp=True), "approved", "not_required"),
        (ToolPolicyInput("read", "provider", required_tools={"exec"}), "approved", "not_required"),
        (ToolPolicyInput("read", required_tools=frozenset()), "approved", "not_required"),
        (ToolPolicyInput("", required_tools={"", " "}), "approved", "not_required"),
        (ToolPolicyInput(" \n", required_tools={"\n "}), "approved", "not_required"),
    ],
)
def test_decisions(call: ToolPolicyInput, state: str, reason: str) -> None:
    decision = decide_tool_approval(call)
    assert decision.state == state
    assert decision.reason == reason
    assert not decision.is_error


@pytest.mark.parametrize(
    ("name", "required"),
    [
        ("exec", "exec"),
        (" Exec\n", "exec"),
        ("exec", "\tEXEC "),
        ("straße", "STRASSE"),
        ("ſend", "send"),
    ],
)
def test_spelling_cannot_bypass_an_approval(name: str, required: str) -> None:
    call = ToolPolicyInput(name, required_tools={"other", required})
    assert decide_tool_approval(call).reason == "tool_in_required_set"


def test_the_name_is_trimmed_and_the_call_id_is_not() -> None:
    assert decide_tool_approval(ToolPolicyInput(" Exec ", call_id=" c1 ")) == ToolApprovalDecision(
        ToolApprovalState.APPROVED, "not_required", tool="Exec", call_id=" c1 "
    )


def test_null_strings_are_empty() -> None:
    call = ToolPolicyInput(None, None, None, required_tools={None})  # type: ignore[arg-type]  # nulls on purpose
    assert decide_tool_approval(call) == ToolApprovalDecision(
        ToolApprovalState.APPROVED, "not_required"
    )
