"""Approvals, as a caller works with them: see what waits for a person, and decide it.

Owns the library calls. An approval is its job's: it is found in the ledger, told as the job has it
while that is open, and decided by an update of the job. Source: triggers-and-actions.md §8.

Invariants:
    1. Whoever calls sees and decides the approvals of its own scope; setting `approvers` narrows
       who decides.
    2. The same decision again changes nothing, also when the job has ended meanwhile. Whether
       something is allowed for good is decided while its job is there.
"""

import asyncio
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Final

from pydantic import BaseModel
from temporalio.client import Client, WorkflowExecutionStatus
from ulid import ULID

from activities.entity_updates import EntityUpdates
from client.connection import translated
from client.context import CallerContext
from client.job_reader import QUERIES_AT_ONCE, JobReader
from client.json_objects import checked_object
from client.ledger import LedgerCalls
from client.pages import check_limit
from client.ui_links import UiLinks
from domain.actor import preferred_id
from domain.approvals import Approval, ApprovalStatus, Decision
from domain.errors import DomainError, ErrorKind
from domain.fields import is_unicode
from domain.job_bodies import PersonDecision, read_decision, read_extension
from domain.job_messages import DecideApproval, ExtendApproval
from domain.job_pages import ApprovalPage, read_status
from domain.jobs import job_workflow_id
from domain.ledger_requests import GetApproval, ListApprovals

PATIENCE: Final = timedelta(seconds=10)
_OPEN: Final = {ApprovalStatus.PENDING, ApprovalStatus.APPROVED}
_DECIDED: Final = {
    Decision.APPROVE: {ApprovalStatus.APPROVED, ApprovalStatus.CONSUMED},
    Decision.DENY: {ApprovalStatus.DENIED},
}


class ApprovalList(BaseModel):
    """Approvals, those that wait first, then the newest; `more` while others follow."""

    approvals: list[Approval]
    count: int
    more: bool = False


class Approvals:
    """Library calls for approvals, in the scope of one caller."""

    def __init__(
        self,
        temporal: Client,
        updates: EntityUpdates,
        context: CallerContext,
        links: UiLinks,
        approvers: Collection[str] = (),
    ) -> None:
        self._updates = updates
        self._jobs = JobReader(temporal, context, links)
        self._context = context
        self._approvers = approvers
        self._ledger = LedgerCalls(temporal)

    async def list(self, *, status: str = "", limit: int = 20) -> ApprovalList:
        """The caller's approvals: those that wait first, then the newest.

        Raises:
            DomainError: `invalid_field` on `status` or `limit`; `unavailable` without a worker.
        """
        check_limit(limit)
        wanted = read_status(status, ApprovalStatus)
        question = ListApprovals(scope=self._scope(), status=wanted, limit=limit)
        page = await self._ledger.ask(question, ApprovalPage)
        gate = asyncio.Semaphore(QUERIES_AT_ONCE)

        async def read(row: Approval) -> Approval:
            async with gate:
                return await self._current(row)

        rows = await asyncio.gather(*(read(row) for row in page.approvals))
        found = [row for row in rows if wanted is None or row.status == wanted]
        found.sort(key=lambda row: row.status != ApprovalStatus.PENDING)
        return ApprovalList(approvals=found, count=len(found), more=page.more)

    async def get(self, approval_id: str) -> Approval:
        """One approval.

        Raises:
            DomainError: `not_found`; `unavailable` without a worker.
        """
        return await self._current(await self._row(approval_id))

    async def decide(
        self,
        approval_id: str,
        decision: str,
        *,
        reason: str | None = None,
        digest: str | None = None,
        always: bool = False,
    ) -> Approval:
        """Approve or deny a call.

        Args:
            approval_id: The approval.
            decision: `approve` or `deny`.
            reason: Told to the model, with a denial.
            digest: The arguments that were seen; others than these are not decided.
            always: Later calls of the tool by the routine's runs do not ask.

        Raises:
            DomainError: `invalid_field` on `decision`, `reason`, `digest` or `always`;
                `permission_denied` on `approvers`; `not_found`; `conflict` on `digest`,
                `status`, or `always` when the job has ended.
        """
        said = {"decision": decision, "reason": reason, "digest": digest, "always": always}
        return await self.decide_body(approval_id, said)

    async def decide_body(self, approval_id: str, body: Mapping[str, object]) -> Approval:
        """The same from a JSON object."""
        said = read_decision(checked_object(body))
        actor = preferred_id(self._context.actor())
        if self._approvers and actor not in self._approvers:
            message = f"approvers: {actor!r} is not among those who decide in this deployment"
            raise DomainError(ErrorKind.PERMISSION_DENIED, "approvers", message)
        request = DecideApproval(approval_id=approval_id, decided_by=actor, **said.model_dump())
        found = await self._tell(approval_id, "decide_approval", request)
        return found or await self._decided_before(approval_id, said)

    async def extend(self, approval_id: str, seconds: int) -> Approval:
        """Give an approval more time, up to 30 days in all.

        Raises:
            DomainError: `not_found`; `invalid_field` on `seconds`; `conflict` on `status`.
        """
        return await self.extend_body(approval_id, {"seconds": seconds})

    async def extend_body(self, approval_id: str, body: Mapping[str, object]) -> Approval:
        """The same from a JSON object."""
        seconds = read_extension(checked_object(body))
        request = ExtendApproval(approval_id=approval_id, seconds=seconds)
        found = await self._tell(approval_id, "extend_approval", request)
        if found is not None:
            return found
        raise _too_late(await self.get(approval_id))

    # Inside

    async def _tell(
        self, approval_id: str, update: str, request: DecideApproval | ExtendApproval
    ) -> Approval | None:
        """Send an update to the job; null when it has ended."""
        row = await self._row(approval_id)
        try:
            with translated(approval_id):
                found = await self._updates.send(
                    job_workflow_id(row.job_id or ""),
                    update,
                    request,
                    Approval,
                    update_id=str(ULID()),
                    patience=PATIENCE,
                )
            return _whole(found, row)
        except DomainError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                return None
            raise

    async def _decided_before(self, approval_id: str, said: PersonDecision) -> Approval:
        """The approval of a job that has ended: what was decided stays, the rest is too late."""
        approval = await self.get(approval_id)
        if said.digest is not None and said.digest != approval.digest:
            message = f"digest is {approval.digest}: other arguments than the ones you have seen"
            raise DomainError(ErrorKind.CONFLICT, "digest", message)
        if approval.status not in _DECIDED[said.decision]:
            raise _too_late(approval)
        if said.always:
            message = (
                "always must be false: the job has ended, so nobody allows its tool for good; "
                "decide so when a run asks again"
            )
            raise DomainError(ErrorKind.CONFLICT, "always", message, ["false"])
        return approval

    async def _row(self, approval_id: str) -> Approval:
        """What the ledger knows.

        Raises:
            DomainError: `not_found`; `unavailable` without a worker.
        """
        if not is_unicode(approval_id):
            raise DomainError(ErrorKind.NOT_FOUND, "id", "")
        return await self._ledger.ask(GetApproval(scope=self._scope(), id=approval_id), Approval)

    async def _current(self, row: Approval) -> Approval:
        """An approval as its job has it, which is before the ledger; a final one is as it is."""
        if row.status not in _OPEN or row.job_id is None:
            return row
        try:
            if await self._jobs.status(row.job_id) == WorkflowExecutionStatus.RUNNING:
                view = await self._jobs.view(row.job_id)
                found = next((one for one in view.approvals if one.id == row.id), row)
                return _whole(found, row)
        except DomainError as error:
            if error.kind == ErrorKind.UNAVAILABLE:
                return row
            if error.kind != ErrorKind.NOT_FOUND:
                raise
        # The job has ended: it has written its last word, unless somebody has ended its workflow.
        row = await self._row(row.id)
        if row.status not in _OPEN:
            return row
        return row.model_copy(update={"status": ApprovalStatus.STALE})

    def _scope(self) -> str:
        return self._context.scope().text


def _whole(approval: Approval, row: Approval) -> Approval:
    """An approval of a job with the arguments, which the ledger alone has."""
    return approval.model_copy(update={"arguments": row.arguments})


def _too_late(approval: Approval) -> DomainError:
    message = f"status is {approval.status}: its job has ended"
    return DomainError(ErrorKind.CONFLICT, "status", message)
