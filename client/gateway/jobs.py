"""`/api/v1/jobs`: agents that work on their own: start, read, steer, pause, end.

Owns the addresses and codes; what is done is `client.jobs`'. Source: triggers-and-actions.md §6.
"""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response, status
from pydantic import BaseModel, ConfigDict, Field

from client.gateway.auth import require_scope
from client.gateway.conditions import IdempotencyKey, Wait
from client.gateway.parts import parts_of
from client.gateway.paths import API, JobId
from client.gateway.permissions import (
    BODY_PROBLEMS,
    CHANGE_PROBLEMS,
    COMMON_PROBLEMS,
    READ_PROBLEMS,
    AnyToken,
    Reader,
    Runner,
)
from client.gateway.queries import status_filter
from client.gateway.routines import Cursor, JsonBody, Limit, read_body
from client.gateway.runs import CANCEL_SECONDS
from client.gateway.shapes import CancelBody, NoBody, body_of
from client.job_reader import JobAnswer, JobList
from client.tokens import TokenScope
from domain.audit import ActionPage
from domain.jobs import JobStatus

router = APIRouter(prefix=API, tags=["jobs"])


class JobGuardrails(BaseModel):
    """The guardrails that limit one job."""

    model_config = ConfigDict(extra="forbid")

    run_timeout_seconds: int | None = Field(default=None, ge=1, le=86_400)
    max_tokens_total: int | None = Field(default=None, ge=1)
    max_tool_calls: int | None = Field(default=None, ge=0, le=10_000)
    allowed_tools: list[str] | None = Field(default=None, description="Exactly these.")
    max_cost_usd: float | None = Field(default=None, gt=0, le=1_000_000)


class JobBody(BaseModel):
    """A new job."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"title": "Research", "description": "Compare the three offers."}]
        },
    )

    title: str = Field(min_length=1, max_length=200, pattern=r"\S")
    description: str = Field(min_length=1, max_length=16_000, pattern=r"\S")
    max_iterations: int = Field(default=25, ge=1, le=500)
    guardrails: JobGuardrails | None = None


class JobMessageBody(BaseModel):
    """What a job is to know."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"text": "Only the last week counts."}]}
    )

    text: str = Field(description="At most 16384 bytes.")


class JobAccepted(BaseModel):
    """Temporal has the job; `job` is what `wait` has waited for."""

    job_id: str
    workflow_id: str
    status_url: str
    ui_url: str
    duplicate: bool = False
    job: JobAnswer | None = None


@router.get("/jobs", operation_id="listJobs", responses=COMMON_PROBLEMS)
async def list_jobs(
    tickless: Reader,
    wanted: Annotated[str, status_filter(JobStatus)] = "",
    limit: Limit = 20,
    cursor: Cursor = None,
) -> JobList:
    """The caller's jobs, newest first; long texts are cut."""
    return await tickless.jobs.list(status=wanted, limit=limit, cursor=cursor)


@router.post(
    "/jobs",
    operation_id="createJob",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra=body_of(JobBody),
    responses=BODY_PROBLEMS,
)
async def create_job(
    request: Request,
    token: AnyToken,
    tickless: Runner,
    body: JsonBody,
    key: IdempotencyKey,
    wait: Wait,
    response: Response,
) -> JobAccepted:
    """Start a job; with `wait` the answer has how it ended."""
    if wait is not None:
        require_scope(token, TokenScope.READ)
    started = await tickless.jobs.create(body, idempotency_key=key)
    url = f"{API}/jobs/{quote(started.job_id, safe='')}"
    response.headers["Location"] = url
    job = None
    if wait:
        job = await parts_of(request).within(wait, tickless.jobs.wait(started.job_id))
    return JobAccepted(**started.model_dump(), status_url=url, job=job)


@router.get("/jobs/{job_id}", operation_id="getJob", responses=READ_PROBLEMS)
async def get_job(request: Request, tickless: Reader, job_id: JobId, wait: Wait) -> JobAnswer:
    """One job as it stands, or with `wait` as it ended."""
    found = None
    if wait:
        found = await parts_of(request).within(wait, tickless.jobs.wait(job_id))
    return found or await tickless.jobs.get(job_id)


@router.get("/jobs/{job_id}/actions", operation_id="listJobActions", responses=READ_PROBLEMS)
async def list_job_actions(
    tickless: Reader,
    job_id: JobId,
    limit: Limit = 100,
    after: Annotated[
        int, Query(ge=0, le=2**31 - 1, description="The `sequence` of the last known call.")
    ] = 0,
) -> ActionPage:
    """The calls of tools of a job, in their sequence; secrets are masked in them."""
    return await tickless.audit.actions(job_id=job_id, after=after, limit=limit)


@router.post(
    "/jobs/{job_id}/pause",
    operation_id="pauseJob",
    openapi_extra=body_of(NoBody, required=False),
    responses=CHANGE_PROBLEMS,
)
async def pause_job(tickless: Runner, job_id: JobId, body: JsonBody) -> JobAnswer:
    """Pause a job before its next step."""
    read_body(NoBody, body)
    return await tickless.jobs.pause(job_id)


@router.post(
    "/jobs/{job_id}/resume",
    operation_id="resumeJob",
    openapi_extra=body_of(NoBody, required=False),
    responses=CHANGE_PROBLEMS,
)
async def resume_job(tickless: Runner, job_id: JobId, body: JsonBody) -> JobAnswer:
    """Let a paused job go on."""
    read_body(NoBody, body)
    return await tickless.jobs.resume(job_id)


@router.post(
    "/jobs/{job_id}/cancel",
    operation_id="cancelJob",
    openapi_extra=body_of(CancelBody, required=False),
    responses=CHANGE_PROBLEMS,
)
async def cancel_job(
    request: Request, tickless: Runner, job_id: JobId, body: JsonBody
) -> JobAnswer:
    """End a job; what it does is cancelled with it."""
    cancelling = tickless.jobs.cancel_body(job_id, body)
    found = await parts_of(request).within(CANCEL_SECONDS, cancelling)
    return found or await tickless.jobs.get(job_id)


@router.post(
    "/jobs/{job_id}/messages",
    operation_id="sendToJob",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra=body_of(JobMessageBody),
    responses=CHANGE_PROBLEMS,
)
async def send_to_job(
    tickless: Runner, job_id: JobId, body: JsonBody, key: IdempotencyKey
) -> JobAnswer:
    """Say something that the job's model reads before its next step."""
    return await tickless.jobs.send_body(job_id, body, key=key)
