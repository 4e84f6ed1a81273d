"""The tools `routine_*`: routines of the caller's scope, looked at, made and changed.

Owns their arguments. What can be done is done by whoever implements `RoutineCalls`: the library
that the command line and the HTTP API use too, so rules and texts are the same everywhere.
Source: triggers-and-actions.md §7, automation.md §6.

Invariants:
    1. What changes routines is attended only: a routine cannot make more of itself unnoticed.
    2. A repeated call makes and starts nothing twice.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from activities.tools.builtin.library_tools import Shown, library_tool
from activities.tools.builtin.schemas import Schema, any_object, arguments, flag, integer, text
from activities.tools.tool import Tool, ToolUse
from domain.tool_specs import Permission, ToolCaller, ToolSpec


class RoutineCalls(Protocol):
    """The library's calls for routines, on behalf of the caller of a tool.

    All raise `DomainError` for what is refused, and answer what can be written as JSON.
    """

    async def list_routines(self, caller: ToolCaller, status: str, limit: int) -> Shown:
        """The newest routines first."""
        ...

    async def list_runs(self, caller: ToolCaller, routine_id: str, limit: int) -> Shown:
        """The newest runs of a routine first."""
        ...

    async def create_routine(self, caller: ToolCaller, body: Shown, key: str) -> Shown:
        """A new routine; the same key is the same routine."""
        ...

    async def update_routine(self, caller: ToolCaller, routine_id: str, changes: Shown) -> Shown:
        """A routine, changed by a JSON merge patch."""
        ...

    async def delete_routine(self, caller: ToolCaller, routine_id: str) -> Shown:
        """A routine, deleted; it can be restored for a while."""
        ...

    async def trigger_routine(
        self, caller: ToolCaller, routine_id: str, key: str, *, force: bool
    ) -> Shown:
        """One extra run; the same key is the same run."""
        ...


_ID: Final = text("Id of the routine.", longest=128)
_DEFINITION: Final[Mapping[str, Schema]] = {
    "title": text("A short title.", longest=200),
    "prompt": text("What to do at each run.", longest=65_536),
    "schedule": any_object(
        "One of cron_expr (five fields), every_seconds (60 or more), run_at (RFC 3339 with "
        "offset); with timezone (IANA) if wanted."
    ),
    "trigger": any_object("Instead of schedule: type event, system_event, manual and others."),
    "action": any_object("Instead of prompt: type lightweight or full_job."),
    "guardrails": any_object("Limits such as cooldown_seconds or max_cost_usd."),
    "max_runs": integer("Runs after which it pauses; 0 is no limit.", 0, 1_000_000, 0),
    "enabled": flag("Whether it fires.", default=True),
}
_LIST: Final = ToolSpec(
    name="routine_list",
    description="List the routines of this user or chat, newest first.",
    parameters=arguments(
        {
            "status": {"type": "string", "enum": ["active", "paused", "deleted", "all"]},
            "limit": integer("How many.", 1, 50, 20),
        }
    ),
    permission=Permission.ALLOW,
    read_only=True,
    idempotent=True,
)
_RUNS: Final = ToolSpec(
    name="routine_runs",
    description="List the last runs of a routine, newest first.",
    parameters=arguments({"id": _ID, "limit": integer("How many.", 1, 50, 10)}, ["id"]),
    permission=Permission.ALLOW,
    read_only=True,
    idempotent=True,
)
_CREATE: Final = ToolSpec(
    name="routine_create",
    description="Create a routine: something to be done again and again, at a time, or when "
    "something happens. Give prompt or action, and schedule or trigger.",
    parameters=arguments(
        {"id": text("A name of a-z, 0-9 and -, if one is wanted.", longest=63), **_DEFINITION}
    ),
    permission=Permission.ALLOW,
    attended_only=True,
    idempotent=True,
)
_UPDATE: Final = ToolSpec(
    name="routine_update",
    description="Change a routine; what is left out stays.",
    parameters=arguments(
        {
            "id": _ID,
            "changes": arguments(
                {
                    **{name: schema for name, schema in _DEFINITION.items() if name != "enabled"},
                    "status": {"type": "string", "enum": ["active", "paused"]},
                }
            ),
        },
        ["id", "changes"],
    ),
    permission=Permission.ALLOW,
    attended_only=True,
)
_DELETE: Final = ToolSpec(
    name="routine_delete",
    description="Delete a routine and cancel its runs.",
    parameters=arguments({"id": _ID}, ["id"]),
    permission=Permission.ALLOW,
    attended_only=True,
)
_TRIGGER: Final = ToolSpec(
    name="routine_trigger",
    description="Start one extra run of a routine now.",
    parameters=arguments({"id": _ID, "force": flag("Also while it is paused.")}, ["id"]),
    permission=Permission.ALLOW,
    attended_only=True,
    idempotent=True,
)


def routine_tools(calls: RoutineCalls) -> list[Tool]:
    """The tools.

    Args:
        calls: The library.
    """

    async def listed(use: ToolUse) -> Shown:
        given = use.arguments
        return await calls.list_routines(
            use.caller, str(given.get("status", "")), int(given.get("limit", 20))
        )

    async def runs(use: ToolUse) -> Shown:
        limit = int(use.arguments.get("limit", 10))
        return await calls.list_runs(use.caller, str(use.arguments["id"]), limit)

    async def create(use: ToolUse) -> Shown:
        return await calls.create_routine(use.caller, use.arguments, use.key)

    async def update(use: ToolUse) -> Shown:
        changes: Shown = use.arguments["changes"]
        return await calls.update_routine(use.caller, str(use.arguments["id"]), changes)

    async def delete(use: ToolUse) -> Shown:
        return await calls.delete_routine(use.caller, str(use.arguments["id"]))

    async def trigger(use: ToolUse) -> Shown:
        force = bool(use.arguments.get("force", False))
        return await calls.trigger_routine(
            use.caller, str(use.arguments["id"]), use.key, force=force
        )

    return [
        library_tool(_LIST, listed),
        library_tool(_RUNS, runs),
        library_tool(_CREATE, create),
        library_tool(_UPDATE, update),
        library_tool(_DELETE, delete),
        library_tool(_TRIGGER, trigger),
    ]
