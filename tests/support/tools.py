"""Calling tools as the dispatch does: arguments checked by the tool's own schema."""

import json
from typing import Any

from activities.tools.arguments import Schema
from activities.tools.tool import Tool, ToolUse
from domain.scopes import Route, Scope, ScopeKind
from domain.tool_specs import ToolCaller

ME = ToolCaller(
    caller="api",
    user_id="me",
    scope=Scope(kind=ScopeKind.USER, id="me"),
    route=Route(receive_id_type="console"),
)


def caller_of(user: str, **more: Any) -> ToolCaller:
    """A user of the channel `file`."""
    route = Route(receive_id_type="file")
    scope = Scope(kind=ScopeKind.USER, id=user)
    return ToolCaller(caller="channel:file", user_id=user, scope=scope, route=route, **more)


class Toolbox:
    """Tools by name."""

    def __init__(self, tools: list[Tool], caller: ToolCaller = ME) -> None:
        self.by_name = {tool.spec.name: tool for tool in tools}
        self._caller = caller

    async def call(self, name: str, key: str = "key", /, **arguments: Any) -> str:
        """Call a tool.

        Raises:
            ToolFailed: As the tool says.
        """
        tool = self.by_name[name]
        Schema(tool.spec.parameters).check(arguments)
        return await tool.run(ToolUse(arguments=arguments, caller=self._caller, key=key))

    async def answer(self, name: str, key: str = "key", /, **arguments: Any) -> Any:
        """Call a tool that answers in JSON."""
        return json.loads(await self.call(name, key, **arguments))
