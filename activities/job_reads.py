"""The activities that answer for jobs and approvals to those outside who have no store.

Owns reading; nothing is changed. Each activity has the name of the question it answers
(`domain.ledger_requests`). Source: triggers-and-actions.md §6 and §8, DESIGN §3 (Lists).

Invariants:
    1. Who asks sees the rows of its own scope; any other row is not found, in the same words.
    2. An answer fits into a workflow's result.
"""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from temporalio import activity

from activities.ledger_reads import answering, fitting
from domain.approvals import Approval
from domain.errors import DomainError, ErrorKind
from domain.job_pages import ApprovalPage, JobPage, preview, preview_approval
from domain.jobs import JobRecord
from domain.ledger_requests import (
    GetApproval,
    GetJob,
    LedgerAnswer,
    ListApprovals,
    ListJobs,
)

if TYPE_CHECKING:
    # Heavy to import, and this module is imported by workflows.
    from activities.store import Store


class JobReads:
    """Answers questions about jobs and approvals."""

    def __init__(self, store: "Store") -> None:
        self._store = store

    def all(self) -> list[Callable[..., Awaitable[LedgerAnswer]]]:
        """The activities, for the worker that serves them."""
        return [self.list_jobs, self.get_job, self.list_approvals, self.get_approval]

    @activity.defn
    @answering
    async def list_jobs(self, question: ListJobs) -> JobPage:
        """The newest jobs, as many as fit."""
        rows = await self._store.jobs.listing(
            question.limit + 1,
            status=question.status,
            scope=question.scope,
            before=question.before_at,
            before_id=question.before_id,
        )
        kept = fitting([preview(row) for row in rows[: question.limit]])
        return JobPage(jobs=kept, more=len(rows) > len(kept))

    @activity.defn
    @answering
    async def get_job(self, question: GetJob) -> JobRecord:
        """One job."""
        row = await self._store.jobs.get(question.id)
        if row is None or row.scope != question.scope:
            raise DomainError(ErrorKind.NOT_FOUND, "id", question.id)
        return row

    @activity.defn
    @answering
    async def list_approvals(self, question: ListApprovals) -> ApprovalPage:
        """The newest approvals, as many as fit."""
        rows = await self._store.approvals.listing(
            question.limit + 1, status=question.status, scope=question.scope
        )
        kept = fitting([preview_approval(row) for row in rows[: question.limit]])
        return ApprovalPage(approvals=kept, more=len(rows) > len(kept))

    @activity.defn
    @answering
    async def get_approval(self, question: GetApproval) -> Approval:
        """One approval."""
        row = await self._store.approvals.get(question.id)
        if row is None or row.scope != question.scope:
            raise DomainError(ErrorKind.NOT_FOUND, "id", question.id)
        return row
