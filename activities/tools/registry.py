"""All tools of a deployment, by name, each with its schema and the permission it has here.

Owns what makes a tool acceptable at all, and what the operator's settings do to its permission.
Whether a call may run is `activities.tools.permissions`'. Source: triggers-and-actions.md §7.

Invariants:
    1. A name means one tool. A tool that could not be called safely keeps the worker from starting.
    2. Settings make a tool stricter; only its exact name with `allow` makes one less strict, and
       never a tool of an MCP server, whose own `allow` list notices when the tool changes.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import structlog

from activities.tools.arguments import Schema, SchemaRefused
from activities.tools.tool import Tool, why_unavailable
from domain.errors import DomainError, ErrorKind
from domain.tool_specs import ListedTool, Permission, ToolSpec

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_STRICTNESS: Final = (Permission.ALLOW, Permission.ASK, Permission.DENY)
_MCP: Final = "mcp:"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RegisteredTool:
    """A tool with its schema."""

    tool: Tool
    schema: Schema

    @property
    def spec(self) -> ToolSpec:
        """What it says of itself."""
        return self.tool.spec


class ToolRegistry:
    """The tools of a deployment."""

    def __init__(
        self,
        tools: Iterable[Tool],
        permissions: Mapping[str, Permission] | None = None,
        *,
        remote: Callable[[], Iterable[Tool]] = tuple,
        remote_prefixes: Sequence[str] = (),
    ) -> None:
        """Check all tools.

        Args:
            tools: What there always is.
            permissions: Setting `tool_permissions`, by exact name.
            remote: What MCP servers have now; one whose name is taken, or whose schema cannot be
                used, is left out.
            remote_prefixes: What the names of their tools begin with, up or down.

        Raises:
            DomainError: `invalid_field` on `tools`, naming the tool, or on `tool_permissions`.
        """
        registered: dict[str, RegisteredTool] = {}
        for tool in tools:
            name = tool.spec.name
            if name in registered:
                sources = f"{registered[name].spec.source} and {tool.spec.source}"
                raise _refused(name, f"there are two of this name ({sources})")
            registered[name] = _registered(tool)
        self._tools: Final = MappingProxyType(registered)
        self._permissions: Final = dict(permissions or {})
        self._remote: Final = remote
        self._schemas: dict[tuple[str, str], Schema] = {}
        self._check_permissions(tuple(remote_prefixes))

    def get(self, name: str) -> RegisteredTool | None:
        """A tool, null if there is none of this name."""
        return self._tools.get(name) or self._remote_tools().get(name)

    def all(self) -> list[RegisteredTool]:
        """All tools, by name."""
        found = self._remote_tools() | dict(self._tools)
        return [found[name] for name in sorted(found)]

    def specs(self, names: Sequence[str]) -> list[ToolSpec]:
        """What the tools of these names say of themselves; names without a tool are left out."""
        found = {tool.spec.name: tool.spec for tool in self.all()}
        return [found[name] for name in names if name in found]

    def permission(self, spec: ToolSpec, own: Permission) -> Permission:
        """The permission of a tool or of one call, after the operator's settings.

        Args:
            spec: The tool.
            own: What the tool itself says.
        """
        wanted = self._permissions.get(spec.name)
        if wanted is None:
            return own
        if wanted is Permission.ALLOW:
            return own if spec.source.startswith(_MCP) else wanted
        return max(own, wanted, key=_STRICTNESS.index)

    def listing(self, sandbox_refusal: str | None) -> list[ListedTool]:
        """All tools as they are shown.

        Args:
            sandbox_refusal: Why nothing can run in the sandbox; null when it can.
        """
        return [self._listed(item, sandbox_refusal) for item in self.all()]

    def _listed(self, item: RegisteredTool, sandbox_refusal: str | None) -> ListedTool:
        spec = item.spec
        permission = self.permission(spec, spec.permission)
        reason = why_unavailable(item.tool)
        if reason is None and spec.needs_sandbox:
            reason = sandbox_refusal
        if reason is None and permission is Permission.DENY:
            reason = "denied by setting tool_permissions"
        told = spec.model_dump() | {"permission": permission, "reason": reason}
        return ListedTool.model_validate(told | {"available": reason is None})

    def _remote_tools(self) -> dict[str, RegisteredTool]:
        found: dict[str, RegisteredTool] = {}
        for tool in self._remote():
            try:
                found[tool.spec.name] = RegisteredTool(tool, self._schema(tool.spec))
            except SchemaRefused as error:
                log.warning("remote_tool_left_out", tool=tool.spec.name, why=str(error))
        return found

    def _schema(self, spec: ToolSpec) -> Schema:
        """The schema of a remote tool; made once for each form of it."""
        key = (spec.name, spec.version)
        if key not in self._schemas:
            self._schemas[key] = Schema(spec.parameters)
        return self._schemas[key]

    def _check_permissions(self, remote_prefixes: tuple[str, ...]) -> None:
        for name, wanted in self._permissions.items():
            remote = name not in self._tools and name.startswith(remote_prefixes)
            if name not in self._tools and not remote:
                message = f"tool_permissions names {name!r}, which is no tool here"
                known = sorted(self._tools)
                raise DomainError(ErrorKind.INVALID_FIELD, "tool_permissions", message, known)
            if wanted is Permission.ALLOW and remote:
                message = (
                    f"tool_permissions cannot allow {name!r} of an MCP server: name it in the"
                    " server's `allow` list"
                )
                raise DomainError(
                    ErrorKind.INVALID_FIELD, "tool_permissions", message, ["ask", "deny"]
                )


def _registered(tool: Tool) -> RegisteredTool:
    spec = tool.spec
    if not _NAME.fullmatch(spec.name):
        raise _refused(
            spec.name, "its name must be a lower-case letter, then up to 63 of a-z, 0-9 and _"
        )
    try:
        return RegisteredTool(tool, Schema(spec.parameters))
    except SchemaRefused as error:
        raise _refused(spec.name, f"its parameters are no JSON Schema 2020-12: {error}") from None


def _refused(name: str, why: str) -> DomainError:
    return DomainError(ErrorKind.INVALID_FIELD, "tools", f"the tool {name!r} is refused: {why}")
