"""`/api/v1/goal`: the goal of the caller, and for operators `/api/v1/goals`.

Owns the addresses and codes; what is done is `client.goals`'. Source: automation.md §9 and §13.
"""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Request, Response, Security, status
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from client.gateway.auth import note_change
from client.gateway.callers import caller
from client.gateway.conditions import IdempotencyKey
from client.gateway.paths import API
from client.gateway.permissions import (
    BODY_PROBLEMS,
    CHANGE_PROBLEMS,
    COMMON_PROBLEMS,
    READ_PROBLEMS,
    Reader,
    Runner,
)
from client.gateway.queries import status_filter
from client.gateway.routines import Cursor, JsonBody, Limit
from client.gateway.shapes import CancelBody, NoBody, body_of
from client.goal_reader import GoalAnswer, GoalList
from client.tickless import TicklessClient
from client.tokens import TokenScope
from domain.goal_bodies import GoalVerb
from domain.goal_record import GoalStatus

router = APIRouter(prefix=API, tags=["goals"])

URL: Final = f"{API}/goal"
# Goals of every scope are nobody's own.
Operator = Annotated[TicklessClient, Security(caller, scopes=[TokenScope.ADMIN])]


class GoalBody(BaseModel):
    """A new goal."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"objective": "Every link on our site works.", "deadline_in": "48h"}]
        },
    )

    objective: str = Field(min_length=1, pattern=r"\S", description="At most 16384 bytes.")
    deadline_in: str | None = Field(default=None, description="At most 2160h, such as 48h.")


class GoalPauseBody(BaseModel):
    """How to pause; may be left out."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"now": False}]})

    now: bool = Field(default=False, description="Interrupt the iteration that runs.")


class GoalCompleteBody(BaseModel):
    """What was reached; may be left out."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"summary": "All links work."}]}
    )

    summary: str = Field(default="", description="At most 16384 bytes.")


class GoalDelayBody(BaseModel):
    """For how long a goal is to rest."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"duration": "30m", "reason": "The build runs."}]},
    )

    duration: str = Field(description="0s, or 1m to 12h.")
    reason: str = Field(min_length=1, max_length=1_000, pattern=r"\S")


class GoalWaitBody(GoalDelayBody):
    """What a goal is to wait for."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"event": "ci:build.*", "duration": "2h", "reason": "The build has to end."}
            ]
        },
    )

    event: str = Field(description="source:event_type; a trailing .* is any longer type.")


class GoalExtendBody(BaseModel):
    """The new deadline, from now."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"deadline_in": "24h"}]}
    )

    deadline_in: str = Field(description="At most 2160h, such as 48h.")


# Models that no operation names by itself.
DESCRIBED: Final[tuple[type[BaseModel], ...]] = (
    GoalBody,
    GoalPauseBody,
    GoalCompleteBody,
    GoalDelayBody,
    GoalWaitBody,
    GoalExtendBody,
)


class GoalTold(BaseModel):
    """A goal as it is now, or as it ended."""

    goal: GoalAnswer


class GoalAccepted(BaseModel):
    """The creation is in Temporal; no worker has taken it up yet."""

    id: str
    workflow_id: str
    accepted: Literal[True] = True


class GoalDeleted(BaseModel):
    """The goal is gone."""

    deleted: Literal[True] = True


@router.get("/goals", operation_id="listGoals", responses=COMMON_PROBLEMS)
async def list_goals(
    tickless: Operator,
    wanted: Annotated[str, status_filter(GoalStatus)] = "",
    limit: Limit = 20,
    cursor: Cursor = None,
) -> GoalList:
    """The goals of every scope, newest first."""
    return await tickless.goals.list(status=wanted, limit=limit, cursor=cursor)


@router.post(
    "/goal",
    operation_id="createGoal",
    status_code=status.HTTP_201_CREATED,
    openapi_extra=body_of(GoalBody),
    responses={202: {"model": GoalAccepted, "description": "Accepted"}, **BODY_PROBLEMS},
)
async def create_goal(
    request: Request, tickless: Runner, body: JsonBody, key: IdempotencyKey, response: Response
) -> GoalTold:
    """Set the caller's goal; its first iteration begins at once."""
    created = await tickless.goals.create(body, idempotency_key=key)
    note_change(request, id=created.id)
    location = {"Location": URL}
    if created.goal is None:
        accepted = GoalAccepted(id=created.id, workflow_id=created.workflow_id)
        return JSONResponse(accepted.model_dump(mode="json"), 202, location)  # type: ignore[return-value]
    response.headers.update(location)
    return GoalTold(goal=created.goal)


@router.get("/goal", operation_id="getGoal", responses=READ_PROBLEMS)
async def get_goal(tickless: Reader) -> GoalTold:
    """The caller's goal, also one that ended, until another takes its place."""
    return GoalTold(goal=await tickless.goals.get())


@router.delete("/goal", operation_id="deleteGoal", responses=CHANGE_PROBLEMS)
async def delete_goal(tickless: Runner) -> GoalDeleted:
    """Remove the goal; an iteration that runs is interrupted."""
    await tickless.goals.delete()
    return GoalDeleted()


def _add_change(verb: GoalVerb, takes: type[BaseModel], description: str) -> None:
    """Add the address of one verb; its body may be left out where the model asks for nothing."""
    required = any(field.is_required() for field in takes.model_fields.values())

    async def change_goal(request: Request, tickless: Runner, body: JsonBody) -> GoalTold:
        goal = await tickless.goals.change(verb, body)
        note_change(request, id=goal.id)
        return GoalTold(goal=goal)

    router.add_api_route(
        f"/goal/{verb}",
        change_goal,
        methods=["POST"],
        operation_id=f"{verb}Goal",
        summary=f"{verb.title()} Goal",
        description=description,
        openapi_extra=body_of(takes, required=required),
        responses=CHANGE_PROBLEMS,
    )


for _verb, _takes, _description in (
    (GoalVerb.PAUSE, GoalPauseBody, "Pause the goal when its iteration has ended, or at once."),
    (GoalVerb.RESUME, NoBody, "Go on at once, all brakes released."),
    (
        GoalVerb.COMPLETE,
        GoalCompleteBody,
        "The goal is reached; an iteration that runs ends, and no other follows.",
    ),
    (GoalVerb.DELAY, GoalDelayBody, "Let the goal rest for a while."),
    (
        GoalVerb.WAIT,
        GoalWaitBody,
        "Let the goal rest until an event comes, or the time is over.",
    ),
    (GoalVerb.EXTEND, GoalExtendBody, "Move the deadline; reopens a goal that timed out."),
    (
        GoalVerb.CANCEL,
        CancelBody,
        "End the iteration that runs, not the goal; the next one follows.",
    ),
):
    _add_change(_verb, _takes, _description)
