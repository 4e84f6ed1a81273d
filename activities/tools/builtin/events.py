"""The tool `event_emit`: telling the routines of the caller's scope that something has happened.

Owns its arguments and the hop of what it emits. Who listens is the emitter's.
Source: triggers-and-actions.md §2 and §7.

Invariants:
    1. An event goes one hop further than what fired its caller, so chains end.
    2. A repeated call emits the same event, which starts nothing twice.
    3. What only Tickless itself can know, source `tickless`, cannot be told by a tool.
"""

import hashlib
from typing import Final

from temporalio.service import RPCError

from activities.emitting import Emitter
from activities.tools.builtin.schemas import any_object, arguments, as_json, text
from activities.tools.function_tool import FunctionTool
from activities.tools.tool import Tool, ToolFailed, ToolUse
from domain.emissions import read_event
from domain.errors import DomainError
from domain.tool_specs import Permission, ToolSpec
from domain.trigger_matching import HOP_LIMIT

OWN_SOURCE: Final = "tickless"

_SPEC: Final = ToolSpec(
    name="event_emit",
    description="Tell the routines that listen that something has happened.",
    parameters=arguments(
        {
            "source": text("Who tells it: letters, digits and _ . : / -", longest=200),
            "event_type": text("What has happened, in the same form.", longest=200),
            "payload": any_object("Facts, by name."),
        },
        ["source", "event_type"],
    ),
    permission=Permission.ALLOW,
    attended_only=True,
    idempotent=True,
    timeout_seconds=30,
)


def event_tools(emitter: Emitter) -> list[Tool]:
    """The tool.

    Args:
        emitter: Starts the runs.
    """

    async def emit(use: ToolUse) -> str:
        key = f"tool-{hashlib.sha256(use.key.encode()).hexdigest()[:32]}"
        try:
            event, _ = read_event(dict(use.arguments), key)
        except DomainError as error:
            raise ToolFailed(error.message) from None
        if event.source == OWN_SOURCE:
            raise ToolFailed(f"the source {OWN_SOURCE!r} is Tickless' own; choose another one")
        hop = use.caller.hop + 1
        if hop > HOP_LIMIT:
            raise ToolFailed(f"this would be hop {hop}; events end after {HOP_LIMIT} hops")
        try:
            started = await emitter.emit(
                event.model_copy(update={"hop": hop}), use.caller.scope.text
            )
        except RPCError:
            raise ToolFailed("Temporal does not answer; the event may be emitted again") from None
        runs = [item.run_id for item in started]
        return as_json({"event_id": event.id, "matched": len(runs), "runs": runs})

    return [FunctionTool(_SPEC, emit)]
