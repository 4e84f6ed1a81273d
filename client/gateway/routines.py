"""`/api/v1/routines`: create, list, get, patch, delete, pause, resume, trigger, runs.

Owns the addresses and codes; what is done is `client.routines`' and `client.runs`'.
Source: automation.md §6 and §13.
"""

from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response, status
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ValidationError

from client.gateway.auth import require_scope
from client.gateway.bodies import PATCH_TYPES, json_object, merge_patch
from client.gateway.conditions import IdempotencyKey, IfMatch, Wait, with_revision
from client.gateway.parts import parts_of
from client.gateway.paths import API, RoutineId, routine_url, status_url
from client.gateway.permissions import (
    BODY_PROBLEMS,
    CHANGE_PROBLEMS,
    COMMON_PROBLEMS,
    READ_PROBLEMS,
    AnyToken,
    Reader,
    Runner,
)
from client.gateway.shapes import (
    NoBody,
    RoutineAccepted,
    RoutineBody,
    RoutineCreated,
    RoutineList,
    RoutinePatch,
    RunAccepted,
    RunRecords,
    RunVerdict,
    TriggerBody,
    body_of,
)
from client.runs import RunStarted
from client.tokens import TokenScope
from domain.errors import DomainError, ErrorKind
from domain.fields import FieldReader
from domain.routine import Routine
from domain.routine_requests import RoutineAnswer
from domain.triggers import public_trigger

router = APIRouter(prefix=API, tags=["routines"])

JsonBody = Annotated[dict[str, Any], Depends(json_object)]
Limit = Annotated[int, Query(ge=1, le=200, description="1 to 200.")]
Cursor = Annotated[
    str | None, Query(description="`next_cursor` of the page before.", max_length=1_000)
]

_BodyT = TypeVar("_BodyT", bound=BaseModel)


@router.get("/routines", operation_id="listRoutines", responses=COMMON_PROBLEMS)
async def list_routines(
    tickless: Reader,
    wanted: Annotated[
        str,
        Query(
            alias="status",
            description="`active`, `paused`, `deleted`, `all`; left out: all but deleted.",
            json_schema_extra={"enum": ["", "active", "paused", "deleted", "all"]},
        ),
    ] = "",
    limit: Limit = 20,
    cursor: Cursor = None,
) -> RoutineList:
    """The caller's routines, newest first."""
    page = await tickless.routines.list(status=wanted, limit=limit, cursor=cursor)
    return RoutineList(
        routines=[shown_routine(Routine.model_validate(record)) for record in page.routines],
        count=page.count,
        next_cursor=page.next_cursor,
    )


@router.post(
    "/routines",
    operation_id="createRoutine",
    status_code=status.HTTP_201_CREATED,
    openapi_extra=body_of(RoutineBody),
    responses={202: {"model": RoutineAccepted, "description": "Accepted"}, **BODY_PROBLEMS},
)
async def create_routine(
    tickless: Runner, body: JsonBody, key: IdempotencyKey, response: Response
) -> RoutineCreated:
    """Create a routine; it is listed right after the answer."""
    # With a key and no `id` in the body the service makes the id of the key.
    created = await tickless.routines.create(body, idempotency_key=key)
    location = {"Location": routine_url(created.id)}
    if created.routine is None:
        accepted = RoutineAccepted(id=created.id, workflow_id=created.workflow_id)
        return JSONResponse(accepted.model_dump(mode="json"), 202, location)  # type: ignore[return-value]
    routine = shown_routine(Routine.model_validate(created.routine))
    response.headers.update({**location, **_etag(routine)})
    return RoutineCreated(
        id=created.id,
        workflow_id=created.workflow_id,
        routine=routine,
        warnings=created.warnings,
    )


@router.get("/routines/{routine_id}", operation_id="getRoutine", responses=READ_PROBLEMS)
async def get_routine(tickless: Reader, routine_id: RoutineId, response: Response) -> RoutineAnswer:
    """One routine, also a deleted one until it is purged."""
    return _told(await tickless.routines.get(routine_id), response)


@router.patch(
    "/routines/{routine_id}",
    operation_id="patchRoutine",
    openapi_extra=body_of(RoutinePatch, *PATCH_TYPES),
    responses=CHANGE_PROBLEMS,
)
async def patch_routine(
    tickless: Runner,
    routine_id: RoutineId,
    body: Annotated[dict[str, Any], Depends(merge_patch)],
    if_match: IfMatch,
    response: Response,
) -> RoutineAnswer:
    """Change a routine by a JSON merge patch; restores a deleted one by its status."""
    changes = with_revision(body, if_match)
    return _told(await tickless.routines.patch(routine_id, changes), response)


@router.delete("/routines/{routine_id}", operation_id="deleteRoutine", responses=CHANGE_PROBLEMS)
async def delete_routine(
    request: Request,
    tickless: Runner,
    routine_id: RoutineId,
    response: Response,
    purge: Annotated[bool, Query(description="Free the name at once.")] = False,
) -> RoutineAnswer:
    """Delete a routine and cancel its runs; it can be restored for a while."""
    if "if-match" in request.headers:
        raise DomainError(
            ErrorKind.INVALID_FIELD,
            "if_match",
            'if_match is not taken with DELETE; patch {"status": "deleted"} takes it',
        )
    return _told(await tickless.routines.delete(routine_id, purge=purge), response)


@router.post(
    "/routines/{routine_id}/pause",
    operation_id="pauseRoutine",
    openapi_extra=body_of(NoBody, required=False),
    responses=CHANGE_PROBLEMS,
)
async def pause_routine(
    tickless: Runner, routine_id: RoutineId, body: JsonBody, if_match: IfMatch, response: Response
) -> RoutineAnswer:
    """Pause a routine; a run in flight finishes."""
    read_body(NoBody, body)
    answer = await tickless.routines.pause(routine_id, if_revision=if_match)
    return _told(answer, response)


@router.post(
    "/routines/{routine_id}/resume",
    operation_id="resumeRoutine",
    openapi_extra=body_of(NoBody, required=False),
    responses=CHANGE_PROBLEMS,
)
async def resume_routine(
    tickless: Runner, routine_id: RoutineId, body: JsonBody, if_match: IfMatch, response: Response
) -> RoutineAnswer:
    """Let a paused routine fire again, from now on."""
    read_body(NoBody, body)
    answer = await tickless.routines.resume(routine_id, if_revision=if_match)
    return _told(answer, response)


@router.post(
    "/routines/{routine_id}/trigger",
    operation_id="triggerRoutine",
    status_code=status.HTTP_202_ACCEPTED,
    openapi_extra=body_of(TriggerBody, required=False),
    responses=CHANGE_PROBLEMS,
)
async def trigger_routine(
    request: Request,
    token: AnyToken,
    tickless: Runner,
    routine_id: RoutineId,
    body: JsonBody,
    key: IdempotencyKey,
    wait: Wait,
    response: Response,
) -> RunAccepted:
    """Start one extra run now; the answer has the routine's verdict, with `wait` the run too."""
    if wait is not None:
        require_scope(token, TokenScope.READ)
    force = read_body(TriggerBody, body).force
    started = await tickless.runs.trigger(routine_id, force=force, idempotency_key=key)
    answer = accepted_run(started)
    response.headers["Location"] = answer.status_url
    if wait:
        run = await parts_of(request).within(wait, tickless.runs.wait(started.run_id))
        answer = answer.model_copy(update={"run": run})
    return answer


@router.get("/routines/{routine_id}/runs", operation_id="listRuns", responses=READ_PROBLEMS)
async def list_runs(tickless: Reader, routine_id: RoutineId, limit: Limit = 20) -> RunRecords:
    """A routine's runs, newest first, also those that were refused; the last hundred are kept."""
    records = list(await tickless.routines.runs(routine_id, limit=limit))
    return RunRecords(runs=records, count=len(records))


def accepted_run(started: RunStarted) -> RunAccepted:
    """The answer of whatever starts a run."""
    verdict = started.verdict
    return RunAccepted(
        run_id=started.run_id,
        workflow_id=started.workflow_id,
        status_url=status_url(started.run_id),
        ui_url=started.ui_url,
        duplicate=started.duplicate,
        verdict=RunVerdict.model_validate(verdict.model_dump()) if verdict else None,
    )


def shown_routine(routine: Routine) -> Routine:
    """A routine as it may leave the house: no secret is in it."""
    return routine.model_copy(update={"trigger": public_trigger(routine.trigger)})


def read_body(model: type[_BodyT], body: dict[str, Any]) -> _BodyT:
    """Read a small body.

    Raises:
        DomainError: `unknown_field` or `invalid_field`.
    """
    reader = FieldReader(body, "")
    reader.refuse_unknown(list(model.model_fields))
    try:
        found = model.model_validate(body, strict=True)
    except ValidationError as error:
        for item in error.errors():
            if item["type"] != "extra_forbidden":
                reader.invalid(str(item["loc"][0]), f"is not accepted: {item['msg']}")
        reader.close()
        raise
    reader.close()
    return found


def _told(answer: RoutineAnswer, response: Response) -> RoutineAnswer:
    routine = shown_routine(answer.routine)
    response.headers.update(_etag(routine))
    return answer.model_copy(update={"routine": routine})


def _etag(routine: Routine) -> dict[str, str]:
    return {"ETag": f'"{routine.revision}"'}
