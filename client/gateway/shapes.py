"""What requests hold and answers look like, for the API's description.

Owns the models that only HTTP has. Bodies are described here and read by `domain`, which tells
better what is wrong with them; answers are checked against these by whoever tests the API.
Source: automation.md §2 and §13.
"""

from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from domain.admission import Decision
from domain.errors import Problem
from domain.guardrails import Guardrails
from domain.outcome import Notify
from domain.routine import Routine
from domain.run_view import RunView
from domain.runs import KeptRun

PROMPT_EXAMPLE: Final = "What needs attention today?"


class _TimedBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    timezone: str | None = Field(
        default=None, description="An IANA name.", examples=["Europe/Berlin"]
    )
    catchup: Literal["once", "skip", "all"] | None = Field(
        default=None, description="What happens to times missed in an outage."
    )
    catchup_window_seconds: int | None = Field(
        default=None, ge=60, le=31_536_000, description="Only with catchup `all`."
    )


class IntervalBody(_TimedBody):
    """Every so many seconds."""

    every_seconds: int = Field(ge=60, le=31_536_000)


class CronBody(_TimedBody):
    """Five fields of cron, a nickname such as @daily, or words such as `every 2h`."""

    cron_expr: str = Field(examples=["0 9 * * 1-5"])


class OneShotBody(_TimedBody):
    """Once, in the future."""

    run_at: AwareDatetime


class RoutineBody(BaseModel):
    """A new routine: `prompt` or `action`, and a schedule or a trigger."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "anyOf": [
                {"required": ["prompt", "schedule"]},
                {"required": ["prompt", "trigger"]},
                {"required": ["prompt", "every_seconds"]},
                {"required": ["prompt", "cron_expr"]},
                {"required": ["prompt", "run_at"]},
                {"required": ["action"]},
            ],
            "examples": [
                {
                    "id": "morning-brief",
                    "prompt": PROMPT_EXAMPLE,
                    "schedule": {"cron_expr": "0 9 * * 1-5", "timezone": "Europe/Berlin"},
                }
            ],
        },
    )

    id: str | None = Field(
        default=None,
        pattern=r"^[a-z0-9][a-z0-9-]{0,62}$",
        description="A name of your choice; else one is made.",
    )
    title: str | None = Field(default=None, max_length=200)
    prompt: str | None = Field(default=None, max_length=65_536)
    schedule: IntervalBody | CronBody | OneShotBody | None = None
    every_seconds: int | None = Field(default=None, ge=60, le=31_536_000)
    cron_expr: str | None = Field(default=None, description="As in `schedule`.")
    run_at: AwareDatetime | None = Field(default=None, description="As in `schedule`.")
    timezone: str | None = Field(default=None, description="As in `schedule`.")
    catchup: Literal["once", "skip", "all"] | None = None
    catchup_window_seconds: int | None = Field(default=None, ge=60, le=31_536_000)
    trigger: dict[str, Any] | None = Field(
        default=None, description="The long form of the schedule, with a type."
    )
    action: dict[str, Any] | None = Field(
        default=None, description="The long form of the prompt, with a type."
    )
    guardrails: Guardrails | None = None
    notify: Notify | None = None
    manage_mode: Literal["creator_only", "scope_all"] | None = None
    max_runs: int | None = Field(default=None, ge=0)
    fresh: bool | None = None
    enabled: bool | None = None
    next_run_at: AwareDatetime | None = None


class RoutinePatch(BaseModel):
    """A JSON merge patch of a routine: only what is to change; null takes a value away."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"title": "Morning brief", "max_runs": 5}]},
    )

    title: str | None = Field(default=None, max_length=200)
    prompt: str | None = Field(default=None, max_length=65_536)
    fresh: bool | None = None
    schedule: IntervalBody | CronBody | OneShotBody | None = None
    timezone: str | None = None
    trigger: dict[str, Any] | None = None
    action: dict[str, Any] | None = None
    guardrails: Guardrails | None = None
    notify: Notify | None = None
    manage_mode: Literal["creator_only", "scope_all"] | None = None
    max_runs: int | None = Field(default=None, ge=0)
    next_run_at: AwareDatetime | None = None
    status: Literal["active", "paused", "deleted"] | None = Field(
        default=None, description="`active` or `paused` also restores a deleted routine."
    )
    if_revision: int | None = Field(default=None, ge=0)


class TriggerBody(BaseModel):
    """How to trigger; may be left out."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"force": False}]})

    force: bool = Field(default=False, description="Also while the routine is paused.")


class CancelBody(BaseModel):
    """Why a run is cancelled; may be left out."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "not needed any more"}]}
    )

    reason: str = Field(default="cancelled by user", max_length=200)


class PauseBody(BaseModel):
    """Why everything is paused; may be left out."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"reason": "on holiday"}]}
    )

    reason: str = Field(default="", max_length=200)


class NoBody(BaseModel):
    """Nothing; may be left out."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{}]})


class PreviewBody(BaseModel):
    """A schedule to try out."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"schedule": {"cron_expr": "30 2 * * *", "timezone": "Europe/Berlin"}}]
        },
    )

    schedule: IntervalBody | CronBody | OneShotBody | None = None
    trigger: dict[str, Any] | None = None
    count: int | None = Field(default=None, ge=1, le=50)
    after: AwareDatetime | None = None


class RoutineCreated(BaseModel):
    """The new routine."""

    id: str
    workflow_id: str
    routine: Routine
    warnings: list[str] = []


class RoutineAccepted(BaseModel):
    """The creation is in Temporal; no worker has taken it up yet."""

    id: str
    workflow_id: str
    accepted: Literal[True] = True


class RoutineList(BaseModel):
    """A page of routines, newest first; `next_cursor` while there is more."""

    routines: list[Routine]
    count: int
    next_cursor: str | None = None


class RunRecords(BaseModel):
    """Runs of a routine, newest first."""

    runs: list[KeptRun]
    count: int


class RunVerdict(BaseModel):
    """What the routine has answered to a trigger."""

    decision: Decision
    reason: str | None = None
    message: str = ""
    started_at: AwareDatetime | None = None


class RunAccepted(BaseModel):
    """A run that was started.

    `verdict` is null while no worker has taken it up, and for a `duplicate`; `run` is what `wait`
    has waited for.
    """

    run_id: str
    workflow_id: str
    status_url: str
    ui_url: str
    duplicate: bool = False
    verdict: RunVerdict | None = None
    run: RunView | None = None


class RunAnswer(RunView):
    """A run as it is now, or as it ended."""

    ui_url: str


class Fault(BaseModel):
    """A fault of ours, which the gateway's log tells of."""

    type: str
    title: str
    status: Literal[500]
    detail: str
    kind: Literal["internal"]


# Models that no operation names by itself.
DESCRIBED: Final[tuple[type[BaseModel], ...]] = (
    Problem,
    Fault,
    RoutineBody,
    RoutinePatch,
    TriggerBody,
    CancelBody,
    PauseBody,
    NoBody,
    PreviewBody,
)


def body_of(model: type[BaseModel], *media_types: str, required: bool = True) -> dict[str, Any]:
    """The request body of an operation, for the API's description."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    content = {name: {"schema": schema} for name in media_types or ("application/json",)}
    return {"requestBody": {"required": required, "content": content}}
