"""The tools `job_*` and `approval_list`: jobs of the caller's scope, looked at, started and told.

Owns their arguments and what of an answer a model is shown. What can be done is done by whoever
implements `JobCalls`: the library that the command line and the HTTP API use too, so rules and
texts are the same everywhere. Source: triggers-and-actions.md §6 to §8.

Invariants:
    1. Only jobs and approvals of the caller's scope are reached; others do not exist for it.
    2. A job cannot tell itself anything, nor end itself, and a model cannot approve what it asks
       for.
    3. A repeated call starts one job and says a message once.
    4. A job that a model starts has no tool that needs a person, whatever its caller has.
"""

from collections.abc import Mapping
from typing import Any, Final, Protocol

from activities.tools.builtin.library_tools import Shown, library_tool
from activities.tools.builtin.reading import reading_tool
from activities.tools.builtin.schemas import arguments, integer, text
from activities.tools.tool import Tool, ToolFailed, ToolUse
from domain.actions import MAX_DESCRIPTION_BYTES, MAX_ITERATIONS, MAX_TITLE_CHARS
from domain.approvals import ApprovalStatus
from domain.guardrails import MAX_RUN_TIMEOUT_SECONDS, MAX_TOOL_CALLS
from domain.job_messages import MAX_MESSAGE_BYTES
from domain.jobs import JobStatus
from domain.tool_specs import Permission, ToolCaller, ToolSpec


class JobCalls(Protocol):
    """The library's calls for jobs and approvals, on behalf of the caller of a tool.

    All raise `DomainError` for what is refused, and answer what can be written as JSON.
    """

    async def list_jobs(self, caller: ToolCaller, status: str, limit: int) -> Shown:
        """The newest jobs first."""
        ...

    async def get_job(self, caller: ToolCaller, job_id: str) -> Shown:
        """One job as it stands."""
        ...

    async def create_job(self, caller: ToolCaller, body: Shown, key: str) -> Shown:
        """A new job; the same key is the same job."""
        ...

    async def tell_job(self, caller: ToolCaller, job_id: str, said: str, key: str) -> Shown:
        """A job, told something; the same key is the same message."""
        ...

    async def cancel_job(self, caller: ToolCaller, job_id: str, reason: str) -> Shown:
        """A job, ended."""
        ...

    async def list_approvals(self, caller: ToolCaller, status: str, limit: int) -> Shown:
        """The approvals that wait first, then the newest."""
        ...


_ID: Final = text("Id of the job.", longest=64)
_LIMIT: Final = integer("How many.", 1, 50, 20)
_LIST: Final = reading_tool(
    "job_list",
    "List the jobs of this user or chat, newest first.",
    arguments({"status": {"type": "string", "enum": list(JobStatus)}, "limit": _LIMIT}),
)
_GET: Final = reading_tool(
    "job_get",
    "Look at one job: where it stands, and its result.",
    arguments({"id": _ID}, ["id"]),
)
_APPROVALS: Final = reading_tool(
    "approval_list",
    "List the approvals that people of this user or chat were asked for: those that wait, then the "
    "newest.",
    arguments(
        {
            "status": {"type": "string", "enum": list(ApprovalStatus), "default": "pending"},
            "limit": _LIMIT,
        }
    ),
)
_CREATE: Final = ToolSpec(
    name="job_create",
    description="Start a job: an agent that works on a task alone, with tools, until it has a "
    "result. The result is sent here when it is done.",
    parameters=arguments(
        {
            "title": text("A short title.", longest=MAX_TITLE_CHARS),
            "description": text("The task, with all it needs.", longest=MAX_DESCRIPTION_BYTES),
            "max_iterations": integer("Most calls of the model.", 1, MAX_ITERATIONS, 25),
            "guardrails": arguments(
                {
                    "run_timeout_seconds": {
                        "type": "integer", "minimum": 1, "maximum": MAX_RUN_TIMEOUT_SECONDS,
                    },
                    "max_tokens_total": {"type": "integer", "minimum": 1},
                    "max_tool_calls": {
                        "type": "integer", "minimum": 0, "maximum": MAX_TOOL_CALLS,
                    },
                    "max_cost_usd": {"type": "number", "exclusiveMinimum": 0},
                }
            ),
        },
        ["title", "description"],
    ),
    permission=Permission.ALLOW,
    attended_only=True,
    idempotent=True,
)  # fmt: skip
_MESSAGE: Final = ToolSpec(
    name="job_message",
    description="Tell a job something: it reads it before its next step.",
    parameters=arguments(
        {"id": _ID, "text": text("The message.", longest=MAX_MESSAGE_BYTES)}, ["id", "text"]
    ),
    permission=Permission.ALLOW,
    idempotent=True,
)
_CANCEL: Final = ToolSpec(
    name="job_cancel",
    description="End a job as cancelled; what it is doing is ended with it.",
    parameters=arguments({"id": _ID, "reason": text("Why.", longest=200)}, ["id"]),
    permission=Permission.ALLOW,
    idempotent=True,
)
_HIDDEN: Final = frozenset({"session_key", "thread_id", "user_id", "scope", "revision", "ui_url"})
_LONG: Final = frozenset({"description", "result"})


def job_tools(calls: JobCalls) -> list[Tool]:
    """The tools.

    Args:
        calls: The library.
    """

    async def listed(use: ToolUse) -> Shown:
        page = await calls.list_jobs(use.caller, *_page(use, ""))
        return {**page, "jobs": [_without(item, _HIDDEN | _LONG) for item in page["jobs"]]}

    async def got(use: ToolUse) -> Shown:
        return _without(await calls.get_job(use.caller, str(use.arguments["id"])), _HIDDEN)

    async def approvals(use: ToolUse) -> Shown:
        page = await calls.list_approvals(use.caller, *_page(use, ApprovalStatus.PENDING))
        hidden = frozenset({"digest", "scope"})
        return {**page, "approvals": [_without(item, hidden) for item in page["approvals"]]}

    async def create(use: ToolUse) -> Shown:
        return await calls.create_job(use.caller, use.arguments, use.key)

    async def message(use: ToolUse) -> Shown:
        said = str(use.arguments["text"])
        told = await calls.tell_job(use.caller, _other_job(use), said, use.key)
        return _without(told, _HIDDEN | _LONG)

    async def cancel(use: ToolUse) -> Shown:
        reason = str(use.arguments.get("reason", f"cancelled by {use.caller.caller}"))
        ended = await calls.cancel_job(use.caller, _other_job(use), reason)
        return _without(ended, _HIDDEN | _LONG)

    return [
        library_tool(_APPROVALS, approvals),
        library_tool(_LIST, listed),
        library_tool(_GET, got),
        library_tool(_CREATE, create),
        library_tool(_MESSAGE, message),
        library_tool(_CANCEL, cancel),
    ]


def _page(use: ToolUse, status: str) -> tuple[str, int]:
    return str(use.arguments.get("status", status)), int(use.arguments.get("limit", 20))


def _other_job(use: ToolUse) -> str:
    job = str(use.arguments["id"])
    if job == use.caller.job_id:
        raise ToolFailed("a job cannot do this to itself")
    return job


def _without(item: Mapping[str, Any], names: frozenset[str]) -> Shown:
    return {name: value for name, value in item.items() if name not in names}
