"""`/api/v1/schedules`: try a schedule out.

Owns the address; the preview is `client.schedules`'. Source: automation.md §5 (Preview).
"""

from fastapi import APIRouter, Request

from client.gateway.parts import parts_of
from client.gateway.paths import API
from client.gateway.permissions import BODY_PROBLEMS, ReadToken
from client.gateway.routines import JsonBody
from client.gateway.shapes import PreviewBody, body_of
from client.schedules import Preview, Schedules, read_request
from domain.errors import DomainError, ErrorKind
from domain.preview import DEFAULT_COUNT
from domain.timestamps import parse_timestamp

router = APIRouter(prefix=API, tags=["schedules"])


@router.post(
    "/schedules/preview",
    operation_id="previewSchedule",
    openapi_extra=body_of(PreviewBody),
    responses=BODY_PROBLEMS,
)
async def preview_schedule(request: Request, _token: ReadToken, body: JsonBody) -> Preview:
    """When a schedule would fire; creates nothing."""
    settings = parts_of(request).settings
    asked = read_request(body)
    if asked.schedule is None:
        raise DomainError(
            ErrorKind.MISSING_FIELD,
            "schedule",
            "schedule is required: one of every_seconds, cron_expr, run_at",
            ["every_seconds", "cron_expr", "run_at"],
        )
    after = None if asked.after is None else parse_timestamp(asked.after, "after")
    return Schedules(default_timezone=settings.default_timezone).preview(
        asked.schedule,
        count=DEFAULT_COUNT if asked.count is None else asked.count,
        after=after,
    )
