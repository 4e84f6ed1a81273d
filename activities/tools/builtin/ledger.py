"""The tools `approval_list`, `job_list` and `job_get`: what the ledger knows of the caller's scope.

Owns their arguments and what of a row is shown. Rows are written elsewhere.
Source: triggers-and-actions.md §6 to §8.

Invariants:
    1. Only rows of the caller's scope are shown; others do not exist for it.
    2. Nothing is decided here: a model cannot approve what it asks for.
"""

from typing import TYPE_CHECKING, Any, Final

from activities.tools.builtin.schemas import arguments, as_json, integer, text
from activities.tools.function_tool import FunctionTool
from activities.tools.tool import Tool, ToolFailed, ToolUse
from domain.approvals import Approval, ApprovalStatus
from domain.jobs import JobRecord, JobStatus
from domain.tool_specs import Permission, ToolSpec

if TYPE_CHECKING:
    from activities.store import Store

_LIMIT: Final = integer("How many.", 1, 50, 20)


def _reading(name: str, description: str, parameters: dict[str, Any]) -> ToolSpec:
    return ToolSpec(
        name=name,
        description=description,
        parameters=parameters,
        permission=Permission.ALLOW,
        read_only=True,
        idempotent=True,
        timeout_seconds=30,
    )


_APPROVALS: Final = _reading(
    "approval_list",
    "List the approvals that people of this user or chat were asked for, newest first.",
    arguments(
        {
            "status": {"type": "string", "enum": list(ApprovalStatus), "default": "pending"},
            "limit": _LIMIT,
        }
    ),
)
_JOBS: Final = _reading(
    "job_list",
    "List the jobs of this user or chat, newest first.",
    arguments({"status": {"type": "string", "enum": list(JobStatus)}, "limit": _LIMIT}),
)
_JOB: Final = _reading(
    "job_get",
    "Look at one job: where it stands, and its result.",
    arguments({"id": text("Id of the job.", longest=64)}, ["id"]),
)


def ledger_tools(store: "Store") -> list[Tool]:
    """The tools.

    Args:
        store: The ledger; stays its owner's.
    """

    async def approvals(use: ToolUse) -> str:
        found = await store.approvals.listing(
            int(use.arguments.get("limit", 20)),
            status=str(use.arguments.get("status", ApprovalStatus.PENDING)),
            scope=use.caller.scope.text,
        )
        return as_json({"approvals": [_approval(item) for item in found]})

    async def jobs(use: ToolUse) -> str:
        status = use.arguments.get("status")
        found = await store.jobs.listing(
            int(use.arguments.get("limit", 20)),
            status=None if status is None else str(status),
            scope=use.caller.scope.text,
        )
        return as_json({"jobs": [_job(item, whole=False) for item in found]})

    async def job(use: ToolUse) -> str:
        found = await store.jobs.get(str(use.arguments["id"]))
        if found is None or found.scope != use.caller.scope.text:
            raise ToolFailed(f"there is no job {use.arguments['id']!r}")
        return as_json(_job(found, whole=True))

    return [
        FunctionTool(_APPROVALS, approvals),
        FunctionTool(_JOBS, jobs),
        FunctionTool(_JOB, job),
    ]


def _approval(item: Approval) -> dict[str, Any]:
    return item.model_dump(mode="json", exclude={"digest", "scope"}, exclude_none=True)


def _job(item: JobRecord, *, whole: bool) -> dict[str, Any]:
    more = set[str]() if whole else {"description", "result"}
    hidden = {"session_key", "thread_id", "user_id", "scope", "revision"}
    return item.model_dump(mode="json", exclude=more | hidden, exclude_none=True)
