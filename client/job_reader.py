"""Reading jobs: one as it stands or ended, and lists of them.

Owns where the truth about a job is asked for: its workflow while that is open, the ledger
afterwards. A list merges both, because the ledger hears of a job's steps late. Source:
triggers-and-actions.md §6, DESIGN §3 (Lists).

Invariants:
    1. A job of another scope is not found, in the same words as one that does not exist.
    2. A job whose workflow was ended from outside is told as failed, whatever the ledger has last
       heard of it.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel, Field
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus

from activities import search_attributes as attributes
from client.connection import QUERY_TIMEOUT, translated
from client.context import CallerContext
from client.ledger import LedgerCalls
from client.pages import check_limit, find_newest, read_cursor, write_cursor
from client.ui_links import UiLinks
from domain.approvals import ApprovalStatus
from domain.errors import DomainError, ErrorKind
from domain.fields import is_unicode
from domain.job_messages import JobStage, JobView
from domain.job_pages import JobPage, preview, read_status
from domain.jobs import TERMINAL_STATUSES, WORKFLOW_PREFIX, JobRecord, JobStatus, job_workflow_id
from domain.ledger_requests import GetJob, ListJobs
from workflows.job import Job

QUERIES_AT_ONCE: Final = 8
LOST: Final = "lost: the job's workflow was ended from outside"


class JobAnswer(JobRecord):
    """A job as its readers see it.

    Attributes:
        stage: What it does, in words.
        messages: Steering messages that wait for its next step.
        approvals: Ids of those that wait for a person.
        ui_url: Where the Temporal UI shows it; empty where the settings do not say.
    """

    stage: JobStage = JobStage.ENDED
    messages: int = 0
    approvals: list[str] = Field(default_factory=list[str])
    ui_url: str = ""


class JobList(BaseModel):
    """A page of jobs, newest first; `next_cursor` while there is more."""

    jobs: list[JobRecord]
    count: int
    next_cursor: str | None = None


class JobReader:
    """The jobs that one caller may read."""

    def __init__(self, temporal: Client, context: CallerContext, links: UiLinks) -> None:
        """Name the caller.

        Args:
            temporal: The connection.
            context: The caller's; may lack what names a scope until something is asked.
            links: Where the Temporal UI is.
        """
        self._temporal = temporal
        self._context = context
        self._links = links
        self._ledger = LedgerCalls(temporal)

    async def get(self, job_id: str) -> JobAnswer:
        """A job as it stands, or as it ended.

        Raises:
            DomainError: `not_found`; `unavailable` without a worker.
        """
        status = await self.status(job_id)
        if status == WorkflowExecutionStatus.RUNNING:
            return self.told(await self.view(job_id))
        return self._told(await self._ended(job_id, status))

    async def status(self, job_id: str) -> WorkflowExecutionStatus | None:
        """How its workflow stands; null when Temporal no longer has it. Needs no worker.

        Raises:
            DomainError: `not_found` for the job of another scope.
        """
        found = await self.find(job_id)
        return None if found is None else found.status

    async def find(self, job_id: str) -> WorkflowExecutionDescription | None:
        """What Temporal knows of its workflow; null when that is nothing any more.

        Raises:
            DomainError: `not_found` for the job of another scope.
        """
        if not is_unicode(job_id):
            raise DomainError(ErrorKind.NOT_FOUND, "id", "")
        try:
            with translated(job_id):
                handle = self._temporal.get_workflow_handle(job_workflow_id(job_id))
                found = await handle.describe()
        except DomainError as error:
            if error.kind == ErrorKind.NOT_FOUND:
                return None
            raise
        if found.typed_search_attributes.get(attributes.SCOPE) != attributes.capped(self._scope()):
            raise DomainError(ErrorKind.NOT_FOUND, "id", job_id)
        return found

    async def view(self, job_id: str) -> JobView:
        """What its workflow says; whose job it is has been looked at before.

        Raises:
            DomainError: `not_found`; `unavailable` without a worker.
        """
        with translated(job_id):
            handle = self._temporal.get_workflow_handle(job_workflow_id(job_id))
            view: JobView = await handle.query(Job.view, rpc_timeout=QUERY_TIMEOUT)
        return view

    def _scope(self) -> str:
        return self._context.scope().text

    def told(self, view: JobView) -> JobAnswer:
        """A view as readers see it."""
        pending = [one.id for one in view.approvals if one.status == ApprovalStatus.PENDING]
        return self._told(view.record, stage=view.stage, messages=view.messages, approvals=pending)

    async def ended(self, job_id: str) -> JobRecord:
        """How a job has ended.

        Raises:
            DomainError: `not_found`; `unavailable` without a worker.
        """
        return await self._ended(job_id, await self.status(job_id))

    async def page(self, status: str, limit: int, cursor: str | None) -> JobList:
        """Jobs, newest first, long texts cut.

        Raises:
            DomainError: `invalid_field` on `status`, `limit` or `cursor`; `unavailable`.
        """
        check_limit(limit)
        wanted = read_status(status, JobStatus)
        before = read_cursor(cursor) if cursor is not None else None
        after = (datetime.fromisoformat(before[0]), before[1]) if before else None
        found = {} if wanted in TERMINAL_STATUSES else await self._open(wanted)
        rows: list[JobRecord] = []
        more = False
        if wanted is None or wanted in TERMINAL_STATUSES:
            rows, more = await self._rows(wanted, limit, after)
        known = {row.id: row for row in rows}
        # Visibility may still hold one as open that the ledger knows as ended.
        ended = {row.id for row in rows if row.status in TERMINAL_STATUSES}
        entries = found | {row.id: row.created_at for row in rows}
        order = sorted(_place(at, key) for key, at in entries.items())
        if after is not None:
            order = [place for place in order if place > _place(*after)]
        if more and rows:
            # Beyond its last row the ledger has others that were not told yet.
            horizon = _place(rows[-1].created_at, rows[-1].id)
            order = [place for place in order if place <= horizon]
        chosen = [key for _, key in order[:limit]]
        jobs = [
            job
            for job in await self._current(chosen, known, ended)
            if wanted is None or job.status == wanted
        ]
        last = chosen[-1] if chosen and (more or len(order) > limit) else None
        following = write_cursor((entries[last].isoformat(), last)) if last else None
        return JobList(jobs=jobs, count=len(jobs), next_cursor=following)

    # Inside

    async def _open(self, wanted: JobStatus | None) -> dict[str, datetime]:
        """The open jobs of the scope, and when they were made."""
        query = (
            f"{attributes.KIND.name} = 'job' AND ExecutionStatus = 'Running' AND "
            f"{attributes.SCOPE.name} = '{attributes.quoted(self._scope())}'"
        )
        if wanted is not None:
            query += f" AND {attributes.STATUS.name} = '{wanted}'"
        found = await find_newest(
            self._temporal, query, WORKFLOW_PREFIX, "jobs: use the status filter"
        )
        return {key: datetime.fromisoformat(created) for created, key in found}

    async def _rows(
        self, wanted: JobStatus | None, limit: int, after: tuple[datetime, str] | None
    ) -> tuple[list[JobRecord], bool]:
        question = ListJobs(
            scope=self._scope(),
            status=wanted,
            limit=limit,
            before_at=after[0] if after else None,
            before_id=after[1] if after else "",
        )
        page = await self._ledger.ask(question, JobPage)
        return page.jobs, page.more

    async def _current(
        self, chosen: Sequence[str], known: dict[str, JobRecord], ended: set[str]
    ) -> list[JobRecord]:
        """The jobs of a page as they stand."""
        gate = asyncio.Semaphore(QUERIES_AT_ONCE)

        async def read(key: str) -> JobRecord | None:
            if key in ended:
                return known[key]
            async with gate:
                try:
                    found = await self.get(key)
                except DomainError as error:
                    if error.kind == ErrorKind.NOT_FOUND:
                        return None
                    raise
            plain = JobRecord.model_validate(found.model_dump(include=set(JobRecord.model_fields)))
            return preview(plain)

        found = await asyncio.gather(*(read(key) for key in chosen))
        return [one for one in found if one is not None]

    async def _ended(self, job_id: str, status: WorkflowExecutionStatus | None) -> JobRecord:
        try:
            row = await self._ledger.ask(GetJob(scope=self._scope(), id=job_id), JobRecord)
        except DomainError as error:
            if error.kind != ErrorKind.NOT_FOUND or status is None:
                raise
            # Ended from outside before it was written down.
            row = (await self.view(job_id)).record
        if row.status in TERMINAL_STATUSES or status == WorkflowExecutionStatus.RUNNING:
            return row
        return row.model_copy(
            update={"status": JobStatus.FAILED, "error": LOST, "waiting_for": None}
        )

    def _told(
        self,
        record: JobRecord,
        *,
        stage: JobStage = JobStage.ENDED,
        messages: int = 0,
        approvals: Sequence[str] = (),
    ) -> JobAnswer:
        return JobAnswer(
            **record.model_dump(),
            stage=stage,
            messages=messages,
            approvals=list(approvals),
            ui_url=self._links.workflow(job_workflow_id(record.id)),
        )


def _place(at: datetime, key: str) -> tuple[float, str]:
    """Where a job stands in a list: the newest first, those of one instant by their ids."""
    return (-at.astimezone(UTC).timestamp(), key)
