"""`/api/v1/routines/{id}/backfill`: make up for times that have passed.

Owns the address and codes; what is done is `client.routines`'. Source: automation.md §13.
"""

from typing import Any

from fastapi import APIRouter, Response, status
from pydantic import AwareDatetime, BaseModel, ConfigDict

from client.gateway.paths import API, RoutineId, status_url
from client.gateway.permissions import CHANGE_PROBLEMS, Runner
from client.gateway.routines import JsonBody
from client.gateway.shapes import body_of
from domain.fields import FieldReader
from domain.runs import run_workflow_id

router = APIRouter(prefix=API, tags=["routines"])


class BackfillBody(BaseModel):
    """Which times are made up for, both ends included."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"start": "2026-11-16T00:00:00Z", "end": "2026-11-20T23:59:59Z", "dry_run": True}
            ]
        },
    )

    start: AwareDatetime
    end: AwareDatetime
    dry_run: bool = False


class BackfilledRun(BaseModel):
    """A time that is made up for, and the run that does so."""

    scheduled_at: AwareDatetime
    run_id: str
    workflow_id: str
    status_url: str
    ui_url: str


class BackfillStarted(BaseModel):
    """The runs, oldest first; they start one after the other, with `dry_run` not at all."""

    runs: list[BackfilledRun]
    dry_run: bool


@router.post(
    "/routines/{routine_id}/backfill",
    operation_id="backfillRoutine",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra=body_of(BackfillBody),
    responses={200: {"model": BackfillStarted, "description": "Dry run"}, **CHANGE_PROBLEMS},
)
async def backfill_routine(
    tickless: Runner, routine_id: RoutineId, body: JsonBody, response: Response
) -> BackfillStarted:
    """Run a routine for times of its schedule that have passed; each is admitted like any other."""
    start, end, dry_run = _read(body)
    answer = await tickless.routines.backfill(routine_id, start, end, dry_run=dry_run)
    if dry_run:
        response.status_code = status.HTTP_200_OK
    runs = [
        BackfilledRun(
            scheduled_at=run.scheduled_at,
            run_id=run.run_id,
            workflow_id=run_workflow_id(run.run_id),
            status_url=status_url(run.run_id),
            ui_url=tickless.runs.ui_url(run.run_id),
        )
        for run in answer.runs
    ]
    return BackfillStarted(runs=runs, dry_run=dry_run)


def _read(body: dict[str, Any]) -> tuple[str, str, bool]:
    reader = FieldReader(body, "")
    reader.refuse_unknown(list(BackfillBody.model_fields))
    start, end = reader.required_text("start"), reader.required_text("end")
    dry_run = reader.boolean("dry_run", default=False)
    reader.close()
    return start, end, dry_run
