"""Calls of tools against a real store, without a workflow around them.

`Bench` puts a dispatch together over tools that a test makes with `tool`, lets a model "say" calls,
and reads back what each has left in the ledger and in the thread.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any

from temporalio.testing import ActivityEnvironment

from activities.store import Store
from activities.tools.dispatch import ToolActivities
from activities.tools.function_tool import FunctionTool
from activities.tools.registry import ToolRegistry
from activities.tools.requests import CallMode, DispatchTool, ToolOutcome
from activities.tools.sandbox import NoSandbox, Sandbox
from activities.tools.tool import ToolUse
from domain.scopes import Scope, ScopeKind
from domain.threads import Thread, ThreadMessage
from domain.tool_actions import ActionRecord
from domain.tool_specs import AskedCall, Permission, ToolCaller, ToolSpec
from tests.support.ledger_rows import NOON, RUN_ID, run_record, thread

MESSAGE_ID = "routine-run/brief/m-1/1/answer"
ANYTHING: dict[str, Any] = {"type": "object", "additionalProperties": True}


class NeverPaused:
    """The big red button that nobody has pressed."""

    async def check(self) -> None:
        """Let everything go on."""


async def said(use: ToolUse) -> str:
    """A tool that repeats its arguments."""
    return json.dumps(dict(use.arguments))


def tool(
    name: str = "echo",
    function: Callable[[ToolUse], Awaitable[str]] = said,
    **fields: Any,
) -> FunctionTool:
    """A tool that may be called, unless the fields say otherwise."""
    known: dict[str, Any] = {"description": name, "parameters": ANYTHING}
    known["permission"] = Permission.ALLOW
    return FunctionTool(ToolSpec(name=name, **known | fields), function)


class Bench:
    """A dispatch over a store, with one thread of one run in it."""

    def __init__(
        self,
        store: Store,
        tools: Iterable[FunctionTool],
        *,
        permissions: Mapping[str, Permission] | None = None,
        sandbox: Sandbox | None = None,
    ) -> None:
        self.store = store
        self.thread: Thread = thread()
        self.dispatch = ToolActivities(
            store=store,
            registry=ToolRegistry(tools, permissions),
            sandbox=sandbox or NoSandbox(),
            pause=NeverPaused(),
            silent_beat=timedelta(seconds=1),
        )
        self.caller = ToolCaller(
            caller="routine:morning-brief",
            user_id="me",
            scope=Scope(kind=ScopeKind.USER, id="me"),
            run_id=RUN_ID,
            routine_id="morning-brief",
        )

    async def asks(self, *calls: tuple[str, object], message_id: str = MESSAGE_ID) -> None:
        """The model asks for calls: tool and arguments, a text as it is; ids are c1, c2, …"""
        await self.store.threads.ensure(self.thread)
        await self.store.runs.put(run_record(thread_id=self.thread.id))
        written = [
            {
                "id": f"c{number}",
                "type": "function",
                "function": {
                    "name": name,
                    "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments),
                },
            }
            for number, (name, arguments) in enumerate(calls, 1)
        ]
        message = ThreadMessage(
            id=message_id,
            thread_id=self.thread.id,
            role="assistant",
            content="",
            tool_calls=written,
            created_at=NOON,
        )
        await self.store.threads.append([message])

    def request(self, name: str, call_id: str = "c1", **fields: Any) -> DispatchTool:
        """A call that was asked for."""
        known: dict[str, Any] = {
            "thread": self.thread,
            "message_id": MESSAGE_ID,
            "call": AskedCall(id=call_id, name=name),
            "caller": self.caller,
            "sequence": int(call_id[1:]),
            "mode": CallMode.FULL_JOB,
        }
        return DispatchTool(**known | fields)

    async def run(self, request: DispatchTool) -> ToolOutcome:
        """Dispatch as an activity."""
        outcome: ToolOutcome = await ActivityEnvironment().run(self.dispatch.dispatch_tool, request)
        return outcome

    async def call(self, name: str, arguments: object = "{}", **fields: Any) -> ToolOutcome:
        """A model asks for one call, and it is dispatched."""
        await self.asks((name, arguments))
        return await self.run(self.request(name, **fields))

    async def action(self, call_id: str = "c1") -> ActionRecord | None:
        """The row of a call."""
        return await self.store.actions.get(f"{MESSAGE_ID}/{call_id}")

    async def result(self, call_id: str = "c1") -> str:
        """What the model is told of a call."""
        found = await self.store.threads.message(f"{MESSAGE_ID}/{call_id}/result")
        assert found is not None, "the thread has no result"
        assert found.role == "tool"
        assert found.tool_calls is not None
        assert found.tool_calls[0]["id"] == call_id
        return found.content
