"""Which tools a worker accepts, and what the operator's settings make of their permissions."""

from collections.abc import Mapping
from typing import Any

import pytest

from activities.tools.function_tool import FunctionTool
from activities.tools.registry import ToolRegistry
from activities.tools.tool import ToolUse
from domain.errors import DomainError, ErrorKind
from domain.tool_specs import Permission, ToolSpec

ASKS = Permission.ASK


async def nothing(use: ToolUse) -> str:
    """Do nothing."""
    return ""


def tool(name: str, **fields: Any) -> FunctionTool:
    """A tool that does nothing."""
    return FunctionTool(ToolSpec(name=name, description=name, **fields), nothing)


class DownTool(FunctionTool):
    """A tool whose server is down."""

    def unavailable(self) -> str | None:
        """Why it cannot be called."""
        return "its server is down"


def refusal(
    *tools: FunctionTool, permissions: Mapping[str, Permission] | None = None
) -> DomainError:
    """The error with which a worker does not start."""
    with pytest.raises(DomainError) as caught:
        ToolRegistry(tools, permissions, remote_prefixes=["clock_"])
    assert caught.value.kind is ErrorKind.INVALID_FIELD
    return caught.value


def test_tools_are_found_by_name() -> None:
    registry = ToolRegistry([tool("b"), tool("a")])
    assert [item.spec.name for item in registry.all()] == ["a", "b"]
    assert [spec.name for spec in registry.specs(["b", "x", "a"])] == ["b", "a"]
    found = registry.get("a")
    assert found is not None
    assert found.spec.name == "a"
    assert registry.get("x") is None


@pytest.mark.parametrize(
    ("tools", "says"),
    [
        ([tool("same"), tool("same", source="plugin")], ["'same'", "builtin and plugin"]),
        ([tool("bad", parameters={"type": "string"})], ["'bad'", "2020-12", "object"]),
        (
            [tool("bad", parameters={"type": "object", "properties": {"x": {"type": "y"}}})],
            ["'bad'", "properties/x/type"],
        ),
        (
            [FunctionTool(ToolSpec.model_construct(name="Bad-Name", description=""), nothing)],
            ["'Bad-Name'", "lower-case"],
        ),
    ],
)
def test_a_tool_that_cannot_be_used_keeps_the_worker_from_starting(
    tools: list[FunctionTool], says: list[str]
) -> None:
    error = refusal(*tools)
    assert error.field == "tools"
    assert all(word in error.message for word in says)


@pytest.mark.parametrize("word", ["maybe", [], None, 5])
def test_a_permission_that_is_not_known_asks(word: object) -> None:
    said = {"name": "x", "description": "", "permission": word}
    assert ToolSpec.model_validate(said).permission is ASKS


@pytest.mark.parametrize(
    ("own", "wanted", "effective"),
    [
        ("allow", "ask", "ask"),
        ("allow", "deny", "deny"),
        ("ask", "allow", "allow"),
        ("ask", "deny", "deny"),
        ("deny", "ask", "deny"),
        ("deny", "allow", "allow"),
    ],
)
def test_settings_change_a_permission(own: str, wanted: str, effective: str) -> None:
    item = tool("x", permission=own)
    registry = ToolRegistry([item, tool("y", permission=own)], {"x": Permission(wanted)})
    assert registry.permission(item.spec, item.spec.permission) == effective
    other = tool("y", permission=own).spec
    assert registry.permission(other, other.permission) == own


def test_settings_cannot_name_what_is_not_there() -> None:
    error = refusal(tool("shell"), permissions={"shel": Permission.DENY})
    assert error.field == "tool_permissions"
    assert "'shel'" in error.message
    assert list(error.accepted) == ["shell"]


def test_settings_allow_no_tool_of_an_mcp_server() -> None:
    error = refusal(tool("x"), permissions={"clock_now": Permission.ALLOW})
    assert error.field == "tool_permissions"
    assert "`allow` list" in error.message
    remote = tool("clock_now", source="mcp:clock")
    registry = ToolRegistry(
        [], {"clock_now": Permission.DENY}, remote=lambda: [remote], remote_prefixes=["clock_"]
    )
    assert registry.permission(remote.spec, ASKS) is Permission.DENY


def test_remote_tools_come_and_go() -> None:
    up: list[FunctionTool] = []
    registry = ToolRegistry([tool("here")], remote=lambda: up)
    assert [item.spec.name for item in registry.all()] == ["here"]
    up += [
        tool("there", source="mcp:s"),
        tool("here", source="mcp:s"),
        tool("broken", source="mcp:s", parameters={"type": "array"}),
    ]
    assert [item.spec.name for item in registry.all()] == ["here", "there"]
    found = registry.get("here")
    assert found is not None
    assert found.spec.source == "builtin"
    assert [spec.name for spec in registry.specs(["there"])] == ["there"]


def test_the_list_says_why_a_tool_is_not_available() -> None:
    down = DownTool(ToolSpec(name="down", description="", permission=ASKS), nothing)
    tools = [tool("boxed", needs_sandbox=True), tool("denied"), tool("fine"), down]
    registry = ToolRegistry(tools, {"denied": Permission.DENY})
    listed = {item.name: (item.available, item.reason) for item in registry.listing("no docker")}
    assert listed == {
        "boxed": (False, "no docker"),
        "denied": (False, "denied by setting tool_permissions"),
        "down": (False, "its server is down"),
        "fine": (True, None),
    }
    assert {item.name: item.available for item in registry.listing(None)}["boxed"]
    assert {item.name: item.permission for item in registry.listing(None)}["denied"] == "deny"
