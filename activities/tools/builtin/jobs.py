"""The tools `job_message` and `job_cancel`: telling a job something, or ending it.

Owns their arguments and which jobs they reach. What a job makes of it is the job's. Looking at jobs
is `activities.tools.builtin.ledger`'s. Source: triggers-and-actions.md §6 and §7.

Invariants:
    1. Only jobs of the caller's scope are reached; others do not exist for it.
    2. A job cannot tell itself anything, nor end itself.
"""

import hashlib
from typing import Final

from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities import search_attributes as attributes
from activities.entity_updates import NORMAL_PATIENCE, EntityUpdates
from activities.tools.builtin.schemas import arguments, text
from activities.tools.function_tool import FunctionTool
from activities.tools.tool import Tool, ToolFailed, ToolUse
from domain.errors import DomainError, ErrorKind
from domain.job_messages import MAX_MESSAGE_BYTES, CancelJob, JobView, SteerJob, validate_message
from domain.jobs import job_workflow_id
from domain.tool_specs import Permission, ToolSpec

_ID: Final = text("Id of the job.", longest=64)
_MESSAGE: Final = ToolSpec(
    name="job_message",
    description="Tell a job something: it reads it before its next step.",
    parameters=arguments(
        {"id": _ID, "text": text("The message.", longest=MAX_MESSAGE_BYTES)}, ["id", "text"]
    ),
    permission=Permission.ALLOW,
)
_CANCEL: Final = ToolSpec(
    name="job_cancel",
    description="End a job as cancelled; what it is doing is ended with it.",
    parameters=arguments({"id": _ID, "reason": text("Why.", longest=200)}, ["id"]),
    permission=Permission.ALLOW,
    idempotent=True,
)


def job_tools(client: Client) -> list[Tool]:
    """The tools.

    Args:
        client: The connection to Temporal.
    """
    jobs = _Jobs(client)
    return [FunctionTool(_MESSAGE, jobs.message), FunctionTool(_CANCEL, jobs.cancel)]


class _Jobs:
    """The functions of the tools."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._updates = EntityUpdates(client)

    async def message(self, use: ToolUse) -> str:
        try:
            said = SteerJob(text=validate_message(use.arguments["text"]))
        except DomainError as error:
            raise ToolFailed(error.message) from None
        view = await self._ask(use, "steer", said)
        return f"{view.record.id} is {view.record.status}; {view.messages} messages wait for it"

    async def cancel(self, use: ToolUse) -> str:
        reason = str(use.arguments.get("reason", f"cancelled by {use.caller.caller}"))
        view = await self._ask(use, "cancel", CancelJob(reason=reason))
        return f"{view.record.id} is being cancelled"

    async def _ask(self, use: ToolUse, update: str, request: SteerJob | CancelJob) -> JobView:
        job = str(use.arguments["id"])
        if job == use.caller.job_id:
            raise ToolFailed("a job cannot do this to itself")
        try:
            await self._check_scope(use, job)
            return await self._updates.send(
                job_workflow_id(job),
                update,
                request,
                JobView,
                update_id=hashlib.sha256(use.key.encode()).hexdigest(),
                patience=NORMAL_PATIENCE,
            )
        except DomainError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                raise ToolFailed(f"there is no job {job!r} that goes on") from None
            raise ToolFailed(error.message) from None
        except RPCError:
            raise ToolFailed("Temporal does not answer; look at the job again") from None

    async def _check_scope(self, use: ToolUse, job: str) -> None:
        """Look whose job it is, without asking a worker.

        Raises:
            DomainError: `not_found`.
        """
        try:
            description = await self._client.get_workflow_handle(job_workflow_id(job)).describe()
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                raise DomainError(ErrorKind.NOT_FOUND, "id", job) from None
            raise
        scope = description.typed_search_attributes.get(attributes.SCOPE)
        if scope != attributes.capped(use.caller.scope.text):
            raise DomainError(ErrorKind.NOT_FOUND, "id", job)
