"""`/api/v1/approvals`: what jobs may do only when a person agrees.

Owns the addresses and codes; what is done is `client.approvals`'. Source:
triggers-and-actions.md §8.
"""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from client.approvals import ApprovalList
from client.gateway.paths import API, ApprovalId
from client.gateway.permissions import (
    CHANGE_PROBLEMS,
    COMMON_PROBLEMS,
    READ_PROBLEMS,
    Approver,
    Reader,
)
from client.gateway.queries import status_filter
from client.gateway.routines import JsonBody, Limit
from client.gateway.shapes import body_of
from domain.approvals import Approval, ApprovalStatus
from domain.job_bodies import MAX_DECISION_CHARS, MAX_DIGEST_CHARS, MAX_SECONDS

router = APIRouter(prefix=API, tags=["approvals"])


class DecisionBody(BaseModel):
    """What a person says; read by `domain.job_bodies`."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"decision": "approve"}]}
    )

    decision: Literal["approve", "deny"]
    reason: str | None = Field(
        default=None, max_length=MAX_DECISION_CHARS, description="The model is told of a denial's."
    )
    digest: str | None = Field(
        default=None,
        max_length=MAX_DIGEST_CHARS,
        description="Of the arguments that were seen; no others are decided.",
    )
    always: bool | None = Field(
        default=None, description="Also later calls of this routine's runs."
    )


class ExtensionBody(BaseModel):
    """How much longer an approval waits."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"seconds": 86400}]})

    seconds: int = Field(ge=1, le=MAX_SECONDS)


@router.get("/approvals", operation_id="listApprovals", responses=COMMON_PROBLEMS)
async def list_approvals(
    tickless: Reader, wanted: Annotated[str, status_filter(ApprovalStatus)] = "", limit: Limit = 20
) -> ApprovalList:
    """The caller's approvals: those that wait first, then the newest."""
    return await tickless.approvals.list(status=wanted, limit=limit)


@router.get("/approvals/{approval_id}", operation_id="getApproval", responses=READ_PROBLEMS)
async def get_approval(tickless: Reader, approval_id: ApprovalId) -> Approval:
    """One approval; secrets are masked in its arguments."""
    return await tickless.approvals.get(approval_id)


@router.post(
    "/approvals/{approval_id}/decision",
    operation_id="decideApproval",
    openapi_extra=body_of(DecisionBody),
    responses=CHANGE_PROBLEMS,
)
async def decide_approval(tickless: Approver, approval_id: ApprovalId, body: JsonBody) -> Approval:
    """Approve or deny a call; the same decision again changes nothing."""
    return await tickless.approvals.decide_body(approval_id, body)


@router.post(
    "/approvals/{approval_id}/extend",
    operation_id="extendApproval",
    openapi_extra=body_of(ExtensionBody),
    responses=CHANGE_PROBLEMS,
)
async def extend_approval(tickless: Approver, approval_id: ApprovalId, body: JsonBody) -> Approval:
    """Give a call that waits more time, 30 days in all."""
    return await tickless.approvals.extend_body(approval_id, body)
