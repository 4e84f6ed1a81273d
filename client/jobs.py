"""Jobs, as a caller works with them: start one by hand, read it, steer it, end it.

Owns the library calls. Where a job is read is `client.job_reader`'s. Source:
triggers-and-actions.md §6.

Invariant: whoever calls sees and changes the jobs of its own scope.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final

from pydantic import BaseModel
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from ulid import ULID

from activities import search_attributes as attributes
from activities.entity_updates import EntityUpdates
from activities.jobs import job_attributes
from client.connection import translated
from client.context import CallerContext
from client.job_reader import JobAnswer, JobList, JobReader
from client.json_objects import checked_object
from client.pages import wait_until_listed
from client.settings import Settings
from client.tools import Tools
from client.ui_links import UiLinks
from domain.actor import preferred_id
from domain.admission import JobLimits
from domain.errors import DomainError, ErrorKind
from domain.guardrails import content_hash
from domain.identifiers import RUNS_QUEUE
from domain.job_bodies import read_cancel, read_message
from domain.job_create import new_job
from domain.job_messages import JobStage, JobView, SteerJob, refused_by_status
from domain.job_state import JobState
from domain.jobs import SESSION_PREFIX, TERMINAL_STATUSES, JobStatus, job_workflow_id
from domain.runs import hex32
from workflows.job import Job

PATIENCE: Final = timedelta(seconds=10)
# How often a job that is waited for is asked whether only its chat keeps it.
LOOK_EVERY: Final = timedelta(seconds=2)
MEMO_DIGEST: Final = "body_sha256"


class JobStarted(BaseModel):
    """Answer of `create`: Temporal has the job."""

    job_id: str
    workflow_id: str
    ui_url: str
    duplicate: bool = False


def job_limits_of(settings: Settings) -> JobLimits:
    """The limits of jobs in a deployment."""
    return JobLimits(
        timeout_seconds=settings.job_timeout_seconds,
        step_timeout_seconds=settings.job_step_timeout_seconds,
        step_heartbeat_seconds=settings.job_step_heartbeat_seconds,
        approval_timeout_seconds=settings.approval_timeout_seconds,
    )


class Jobs:
    """Library calls for jobs, in the scope of one caller."""

    def __init__(
        self,
        temporal: Client,
        updates: EntityUpdates,
        context: CallerContext,
        links: UiLinks,
        limits: JobLimits | None = None,
    ) -> None:
        self._temporal = temporal
        self._updates = updates
        self._context = context
        self._links = links
        self._limits = limits or JobLimits()
        self._tools = Tools(temporal)
        self._reader = JobReader(temporal, context, links)

    async def create(
        self, body: Mapping[str, object], *, idempotency_key: str | None = None, hop: int = 0
    ) -> JobStarted:
        """Start a job.

        Args:
            body: `title`, `description`, `max_iterations`, `guardrails` (`domain.job_create`).
            idempotency_key: Makes a repetition the same job.
            hop: Of what started it, so that what its events fire ends somewhere.

        Raises:
            DomainError: What is wrong with the body; `conflict` on `idempotency_key`.
        """
        actor = preferred_id(self._context.actor())
        scope = self._context.scope()
        unique = hex32(f"{scope.text}\n{actor}\n{idempotency_key}") if idempotency_key else ULID()
        given = checked_object(body)
        start = new_job(
            given,
            id=f"job_{unique}",
            scope=scope,
            route=self._context.route(),
            user_id=actor,
            now=datetime.now(UTC),
            limits=self._limits,
        ).model_copy(update={"hop": hop, "result_session": self._chat()})
        await self._tools.check_named(start.allowed_tools or ())
        record, digest = start.record, content_hash(given)
        workflow_id = job_workflow_id(record.id)
        started = JobStarted(
            job_id=record.id, workflow_id=workflow_id, ui_url=self._links.workflow(workflow_id)
        )
        with translated(record.id):
            try:
                await self._temporal.start_workflow(
                    Job.run,
                    JobState(start=start),
                    id=workflow_id,
                    task_queue=RUNS_QUEUE,
                    id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                    search_attributes=job_attributes(record),
                    static_summary=f"job: {record.title}"[:200],
                    memo={MEMO_DIGEST: digest},
                )
            except WorkflowAlreadyStartedError:
                await self._check_repeated(workflow_id, digest)
                return started.model_copy(update={"duplicate": True})
            await wait_until_listed(self._temporal, f"WorkflowId = '{workflow_id}'")
        return started

    async def list(
        self, *, status: str = "", limit: int = 20, cursor: str | None = None
    ) -> JobList:
        """The caller's jobs, newest first, long texts cut.

        Raises:
            DomainError: `invalid_field` on `status`, `limit` or `cursor`; `unavailable`.
        """
        return await self._reader.page(status, limit, cursor)

    async def get(self, job_id: str) -> JobAnswer:
        """A job as it stands, or as it ended.

        Raises:
            DomainError: `not_found`; `unavailable` when no worker answers.
        """
        return await self._reader.get(job_id)

    async def wait(self, job_id: str) -> JobAnswer:
        """Wait for the end of a job, though its result may wait for the chat (stage `session`).

        Raises:
            DomainError: `not_found`; `unavailable` when no worker answers.
        """
        handle = self._temporal.get_workflow_handle(job_workflow_id(job_id))
        while await self._is_at_work(job_id):
            # How it was ended from outside is told below.
            with translated(job_id), suppress(TimeoutError, WorkflowFailureError):
                async with asyncio.timeout(LOOK_EVERY.total_seconds()):
                    await handle.result()
        return await self._reader.get(job_id)

    async def pause(self, job_id: str) -> JobAnswer:
        """Pause a job before its next step.

        Raises:
            DomainError: `not_found`; `conflict` on `status`.
        """
        return await self._tell(job_id, "pause", None, "a pause")

    async def resume(self, job_id: str) -> JobAnswer:
        """Let a paused job go on.

        Raises:
            DomainError: `not_found`; `conflict` on `status`.
        """
        return await self._tell(job_id, "resume", None, "to resume")

    async def cancel(self, job_id: str, *, reason: str | None = None) -> JobAnswer:
        """End a job as cancelled, and wait for its end; one that was cancelled before stays so.

        Raises:
            DomainError: `not_found`; `invalid_field` on `reason`; `conflict` on `status`.
        """
        return await self.cancel_body(job_id, {"reason": reason})

    async def cancel_body(self, job_id: str, body: Mapping[str, object]) -> JobAnswer:
        """The same from a JSON object."""
        request = read_cancel(checked_object(body))
        try:
            await self._tell(job_id, "cancel", request, "to cancel")
        except DomainError as error:
            if (error.kind, error.field) == (ErrorKind.CONFLICT, "status"):
                ended = await self._reader.get(job_id)
                if ended.status == JobStatus.CANCELLED:
                    return ended
            raise
        return await self.wait(job_id)

    async def send(self, job_id: str, text: str, *, key: str | None = None) -> JobAnswer:
        """Say something that the job's model reads before its next step.

        Args:
            job_id: The job.
            text: At most 16384 bytes.
            key: Makes a repetition the same message.

        Raises:
            DomainError: `not_found`; on `text`; `conflict` on `status` or `idempotency_key`.
        """
        return await self.send_body(job_id, {"text": text}, key=key)

    async def send_body(
        self, job_id: str, body: Mapping[str, object], *, key: str | None = None
    ) -> JobAnswer:
        """The same from a JSON object."""
        unique = hex32(f"{preferred_id(self._context.actor())}\n{key}") if key else None
        request = SteerJob(text=read_message(checked_object(body)), key=unique)
        return await self._tell(job_id, "steer", request, "a message")

    # Inside

    async def _is_at_work(self, job_id: str) -> bool:
        """Whether a job is open, and not only its result still to be said in its chat."""
        found = await self._reader.find(job_id)
        if found is None or found.status != WorkflowExecutionStatus.RUNNING:
            return False
        if found.typed_search_attributes.get(attributes.STATUS) not in TERMINAL_STATUSES:
            # Asked of the server alone: a job may be waited for all day.
            return True
        try:
            return (await self._reader.view(job_id)).stage != JobStage.SESSION
        except DomainError as error:
            if error.kind != ErrorKind.UNAVAILABLE:
                raise
            return True

    def _chat(self) -> str:
        """The session of whoever asks; that of another job is no chat."""
        key = self._context.session_key
        return "" if key.startswith(SESSION_PREFIX) else key

    async def _tell(self, job_id: str, update: str, arg: BaseModel | None, what: str) -> JobAnswer:
        if await self._reader.status(job_id) == WorkflowExecutionStatus.RUNNING:
            try:
                with translated(job_id):
                    view = await self._updates.send(
                        job_workflow_id(job_id),
                        update,
                        arg,
                        JobView,
                        update_id=str(ULID()),
                        patience=PATIENCE,
                    )
            except DomainError as error:
                if error.kind != ErrorKind.NOT_FOUND:
                    raise
            else:
                return self._reader.told(view)
        # It has ended, perhaps a moment ago.
        raise refused_by_status((await self._reader.ended(job_id)).status, what)

    async def _check_repeated(self, workflow_id: str, digest: str) -> None:
        description = await self._temporal.get_workflow_handle(workflow_id).describe()
        if await description.memo_value(MEMO_DIGEST, digest) != digest:
            raise DomainError(
                ErrorKind.CONFLICT,
                "idempotency_key",
                "this idempotency_key was used with another body",
            )
